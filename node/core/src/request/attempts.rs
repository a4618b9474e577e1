//! The attempts of a request: which comes next, when the same upstream is tried again, and when there is none.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Action, Attempt, AttemptId, EndedAttempt, Request, RequestError, RequestReport, RequestTerms,
    UpstreamCall,
};
use crate::Instant;
use crate::engine::Event;
use crate::health::Witness;
use crate::ids::AccountName;
use crate::outcome::{Finding, Outcome, Refusal};
use crate::random;
use crate::route::Choice;
use crate::view::Way;

/// Before the second attempt at one upstream, on average; doubled before each further one. What failed a moment ago
/// fails again, and the SDKs wait for half a second. Each request draws a half to one and a half of it, so that what
/// failed together does not come back together.
const PAUSE: Duration = Duration::from_millis(100);

impl Request {
    /// Begins the next attempt, where there may be one.
    pub(super) fn next(&mut self, now: Instant) -> Action {
        while self.attempts() < self.attempts_max() {
            let Some(choice) = self.plan.pop_front() else {
                break;
            };
            match self.again(&choice) {
                Again::Never => continue,
                Again::AfterPause => {
                    let until = now + self.pause();
                    self.pauses += 1;
                    self.paused = Some(choice);
                    return Action::Pause { until };
                }
                Again::First => {}
            }
            if let Some(action) = self.begin(now, choice) {
                return action;
            }
        }
        self.give_up(now)
    }

    /// Whether an attempt that waits may be given up for another candidate. Not a whole answer, which may have been
    /// billed.
    pub(super) fn may_move(&self) -> bool {
        let is_new = |choice: &Choice| self.again(choice) == Again::First;
        self.terms.is_stream
            && self.attempts() < self.attempts_max()
            && self.plan.iter().any(is_new)
    }

    fn pause(&self) -> Duration {
        let drawn = random::mix(self.terms.number.wrapping_add(u64::from(self.pauses)));
        let on_average = PAUSE.saturating_mul(1 << self.pauses.min(8));
        on_average.mul_f64(0.5 + random::to_unit(drawn))
    }

    /// What the client is told if nothing better comes than `outcome`. Of limits of accounts the first to end counts.
    pub(super) fn error_of(&self, outcome: Outcome) -> RequestError {
        let wait = |outcome: &Outcome| match outcome {
            Outcome::Status {
                finding: Finding::AccountLimit,
                retry_after,
                ..
            } => Some(*retry_after),
            _ => None,
        };
        let sooner = match (&self.error, wait(&outcome)) {
            (RequestError::Failed(before), Some(Some(new))) => {
                wait(before).flatten().is_some_and(|before| before < new)
            }
            (RequestError::Failed(before), Some(None)) => wait(before).flatten().is_some(),
            _ => false,
        };
        match sooner {
            true => self.error.clone(),
            false => RequestError::Failed(outcome),
        }
    }

    /// Whether the request was at this candidate's upstream before, and may go there again.
    pub(super) fn again(&self, choice: &Choice) -> Again {
        let mut in_flight = self.in_flight.iter().chain(self.beside());
        if in_flight.any(|it| is_same(&it.choice, choice)) {
            return Again::Never;
        }
        let is_it = |ended: &&EndedAttempt| is_same(&ended.choice, choice);
        // What another model met there says nothing of this one.
        match self.ended_of_model().iter().rfind(is_it) {
            None => Again::First,
            Some(ended) if ended.outcome.may_be_repeated() => Again::AfterPause,
            Some(_) => Again::Never,
        }
    }

    /// `None` where there is no room for it.
    pub(super) fn begin(&mut self, now: Instant, choice: Choice) -> Option<Action> {
        let upstream = &choice.candidate.upstream;
        let guard = match self.terms.priority.in_flight_max(upstream) {
            Some(max) => upstream.in_flight.enter_below(max),
            None => Some(upstream.in_flight.enter()),
        };
        let RequestTerms {
            scope,
            model,
            shape,
            ..
        } = &self.terms;
        let witness = Witness {
            request: self.terms.number,
            client: self.terms.client,
            began_at: now,
            is_doubtful: false,
        };
        let call = UpstreamCall::at(upstream, *scope, model.clone(), *shape, witness);
        let id = AttemptId(self.attempts());
        let is_full = guard.is_none();
        let attempt = Attempt {
            id,
            choice: choice.clone(),
            call,
            status: None,
            rest: None,
            _in_flight: guard,
        };
        if is_full {
            let outcome = Outcome::Refused(Refusal::Full);
            self.error = RequestError::Failed(outcome);
            self.over(now, attempt, outcome, None);
            return None;
        }
        self.in_flight = Some(attempt);
        Some(Action::Try {
            attempt: id,
            choice,
            is_last_resort: self.is_last_resort,
        })
    }

