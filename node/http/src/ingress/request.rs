//! Drives one request: makes the plans, the calls and the waits that core's [`Request`] requires.
//!
//! Nothing is sent to the client before the first byte of an answer's body has arrived, so that until then
//! another attempt is invisible. Every decision is core's: this carries out one [`Action`] after the other.
//!
//! [`Request`]: grapevine_core::request::Request

mod called;
mod fallback;
mod race;
mod rest;
mod tunnel;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use grapevine_base::asked::Asked;
use grapevine_base::call_body::CallBody;
use grapevine_base::clock::Clock;
use grapevine_base::exchange::{Answer, CallFailure, CallLocal, CallPeer, is_stream};
use grapevine_base::overdue::Overdue;
use grapevine_core::dialect::RequestDialect;
use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::latency::RequestShape;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_core::request::{Action, AttemptEvent, AttemptId, RequestError, RequestPriority};
use grapevine_core::route::{self, Bar, Choice, Plan, PlanError, RouteQuery, Session};
use grapevine_core::seal::Owner;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use http_body::Frame;
use tokio::time::Instant;

use called::Called;

use super::Context;
use super::client_headers::{self, ClientOptions};
use super::explain;
use super::outgoing::Outgoing;
use super::problem::Problem;
use super::reply::{self, Reply};
use super::reply_body::ReplyBody;
use super::track::Track;
use super::tunnel::ClientSlot;
use super::visitor::Visitor;

/// An admitted request.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Without credentials, hop-by-hop headers and our own.
    pub(super) headers: Arc<HeaderMap>,
    pub(super) options: ClientOptions,
    pub(super) visitor: Visitor,
    pub(super) head: Asked,
    /// The upstream that made what it is about; `None` where any may answer.
    pub(super) owner: Option<Owner>,
    /// Its conversation.
    pub(super) session: Option<Session>,
    pub(super) body: CallBody,
    /// What it is to carry, where it opens a WebSocket.
    pub(super) tunnel: Option<Box<TunnelAsk>>,
    pub(super) priority: RequestPriority,
    /// Lists of models, each of which must have the one that is asked for.
    pub(super) model_lists: Vec<Arc<BTreeSet<ModelName>>>,
}

/// What a WebSocket is opened for.
#[derive(Debug)]
pub(super) struct TunnelAsk {
    /// What the client sends.
    pub(super) client: ClientSlot,
    /// The answer to its key; `None` where it needs none.
    pub(super) accept: Option<HeaderValue>,
}

/// Answers `request`.
pub(super) async fn answer<L: CallLocal, P: CallPeer>(
    context: &Context<L, P>,
    request: Box<Admitted>,
    track: Track,
) -> Reply {
    if request.options.dry_run {
        let (ask, visitor) = (ask(&request, &track), &request.visitor);
        let (mut plan, problem) = explain::explain(&context.driver, &ask, visitor);
        plan["client"]["session_source"] = request
            .session
            .map(|session| session.source.as_str())
            .into();
        plan["fallbacks"] = explain::fallbacks(&request.fallbacks(track.settings()));
        return reply::plan(track, plan, problem);
    }
    let allowed = request.options.timeout.unwrap_or(track.settings().deadline);
    let clock: Clock = context.driver.clock();
    let requested = &request.options.allow_regions;
    // Boxed: a future that owns it would hold room for it twice.
    let driver = Box::new(Driver {
        context,
        allow_regions: request.visitor.allowed(requested),
        deadline: clock.timer(track.arrived_at() + allowed),
        request,
        track,
        path: None,
        current: None,
        held: None,
    });
    driver.run().await
}

/// The inputs of the plan of `request`.
fn ask<'a>(request: &'a Admitted, track: &Track) -> RouteQuery<'a> {
    let (options, visitor) = (&request.options, &request.visitor);
    RouteQuery {
        model: request.head.model.as_ref(),
        shape: shape(request, track),
        // Nothing is translated in a tunnel.
        dialect: match request.tunnel {
            None => RequestDialect::of_path(track.path().path()),
            Some(_) => None,
        },
        websocket: request.tunnel.is_some(),
        strategy: track.settings().strategy,
        session: request.session.map(|session| session.number),
        owner: request.owner,
        upstream: options.upstream.as_ref(),
        cache_weight: track.settings().cache_weight,
        client_place: visitor.place,
        home_regions: &visitor.homes,
        prefer_region: options.prefer_region.as_ref(),
        allow_regions: &options.allow_regions,
        fence: visitor.permitted.regions(),
        // A second plan has only the candidates that the first has left.
        attempts_max: track.attempts_left(),
    }
}

