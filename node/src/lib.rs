//! Acts: everything of a node that touches sockets, clocks and files.

pub mod cli;
pub mod config;
