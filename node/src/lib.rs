//! Acts: sockets, tasks, clocks, files. Everything that decides is in `grapevine-core`.
//!
//! Reading order: [`exchange`] (what shells hand each other), [`bodies`] (what requests may hold of memory),
//! [`driver`] (how they reach core), [`listener`] (what all listeners do with connections), the
//! shells ([`ingress`], [`upstream`], [`mesh`], [`prober`], [`dns`], [`tasks`], [`admin`]), then [`app`],
//! where they meet.

pub mod admin;
pub mod app;
pub mod asked;
pub mod bodies;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod dns;
pub mod driver;
pub mod entropy;
pub mod exchange;
pub mod geo;
pub mod headers;
pub mod ingress;
pub mod listener;
pub mod mesh;
pub mod mock;
pub mod observe;
mod overdue;
pub mod prober;
pub mod readiness;
pub mod scan;
pub mod tasks;
pub mod upstream;
pub mod vital;
