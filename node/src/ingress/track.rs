//! One request's way through this node, from its first attempt to its record.
//!
//! Invariant: every attempt is reported exactly once and every request recorded exactly once, also
//! when the client goes away and everything is dropped in the middle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::{AnswerReport, AttemptReport, Event};
use grapevine_core::forwarding::Scope;
use grapevine_core::ids::ModelName;
use grapevine_core::limit::InFlightGuard;
use grapevine_core::outcome::{Blame, Outcome};
use grapevine_core::place::Place;
use grapevine_core::residency::{Fence, Origin};
use grapevine_core::route::Choice;
use grapevine_core::view::Way;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::Settings;
use super::door;
use crate::asked::Asked;
use crate::clock::{self, Clock};
use crate::driver::Desk;
use crate::exchange::RequestId;
use crate::observe::excerpt::{self, Excerpt};
use crate::observe::record::{
    AttemptRecord, ClientRecord, Recorder, RequestKind, RequestRecord, Served, Tokens,
};

/// The status of a request whose client went away before it got one (nginx's custom).
const CLIENT_GONE: u16 = 499;

/// Follows one request.
#[derive(Debug)]
pub(super) struct Track {
    recorder: Recorder,
    clock: Clock,
    settings: Arc<Settings>,
    method: Method,
    /// In memory of its own: it lives as long as the answer takes.
    path: PathAndQuery,
    arrived_at: Instant,
    /// When the whole request was here: what came before is the client's time, not ours.
    body_in_at: Instant,
    record: RequestRecord,
    recorded: bool,
    current: Option<Attempt>,
    /// Of the last attempt with an answer; zero where none came.
    last_first_byte: Duration,
    scope: Scope,
    /// Counts the request among those under way; `None` until it was let in.
    under_way: Option<InFlightGuard>,
}

/// An attempt under way.
#[derive(Debug)]
struct Attempt {
    choice: Choice,
    started_at: Instant,
    /// `None` before the first byte of the answer's body, and after it was told.
    first_byte: Option<Duration>,
    /// Whether its answer began and its body goes on.
    goes_on: bool,
    _in_flight: InFlightGuard,
}

impl Track {
    pub(super) fn begin_request(
        desk: &Desk,
        recorder: &Recorder,
        settings: &Arc<Settings>,
        id: RequestId,
        (method, path): (Method, PathAndQuery),
        headers: &mut HeaderMap,
    ) -> Self {
        let sampler = settings.sampler.as_ref();
        let trace = sampler.and_then(|it| door::with_rng(|rng| it.begin(headers, rng)));
        let now = desk.now();
        let record = RequestRecord {
            id,
            time: clock::wall(),
            method: excerpt::method(&method),
            path: Excerpt::of_path(&path),
            model: None,
            stream: false,
            status: 0,
            served: None,
            client: ClientRecord::default(),
            attempts: Vec::new(),
            untried: VecDeque::new(),
            overhead: Duration::ZERO,
            first_byte: Duration::ZERO,
            total: Duration::ZERO,
            tokens: Tokens::default(),
            key: None,
            residency: None,
            error: None,
            kind: RequestKind::Client,
            trace,
            forwarded_as: None,
        };
        Self {
            recorder: recorder.clone(),
            clock: desk.clock(),
            settings: Arc::clone(settings),
            path,
            method,
            arrived_at: now,
            body_in_at: now,
            record,
            recorded: false,
            current: None,
            last_first_byte: Duration::ZERO,
            scope: Scope::default(),
            under_way: None,
        }
    }

    pub(super) fn id(&self) -> &RequestId {
        &self.record.id
    }

