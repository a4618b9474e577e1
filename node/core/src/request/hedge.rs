//! A second attempt beside one that is late: whether, when, to whom, and who wins.
//!
//! The wait is the candidate's own: the 95th percentile of its answers to this node for this model and class, and for
//! a long prompt at least what is expected of that. No fixed number fits a model that thinks for a minute and one that
//! answers at once. An upstream that nobody has measured, a trial and a last resort are not hedged: nothing says that
//! they are late.
//!
//! The second attempt goes to another region than the first, since what makes an upstream late is mostly near it; where
//! the plan has no other region, to another node, else to another upstream of the same: an upstream that is late alone is
//! worth it too. There is one in a request, out of a budget that is a share of all requests ([`HedgeBudget`]): a
//! provider that is slow everywhere is never asked twice as often.
//!
//! The first that can be given to the client wins, and the other is cancelled; what it cost until then is its
//! upstream's to bill. Either may fail: the request then waits for the other.
//!
//! [`HedgeBudget`]: crate::hedge_budget::HedgeBudget

use std::time::Duration;

use super::attempts::Again;
use super::{Action, Attempt, AttemptId, HedgeTerms, Request};
use crate::Instant;
use crate::hedge_budget::HedgeBudget;
use crate::latency::RequestShape;
use crate::outcome::Outcome;
use crate::route::{Choice, RouteReason};
use crate::view::{Candidate, Way};

/// No attempt is late before this, however quick its upstream is: below it, a second one costs more than it saves.
pub const HEDGE_AFTER_MIN: Duration = Duration::from_millis(10);

/// What the attempt that lost is recorded with.
const OUTRUN: &str = "another attempt answered first";

/// What became of a request's second attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HedgeResult {
    /// Its answer is the client's.
    Won,
    /// The first attempt's is.
    Lost,
    /// It was sent, and neither answered.
    NoAnswer,
    /// It was due, and the budget was spent.
    NoBudget,
    /// It was due, and the limits of the request's key had no room for it.
    NoRights,
    /// It was due, and its upstream had no room for it.
    NoRoom,
}

impl HedgeResult {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Won,
        Self::Lost,
        Self::NoAnswer,
        Self::NoBudget,
        Self::NoRights,
        Self::NoRoom,
    ];

    /// The word in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::NoAnswer => "no_answer",
            Self::NoBudget => "no_budget",
            Self::NoRights => "no_rights",
            Self::NoRoom => "no_room",
        }
    }

    /// Whether a second attempt was sent.
    pub const fn is_sent(self) -> bool {
        matches!(self, Self::Won | Self::Lost | Self::NoAnswer)
    }
}

/// The second attempt of a request that may have one.
#[derive(Debug)]
pub(super) struct Hedge {
    budget: HedgeBudget,
    /// It, once it was sent.
    attempt: Option<AttemptId>,
    /// The attempt of the two that is not [`Request::in_flight`]; boxed, since few requests have one.
    beside: Option<Box<Attempt>>,
    /// `None` until it was due.
    result: Option<HedgeResult>,
    /// The attempt that was in flight when the other one won.
    outrun: Option<AttemptId>,
}

impl Hedge {
    /// `None` where there may be none.
    pub(super) fn of(terms: HedgeTerms) -> Option<Box<Self>> {
        let budget = match terms {
            HedgeTerms::Off => return None,
            HedgeTerms::Once(budget) => {
                budget.request();
                return None;
            }
            HedgeTerms::Twice(budget) => budget,
        };
        budget.request();
        Some(Box::new(Self {
            budget,
            attempt: None,
            beside: None,
            result: None,
            outrun: None,
        }))
    }
}

impl Request {
    /// Whether it may be sent a second time beside the first.
    pub const fn may_hedge(&self) -> bool {
        self.hedge.is_some()
    }

    /// When the attempt in flight is late, and [`hedge`](Self::hedge) is to be called; `None` where no second attempt
    /// may be made beside it.
    pub fn hedge_at(&self) -> Option<Instant> {
        let hedge = self.hedge.as_deref()?;
        let attempt = self.in_flight.as_ref()?;
        let may_be = hedge.result.is_none()
            && attempt.rest.is_none()
            && !self.is_last_resort
            && attempt.choice.reason != RouteReason::Trial
            && self.attempts() < self.attempts_max()
            && self.second(&attempt.choice).is_some();
        let candidate = &attempt.choice.candidate;
        let late = late_after(candidate, self.terms.shape).filter(|_| may_be)?;
        Some(attempt.call.began_at() + late)
    }

