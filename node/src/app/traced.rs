//! Own upstreams as peers call them: each call's spans are recorded when it has ended.
//!
//! The call's headers carry the entry node's span; the upstream receives this node's own span below it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use grapevine_core::outcome::Outcome;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use grapevine_base::clock;
use grapevine_base::exchange::{Answer, AnswerBody, Call, CallFailure, CallLocal};
use grapevine_observe::excerpt::{self, Excerpt};
use grapevine_observe::otlp::Tracer;
use grapevine_observe::spans::Hop;
use grapevine_observe::trace::Trace;

/// Calls own upstreams for peers.
#[derive(Clone, Debug)]
pub(super) struct Traced<L> {
    local: L,
    /// `None` records nothing, and passes on the calls' own trace headers.
    tracer: Option<Tracer>,
}

impl<L> Traced<L> {
    pub(super) const fn new(local: L, tracer: Option<Tracer>) -> Self {
        Self { local, tracer }
    }
}

impl<L: CallLocal> CallLocal for Traced<L> {
    async fn call(&self, mut call: Box<Call>) -> Result<Answer, CallFailure> {
        let tracer = self.tracer.as_ref();
        let Some(mut span) = tracer.and_then(|tracer| HopSpan::begin(tracer, &mut call)) else {
            return self.local.call(call).await;
        };
        match self.local.call(call).await {
            Ok(mut answer) => {
                span.hop.status = Some(answer.status.as_u16());
                let body = std::mem::take(&mut answer.body);
                answer.body = AnswerBody::new(TracedBody { body, span });
                Ok(answer)
            }
            Err(failure) => {
                span.failed(&failure);
                Err(failure)
            }
        }
    }
}

/// A call in flight. Recorded when dropped: as given up, unless its outcome was set.
#[derive(Debug)]
struct HopSpan {
    tracer: Tracer,
    began: Instant,
    hop: Hop,
}

impl HopSpan {
    /// `None` where the call is not traced.
    fn begin(tracer: &Tracer, call: &mut Call) -> Option<Self> {
        let trace = Trace::below(&call.headers)?;
        trace.child(0).mark(Arc::make_mut(&mut call.headers));
        Some(Self {
            tracer: tracer.clone(),
            began: Instant::now(),
            hop: Hop {
                trace,
                id: call.request_id.clone(),
                time: clock::wall(),
                took: std::time::Duration::ZERO,
                method: excerpt::method(&call.method),
                path: Excerpt::of_path(&call.path),
                model: call.model.clone(),
                upstream: call.upstream.clone(),
                status: None,
                outcome: Outcome::Cancelled.as_str(),
                detail: None,
            },
        })
    }

    /// The answer was complete.
    fn ended(&mut self) {
        let status = self.hop.status.unwrap_or_default();
        self.hop.outcome = Outcome::status(status).as_str();
    }

    fn failed(&mut self, failure: &CallFailure) {
        self.hop.outcome = failure.outcome.as_str();
        self.hop.detail = Some(Excerpt::of(&failure.detail));
    }
}

impl Drop for HopSpan {
    fn drop(&mut self) {
        self.hop.took = self.began.elapsed();
        self.tracer.hop(&self.hop);
    }
}

/// The body of a traced answer.
struct TracedBody {
    body: AnswerBody,
    span: HopSpan,
}

impl Body for TracedBody {
    type Data = Bytes;
    type Error = CallFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallFailure>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.span.ended(),
            Poll::Ready(Some(Err(failure))) => self.span.failed(failure),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.span.ended(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
