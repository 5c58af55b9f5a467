//! The incident lab.
