//! One call of a request's attempt, and what came of it.

use std::pin::pin;
use std::sync::Arc;

use grapevine_base::exchange::{Answer, Call, CallLocal, CallPeer, is_stream};
use grapevine_base::headers;
use grapevine_base::overdue::Overdue;
use grapevine_base::shown::{self, Shown};
use grapevine_core::forwarding::PathScope;
use grapevine_core::health::Witness;
use grapevine_core::request::{Action, AttemptEvent, AttemptId};
use grapevine_core::route::Choice;
use grapevine_core::view::Way;

use super::super::Context;
use super::super::due::{Waiting, waiting, within};
use super::{Driver, failed};

/// How one call went.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and nearly all are answers"
)]
pub(super) enum Called<'a> {
    Came {
        answer: Answer,
        event: AttemptEvent,
        refuses_usage: bool,
        overdue: Option<Overdue<'a>>,
    },
    Failed(AttemptEvent),
    /// The request has moved on without waiting for it.
    Moved(Action),
}

impl<'a> Called<'a> {
    fn came(mut answer: Answer, shown: Shown, overdue: Option<Overdue<'a>>) -> Self {
        let status = answer.status.as_u16();
        let retry_after = (status >= 400)
            .then(|| headers::retry_after(&answer.headers, std::time::SystemTime::now()))
            .flatten();
        let event = AttemptEvent::Head {
            status,
            retry_after,
            finding: shown.finding,
            detail: shown.detail,
            load: answer.load.take(),
        };
        Self::Came {
            answer,
            event,
            refuses_usage: shown.refuses_usage_option,
            overdue,
        }
    }

    pub(super) const fn refuses_usage(&self) -> bool {
        matches!(
            self,
            Self::Came {
                refuses_usage: true,
                ..
            }
        )
    }

    pub(super) fn is_success(&self) -> bool {
        matches!(self, Self::Came { answer, .. } if answer.status.is_success())
    }
}

/// Makes `call`, which `witness` began, until its answer's head is here.
pub(super) async fn call_once<'a, L: CallLocal, P: CallPeer>(
    context: &'a Context<L, P>,
    call: Box<Call>,
    choice: &Choice,
    (scope, witness): (PathScope, Witness),
) -> Called<'a> {
    let upstream = &choice.candidate.upstream;
    let asked = Arc::clone(&call.headers);
    let shape = call.shape();
    let mut overdue = None;
    let called = match upstream.way {
        Way::Local => {
            let (name, model) = (upstream.name.clone(), call.model.clone());
            let driver = &context.driver;
            let overdue = overdue.insert(Overdue::new(driver, scope, name, model, shape, witness));
            overdue.during(pin!(context.local.call(call))).await
        }
        Way::Peer => {
            let deadline = call.deadline;
            let calling = pin!(context.peers.call(&upstream.node, *call));
            within(deadline, calling).await
        }
    };
    match called {
        Ok(mut answer) => {
            let shown = shown::by_answer(&mut answer, &asked).await;
            Called::came(answer, shown, overdue)
        }
        Err(failure) => Called::Failed(failed(failure)),
    }
}

impl<'a, L: CallLocal, P: CallPeer> Driver<'a, L, P> {
    /// One call.
    pub(super) async fn send(
        &mut self,
        attempt: AttemptId,
        choice: &Choice,
        is_last_resort: bool,
    ) -> Called<'a> {
        let call = self.call(attempt, choice, is_last_resort);
        let context = self.context;
        let witness = self.track.witness();
        let sought = self.track.model().cloned();
        let watched = (self.track.scope(), witness);
        // Pinned where it is made: handed on by value, it would be held twice.
        let mut calling = pin!(call_once(context, call, choice, watched));
        loop {
            let sought = (sought.as_ref(), choice, witness.began_at);
            match waiting(&context.driver, sought, calling.as_mut()).await {
                Waiting::Came(called) => return called,
                Waiting::Stalled => {
                    let moved = self.track.on(attempt, AttemptEvent::Stalled);
                    if let Some(action) = moved {
                        return Called::Moved(action);
                    }
                }
            }
        }
    }

    pub(super) fn call(
        &mut self,
        attempt: AttemptId,
        choice: &Choice,
        last_resort: bool,
    ) -> Box<Call> {
        let upstream = &choice.candidate.upstream;
        let request_id = match upstream.way {
            Way::Local => self.track.id().clone(),
            Way::Peer => self.track.id_for_peers(),
        };
        let headers = &self.request.headers;
        Box::new(Call {
            request_id,
            upstream: upstream.name.clone(),
            model: self.request.head.model.clone(),
            method: self.track.method().clone(),
            path: self.path().clone(),
            headers: self.track.headers_of_attempt(attempt, headers),
            body: self.request.body.clone(),
            stream: is_stream(self.track.path(), self.request.head.stream),
            deadline: self.deadline,
            last_resort,
            allow_regions: self.allow_regions.clone(),
            caller: self.request.visitor.caller.clone(),
        })
    }
}
