//! Takes a request's body in, within its limits of size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use grapevine_core::pace::BodyPace;
use http::header::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;
use crate::headers;

/// Room made at first for a body of several pieces: what a client merely claims costs no more.
const FIRST_ROOM: usize = 64 * 1_024;

/// How long, and up to how many bytes, a body that is refused is read on, so that the client reads
/// the refusal before its connection is reset under it.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// The whole body, at most `bytes_max` long.
///
/// # Errors
/// When it is longer, pauses for longer than `pause_max`, trickles, or breaks off.
pub(super) async fn read(
    mut body: Incoming,
    headers: &HeaderMap,
    bytes_max: usize,
    pause_max: Duration,
) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if headers::content_length(headers).is_some_and(|length| length > bytes_max as u64) {
        linger(&mut body).await;
        return Err(Problem::body_too_large(bytes_max));
    }
    let mut pace = BodyPace::new(pause_max);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let mut taken = 0;
    loop {
        let asked_at = Instant::now();
        let frame = match timeout_at(asked_at + pace.patience(), body.frame()).await {
            Err(_) => return Err(Problem::body_timed_out()),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Problem::invalid(None, "the request body broke off")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = frame.into_data() else { break };
        taken += piece.len();
        pace.took(piece.len(), asked_at.elapsed());
        if taken > bytes_max {
            linger(&mut body).await;
            return Err(Problem::body_too_large(bytes_max));
        }
        match &first {
            None if body.is_end_stream() => return Ok(piece),
            None => first = Some(piece),
            Some(piece_before) => {
                if whole.is_empty() {
                    whole.reserve(FIRST_ROOM.min(bytes_max));
                    whole.extend_from_slice(piece_before);
                }
                whole.extend_from_slice(&piece);
            }
        }
    }
    Ok(match first {
        Some(piece) if whole.is_empty() => piece,
        _ => whole.freeze(),
    })
}

/// Reads a refused body on for a moment.
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
