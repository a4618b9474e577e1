//! What every listener does with connections: their deadlines, their number, and how they end.
//!
//! Reading order: [`activity`] (the state of one connection), [`table`] (all of one listener, and which make
//! room), [`serving`] (serves HTTP/1 and HTTP/2 within the deadlines), `observed` and `frames` (how an arriving
//! head is detected), `stall` (clients that stop reading), [`replayed`] (bytes that were looked at first),
//! [`burst`] (one log line for many events), [`descriptors`].
//!
//! The decisions are [`grapevine_core::connection`]'s.
//!
//! Invariant: a connection without a request in flight has a deadline at every moment, from its first
//! byte on, and a timer that wakes it then. Nothing is polled.

pub mod activity;
pub mod burst;
pub mod descriptors;
mod frames;
pub mod http1;
pub mod metrics;

mod observed;
pub mod replayed;
pub mod serving;
mod stall;
mod streams;
pub mod table;
pub mod tunnels;

pub use activity::Activity;
pub use table::{ConnectionEntry, ConnectionTable};
