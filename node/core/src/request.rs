//! One request at the node that it entered: which candidate is tried next, when to stop, what the client gets.
//!
//! A state machine that is handed the time and what happened, and returns the next [`Action`]; its driver (the HTTP
//! listener, the simulator, a test) makes the plan, the calls and the waits that it asks for. The order of candidates
//! is the plan's and the verdict on each outcome is [`Outcome::verdict`]'s; what is decided here is how they add up
//! over the attempts of one request.
//!
//! The driver's loop: [`Request::start`] with a plan, then for each [`Action`] what its documentation says, until
//! [`Action::Relay`] or [`Action::Fail`]. After the relay it reports how the body ended. [`Request::reports`] holds
//! what must go to the engine, after every call. Attempts have ids, since two may be in flight at once: where
//! [`Request::hedge_at`] passes, [`Request::hedge`] may begin a second one beside the first. After every event the driver
//! drops what it does for attempts that are not [in flight](Request::is_in_flight) any more.
//!
//! Invariants: at most `attempts_max` attempts begin; every attempt that begins is reported once; nothing is
//! relayed after another answer was.

mod action;
mod attempts;
mod call;
mod fallback;
mod hedge;
mod progress;
mod rest;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use action::{Action, AttemptEvent, AttemptId, EndedAttempt, RequestError};
pub use call::{LongWait, RequestReport, UpstreamCall};
pub use fallback::{FallbackCause, FallbackModels, FallbackStep};
pub use hedge::{HEDGE_AFTER_MIN, HedgeResult, late_after};
pub use rest::{REST_AWAITED_MAX, REST_BYTES_MAX};
pub use terms::{FailoverPolicy, HedgeTerms, RequestPriority, RequestTerms};

use crate::Instant;
use crate::engine::Event;
use crate::fact::Load;
use crate::limit::{InFlightGuard, RequestGuard, RestGuard};
use crate::outcome::{Blame, Finding, Next, Outcome};
use crate::route::{Choice, Plan, PlanError};
use crate::view::UpstreamView;
use hedge::Hedge;

/// One request; see the module.
#[derive(Debug)]
pub struct Request {
    terms: RequestTerms,
    /// Counts it among those in flight, and takes its retries.
    guard: RequestGuard,
    /// What is left of the plan, in its order.
    plan: VecDeque<Choice>,
    is_last_resort: bool,
    /// A second plan was made, after a peer refused and reported its true load.
    is_replanned: bool,
    /// The attempt in flight; of two, the one that things happened to last.
    in_flight: Option<Attempt>,
    /// The second attempt beside it; `None` where there may be none.
    hedge: Option<Box<Hedge>>,
    ended: Vec<EndedAttempt>,
    /// The changes of model so far.
    fallbacks: Vec<FallbackStep>,
    /// Upstreams that refused.
    refused: Vec<Arc<UpstreamView>>,
    /// The last answer that was not good enough, for when nothing better comes. It counts as ended.
    held: Option<AttemptId>,
    /// Counts the pauses before further attempts at one upstream.
    pauses: u32,
    /// What comes after the pause.
    paused: Option<Choice>,
    /// The client's error if nothing answers.
    error: RequestError,
    /// Of the last attempt with an answer, from its start; zero where none came.
    first_byte: Duration,
    reports: Vec<RequestReport>,
}

/// An attempt in flight.
#[derive(Debug)]
struct Attempt {
    id: AttemptId,
    choice: Choice,
    call: UpstreamCall,
    /// How it ends when its body does; `None` before the head.
    status: Option<Outcome>,
    /// Its slot among the answers whose rest is awaited; `None` where that is not so.
    rest: Option<RestGuard>,
    /// `None` where there was no room for it.
    _in_flight: Option<InFlightGuard>,
}

impl Request {
    /// A request that was let in and counted by `guard`.
    pub fn new(mut terms: RequestTerms, guard: RequestGuard) -> Self {
        let hedge = Hedge::of(std::mem::take(&mut terms.hedge));
        Self {
            terms,
            guard,
            plan: VecDeque::new(),
            is_last_resort: false,
            is_replanned: false,
            in_flight: None,
            hedge,
            ended: Vec::new(),
            fallbacks: Vec::new(),
            refused: Vec::new(),
            held: None,
            pauses: 0,
            paused: None,
            // Stands only until the first attempt ends.
            error: RequestError::Failed(Outcome::PeerLost),
            first_byte: Duration::ZERO,
            reports: Vec::new(),
        }
    }