    /// What peers know the request by. No other request's: clients may well send one id with several
    /// requests, and peers refuse duplicates.
    pub(super) fn id_for_peers(&mut self) -> RequestId {
        let id = self.record.forwarded_as.get_or_insert_with(door::new_id);
        id.clone()
    }

    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    pub(super) fn model(&self) -> Option<&ModelName> {
        self.record.model.as_ref()
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    pub(super) const fn scope(&self) -> Scope {
        self.scope
    }

    pub(super) fn arrived_at(&self) -> Instant {
        self.arrived_at
    }

    /// Attempts begun so far.
    pub(super) fn attempts(&self) -> usize {
        self.record.attempts.len() + usize::from(self.current.is_some())
    }

    /// The request's headers as the attempt under way sends them: with its own span, where it is traced.
    pub(super) fn headers_of_attempt(&self, headers: &HeaderMap) -> HeaderMap {
        let mut headers = headers.clone();
        if let Some(trace) = &self.record.trace {
            trace
                .child(self.record.attempts.len() as u64)
                .mark(&mut headers);
        }
        headers
    }

    /// Whose key it carried.
    pub(super) fn set_key(&mut self, name: Arc<str>) {
        self.record.key = Some(name);
    }

    /// It is a request of this node's own, made for a task.
    pub(super) fn set_own(&mut self) {
        self.record.kind = RequestKind::Task;
    }

    /// Where its client is thought to be.
    pub(super) fn set_client(&mut self, origin: Origin, place: Option<Place>) {
        self.record.client = ClientRecord { origin, place };
    }

    /// These are to be tried, in their order, in place of any before; none changes nothing. What is left
    /// in the end is recorded as untried.
    pub(super) fn set_plan(&mut self, choices: VecDeque<Choice>) {
        if !choices.is_empty() {
            self.record.untried = choices;
        }
    }

    /// Takes the next one of the plan.
    pub(super) fn next_choice(&mut self) -> Option<Choice> {
        self.record.untried.pop_front()
    }

    /// Whether there is a next one.
    pub(super) fn has_choices(&self) -> bool {
        !self.record.untried.is_empty()
    }

    /// The client gets `status`, and a body that follows.
    pub(super) fn answered(&mut self, status: u16) {
        self.record.status = status;
    }

    /// Residency rules concern it.
    pub(super) fn set_fence(&mut self, fence: &Fence) {
        self.record.residency = Some(fence.to_string().into());
    }

    /// The request is counted among those under way until the end.
    pub(super) fn let_in(&mut self, guard: InFlightGuard) {
        self.under_way = Some(guard);
    }

    /// The whole request is here and asks for `head` at a path of `scope`.
    pub(super) fn body_is_in(&mut self, head: &Asked, scope: Scope) {
        self.body_in_at = self.clock.now();
        self.scope = scope;
        self.record.model.clone_from(&head.model);
        self.record.stream = head.stream;
    }

    /// An attempt at `choice` begins.
    pub(super) fn begin(&mut self, choice: &Choice, in_flight: InFlightGuard) {
        self.current = Some(Attempt {
            choice: choice.clone(),
            started_at: self.clock.now(),
            first_byte: None,
            goes_on: false,
            _in_flight: in_flight,
        });
    }

    /// The first byte of the attempt's answer came.
    pub(super) fn first_byte_came(&mut self) {
        let now = self.clock.now();
        if let Some(attempt) = &mut self.current {
            attempt.first_byte = Some(now.since(attempt.started_at));
        }
    }

    /// The answer's body goes on, maybe for minutes: what its beginning says of an own upstream is told
    /// now. A peer tells it of its own.
    pub(super) fn answer_goes_on(&mut self) {
        let Some(attempt) = &mut self.current else {
            return;
        };
        let upstream = &attempt.choice.candidate.upstream;
        attempt.goes_on = true;
        if let (Way::Local, Some(first_byte)) = (upstream.way, attempt.first_byte.take()) {
            self.last_first_byte = first_byte;
            if self.scope == Scope::Extra {
                return;
            }
            self.recorder.tell(Event::AnswerBegan(AnswerReport {
                upstream: upstream.name.clone(),
                model: self.record.model.clone(),
                first_byte,
            }));
        }
    }

    /// The attempt under way ended; does nothing when none is.
    pub(super) fn end(&mut self, outcome: Outcome, detail: Option<String>) {
        let Some(attempt) = self.current.take() else {
            return;
        };
        let took = self.clock.now().since(attempt.started_at);
        let began = attempt.started_at.since(self.arrived_at);
        self.last_first_byte = attempt.first_byte.unwrap_or(self.last_first_byte);
        self.note(&attempt.choice, outcome, (began, took), detail);
        let in_vain = matches!(outcome, Outcome::Cancelled | Outcome::DeadlinePassed);
        let waited = (in_vain && !attempt.goes_on).then_some(took);
        self.report(&attempt.choice, outcome, attempt.first_byte.or(waited));
    }

    /// No attempt could even begin at `choice`.
    pub(super) fn turned_away(&mut self, choice: &Choice, outcome: Outcome) {
        let began = self.clock.now().since(self.arrived_at);
        self.note(choice, outcome, (began, Duration::ZERO), None);
        self.report(choice, outcome, None);
    }

    /// The answer of `choice` is about to go to the client with `status`. Returns the time spent here
    /// and the time spent waiting for the upstream.
    pub(super) fn commit(&mut self, choice: &Choice, status: u16) -> (Duration, Duration) {
        let upstream = &choice.candidate.upstream;
        self.record.served = Some(Served {
            node: upstream.node.clone(),
            region: upstream.region.clone(),
            upstream: upstream.name.clone(),
        });
        self.record.status = status;
        let since_body = self.clock.now().since(self.body_in_at);
        let waited = self.current.as_ref().and_then(|attempt| attempt.first_byte);
        self.record.first_byte = waited.unwrap_or(self.last_first_byte);
        self.record.overhead = since_body.saturating_sub(self.record.first_byte);
        (self.record.overhead, self.record.first_byte)
    }

    /// Time since the request was here as a whole.
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
        self.write();
    }

