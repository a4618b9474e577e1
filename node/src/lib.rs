//! The `grapevine` program: wires the crates of a node, and runs the command line.
//!
//! Reading order: [`cli`] (the command line), [`app`] (one node, wired). Everything else is in crates of its own,
//! re-exported here so that a program that embeds a node needs this one alone.

pub mod app;
pub mod cli;

pub use grapevine_base::{
    asked, authority, bodies, clock, coding, driver, entropy, exchange, headers, listener,
    readiness, scan, vital,
};
pub use grapevine_config as config;
pub use grapevine_console::admin;
pub use grapevine_geo as geo;
pub use grapevine_http::{dns, ingress, prober, upstream};
pub use grapevine_lab::{demo, mock};
pub use grapevine_mesh as mesh;
pub use grapevine_observe as observe;
pub use grapevine_tasks as tasks;
