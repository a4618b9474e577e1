//! Pretends: drives the core that ships, on a clock and a network of its own.
//!
//! Reading order: [`heap`] (what happens when), `chance` and [`digest`] (seeds and fingerprints),
//! `atlas` and `network` (where and how far), `endpoint` (upstreams as they are), [`membership`] (who is
//! alive), [`scenario`] (what a run is about), `world` (everything together), `check` (what must hold),
//! `record` (what a run showed).
//!
//! What this crate does not know: the node's other crates, sockets, real time.

mod atlas;
mod chance;
pub mod check;
pub mod cli;
pub mod cpu;
mod digest;
mod endpoint;
pub mod heap;
pub mod membership;
mod network;
mod policy;
mod record;
mod report;
pub mod run;
mod sabotage;
pub mod scenario;
mod summary;
mod tally;
mod wires;
mod world;
