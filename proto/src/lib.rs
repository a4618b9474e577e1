//! Speaks: what goes over the wire between nodes, and its checked conversion to core's types.
//!
//! Reading order: [`frame`] (forwarded requests, greetings, pings), [`value`] (gossiped facts),
//! [`value::envelope`] (their signatures, rumors),
//! [`value::position`] (their order), [`gossip`] (chitchat's messages, checked).
//!
//! What this crate does not know: sockets, tasks, clocks. It turns bytes into values and back.

pub mod frame;
pub mod gossip;
pub mod value;
