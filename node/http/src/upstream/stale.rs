//! Which requests were surely not processed, so that sending them again is free.
//!
//! An upstream may close a connection at the moment at which a request is on its way. On HTTP/1 nothing says so
//! but the end of a connection that worked before, at once and without a byte (RFC 9112, 9.3.1). nginx and Go's
//! client send such a request again, but not a POST, which could be processed twice; every request that matters
//! here is a POST. So the bound is the time: a stale connection ends within a round trip. What an upstream worked on
//! for longer before it closed is a failed attempt. An upstream that dies of the request itself ends like a stale
//! connection, and gets it once more.
//!
//! On HTTP/2 the upstream says it: a GOAWAY below the stream, or REFUSED_STREAM (RFC 9113, 6.8 and 8.7).

use std::time::Duration;

use grapevine_base::causes;
use tokio::time::Instant;

/// A request on a connection that the upstream has closed already gets its end after one round trip, and not
/// after the time that an upstream works on a request before it fails.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// A request that was sent on a connection that had worked before.
pub(super) struct SentOnReused {
    bytes_before: u64,
    sent_at: Instant,
}

impl SentOnReused {
    /// On a connection of which `bytes` were read before.
    pub(super) fn now(bytes: u64) -> Self {
        Self {
            bytes_before: bytes,
            sent_at: Instant::now(),
        }
    }

    /// Whether the connection, which has ended after `bytes`, ended as one that was closed before the request reached
    /// it.
    pub(super) fn was_stale(&self, bytes: u64) -> bool {
        bytes == self.bytes_before && self.sent_at.elapsed() <= STALE_WITHIN
    }
}

/// Whether the upstream says with `error` that it did not process the request.
pub(super) fn is_refused_stream(error: &hyper::Error) -> bool {
    let http2 = causes::each(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    http2.is_some_and(|error| {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || is_refused)
    })
}
