//! A small answer of an upstream, read whole.

use bytes::Bytes;
use grapevine_base::coding::{self, Coding};
use grapevine_base::exchange::{Answer, CallFailure};
use http_body_util::BodyExt;
use tracing::debug;

/// The body of `answer`, also one that is encoded although that was not asked for; `None` where it is longer than `max`
/// bytes, encoded or not, or cannot be decoded.
///
/// # Errors
/// Where it broke off.
pub(crate) async fn read(answer: Answer, max: usize) -> Result<Option<Bytes>, CallFailure> {
    let coding = Coding::of(&answer.headers);
    let (mut body, mut page) = (answer.body, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else {
            continue;
        };
        if page.len() + piece.len() > max {
            return Ok(None);
        }
        page.extend_from_slice(&piece);
    }
    let page = match coding {
        Ok(None) => Ok(Bytes::from(page)),
        Ok(Some(coding)) => coding::decoded(coding, page.into(), max),
        Err(error) => Err(error),
    };
    let page = page.inspect_err(|error| debug!(%error, "answer of an upstream cannot be decoded"));
    Ok(page.ok())
}
