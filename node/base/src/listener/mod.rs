//! What every listener does with connections: their deadlines, their number, and how they end.
//!
//! Reading order: [`activity`] (what is known of one connection), [`table`] (all of one listener, and who
//! makes room), [`serving`] (serves HTTP/1 and HTTP/2 within the deadlines), `observed` and `frames` (how it
//! is seen that a head is on its way), `stall` (answers that nobody takes), [`replayed`] (bytes that were
//! looked at first), [`burst`] (one log line for many events), [`descriptors`].
//!
//! The decisions are [`grapevine_core::connection`]'s.
//!
//! Invariant: a connection without a request in flight has a deadline at every moment, from its first
//! byte on, and a timer that wakes it then. Nothing is looked at again and again.

pub mod activity;
pub mod burst;
pub mod descriptors;
mod frames;
pub mod metrics;

mod observed;
pub mod replayed;
pub mod serving;
mod stall;
mod streams;
pub mod table;

pub use activity::Activity;
pub use table::{ConnectionEntry, ConnectionTable};
