//! Another model when the one that was asked for cannot: which comes next, and for what cause.
//!
//! The models are those of the request's own model alone. A fallback's own fallbacks do not apply, so that two models
//! may stand in for each other and nothing goes round. The limits stay those of the request: its attempts, of which one
//! is kept back for a model that stands in for failures, its share of the retry budget, its deadline.

use std::collections::BTreeSet;

use super::{Action, AttemptId, Request};
use crate::Instant;
use crate::ids::ModelName;
use crate::outcome::Finding;
use crate::route::{Bar, Plan, PlanError, RouteReason};

/// Why another model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FallbackCause {
    /// The upstream answers that the request is longer than the model can read.
    ContextTooLong,
    /// The upstream answers that its policy forbids the request's content.
    ContentPolicy,
    /// There is no upstream to ask, or none of them answered.
    Unavailable,
}

impl FallbackCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::ContextTooLong, Self::ContentPolicy, Self::Unavailable];

    /// The word in the configuration, headers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContextTooLong => "context_too_long",
            Self::ContentPolicy => "content_policy",
            Self::Unavailable => "unavailable",
        }
    }

    /// The cause that an answer with `finding` is.
    pub const fn of(finding: Finding) -> Option<Self> {
        match finding {
            Finding::ContextTooLong => Some(Self::ContextTooLong),
            Finding::ContentPolicy => Some(Self::ContentPolicy),
            _ => None,
        }
    }
}

/// The models that stand in for another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FallbackModels {
    /// In the order to ask them; empty is none.
    pub models: Vec<ModelName>,
    /// The causes for which they are asked.
    pub on: BTreeSet<FallbackCause>,
}

/// A request went on to another model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackStep {
    /// The model that is asked from here on.
    pub model: ModelName,
    /// Why.
    pub cause: FallbackCause,
    /// Attempts before it.
    from: u32,
}

impl Request {
    /// The model that is asked for now: the client's, or the one that stands in for it.
    pub const fn model(&self) -> Option<&ModelName> {
        self.terms.model.as_ref()
    }

    /// The changes of model that led to `attempt`; of no attempt in particular, all of them.
    pub fn fallbacks(&self, attempt: Option<AttemptId>) -> &[FallbackStep] {
        let led = |step: &FallbackStep| attempt.is_none_or(|attempt| step.from <= attempt.index());
        let count = self.fallbacks.iter().filter(|step| led(step)).count();
        &self.fallbacks[..count]
    }

    /// Goes on with the order of [`Action::PlanFor`]. Without one the next model is asked for, where there is one.
    pub fn start_fallback(&mut self, now: Instant, planned: Option<Plan>) -> Action {
        if let Some(mut plan) = planned {
            for choice in &mut plan.choices {
                choice.reason = RouteReason::FallbackModel;
            }
            self.plan = plan.choices.into();
            self.is_last_resort = plan.last_resort;
        }
        self.next(now)
    }

    /// Attempts that the model of now may have: all but one where another model waits for its failure.
    pub(super) fn attempts_max(&self) -> u32 {
        let max = self.terms.policy.attempts_max;
        let is_kept_back = max > 1
            && self.next_model().is_some()
            && self
                .terms
                .fallbacks
                .on
                .contains(&FallbackCause::Unavailable);
        max - u32::from(is_kept_back)
    }

    /// Attempts that ended before the model of now was asked for.
    pub(super) fn ended_before(&self) -> usize {
        let from = self.fallbacks.last().map_or(0, |step| step.from);
        usize::try_from(from).unwrap_or(usize::MAX)
    }

    /// Whether `cause` leads to another model.
    pub(super) fn may_fall_back(&self, cause: FallbackCause) -> bool {
        self.terms.fallbacks.on.contains(&cause)
            && self.next_model().is_some()
            && self.attempts() < self.terms.policy.attempts_max
    }

    /// Goes on to the next model, where `cause` leads to one.
    pub(super) fn fall_back(&mut self, cause: FallbackCause) -> Option<Action> {
        let next = self.next_model().cloned();
        let model = next.filter(|_| self.may_fall_back(cause))?;
        self.fallbacks.push(FallbackStep {
            model: model.clone(),
            cause,
            from: self.attempts(),
        });
        self.terms.model = Some(model.clone());
        self.plan.clear();
        self.paused = None;
        self.refused.clear();
        self.is_replanned = false;
        self.is_last_resort = false;
        Some(Action::PlanFor { model })
    }

    /// The cause when nothing is left to try. A model that could not be asked at all passes on why it was to be.
    pub(super) fn cause_of_nothing(&self) -> FallbackCause {
        let unasked = self.fallbacks.last();
        let unasked = unasked.filter(|step| step.from == self.attempts());
        unasked.map_or(FallbackCause::Unavailable, |step| step.cause)
    }

    fn next_model(&self) -> Option<&ModelName> {
        self.terms.fallbacks.models.get(self.fallbacks.len())
    }
}

/// Whether another model may stand in where there is no plan. Not where the regions that the request may go to have
/// no upstream: that is refused, and the client must learn it.
pub(super) const fn is_unavailable(error: &PlanError) -> bool {
    match error {
        PlanError::NotAllowed {
            by: Bar::Residency | Bar::ClientRegions | Bar::Owner | Bar::Upstream,
        }
        | PlanError::OwnerGone => false,
        PlanError::NotAllowed {
            by: Bar::Dialect | Bar::WebSocket,
        }
        | PlanError::UnknownModel { .. }
        | PlanError::Joining
        | PlanError::NoneReachable { .. }
        | PlanError::Resting { .. } => true,
    }
}
