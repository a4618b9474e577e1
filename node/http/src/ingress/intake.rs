//! Receives a request's body, within its limits of size, time and memory.

use std::time::Duration;

use bytes::Bytes;
use grapevine_base::bodies::{BodyBuffer, Charge};
use grapevine_base::headers;
use grapevine_core::share::ShareExceeded;
use http::header::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::IngressSettings;
use super::problem::Problem;

/// How long, and up to how many bytes, a refused body is still read, so that the client reads the refusal
/// before its connection is reset.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// The whole body, charged to `charge` until its last handle is dropped.
///
/// # Errors
/// When it is longer than the limit or than what its sender may hold, pauses for too long, trickles, or
/// breaks off.
pub(super) async fn read(
    mut body: Incoming,
    headers: &HeaderMap,
    settings: &IngressSettings,
    charge: Charge,
) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let bytes_max = settings.body_bytes_max;
    let announced = headers::content_length(headers);
    if announced.is_some_and(|length| length > bytes_max as u64) {
        Box::pin(linger(&mut body)).await;
        return Err(Problem::body_too_large(bytes_max));
    }
    // Anything longer was refused.
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let mut buffer = BodyBuffer::begin(charge, announced, settings.body_timeout);
    loop {
        let frame = match timeout_at(buffer.due(), body.frame()).await {
            Err(_) => return Err(Problem::body_timed_out()),
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                return Err(Problem::invalid(None, "the request body broke off"));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = frame.into_data() else { break };
        if buffer.len() + piece.len() > bytes_max {
            Box::pin(linger(&mut body)).await;
            return Err(Problem::body_too_large(bytes_max));
        }
        if let Err(over) = buffer.take(piece) {
            let limit = buffer.limit();
            // Released before the rest is drained.
            drop(buffer);
            Box::pin(linger(&mut body)).await;
            return Err(too_much(over, limit));
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(buffer.finish())
}

fn too_much(over: ShareExceeded, limit: u64) -> Problem {
    match over {
        ShareExceeded::Whole => Problem::body_memory_full(limit),
        ShareExceeded::Share => Problem::body_share_full(limit),
    }
}

/// Drains a refused body for a moment. Callers box it: it is rare, and large beside what it interrupts.
pub(super) async fn linger(body: &mut Incoming) {
    let read_on = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, Bytes::len);
            if taken > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    // Whichever comes first: the end, the limit, or the time.
    let _ = tokio::time::timeout(LINGER, read_on).await;
}
