//! The `grapevine` program: puts the rooms of a node together, and starts what the command line asks for.
//!
//! Reading order: [`cli`] (what was asked for), [`app`] (one node, wired). Everything else is in crates of its own,
//! named here so that who embeds a node needs this one alone.

pub mod app;
pub mod cli;

pub use grapevine_base::{
    asked, authority, bodies, clock, driver, entropy, exchange, headers, listener, readiness, scan,
    vital,
};
pub use grapevine_config as config;
pub use grapevine_console::admin;
pub use grapevine_geo as geo;
pub use grapevine_http::{dns, ingress, prober, upstream};
pub use grapevine_lab::{demo, mock};
pub use grapevine_mesh as mesh;
pub use grapevine_observe as observe;
pub use grapevine_tasks as tasks;
