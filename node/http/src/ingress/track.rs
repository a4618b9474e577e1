//! One request's course through this node, from its arrival to its record.
//!
//! Holds core's [`Request`], passes its reports to the engine, and writes the record from it at the end.
//! Invariant: every attempt is reported exactly once and every request recorded exactly once, also
//! when the client goes away and everything is dropped early.

mod client;
mod end;
mod fallback;
mod hedge;
mod kept;
mod rights;

use std::sync::Arc;
use std::time::Duration;

use grapevine_base::asked::Asked;
use grapevine_base::clock::Clock;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallFailure, RequestId};
use grapevine_core::Instant;
use grapevine_core::forwarding::PathScope;
use grapevine_core::health::Witness;
use grapevine_core::latency::RequestShape;
use grapevine_core::limit::RequestGuard;
use grapevine_core::outcome::Outcome;
use grapevine_core::request::{
    Action, AttemptEvent, AttemptId, FallbackModels, Request, RequestPriority, RequestTerms,
};
use grapevine_core::route::{Choice, Plan, PlanError};
use grapevine_observe::record::{AttemptRecord, Recorder, RequestRecord, Served, Tokens};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use rand_core::Rng;

use super::IngressSettings;
use super::client_headers;
use super::limits::HeldRights;
use kept::KeptNotes;

/// Follows one request.
#[derive(Debug)]
pub(super) struct Track {
    recorder: Recorder,
    clock: Clock,
    settings: Arc<IngressSettings>,
    method: Method,
    /// In memory of its own: its lifetime is that of the answer.
    path: PathAndQuery,
    arrived_at: Instant,
    /// When the whole request had arrived: the time before is the client's, not ours.
    body_in_at: Instant,
    /// Boxed, as the request is: what follows it is moved from one future into the next.
    record: Box<RequestRecord>,
    recorded: bool,
    /// Whether the event of token counts is kept from the client, who did not ask for it.
    hides_usage: bool,
    scope: PathScope,
    /// Whether it may be sent a second time beside an attempt that is late.
    may_hedge: bool,
    /// Names it to those who judge failures.
    number: u64,
    /// Tells its client from others.
    client: u64,
    /// Counts it among the requests in flight, until it is routed; `None` before it is admitted.
    guard: Option<RequestGuard>,
    /// `None` until it is routed.
    request: Option<Box<Request>>,
    /// What it holds of its key's limits; `None` without limits.
    rights: Option<Box<HeldRights>>,
    kept: KeptNotes,
}

impl Track {
    pub(super) fn begin_request(
        driver: &DriverHandle,
        recorder: &Recorder,
        settings: &Arc<IngressSettings>,
        id: RequestId,
        (method, path): (Method, PathAndQuery),
        headers: &mut HeaderMap,
    ) -> Self {
        let sampler = settings.sampler.as_ref();
        let trace = sampler.and_then(|it| client_headers::with_rng(|rng| it.begin(headers, rng)));
        let now = driver.now();
        let record = Box::new(RequestRecord {
            trace,
            ..RequestRecord::begun(id, &method, &path)
        });
        Self {
            recorder: recorder.clone(),
            clock: driver.clock(),
            settings: Arc::clone(settings),
            path,
            method,
            arrived_at: now,
            body_in_at: now,
            record,
            recorded: false,
            hides_usage: false,
            scope: PathScope::default(),
            may_hedge: false,
            number: client_headers::with_rng(Rng::next_u64),
            client: 0,
            guard: None,
            request: None,
            rights: None,
            kept: KeptNotes::default(),
        }
    }

    pub(super) fn id(&self) -> &RequestId {
        &self.record.id
    }

    /// The request's id for peers, unique: clients may send one id with several requests, and peers refuse
    /// duplicates.
    pub(super) fn id_for_peers(&mut self) -> RequestId {
        let id = self
            .record
            .forwarded_as
            .get_or_insert_with(client_headers::new_id);
        id.clone()
    }

