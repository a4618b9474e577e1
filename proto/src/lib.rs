//! Speaks: what travels between nodes, and its checked conversion to core.

pub mod value;
pub mod value_envelope;
mod value_figure;
