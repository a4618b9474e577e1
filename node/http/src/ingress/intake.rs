//! Receives a request's body, within its limits of size, time and memory, and decodes it where it is encoded. The
//! limits hold for what it decodes to.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use grapevine_base::bodies::{BodyBuffer, Charge};
use grapevine_base::coding::{Coding, Decoder};
use grapevine_base::headers;
use grapevine_base::listener::http1::RequestBody;
use grapevine_core::share::ShareExceeded;
use http::header::{self, HeaderMap};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout_at;

use super::IngressSettings;
use super::problem::Problem;

/// How long, and up to how many bytes, a refused body is still read, so that the client reads the refusal
/// before its connection is reset.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Bytes that are decoded before others run: about a millisecond's work.
const DECODED_AT_ONCE: usize = 256 * 1_024;

/// The whole body, charged to `charge` until its last handle is dropped. `headers` describe it decoded.
///
/// # Errors
/// When it is longer than the limit or than what its sender may hold, pauses for too long, trickles, breaks off, or
/// cannot be decoded.
pub(super) async fn read(
    mut body: RequestBody,
    headers: &mut HeaderMap,
    settings: &IngressSettings,
    charge: Charge,
) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let coding = Coding::of(headers)?;
    if coding.is_some() {
        headers.remove(header::CONTENT_ENCODING);
    }
    let bytes_max = settings.body_bytes_max;
    let announced = headers::content_length(headers);
    if announced.is_some_and(|length| length > bytes_max as u64) {
        Box::pin(linger(&mut body)).await;
        return Err(Problem::body_too_large(bytes_max));
    }
    // Anything longer was refused. What an encoded body announces is not its own length.
    let announced = announced.filter(|_| coding.is_none());
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let mut buffer = BodyBuffer::begin(charge, announced, settings.body_timeout);
    let mut decoder = coding.map(Decoder::new).transpose()?;
    loop {
        // What is at hand needs no timer.
        let frame = match body.frame().now_or_never() {
            Some(frame) => Ok(frame),
            None => timeout_at(buffer.due(), body.frame()).await,
        };
        let frame = match frame {
            Err(_) => return Err(Problem::body_timed_out()),
            Ok(None) => break,
            Ok(Some(Err(_))) => {
                return Err(Problem::invalid(None, "the request body broke off"));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(piece) = frame.into_data() else { break };
        let taken = match &mut decoder {
            None => take(&mut buffer, piece, bytes_max),
            // Boxed: it is rare.
            Some(decoder) => Box::pin(decode(decoder, piece, &mut buffer, bytes_max)).await,
        };
        if let Err(problem) = taken {
            // Released before the rest is drained.
            drop(buffer);
            Box::pin(linger(&mut body)).await;
            return Err(problem);
        }
        if body.is_end_stream() {
            break;
        }
    }
    if let Some(decoder) = &mut decoder {
        decoder.finish()?;
    }
    Ok(buffer.finish())
}

fn take(buffer: &mut BodyBuffer, piece: Bytes, bytes_max: usize) -> Result<(), Problem> {
    buffer.received(piece.len());
    hold(buffer, piece, bytes_max)
}

fn hold(buffer: &mut BodyBuffer, piece: Bytes, bytes_max: usize) -> Result<(), Problem> {
    if buffer.len() + piece.len() > bytes_max {
        return Err(Problem::body_too_large(bytes_max));
    }
    let held = buffer.hold(piece);
    held.map_err(|over| too_much(over, buffer.limit()))
}

/// Takes what `piece` decodes to. It may be a thousand times as much, so others run in between.
async fn decode(
    decoder: &mut Decoder,
    piece: Bytes,
    buffer: &mut BodyBuffer,
    bytes_max: usize,
) -> Result<(), Problem> {
    buffer.received(piece.len());
    decoder.feed(piece);
    let mut unyielded = 0;
    while let Some(piece) = decoder.step()? {
        unyielded += piece.len();
        hold(buffer, Bytes::copy_from_slice(piece), bytes_max)?;
        if unyielded >= DECODED_AT_ONCE {
            unyielded = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Why what a sender may hold was exceeded.
pub(super) fn too_much(over: ShareExceeded, limit: u64) -> Problem {
    match over {
        ShareExceeded::Whole => Problem::body_memory_full(limit),
        ShareExceeded::Share => Problem::body_share_full(limit),
    }
}

/// Drains a refused body for a moment. Callers box it: it is rare, and large beside what it interrupts.
pub(super) async fn linger(body: &mut RequestBody) {
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