    /// The request leaves no record.
    pub(super) fn forget(&mut self) {
        self.recorded = true;
    }

    /// The answer went out whole.
    pub(super) fn finish_answer(&mut self) {
        self.write();
    }

    /// The answer broke off on its way.
    pub(super) fn finish_broken(&mut self, error: &'static str) {
        self.record.error = Some(error);
        self.write();
    }

    fn write(&mut self) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        self.record.total = self.clock.now().since(self.arrived_at);
        let attempts = std::mem::take(&mut self.record.attempts);
        let untried = std::mem::take(&mut self.record.untried);
        self.recorder.record(RequestRecord {
            attempts,
            untried,
            ..self.record.clone()
        });
    }

    fn note(
        &mut self,
        choice: &Choice,
        outcome: Outcome,
        times: (Duration, Duration),
        detail: Option<String>,
    ) {
        let attempt = AttemptRecord::new(choice, outcome, times, detail);
        self.record.attempts.push(attempt);
    }

    fn report(&self, choice: &Choice, outcome: Outcome, first_byte: Option<Duration>) {
        let outcome = self.scope.counted(outcome);
        let first_byte = first_byte.filter(|_| self.scope == Scope::Inference);
        let upstream = &choice.candidate.upstream;
        let event = Event::AttemptEnded(AttemptReport {
            peer: (upstream.way == Way::Peer).then(|| upstream.node.clone()),
            upstream: upstream.name.clone(),
            model: self.record.model.clone(),
            outcome,
            first_byte,
        });
        let verdict = outcome.verdict(&self.settings.retry_on);
        if matches!(verdict.blame, Blame::Success | Blame::Nobody) && verdict.cooldown.is_none() {
            self.recorder.tell(event);
        } else {
            self.recorder.tell_now(event);
        }
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled, None);
        if !self.recorded {
            if self.record.status == 0 {
                self.record.status = CLIENT_GONE;
            }
            self.record.error = Some(Outcome::Cancelled.as_str());
            self.write();
        }
    }
}
