//! What the operator gets to see: the last requests and how their attempts went.
//!
//! [`record`] is the request path's end, [`history`] the collecting one.

pub mod history;
pub mod record;
