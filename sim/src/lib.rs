//! Simulates: drives the core that ships, on a clock and a network of its own.
//!
//! Reading order: [`heap`] (what happens when), `chance` and [`digest`] (seeds and fingerprints),
//! `matrix`, `atlas`, `network` and `wires` (where, how far, how wide), `endpoint` (upstreams as they are), `cpu` (the
//! processors of a node), [`membership`] (who is alive), [`scenario`] (what a run is about), `world` (everything
//! together), `check` (what must hold), `record`, `tally` and `standings` (the results of a run), [`run`] (and what was
//! expected of it), `escrow` (limits without a store, in a world of their own).
//!
//! What this crate does not know: the node's other crates, sockets, real time.

mod atlas;
mod chance;
pub mod check;
pub mod cli;
mod cpu;
pub mod digest;
mod endpoint;
mod escrow;
pub mod heap;
mod matrix;
pub mod membership;
mod network;
mod policy;
mod record;
mod report;
pub mod run;
mod sabotage;
pub mod scenario;
mod standings;
mod summary;
mod tally;
mod wires;
mod world;
