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

use grapevine_base::causes;
use http::Extensions;
use hyper_util::client::legacy;
use tokio::time::Instant;

use super::guard::UpstreamConnection;

/// Whether the request of a call that began at `began`, and that failed with `error`, was not processed.
pub(super) fn was_not_processed(error: &legacy::Error, began: Instant) -> bool {
    is_refused_stream(error) || connection(error).is_some_and(|it| it.was_stale(began))
}

fn is_refused_stream(error: &legacy::Error) -> bool {
    let http2 = causes::each(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    http2.is_some_and(|error| {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || is_refused)
    })
}

fn connection(error: &legacy::Error) -> Option<UpstreamConnection> {
    let mut extras = Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.remove()
}
