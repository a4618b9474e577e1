//! Workflows: a small graph of API calls, each step's input made from what came before it.
//!
//! Reading order: [`document`] (what a workflow looks like), [`template`] (how inputs are made), [`check`]
//! (what can be wrong with it, told all at once), `graph` (what follows what), `result` (how a step ended,
//! as it is remembered), `call` (one call of a step), `run` (the service `workflow:process`), `webhook` and
//! `guard` (where it may go), `view` (a run as clients see it).
//!
//! Invariant: how a step ended is durable before a step that needs it begins, so a run that was broken off
//! goes on at its first unfinished step, and a finished step is not called again.

mod call;
pub mod check;
pub mod document;
mod graph;
mod guard;
mod result;
mod run;
pub mod template;
pub(in crate::tasks) mod view;
mod webhook;

pub use guard::{LookUp, SystemLookUp};
pub use run::{SERVICE, Workflows, service_key};
pub(in crate::tasks) use run::{run_payload, tell_end};
pub use webhook::Webhooks;