    /// Has a call that is repeated go by an id of its own: the peer may not have forgotten the first yet.
    pub(super) fn renew_id_for_peers(&mut self) {
        self.record.forwarded_as = None;
    }

    pub(super) fn settings(&self) -> &Arc<IngressSettings> {
        &self.settings
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    pub(super) const fn scope(&self) -> PathScope {
        self.scope
    }

    pub(super) fn arrived_at(&self) -> Instant {
        self.arrived_at
    }

    /// Attempts begun so far.
    pub(super) fn attempts(&self) -> u32 {
        self.request.as_deref().map_or(0, Request::attempts)
    }

    /// Attempts that another plan may have.
    pub(super) fn attempts_left(&self) -> u32 {
        let request = self.request.as_deref();
        request.map_or(self.settings.failover.attempts_max, Request::attempts_left)
    }

    /// The attempt whose answer is held in case no later one is better.
    pub(super) fn held(&self) -> Option<AttemptId> {
        self.request.as_deref().and_then(Request::held)
    }

    /// The request's headers as `attempt` sends them: with its own span, where it is traced.
    pub(super) fn headers_of_attempt(
        &self,
        attempt: AttemptId,
        headers: &Arc<HeaderMap>,
    ) -> Arc<HeaderMap> {
        let mut headers = Arc::clone(headers);
        if let Some(trace) = &self.record.trace {
            let marked = Arc::make_mut(&mut headers);
            trace.child(u64::from(attempt.index())).mark(marked);
        }
        headers
    }

    /// Sets whether the upstream is asked for its token counts, and the client did not ask.
    pub(super) const fn hide_usage(&mut self, hides: bool) {
        self.hides_usage = hides;
    }

    pub(super) const fn hides_usage(&self) -> bool {
        self.hides_usage
    }

    /// The client gets `status`, and a body that follows.
    pub(super) fn answered(&mut self, status: u16) {
        self.record.status = status;
    }

    /// The request was admitted, and `guard` counts it until its end.
    pub(super) fn let_in(&mut self, guard: RequestGuard) {
        self.guard = Some(guard);
    }

    /// The whole request has arrived and asks for `head` at a path of `scope`.
    pub(super) fn body_is_in(&mut self, head: &Asked, scope: PathScope) {
        self.body_in_at = self.clock.now();
        self.scope = scope;
        self.record.model.clone_from(&head.model);
        // The first byte of a WebSocket is no token's.
        self.record.stream = head.stream && scope != PathScope::WebSocket;
    }

    /// Routes the request, in the planned order.
    pub(super) fn start(
        &mut self,
        priority: RequestPriority,
        shape: RequestShape,
        is_client_retrying: bool,
        fallbacks: FallbackModels,
        planned: Result<Plan, PlanError>,
    ) -> Action {
        let guard = self.guard.take();
        let terms = RequestTerms {
            policy: Arc::clone(&self.settings.failover),
            priority,
            is_client_retrying,
            scope: self.scope,
            model: self.record.model.clone(),
            fallbacks,
            is_stream: self.record.stream,
            shape,
            hedge: self.hedge_terms(),
            arrived_at: self.arrived_at,
            number: self.number,
            client: self.client,
        };
        let now = self.clock.now();
        let request = Request::new(terms, guard.expect("only what was let in is routed"));
        let action = self.request.insert(Box::new(request)).start(now, planned);
        self.report();
        action
    }

    /// Continues with a new plan.
    pub(super) fn replan(&mut self, planned: Result<Plan, PlanError>) -> Option<Action> {
        let now = self.clock.now();
        let action = self.request.as_deref_mut()?.replan(now, planned);
        self.report();
        Some(action)
    }

    /// Continues after a pause.
    pub(super) fn resume(&mut self) -> Option<Action> {
        let now = self.clock.now();
        let action = self.request.as_deref_mut()?.resume(now);
        self.report();
        Some(action)
    }

    /// Who sees how the attempt in flight goes.
    pub(super) fn witness(&self) -> Witness {
        let began_at = self.request.as_deref().and_then(Request::began_at);
        Witness {
            request: self.number,
            client: self.client,
            began_at: began_at.unwrap_or(self.arrived_at),
            is_doubtful: false,
        }
    }

    /// The action that follows from `event` of `attempt`.
    pub(super) fn on(&mut self, attempt: AttemptId, event: AttemptEvent) -> Option<Action> {
        let now = self.clock.now();
        let action = self.request.as_deref_mut()?.on(now, attempt, event);
        self.report();
        action
    }

    /// The answer's body continues, maybe for minutes.
    pub(super) fn answer_goes_on(&mut self) {
        let now = self.clock.now();
        if let Some(request) = &mut self.request {
            request.body_goes_on(now);
        }
        self.report();
    }

    /// The answer of `choice` is about to be sent to the client with `status`. Returns the time spent here
    /// and the time spent waiting for the upstream.
    pub(super) fn commit(&mut self, choice: &Choice, status: u16) -> (Duration, Duration) {
        let upstream = &choice.candidate.upstream;
        self.record.served = Some(Served {
            node: upstream.node.clone(),
            region: upstream.region.clone(),
            upstream: upstream.name.clone(),
            account: upstream.account.as_ref().map(|it| it.name.clone()),
        });
        self.record.status = status;
        self.kept.cache = Some(upstream.cache.clone());
        let since_body = self.clock.now().since(self.body_in_at);
        let request = self.request.as_deref();
        self.record.first_byte = request.map_or(Duration::ZERO, Request::first_byte);
        self.record.overhead = since_body.saturating_sub(self.record.first_byte);
        (self.record.overhead, self.record.first_byte)
    }

    /// Time since the whole request had arrived.
    pub(super) fn spent(&self) -> Duration {
        self.clock.now().since(self.body_in_at)
    }

    /// The upstream counted these tokens.
    pub(super) fn set_tokens(&mut self, tokens: Tokens) {
        self.record.tokens = tokens;
    }

    /// The client got `status`, with an error of our own called `error` or none.
    pub(super) fn finish(&mut self, status: u16, error: Option<&'static str>) {
        self.record.status = status;
        self.record.error = error;
        self.write(self.clock.now());
    }

    /// The request leaves no record.
    pub(super) fn forget(&mut self) {
        self.recorded = true;
    }

    /// The answer was sent whole.
    pub(super) fn finish_answer(&mut self) {
        let now = self.clock.now();
        if let Some(request) = &mut self.request {
            request.body_ended(now);
        }
        self.report();
        self.write(now);
    }

    /// The answer broke off; the client gets `error`, where possible.
    pub(super) fn finish_broken(&mut self, failure: CallFailure, error: &'static str) {
        let now = self.clock.now();
        self.break_off(now, failure.outcome, Some(failure.detail));
        self.record.error = Some(error);
        self.write(now);
    }

    fn break_off(&mut self, now: Instant, outcome: Outcome, detail: Option<String>) {
        if let Some(request) = &mut self.request {
            request.broke_off(now, outcome, detail);
        }
        self.report();
    }

    fn report(&mut self) {
        let reports = self.request.as_deref_mut().map(Request::reports);
        for report in reports.unwrap_or_default() {
            self.recorder.report(report);
        }
    }

    fn write(&mut self, now: Instant) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        self.record.total = now.since(self.arrived_at);
        self.record.cost = self.cost();
        self.note_hedge();
        self.count_cached();
        self.settle_rights(now);
        let mut request = self.request.take();
        let fallbacks = self.fallbacks_of(request.as_deref());
        let (ended, untried) = request
            .as_deref_mut()
            .map(Request::take_history)
            .unwrap_or_default();
        let mut record = Box::new(self.record.taken());
        record.attempts = ended.into_iter().map(AttemptRecord::from).collect();
        record.untried = untried;
        record.fallbacks = fallbacks;
        self.recorder.record(record);
    }
}