    /// The attempt in flight is late. Begins a second one, where the limits of the request's key have room for it
    /// (`has_rights`) and the budget has one left. Called once: `None` is the last word.
    pub fn hedge(&mut self, now: Instant, has_rights: bool) -> Option<Action> {
        let first = self.in_flight.as_ref()?;
        let at = self.second(&first.choice)?;
        let hedge = self.hedge.as_deref_mut().filter(|it| it.result.is_none())?;
        if !has_rights || !hedge.budget.take() {
            hedge.result = Some(match has_rights {
                true => HedgeResult::NoBudget,
                false => HedgeResult::NoRights,
            });
            return None;
        }
        hedge.beside = self.in_flight.take().map(Box::new);
        let mut choice = self.plan.remove(at)?;
        choice.reason = RouteReason::Hedge;
        let action = self.begin(now, choice);
        let sent = self.in_flight.as_ref().map(|it| it.id);
        if let Some(hedge) = self.hedge.as_deref_mut() {
            hedge.attempt = sent;
            hedge.result = Some(match sent {
                Some(_) => HedgeResult::NoAnswer,
                None => HedgeResult::NoRoom,
            });
        }
        if sent.is_none() {
            self.goes_on_beside();
        }
        action
    }

    /// What became of its second attempt; `None` where none was due.
    pub fn hedge_result(&self) -> Option<HedgeResult> {
        self.hedge.as_deref()?.result
    }

    /// The attempt that [`HedgeResult::Won`] or lost against it, once the client has an answer.
    pub fn hedge_loser(&self) -> Option<AttemptId> {
        let hedge = self.hedge.as_deref()?;
        match hedge.result? {
            HedgeResult::Lost => hedge.attempt,
            HedgeResult::Won => hedge.outrun,
            _ => None,
        }
    }

    /// Whether `attempt` is in flight: what its driver does for another one is in vain.
    pub fn is_in_flight(&self, attempt: AttemptId) -> bool {
        let is_it = |it: &Attempt| it.id == attempt;
        self.in_flight.as_ref().is_some_and(is_it) || self.beside().is_some_and(is_it)
    }

    /// The other one of two attempts in flight.
    pub(super) fn beside(&self) -> Option<&Attempt> {
        self.hedge.as_deref()?.beside.as_deref()
    }

    /// Makes `attempt` the one that things happen to, where it is the other of two.
    pub(super) fn turn_to(&mut self, attempt: AttemptId) {
        let Some(hedge) = self.hedge.as_deref_mut() else {
            return;
        };
        if let (Some(beside), Some(in_flight)) = (&mut hedge.beside, &mut self.in_flight)
            && beside.id == attempt
        {
            std::mem::swap(&mut **beside, in_flight);
        }
    }

    /// The attempt that things happened to is over: true where the request waits for the other of two.
    pub(super) fn goes_on_beside(&mut self) -> bool {
        let beside = self.hedge.as_deref_mut().and_then(|it| it.beside.take());
        let goes_on = beside.is_some();
        if let Some(beside) = beside {
            self.in_flight = Some(*beside);
        }
        goes_on
    }

    /// The answer of the attempt in flight is the client's: the other one is over.
    pub(super) fn wins(&mut self, now: Instant) {
        let winner = self.in_flight.as_ref().map(|it| it.id);
        let Some(hedge) = self.hedge.as_deref_mut() else {
            return;
        };
        hedge.outrun = hedge.beside.as_ref().map(|it| it.id);
        if hedge.attempt.is_some() {
            hedge.result = Some(match hedge.attempt == winner {
                true => HedgeResult::Won,
                false => HedgeResult::Lost,
            });
        }
        self.end_beside(now, Outcome::Cancelled, Some(OUTRUN.to_owned()));
    }

    /// Ends the other one of two attempts.
    pub(super) fn end_beside(&mut self, now: Instant, outcome: Outcome, detail: Option<String>) {
        let beside = self.hedge.as_deref_mut().and_then(|it| it.beside.take());
        if let Some(attempt) = beside {
            self.over(now, *attempt, outcome, detail);
        }
    }

    /// Where in the plan the second attempt beside `first` goes.
    fn second(&self, first: &Choice) -> Option<usize> {
        let first = &first.candidate.upstream;
        let nearness = |choice: &Choice| {
            let other = &choice.candidate.upstream;
            match (other.region == first.region, other.node == first.node) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) => 2,
            }
        };
        // Measured or not: one that stands by was never asked, and is what is left.
        let choices = self.plan.iter().enumerate();
        let may = choices.filter(|(_, choice)| self.again(choice) == Again::First);
        may.min_by_key(|(_, choice)| nearness(choice))
            .map(|(at, _)| at)
    }
}

/// How long an attempt at `candidate` may take before it is late; `None` where this node saw too few of its answers.
pub fn late_after(candidate: &Candidate, shape: RequestShape) -> Option<Duration> {
    let p95 = (*candidate.p95.of(shape.class))?;
    let way = match candidate.upstream.way {
        Way::Local => Duration::ZERO,
        Way::Peer => candidate.upstream.rtt,
    };
    let expected = candidate.expected(shape).saturating_add(way);
    Some(p95.max(expected).max(HEDGE_AFTER_MIN))
}
