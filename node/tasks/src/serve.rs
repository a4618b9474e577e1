//! The API behind the public listener: requests come from the threads that accepted them and are answered on the
//! runtime where stores live.
//!
//! A request that is given up is dropped there too. An answer's body goes back through a short queue, so that
//! it is made no faster than its client takes it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body as AxumBody;
use bytes::Bytes;
use grapevine_base::exchange::{
    AnswerBody, CallFailure, OwnAnswer, ServeTasks, TaskCaller, TaskRequestBody,
};
use grapevine_core::outcome::Outcome;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tower_service::Service as _;

use super::id::{Id, Kind};

/// Answers that are known to be this short go back in one piece.
const WHOLE_BYTES_MAX: u64 = 1_024 * 1_024;

/// Pieces of an answer that wait for their client.
const PIECES_MAX: usize = 8;

/// The API of background work, served on one runtime.
pub struct Serving {
    router: Router,
    runtime: Handle,
}

impl Serving {
    /// Serves `router` on the current runtime.
    pub fn new(router: Router) -> Self {
        Self {
            router,
            runtime: Handle::current(),
        }
    }
}

#[async_trait::async_trait]
impl ServeTasks for Serving {
    fn is_response(&self, name: &str) -> bool {
        let id: Result<Id, _> = name.parse();
        id.is_ok_and(|id| id.kind() == Kind::Response)
    }

    async fn serve(&self, caller: TaskCaller, request: Request<TaskRequestBody>) -> OwnAnswer {
        let mut router = self.router.clone();
        let mut request = request.map(AxumBody::new);
        request.extensions_mut().insert(caller);
        let serving = self.runtime.spawn(async move {
            let Ok(response) = router.call(request).await;
            carry(response).await
        });
        let _dropped_with_this = Abort(serving.abort_handle());
        serving.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request about background work was broken off");
            OwnAnswer {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                headers: HeaderMap::new(),
                body: whole(Bytes::new()),
            }
        })
    }
}

/// The task of a request ends with whoever waits for it.
struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns a short body whole; streams a long one.
async fn carry(response: Response<AxumBody>) -> OwnAnswer {
    let (head, mut body) = response.into_parts();
    let exact = body.size_hint().exact();
    let answer = |body| OwnAnswer {
        status: head.status,
        headers: head.headers,
        body,
    };
    if exact.is_some_and(|length| length <= WHOLE_BYTES_MAX) {
        return match body.collect().await {
            Ok(collected) => answer(whole(collected.to_bytes())),
            Err(error) => answer(broken(&error).boxed_unsync()),
        };
    }
    let (pieces, taken) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failure(&error));
            let is_last = frame.is_err();
            if pieces.send(frame).await.is_err() || is_last {
                return;
            }
        }
    });
    answer(Pieces(taken).boxed_unsync())
}

fn whole(bytes: Bytes) -> AnswerBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn failure(error: &axum::Error) -> CallFailure {
    CallFailure::new(Outcome::BrokenOff, error.to_string())
}

fn broken(error: &axum::Error) -> Pieces {
    let (pieces, taken) = mpsc::channel(1);
    // The receiver is here, and the queue empty.
    let _ = pieces.try_send(Err(failure(error)));
    Pieces(taken)
}

/// What the runtime of the stores sends.
struct Pieces(mpsc::Receiver<Result<Frame<Bytes>, CallFailure>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        self.0.poll_recv(context)
    }
}
