//! The dialects that a client or an upstream may speak.

pub use grapevine_core::dialect::Dialect;
