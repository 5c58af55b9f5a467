//! Streaming anomaly detection for operational metrics, calibrated to one knob: the false-positive rate
