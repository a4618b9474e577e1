//! A form of several parts (`multipart/form-data`), read as it arrives.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::multipart::MultipartRejection;
use axum::extract::{FromRequest, Multipart, Request};
use http_body::{Body, Frame, SizeHint};

/// The parts of a form, whole however its bytes arrive.
///
/// The parser (multer 3.1) looks for the first boundary, reads on once where it finds none, and takes the end of the
/// stream in that second look for a form without one, although the bytes came with it
/// (<https://github.com/rwf2/multer/pull/70>). A small form that arrived between the two looks was refused as
/// incomplete. [`EndApart`] lets no look see bytes and the end together.
pub(super) struct Form(pub Multipart);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = MultipartRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, MultipartRejection> {
        let request = request.map(|body| axum::body::Body::new(EndApart::new(body)));
        Multipart::from_request(request, state).await.map(Self)
    }
}

/// A body whose end never comes in the poll that follows bytes at once: its reader is woken for it.
struct EndApart<B> {
    body: B,
    /// Whether bytes came since the reader last had to wait.
    brought: bool,
    ended: bool,
}

impl<B> EndApart<B> {
    const fn new(body: B) -> Self {
        Self {
            body,
            brought: false,
            ended: false,
        }
    }
}

impl<B: Body + Unpin> Body for EndApart<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if !self.ended {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                self.brought = false;
                return Poll::Pending;
            };
            if frame.is_some() {
                self.brought = true;
                return Poll::Ready(frame);
            }
            self.ended = true;
        }
        if std::mem::take(&mut self.brought) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::header;

    use super::*;

    const FORM: &str =
        "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x--\r\n";

    /// A body that answers each poll as written: `None` is a wait, and its end follows the last.
    struct Script(VecDeque<Option<&'static str>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(None) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                piece => Poll::Ready(
                    piece
                        .flatten()
                        .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))),
                ),
            }
        }
    }

    async fn purpose(script: impl IntoIterator<Item = Option<&'static str>>) -> Option<String> {
        let script = Script(script.into_iter().collect());
        let request = http::Request::post("/v1/files")
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=x")
            .body(axum::body::Body::new(script))
            .expect("a request");
        let Form(mut parts) = Form::from_request(request, &()).await.expect("a form");
        let field = parts.next_field().await.ok()??;
        field.text().await.ok()
    }

    #[tokio::test]
    async fn form_is_read_whole_wherever_its_reader_had_to_wait() {
        assert_eq!(purpose([None, Some(FORM)]).await.as_deref(), Some("batch"));
        for cut in 0..=FORM.len() {
            let (start, rest) = FORM.split_at(cut);
            for waits in 0..8 {
                let wait = |bit: u32| (waits & (1 << bit) != 0).then_some(None);
                let before = wait(0).into_iter().chain([Some(start)]);
                let between = wait(1).into_iter().chain([Some(rest)]);
                let script = before.chain(between).chain(wait(2));
                let read = purpose(script).await;
                assert_eq!(
                    read.as_deref(),
                    Some("batch"),
                    "cut at {cut}, waits {waits:b}"
                );
            }
        }
    }

    #[tokio::test]
    async fn form_that_breaks_off_is_refused() {
        for cut in 0..FORM.len() - 6 {
            assert_eq!(
                purpose([None, Some(&FORM[..cut])]).await,
                None,
                "cut at {cut}"
            );
        }
    }
}
