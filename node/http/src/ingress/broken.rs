//! The end of an answer that breaks off.

/// The answer broke off; the connection is to be broken too.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub(super) struct BrokenOff;
