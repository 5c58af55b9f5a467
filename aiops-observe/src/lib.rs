//! Decoders from monitoring wire formats to the aiops vocabulary, and the normaliser behind them
