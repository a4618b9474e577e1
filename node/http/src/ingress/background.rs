//! Requests for background work: tasks, files, batches, workflows, and responses that are made later.
//!
//! They pass the same checks as every request (keys, limits, residency, records); the implementation of
//! [`ServeTasks`] interprets the path.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::bodies::Charge;
use grapevine_base::coding::{Coding, CodingError, Decoder};
use grapevine_base::exchange::{RequestBodyError, ServeTasks, TaskCaller, TaskRequestBody};
use grapevine_base::headers;
use grapevine_base::listener::http1::RequestBody;
use grapevine_core::pace::BodyPace;
use http::header;
use http::request::Parts;
use http::{Method, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, Sleep};

use super::decoded::Decoded;
use super::polls::Polls;
use super::problem::Problem;
use super::reply::{self, Reply};
use super::sealed;
use super::track::Track;

/// The paths of background work, each with everything below it.
const PREFIXES: [&str; 4] = ["/v1/tasks", "/v1/files", "/v1/batches", "/v1/workflows"];

/// Where workers out of process wait for tasks.
const POLL: &str = "/v1/tasks/lease";

/// Where responses are created, and retrieved by name below it.
const RESPONSES: &str = "/v1/responses";

/// Serves requests for background work, where the node accepts any.
#[derive(Clone, Default)]
pub struct Background {
    serve: Option<Arc<dyn ServeTasks>>,
    polls: Polls,
}

impl Background {
    /// Serves requests with `serve`.
    pub fn through(serve: Arc<dyn ServeTasks>) -> Self {
        Self {
            serve: Some(serve),
            polls: Polls::default(),
        }
    }

    /// Whether a request for `path` is for background work, whatever its body.
    pub(super) fn takes(&self, path: &str) -> bool {
        if PREFIXES.iter().any(|prefix| is_at(path, prefix)) {
            return !names_what_is_kept(path);
        }
        let name = path.strip_prefix(RESPONSES);
        let name = name.and_then(|rest| rest.strip_prefix('/')?.split('/').next());
        match (name, &self.serve) {
            (Some(name), Some(serve)) => serve.is_response(name),
            _ => false,
        }
    }