    /// Begins with the order that was planned for it.
    pub fn start(&mut self, now: Instant, planned: Result<Plan, PlanError>) -> Action {
        match planned {
            Ok(plan) => {
                self.plan = plan.choices.into();
                self.is_last_resort = plan.last_resort;
                self.next(now)
            }
            Err(error) => {
                let may_change = fallback::is_unavailable(&error);
                self.error = RequestError::NoPlan(error);
                match may_change {
                    true => self.end_without_answer(),
                    false => self.last_answer(),
                }
            }
        }
    }

    /// Goes on with the order of [`Action::Plan`], without upstreams that refused; with the old one where nothing
    /// is left of it.
    pub fn replan(&mut self, now: Instant, planned: Result<Plan, PlanError>) -> Action {
        let has_refused = |choice: &Choice| {
            let upstream = &choice.candidate.upstream;
            let same = |it: &UpstreamView| it.node == upstream.node && it.name == upstream.name;
            self.refused.iter().any(|refused| same(refused))
        };
        if let Ok(mut plan) = planned {
            plan.choices.retain(|choice| !has_refused(choice));
            if !plan.choices.is_empty() {
                self.plan = plan.choices.into();
                self.is_last_resort = plan.last_resort;
            }
        }
        self.defer_limited();
        self.next(now)
    }

    /// What follows from `event` of `attempt`. Events of an attempt that is over change nothing, and have the
    /// driver go on with what it does.
    pub fn on(&mut self, now: Instant, attempt: AttemptId, event: AttemptEvent) -> Option<Action> {
        if self.held == Some(attempt) {
            return match event {
                AttemptEvent::Head { .. } => None,
                AttemptEvent::FirstByte { .. } | AttemptEvent::FirstPiece { .. } => {
                    Some(Action::Relay(attempt))
                }
                // Only its head ever came: an error of our own explains more.
                AttemptEvent::Failed { .. } => Some(Action::Fail(self.error.clone())),
                AttemptEvent::Stalled => None,
            };
        }
        self.turn_to(attempt);
        if self.in_flight.as_ref().is_none_or(|it| it.id != attempt) {
            return None;
        }
        if matches!(event, AttemptEvent::Stalled) && self.beside().is_none() && !self.may_move() {
            return None;
        }
        match event {
            AttemptEvent::Head {
                status,
                retry_after,
                finding,
                detail,
                load,
            } => {
                self.load_came(load, false);
                let outcome = Outcome::Status {
                    status,
                    retry_after,
                    finding,
                };
                self.head_came(now, attempt, outcome, detail)
            }
            AttemptEvent::FirstPiece { bytes, length } => {
                self.first_byte_came(now);
                Some(self.first_piece_came(now, attempt, bytes, length))
            }
            AttemptEvent::FirstByte { finding: None } => {
                self.first_byte_came(now);
                Some(self.relay(now, attempt))
            }
            AttemptEvent::FirstByte {
                finding: Some(finding),
            } => {
                let status = self.in_flight.as_ref().and_then(|it| it.status);
                let outcome = status.map_or(Outcome::Reset, |status| status.shown_as(finding));
                self.head_came(now, attempt, outcome, None)
            }
            AttemptEvent::Stalled => {
                let detail = "nothing came from the upstream, for this request and others";
                self.failed(now, Outcome::Stalled, detail.to_owned(), false)
            }
            AttemptEvent::Failed {
                outcome,
                detail,
                load,
            } => {
                let has_load = load.is_some();
                self.load_came(load, true);
                self.failed(now, outcome, detail, has_load)
            }
        }
    }

    /// The pause of [`Action::Pause`] is over.
    pub fn resume(&mut self, now: Instant) -> Action {
        let action = self
            .paused
            .take()
            .and_then(|choice| self.begin(now, choice));
        match action {
            Some(action) => action,
            None => self.next(now),
        }
    }

    /// The relayed answer's body goes on, maybe for minutes: what its beginning shows about an own upstream is
    /// reported now. A peer reports its own.
    pub fn body_goes_on(&mut self, now: Instant) {
        let Some(attempt) = &mut self.in_flight else {
            return;
        };
        if attempt
            .status
            .is_some_and(|status| status.blame() == Blame::Success)
        {
            let report = attempt.call.answer_goes_on(now);
            self.reports.extend(report);
        }
    }

    /// The relayed answer's body came whole. Does nothing where the attempt was over before.
    pub fn body_ended(&mut self, now: Instant) {
        if let Some(status) = self.in_flight.as_ref().and_then(|it| it.status) {
            self.end(now, status, None);
        }
    }

    /// The relayed answer broke off, or nobody waits any more. Does nothing where no attempt is in flight.
    pub fn broke_off(&mut self, now: Instant, outcome: Outcome, detail: Option<String>) {
        self.end_beside(now, outcome, None);
        self.end(now, outcome, detail);
    }

