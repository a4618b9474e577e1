//! Workflows: a small graph of API calls, each step's input made from what came before it.
//!
//! Reading order: [`document`] (what a workflow looks like), [`template`] (how inputs are made), [`check`]
//! (what can be wrong with it, reported all at once), `graph` (what follows what), `result` (how a step ended,
//! as it is remembered), `call` (one call of a step), `job` (what a task is about), `run` (the service
//! `workflow:process`), `webhook` and `guard` (where it may go), `view` (a run as clients see it).
//!
//! Invariant: how a step ended is durable before a step that needs it begins, so a run that was broken off
//! goes on at its first unfinished step, and a finished step is not called again.

mod call;
mod called;
pub mod check;
pub mod document;
mod graph;
mod guard;
mod job;
mod result;
mod run;
pub mod template;
pub(crate) mod view;
mod webhook;

pub use guard::{LookUp, SystemLookUp};
pub use job::{SERVICE, service_key};
pub(crate) use job::{is_delivery_of, run_payload};
pub use run::Workflows;
pub use webhook::Webhooks;
