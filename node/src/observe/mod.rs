//! What the node shows of itself: logs, metrics, and the last requests.
//!
//! [`record`] is the request path's end, [`history`] the collecting one.

pub mod dns;
pub mod history;
mod labels;
pub mod log;
pub mod metrics;
pub mod notices;
pub mod pulse;
pub mod record;
pub mod tasks;

use std::time::Duration;

/// Milliseconds as JSON shows them: to a thousandth.
pub(crate) fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