    fn load_came(&mut self, load: Option<Load>, is_urgent: bool) {
        let peer = self
            .in_flight
            .as_ref()
            .map(|it| &it.choice.candidate.upstream.node);
        if let (Some(load), Some(peer)) = (load, peer) {
            let event = Event::LoadReceived {
                peer: peer.clone(),
                loads: vec![load],
            };
            self.reports.push(RequestReport { event, is_urgent });
        }
    }

    fn head_came(
        &mut self,
        now: Instant,
        attempt: AttemptId,
        outcome: Outcome,
        detail: Option<String>,
    ) -> Option<Action> {
        let verdict = outcome.verdict(&self.terms.policy.retry_on);
        let cause = outcome.finding().and_then(FallbackCause::of);
        let cause = cause.filter(|cause| self.may_fall_back(*cause));
        if verdict.next != Next::GoOn && cause.is_none() {
            if let Some(attempt) = &mut self.in_flight {
                attempt.status = Some(outcome);
            }
            return Some(Action::AwaitBody(attempt));
        }
        self.first_byte_came(now);
        self.end(now, outcome, detail);
        self.error = self.error_of(outcome);
        if outcome.finding().is_some_and(Finding::may_be_given) {
            self.held = Some(attempt);
        }
        if let Some(cause) = cause {
            // The other of two asks the model that cannot.
            self.end_beside(now, Outcome::Cancelled, None);
            return Some(self.change_model(cause, verdict.costs_retry));
        }
        if self.goes_on_beside() {
            return None;
        }
        Some(self.go_on(now, verdict.costs_retry))
    }

    fn first_byte_came(&mut self, now: Instant) {
        if let Some(attempt) = &mut self.in_flight {
            self.first_byte = match &attempt.rest {
                None => attempt.call.first_byte_came(now),
                // The upstream began before: the client waits for all of it.
                Some(_) => now.since(attempt.call.began_at()),
            };
        }
    }

    fn failed(
        &mut self,
        now: Instant,
        outcome: Outcome,
        detail: String,
        has_load: bool,
    ) -> Option<Action> {
        let in_flight = self.in_flight.as_ref();
        let (has_head, has_begun) = in_flight.map_or((false, false), |it| {
            (it.status.is_some(), it.rest.is_some())
        });
        let outcome = match outcome {
            // Nothing of the body was seen: a connection that broke early.
            Outcome::BrokenOff if has_head && !has_begun => Outcome::Reset,
            outcome => outcome,
        };
        let judged = match has_begun {
            true => rest::as_before_commit(outcome),
            false => outcome,
        };
        let verdict = judged.verdict(&self.terms.policy.retry_on);
        if let (Outcome::Refused(_), Some(attempt)) = (outcome, &self.in_flight) {
            self.refused
                .push(Arc::clone(&attempt.choice.candidate.upstream));
        }
        self.end(now, outcome, Some(detail));
        self.error = RequestError::Failed(outcome);
        if matches!(outcome, Outcome::Cancelled | Outcome::DeadlinePassed) {
            self.end_beside(now, outcome, None);
        }
        if self.goes_on_beside() {
            return None;
        }
        Some(match verdict.next {
            Next::Answer | Next::Stop => self.last_answer(),
            // The peer's state is newer than the plan: plan again, once.
            Next::GoOn if has_load && !self.is_replanned => {
                self.is_replanned = true;
                Action::Plan
            }
            Next::GoOn => self.go_on(now, verdict.costs_retry && !has_load),
        })
    }

    fn go_on(&mut self, now: Instant, costs_retry: bool) -> Action {
        let has_more = !self.plan.is_empty() || self.may_fall_back(FallbackCause::Unavailable);
        if costs_retry && has_more && !self.take_retry() {
            return self.last_answer();
        }
        self.next(now)
    }

    fn change_model(&mut self, cause: FallbackCause, costs_retry: bool) -> Action {
        if costs_retry && !self.take_retry() {
            return self.last_answer();
        }
        self.fall_back(cause).unwrap_or_else(|| self.last_answer())
    }

    fn take_retry(&mut self) -> bool {
        let is_taken = self.guard.take_retry(self.terms.is_client_retrying);
        if !is_taken {
            self.error = RequestError::RetriesSpent;
        }
        is_taken
    }

    fn end(&mut self, now: Instant, outcome: Outcome, detail: Option<String>) {
        if let Some(attempt) = self.in_flight.take() {
            self.over(now, attempt, outcome, detail);
        }
    }
}
