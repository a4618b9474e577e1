//! The node's observability: logs, metrics, and the last requests.
//!
//! [`record`] is the request path's end, [`history`] the collecting one. Traces: [`trace`] (the trace of a
//! request), [`spans`] (its spans), [`otlp`] (their export).

pub mod accounts;
mod answers;
mod bodies;
pub mod credentials;
pub mod dns;
pub mod excerpt;
pub mod gen_ai;
pub mod history;
mod keys;
mod labels;
pub mod ledger;
pub mod ledger_row;
mod limits;
pub mod links;
pub mod log;
pub mod losses;
pub mod metrics;
pub mod notices;
pub mod otlp;
mod own_files;
pub mod pulse;
mod queue;
mod recent;
pub mod record;
pub mod reported;
pub mod requests;
pub mod spans;
pub mod tasks;
pub mod trace;
mod tunnels;
mod usage;
pub mod usage_book;

use std::time::Duration;

/// Milliseconds as JSON shows them: to a thousandth.
pub fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
