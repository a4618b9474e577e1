//! What the node shows of itself: logs, metrics, and the last requests.
//!
//! [`record`] is the request path's end, [`history`] the collecting one.

pub mod history;
pub mod log;
pub mod metrics;
pub mod notices;
pub mod record;