    pub(super) async fn answer(
        &self,
        caller: TaskCaller,
        request: Request<TaskRequestBody>,
        track: Track,
        polls_max: u32,
    ) -> Reply {
        // Held until the answer is ready, which is short then.
        let mut _slot = None;
        if is_poll(request.method(), request.uri().path()) {
            _slot = self.polls.enter(&caller, polls_max);
            if _slot.is_none() {
                return reply::problem(track, &Problem::polls_full(polls_max));
            }
        }
        match &self.serve {
            Some(serve) => reply::handed(track, serve.serve(caller, request).await),
            None => reply::problem(track, &Problem::no_background()),
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Background")
            .field(&self.serve.is_some())
            .finish()
    }
}

/// Whether a key that is for services alone may use `path`.
pub(super) fn is_for_workers(path: &str) -> bool {
    is_at(path, PREFIXES[0])
}

/// Whether it may wait for a task.
pub(super) fn is_poll(method: &Method, path: &str) -> bool {
    *method == Method::POST && path == POLL
}

/// Whether it creates a response, which may be made in the background.
pub(super) fn is_responses(method: &Method, path: &str) -> bool {
    *method == Method::POST && path == RESPONSES
}

/// Whether an upstream may be asked to keep what a request to `path` makes.
pub(super) fn may_be_kept(method: &Method, path: &str) -> bool {
    *method == Method::POST && matches!(path, "/v1/files" | "/v1/batches")
}

/// Whether an upstream keeps the file or the batch that `path` names.
fn names_what_is_kept(path: &str) -> bool {
    let below = ["/v1/files/", "/v1/batches/"].map(|prefix| path.strip_prefix(prefix));
    let id = below.into_iter().flatten().next();
    id.and_then(|below| below.split('/').next())
        .is_some_and(sealed::is_sealed)
}

fn is_at(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A request with a complete body.
pub(super) fn whole(head: Parts, body: Bytes) -> Request<TaskRequestBody> {
    let body = Full::new(body).map_err(|never| match never {});
    cleaned(head, body.boxed_unsync())
}

/// A request whose body arrives with pauses of at most `pause_max`, and at least at the minimum rate. Its pieces
/// are decoded, and charged to the sender of `charge`.
///
/// # Errors
/// When its coding is unknown.
pub(super) fn flowing(
    mut head: Parts,
    body: RequestBody,
    pause_max: Duration,
    charge: Charge,
) -> Result<Request<TaskRequestBody>, CodingError> {
    let beside = charge.beside();
    let body = Paced::new(body, pause_max, charge);
    let Some(coding) = Coding::of(&head.headers)? else {
        return Ok(cleaned(head, body.boxed_unsync()));
    };
    head.headers.remove(header::CONTENT_ENCODING);
    let body = Decoded::new(body, Decoder::new(coding)?, Some(beside));
    Ok(cleaned(head, body.boxed_unsync()))
}

fn cleaned(mut head: Parts, body: TaskRequestBody) -> Request<TaskRequestBody> {
    headers::clean_request(&mut head.headers);
    Request::from_parts(head, body)
}

/// A client's body that may neither pause for too long nor trickle. The timer belongs to the runtime that
/// reads it. Each piece is charged until it is dropped.
struct Paced<B> {
    body: B,
    /// The sender's account; nothing is charged to this handle.
    charge: Charge,
    pace: BodyPace,
    /// When the current wait began, and its deadline; `None` while nobody waits.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    fn new(body: B, pause_max: Duration, charge: Charge) -> Self {
        Self {
            body,
            charge,
            pace: BodyPace::new(pause_max),
            wait: None,
        }
    }

    fn charged(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, RequestBodyError> {
        match frame.into_data() {
            Err(trailers) => Ok(trailers),
            Ok(data) => {
                let mut charge = self.charge.beside();
                charge.add(data.len()).map_err(RequestBodyError::NoRoom)?;
                Ok(Frame::data(charge.on(data)))
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let waited = self.wait.take().map(|(since, _)| since.elapsed());
            if let Some(Ok(frame)) = &frame {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.pace.took(length, waited.unwrap_or_default());
            }
            return Poll::Ready(frame.map(|frame| match frame {
                Ok(frame) => self.charged(frame),
                Err(_) => Err(RequestBodyError::BrokenOff),
            }));
        }
        let patience = self.pace.patience();
        let (_, timer) = self
            .wait
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(patience))));
        timer
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(RequestBodyError::Paused)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;

    use grapevine_core::share::ShareExceeded;

    use super::*;
    use grapevine_base::bodies::{BodyBudget, BodySender};
    use grapevine_base::exchange::OwnAnswer;

    struct Named;

    #[async_trait::async_trait]
    impl ServeTasks for Named {
        fn is_response(&self, name: &str) -> bool {
            name == "ours"
        }

        async fn serve(&self, _: TaskCaller, _: Request<TaskRequestBody>) -> OwnAnswer {
            unreachable!("nothing is asked here")
        }
    }

    #[test]
    fn paths_of_background_work_are_distinguished_from_others() {
        let background = Background::through(Arc::new(Named));
        for path in [
            "/v1/tasks",
            "/v1/files/file-1/content",
            "/v1/batches/",
            "/v1/responses/ours",
            "/v1/responses/ours/cancel",
        ] {
            assert!(background.takes(path), "{path}");
        }
        for path in [
            "/v1/tasksx",
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/responses/theirs",
            "/v1/files/file-1-g0123456789abcde",
            "/v1/batches/batch_1_g0123456789abcde/cancel",
        ] {
            assert!(!background.takes(path), "{path}");
        }
        assert!(Background::default().takes("/v1/files"));
        assert!(!Background::default().takes("/v1/responses/ours"));
    }

    #[tokio::test(start_paused = true)]
    async fn body_of_a_byte_a_second_is_given_up_after_its_first_pause() {
        let trickle = stream::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"x")))
        });
        let pause_max = Duration::from_secs(10);
        let charge = BodyBudget::new(1_000).account(BodySender::Key("app"));
        let body = Paced::new(StreamBody::new(Box::pin(trickle)), pause_max, charge);
        let began = Instant::now();
        let ended = body.collect().await.map(|_| ());
        assert_eq!(ended, Err(RequestBodyError::Paused));
        assert!(began.elapsed() <= pause_max + Duration::from_secs(1));
    }

    #[tokio::test]
    async fn pieces_are_charged_for_as_long_as_they_are_held() {
        let budget = BodyBudget::new(1_000);
        let pieces = stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b'x'; 200])))
        });
        let account = || budget.account(BodySender::Key("app"));
        let mut taken = Paced::new(
            StreamBody::new(pieces.clone().take(20)),
            Duration::from_secs(10),
            account(),
        );
        while let Some(piece) = taken.frame().await {
            piece.expect("each is dropped before the next comes");
        }
        let kept = Paced::new(
            StreamBody::new(pieces.take(20)),
            Duration::from_secs(10),
            account(),
        );
        let ended = kept.collect().await.map(|_| ());
        assert_eq!(ended, Err(RequestBodyError::NoRoom(ShareExceeded::Share)));
        assert_eq!(budget.held(), 0);
    }
}
