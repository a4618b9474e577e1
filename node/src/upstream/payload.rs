//! A request's body on its way out: the client's bytes, with at most the model's name replaced.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use grapevine_core::ids::ModelName;
use http::header::{self, HeaderMap};
use http_body::{Body, Frame, SizeHint};

use crate::scan;

/// Up to three pieces that are sent one after the other, none of them copied.
#[derive(Debug)]
pub(super) struct Payload {
    pieces: [Bytes; 3],
    next: usize,
}

impl Payload {
    /// The client's body as it is.
    pub(super) fn whole(body: Bytes) -> Self {
        Self {
            pieces: [body, Bytes::new(), Bytes::new()],
            next: 0,
        }
    }

    /// The client's body with its model called `model`; as it is where it names none.
    pub(super) fn renamed(body: Bytes, headers: &HeaderMap, model: &ModelName) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE);
        let boundary = content_type
            .and_then(|value| value.to_str().ok())
            .and_then(scan::form_boundary);
        let (range, name) = match boundary {
            Some(boundary) => (
                scan::form_field(&body, boundary, "model"),
                Bytes::copy_from_slice(model.as_str().as_bytes()),
            ),
            None => (
                scan::top_level(&body, ["model"])
                    .ok()
                    .and_then(|[range]| range),
                Bytes::from(serde_json::Value::from(model.as_str()).to_string()),
            ),
        };
        match range {
            Some(range) => Self {
                pieces: [body.slice(..range.start), name, body.slice(range.end..)],
                next: 0,
            },
            None => Self::whole(body),
        }
    }

    fn remaining(&self) -> &[Bytes] {
        &self.pieces[self.next..]
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while let Some(piece) = self.pieces.get(self.next).cloned() {
            self.next += 1;
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.remaining().iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.remaining()
                .iter()
                .map(|piece| piece.len() as u64)
                .sum(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(content_type: &'static str, body: &'static str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            content_type.parse().expect("a valid value"),
        );
        let model = ModelName::new("own/\"m\"").expect("a valid name");
        let payload = Payload::renamed(Bytes::from_static(body.as_bytes()), &headers, &model);
        let sent: Vec<u8> = payload.pieces.concat();
        assert_eq!(payload.size_hint().exact(), Some(sent.len() as u64));
        String::from_utf8(sent).expect("text")
    }

    #[test]
    fn renaming_touches_the_models_value_alone() {
        assert_eq!(
            renamed(
                "application/json",
                "{ \"a\" : 1.0, \"model\" : \"x\" ,\n\"z\":[]}"
            ),
            "{ \"a\" : 1.0, \"model\" : \"own/\\\"m\\\"\" ,\n\"z\":[]}"
        );
    }

    #[test]
    fn renaming_in_a_form_replaces_the_field() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(
            renamed("multipart/form-data; boundary=b", body),
            body.replace("\r\nx\r\n", "\r\nown/\"m\"\r\n")
        );
    }

    #[test]
    fn body_without_a_model_stays_as_it_is() {
        assert_eq!(renamed("application/json", "{}"), "{}");
        assert_eq!(renamed("text/plain", "hello"), "hello");
    }
}
