//! A workflow's template.

use grapevine_node::tasks::workflow::template::{BODY_BYTES_MAX, probe};

/// What it makes is bounded; what it takes is bounded by the fuzzer's own limits of memory and time.
pub(crate) fn target(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(probe(text) <= 2 * BODY_BYTES_MAX);
    }
}
