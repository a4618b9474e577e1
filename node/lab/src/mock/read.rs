//! A request's body, within limits.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;

/// Time for a whole request body.
const BODY_READ_MAX: Duration = Duration::from_secs(60);

/// Why a request's body was not read.
pub(super) enum ReadError {
    TooLarge,
    Slow,
    /// The client went away, or sent what is no HTTP.
    Gone,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(body: Incoming, limit: usize) -> Result<Bytes, ReadError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout(BODY_READ_MAX, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ReadError::TooLarge),
        Ok(Err(_)) => Err(ReadError::Gone),
        Err(_) => Err(ReadError::Slow),
    }
}
