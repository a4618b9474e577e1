//! Speaks: what travels between nodes, and its checked conversion to core.
//!
//! Reading order: [`frame`] (forwarded calls, greetings, pings), [`value`] and [`value_envelope`] (what
//! gossip carries).
//!
//! What this crate does not know: sockets, tasks, clocks. It turns bytes into values and back.

pub mod frame;
pub mod value;
pub mod value_envelope;
mod value_figure;
