//! Background work: tasks that are durable before they are accepted, and the services that run them.
//!
//! Reading order: [`task`] (what a task is), [`store`] (where tasks are kept: one trait, an engine behind
//! it), [`service`] (what runs them), `admission` (what a task may ask for); [`remote`] and [`owner`] (a store
//! over the mesh, its two ends), `question`, [`behalf`] and `rights` (what a peer asks, for whom, and what it may
//! see), `lenient` (JSON as upstreams write it), [`publisher`] (what is published to the mesh), [`cancel_notifier`] (how a worker learns of a cancellation);
//! [`hub`] (where they meet), [`taking`] and [`runner`] (from waiting to ended), [`settling`] (those that ended
//! without a worker), [`api`] (what clients see). `conformance` is what every engine has to do, as a suite of tests.
//!
//! A task is kept by one store: the SQLite file of the node that accepted it, or an engine that all nodes
//! share. It stays there until its retention ends. Whoever runs it holds a lease on it, which ends when it
//! is not renewed; every report of the holder carries the number of its attempt, and a report of an earlier
//! attempt is rejected. So a task runs at least once, and ends once in the record.
//!
//! What this module does not know: how requests are routed and how peers are reached. It calls the API
//! through [`CallApi`](grapevine_base::exchange::CallApi) and peers through
//! [`CallInside`](grapevine_base::exchange::CallInside).

mod admission;
pub mod api;
mod attempt;
pub mod batch;
pub mod behalf;
pub mod cancel_notifier;
mod carried;
mod checked_text;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod hub;
pub mod id;
pub mod inside;
mod lenient;
pub mod own;
pub mod owner;
mod pace;
pub mod publisher;
mod question;
mod refused;
pub mod remote;
mod rights;
pub mod runner;
pub mod serve;
pub mod service;
mod services;
mod settling;
pub mod store;
pub mod taking;
pub mod task;
mod task_bytes;
#[cfg(test)]
mod tests;
mod upload;
mod uploads;
pub mod watch;
mod whole;
pub mod workflow;