    /// Nothing is left of the plan. Where its owner refused a candidate for its state, by which it would be better
    /// than nothing, it is asked once more, as a last resort.
    pub(super) fn give_up(&mut self, now: Instant) -> Action {
        let may_ask =
            self.held.is_none() && !self.is_last_resort && self.attempts() < self.attempts_max();
        let is_ejected =
            |ended: &&EndedAttempt| matches!(ended.outcome, Outcome::Refused(Refusal::Ejected));
        let refused = self.ended_of_model().iter().find(is_ejected);
        if let Some(choice) = refused
            .filter(|_| may_ask)
            .map(|ended| ended.choice.clone())
        {
            self.is_last_resort = true;
            if let Some(action) = self.begin(now, choice) {
                return action;
            }
        }
        self.end_without_answer()
    }

    /// Another model where that is to stand in, else the end.
    pub(super) fn end_without_answer(&mut self) -> Action {
        let cause = self.cause_of_nothing();
        self.fall_back(cause).unwrap_or_else(|| self.last_answer())
    }

    /// Attempts that were made for the model of now.
    fn ended_of_model(&self) -> &[EndedAttempt] {
        self.ended.get(self.ended_before()..).unwrap_or_default()
    }

    /// The last answer there was, else an error of our own.
    pub(super) fn last_answer(&self) -> Action {
        match self.held {
            Some(held) => Action::AwaitBody(held),
            None => Action::Fail(self.error.clone()),
        }
    }

    pub(super) fn over(
        &mut self,
        now: Instant,
        attempt: Attempt,
        outcome: Outcome,
        detail: Option<String>,
    ) {
        let Attempt {
            id,
            choice,
            mut call,
            ..
        } = attempt;
        if outcome.may_be_the_requests_fault() {
            let alike = self.ended.iter().filter(|ended| {
                ended.outcome.is_alike(&outcome) && !is_same(&ended.choice, &choice)
            });
            let mut elsewhere = alike
                .map(|ended| &ended.choice.candidate.upstream)
                .peekable();
            if elsewhere.peek().is_some() {
                call.doubt();
            }
            let own = elsewhere.filter(|upstream| upstream.way == Way::Local);
            self.reports.extend(own.map(|upstream| RequestReport {
                event: Event::BlameDoubted {
                    upstream: upstream.name.clone(),
                    request: self.terms.number,
                },
                is_urgent: true,
            }));
        }
        let shown = detail.as_deref().map(Arc::from);
        // Mostly there is one of each, and room for four is a page's worth.
        self.ended.reserve_exact(1);
        self.reports.reserve_exact(1);
        // Of two in flight the second may end first.
        let at = self.ended.partition_point(|ended| ended.id < id);
        let ended = EndedAttempt {
            id,
            choice,
            model: self.terms.model.clone(),
            outcome,
            began: call.began_at().since(self.terms.arrived_at),
            took: now.since(call.began_at()),
            detail,
        };
        self.ended.insert(at, ended);
        self.reports.push(call.ended(now, outcome, shown));
        self.defer_limited();
    }

    /// Candidates of an account that has limited this request come after all others.
    pub(super) fn defer_limited(&mut self) {
        let ended = self.ended_of_model().iter();
        let limited = ended.filter(|ended| ended.outcome.limits_account());
        let accounts = limited.filter_map(|it| it.choice.candidate.upstream.shared_account());
        let accounts: Vec<AccountName> = accounts.cloned().collect();
        if !accounts.is_empty() {
            let is_limited = |choice: &Choice| {
                let account = choice.candidate.upstream.shared_account();
                account.is_some_and(|account| accounts.contains(account))
            };
            self.plan.make_contiguous().sort_by_key(is_limited);
        }
    }
}

/// Whether a request goes to an upstream once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It was not there.
    First,
    AfterPause,
    Never,
}

/// Whether two candidates are the same upstream.
fn is_same(one: &Choice, other: &Choice) -> bool {
    let (one, other) = (&one.candidate.upstream, &other.candidate.upstream);
    one.node == other.node && one.name == other.name
}