/// What the answer's time depends on, as the serving node will see it.
fn shape(request: &Admitted, track: &Track) -> RequestShape {
    let is_stream = is_stream(track.path(), request.head.stream);
    RequestShape::new(is_stream, request.body.len())
}

/// The work for one request.
struct Driver<'a, L, P> {
    context: &'a Context<L, P>,
    request: Box<Admitted>,
    deadline: Instant,
    /// The regions that the rules and the client permit; empty permits all.
    allow_regions: Arc<[RegionName]>,
    track: Track,
    /// The path with another model; `None` is the client's.
    path: Option<PathAndQuery>,
    /// The answer of the attempt in flight.
    current: Option<Box<Begun<'a>>>,
    /// The last answer that was not good enough, in case no later one is better.
    held: Option<Box<Begun<'a>>>,
}

/// An answer whose head has arrived. Boxed: it is handed on from step to step.
struct Begun<'a> {
    attempt: AttemptId,
    choice: Choice,
    answer: Answer,
    /// The first frame of its body, once it arrived; within, `None` when the body is empty.
    first: Option<Option<Frame<Bytes>>>,
    /// Reports a long wait for that frame.
    overdue: Option<Overdue<'a>>,
}

impl<'a, L: CallLocal, P: CallPeer> Driver<'a, L, P> {
    async fn run(mut self: Box<Self>) -> Reply {
        let planned = self.plan();
        let is_client_retrying = self.request.options.is_retrying;
        let priority = self.request.priority;
        let shape = shape(&self.request, &self.track);
        let fallbacks = self.request.fallbacks(self.track.settings());
        let track = &mut self.track;
        let mut action = track.start(priority, shape, is_client_retrying, fallbacks, planned);
        loop {
            let next = match action {
                Action::Plan => {
                    let planned = self.plan();
                    self.track.replan(planned)
                }
                Action::PlanFor { model } => {
                    let planned = self.plan_for(&model);
                    self.track.start_fallback(planned)
                }
                Action::Try {
                    attempt,
                    choice,
                    is_last_resort,
                } if self.track.hedges() => {
                    Box::pin(self.race(attempt, choice, is_last_resort)).await
                }
                Action::Try {
                    attempt,
                    choice,
                    is_last_resort,
                } => self.attempt(attempt, choice, is_last_resort).await,
                Action::Pause { until } => {
                    let until = self.context.driver.clock().timer(until);
                    tokio::time::sleep_until(until.min(self.deadline)).await;
                    self.track.resume()
                }
                Action::AwaitBody(attempt) => self.await_body(attempt).await,
                Action::AwaitRest { attempt, until } => {
                    Box::pin(self.await_rest(attempt, until)).await
                }
                Action::Relay(attempt) => return self.relay(attempt),
                Action::Fail(error) => return self.fail(error),
            };
            // Core answers every event of an attempt that it began and that is not over.
            action = next.unwrap_or(Action::Fail(RequestError::Failed(Outcome::Cancelled)));
        }
    }

    fn plan(&self) -> Result<Plan, PlanError> {
        let driver = &self.context.driver;
        let ask = ask(&self.request, &self.track);
        client_headers::with_rng(|rng| route::plan(&driver.view(), &ask, driver.now(), rng))
    }

    /// Calls the candidate, and once more where it refuses to be asked for token counts. The call is boxed: every
    /// future around it would hold room for it, some of them twice, and each is moved once or more.
    async fn attempt(
        &mut self,
        attempt: AttemptId,
        choice: Choice,
        is_last_resort: bool,
    ) -> Option<Action> {
        let upstream = &choice.candidate.upstream;
        let refusals = &self.context.usage_refusals;
        let asks_usage = self.request.body.asks_usage();
        if asks_usage && refusals.has(upstream, self.track.model(), self.context.driver.now()) {
            self.ask_no_usage();
        }
        let mut called = Box::pin(self.send(attempt, &choice, is_last_resort)).await;
        if self.request.body.asks_usage() && called.refuses_usage() {
            // Its call is over before the next begins.
            drop(called);
            self.ask_no_usage();
            called = Box::pin(self.send(attempt, &choice, is_last_resort)).await;
            if called.is_success() {
                refusals.add(upstream, self.track.model(), self.context.driver.now());
            }
        }
        let (begun, event) = match called {
            Called::Came {
                answer,
                event,
                overdue,
                ..
            } => {
                let begun = Box::new(Begun {
                    attempt,
                    choice,
                    // An upstream that agrees to a tunnel has answered: what it sends next may be long in coming.
                    first: answer.upload.is_some().then_some(None),
                    answer,
                    overdue,
                });
                (begun, event)
            }
            Called::Failed(event) => return self.track.on(attempt, event),
            Called::Moved(action) => return Some(action),
        };
        let action = self.track.on(attempt, event);
        self.keep(begun);
        action
    }

