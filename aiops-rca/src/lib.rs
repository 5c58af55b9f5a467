//! Causal root cause analysis over topology and telemetry, with probabilities and evidence
