//! The form between dialects: it holds what any of them can say.
//!
//! A thing that at least two dialects can say is a typed field here. What only one of them says stays in the node's
//! [`Rest`](crate::rest::Rest), is written back at home and named as lost elsewhere. Every node knows where it stood
//! in the body that came, so that a loss names the field as its author wrote it.

pub mod answer;
pub mod error;
pub mod fold;
pub mod part;
pub mod request;
pub mod stream;
