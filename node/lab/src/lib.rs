//! The mock upstream, and four regions on one machine to try and to break.
//!
//! Reading order: [`mock`] (an OpenAI-compatible upstream with configurable faults), [`demo`] (nodes as real processes with
//! distance between them).
//!
//! What this crate does not know: the inside of a node. It starts the program and speaks to it as anybody would.

pub mod demo;
pub mod mock;
