//! A request's body as sent to an upstream: the client's bytes, with at most the model's name replaced and token counts
//! asked for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use grapevine_core::ids::ModelName;
use http::header::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use grapevine_base::asked;
use grapevine_base::call_body::CallBody;

/// Up to five pieces that are sent one after the other, none of them copied.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pieces: [Bytes; 5],
    next: usize,
}

impl Payload {
    /// The call's body as it is.
    pub(super) fn whole(body: &CallBody) -> Self {
        Self::of_pieces(body.pieces())
    }

    /// The call's body with its model called `model`; `None` where the model in it cannot be found with
    /// certainty.
    pub(super) fn renamed(body: &CallBody, headers: &HeaderMap, model: &ModelName) -> Option<Self> {
        let (range, name) = asked::model_as(headers, body.received(), model)?;
        body.renamed(range, name).map(Self::of_pieces)
    }

    /// A body of these pieces, some of which may be empty.
    pub(super) const fn of_pieces(pieces: [Bytes; 5]) -> Self {
        Self { pieces, next: 0 }
    }

    /// Its pieces before it is sent.
    pub(super) const fn pieces(&self) -> &[Bytes; 5] {
        &self.pieces
    }

    /// Its pieces, some of which may be empty.
    pub(super) fn into_pieces(self) -> [Bytes; 5] {
        self.pieces
    }

    /// Its length, in bytes.
    pub(super) fn len(&self) -> usize {
        self.remaining().iter().map(Bytes::len).sum()
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
        SizeHint::with_exact(self.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(content_type: &'static str, body: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            content_type.parse().expect("a valid value"),
        );
        let model = ModelName::new("own/\"m\"").expect("a valid name");
        let body = CallBody::from(Bytes::from_static(body.as_bytes()));
        let payload = Payload::renamed(&body, &headers, &model)?;
        let sent: Vec<u8> = payload.pieces.concat();
        assert_eq!(payload.size_hint().exact(), Some(sent.len() as u64));
        Some(String::from_utf8(sent).expect("text"))
    }

    #[test]
    fn renaming_touches_the_models_value_alone() {
        assert_eq!(
            renamed(
                "application/json",
                "{ \"a\" : 1.0, \"model\" : \"x\" ,\n\"z\":[]}"
            )
            .expect("a model"),
            "{ \"a\" : 1.0, \"model\" : \"own/\\\"m\\\"\" ,\n\"z\":[]}"
        );
    }

    #[test]
    fn renaming_in_a_form_replaces_the_field() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--b--\r\n";
        assert_eq!(
            renamed("multipart/form-data; boundary=b", body),
            Some(body.replace("\r\nx\r\n", "\r\nown/\"m\"\r\n"))
        );
    }

    #[test]
    fn body_without_a_certain_model_is_not_renamed() {
        for (kind, body) in [
            ("application/json", "{}"),
            ("application/json", r#"{"model":"a","model":"b"}"#),
            ("application/json", r#"{"model":"a","Model":"b"}"#),
            ("text/html", r#"{"model":"a"}"#),
            ("multipart/form-data; boundary=b", "--b--\r\n"),
        ] {
            assert_eq!(renamed(kind, body), None, "{body}");
        }
    }
}
