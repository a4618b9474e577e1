//! Speaks: what goes over the wire between nodes, and its checked conversion to core's types.
//!
//! Reading order: [`frame`] (forwarded requests, greetings, pings).
//!
//! What this crate does not know: sockets, tasks, clocks. It turns bytes into values and back.

pub mod frame;