    /// From here on the upstream sees what the client sent, and the client what the upstream sends.
    fn ask_no_usage(&mut self) {
        self.request.body.ask_no_usage();
        self.track.hide_usage(false);
        self.track.renew_id_for_peers();
    }

    /// Keeps an answer where core will ask for it.
    fn keep(&mut self, mut begun: Box<Begun<'a>>) {
        if self.track.held() == Some(begun.attempt) {
            begun.overdue = None;
            self.held = Some(begun);
        } else {
            self.current = Some(begun);
        }
    }

    /// An answer counts only when the first frame of its body has arrived.
    async fn await_body(&mut self, attempt: AttemptId) -> Option<Action> {
        let mut begun = self.take(attempt)?;
        if begun.first.is_some() {
            self.current = Some(begun);
            return self
                .track
                .on(attempt, AttemptEvent::FirstByte { finding: None });
        }
        let first = match begun.first_frame(self.deadline).await {
            Ok(first) => first,
            Err(failure) => return self.track.on(attempt, failed(failure)),
        };
        let event = self.first_came(&begun, first.as_ref());
        let action = self.track.on(attempt, event);
        begun.first = Some(first);
        self.keep(begun);
        action
    }

    fn take(&mut self, attempt: AttemptId) -> Option<Box<Begun<'a>>> {
        let is_it = |begun: &mut Box<Begun<'_>>| begun.attempt == attempt;
        let current = self.current.take_if(is_it);
        current.or_else(|| self.held.take_if(is_it))
    }

    /// The commit point: this answer is final.
    fn relay(mut self: Box<Self>, attempt: AttemptId) -> Reply {
        let Some(begun) = self.take(attempt) else {
            return self.fail(RequestError::Failed(Outcome::Cancelled));
        };
        let Begun {
            choice,
            mut answer,
            first,
            ..
        } = *begun;
        let first = first.flatten();
        self.track.relays(attempt);
        if let Some(upload) = answer.upload.take() {
            return self.open(&choice, answer, upload);
        }
        let mut lines = reply::adopt(&mut answer.headers, &mut self.track, &choice, answer.status);
        let is_head = *self.track.method() == Method::HEAD;
        let head = (&mut answer.headers, &mut lines);
        let body = Outgoing::start(answer.body, first, head, self.track);
        let mut response = http::Response::new(match is_head {
            true => ReplyBody::empty(),
            false => body.into(),
        });
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.into_head(&mut lines);
        Reply { response, lines }
    }

    /// Whether the request cannot be written for another API, such as a count of tokens. An upstream may read the
    /// dialect, and have no such path all the same.
    fn is_of_one_api(&self) -> bool {
        let asked = RequestDialect::of_path(self.track.path().path());
        asked.is_some_and(|asked| !asked.translates)
    }

    fn fail(self: Box<Self>, error: RequestError) -> Reply {
        let fence = self.request.visitor.fence();
        let problem = match error {
            RequestError::NoPlan(error) => Problem::no_plan(self.track.model(), error, fence),
            RequestError::RetriesSpent => Problem::budget_spent(),
            RequestError::Failed(Outcome::Refused(Refusal::Residency)) => Problem::residency(fence),
            RequestError::Failed(Outcome::Refused(Refusal::UnknownUpstream))
                if self.is_of_one_api() =>
            {
                let by = Bar::Dialect;
                Problem::no_plan(self.track.model(), PlanError::NotAllowed { by }, fence)
            }
            RequestError::Failed(outcome) => Problem::failed(&outcome),
        };
        reply::problem(self.track, &problem)
    }
}

fn failed(failure: CallFailure) -> AttemptEvent {
    AttemptEvent::Failed {
        outcome: failure.outcome,
        detail: failure.detail,
        load: failure.load,
    }
}
