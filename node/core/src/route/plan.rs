//! `plan`: tiers in turn, then the last resort when nothing is usable.

use std::sync::Arc;

use rand_core::Rng;

use super::dialect_part::DialectPart;
use super::nearest::nearest;
use super::{Bar, Choice, Cost, NONE_REACHABLE, Plan, PlanError, RouteQuery, RouteReason};
use super::{order, owner};
use crate::time::Instant;
use crate::view::{Candidate, Reach, Routes, TierRoutes, View};

impl RouteQuery<'_> {
    /// Whether the request may go to `candidate`.
    // Invariant: every choice of a plan was allowed by this, the last resort and the trial included.
    pub(super) fn allows(&self, candidate: &Candidate) -> bool {
        let is_allowed = self.allow_regions.is_empty()
            || self.allow_regions.contains(&candidate.upstream.region);
        is_allowed
            && self.is_permitted(candidate)
            && self.is_answered_by(candidate)
            && self.is_asked_of(candidate)
    }

    /// Whether `candidate` is the upstream that keeps what the request is about, and the one that the client names.
    pub(super) fn is_asked_of(&self, candidate: &Candidate) -> bool {
        let upstream = &*candidate.upstream;
        self.owner.is_none_or(|owner| owner.is(upstream))
            && self.upstream.is_none_or(|name| *name == upstream.name)
    }

    /// Whether `candidate` reads the request as it is.
    pub(super) fn is_read_by(&self, candidate: &Candidate) -> bool {
        let dialects = candidate.upstream.dialects;
        self.dialect.is_none_or(|it| dialects.contains(it.dialect))
    }

    /// Whether `candidate` can answer the request, by translation or without.
    pub(super) fn is_answered_by(&self, candidate: &Candidate) -> bool {
        let dialects = candidate.upstream.dialects;
        self.is_opened_by(candidate) && self.dialect.is_none_or(|it| it.reaches(dialects))
    }

    /// Whether `candidate` takes WebSockets, where the request is one.
    pub(super) fn is_opened_by(&self, candidate: &Candidate) -> bool {
        !self.websocket || candidate.upstream.websocket
    }

    /// Whether the client prefers another region to that of `candidate`.
    pub(super) fn is_elsewhere(&self, candidate: &Candidate) -> bool {
        self.prefer_region
            .is_some_and(|region| *region != candidate.upstream.region)
    }

    /// Whether residency permits `candidate`.
    pub(super) fn is_permitted(&self, candidate: &Candidate) -> bool {
        self.fence
            .is_none_or(|regions| regions.contains(&candidate.upstream.region))
    }
}

/// The candidates for `ask`, in the order to try them.
///
/// Suspects follow what is usable in any tier. Within a tier, those that read the request's dialect come before those that
/// a translation reaches. A tier comes after every usable candidate of the tiers before it, except for the last attempt: it is kept for the
/// next tier that has a usable candidate. A provider that fails everywhere at once would spend every attempt of a
/// request within its own tier, before its ejection is published. Candidates that allow several attempts follow again
/// at the end, while attempts are left.
///
/// # Errors
/// When no node knows the model, none of its upstreams can be reached, or none is allowed; or when this node does not
/// know all of the mesh and may learn of one in a moment.
pub fn plan(
    view: &View,
    ask: &RouteQuery<'_>,
    now: Instant,
    rng: &mut impl Rng,
) -> Result<Plan, PlanError> {
    let Some(routes) = view.routes(ask.model) else {
        if !view.settled {
            // Clients take an unknown model as final, and a closed fence below too.
            return Err(PlanError::Joining);
        }
        let asked = ask.model.map(|model| nearest(model, view.models.keys()));
        return Err(PlanError::UnknownModel {
            nearest: asked.unwrap_or_default(),
        });
    };
    owner::check(view, routes, ask)?;
    let max = ask.attempts_max.max(1) as usize;
    let mut choices = Vec::with_capacity(max.min(8));
    for (index, tier) in routes.tiers.iter().enumerate() {
        push_trial(&mut choices, &tier.unusable, ask, now);
        let later = routes.tiers[index + 1..].iter();
        let mut later = later.flat_map(|tier| &tier.usable);
        let follows = later.any(|one| one.takes_work(now) && ask.allows(one));
        let room = if follows { max - 1 } else { max };
        // The trial counts among the tier's own, and one alone is not kept for later.
        let room = room.max(choices.len() + 1).min(max);
        for part in parts(tier, ask) {
            order::extend(&mut choices, &tier.usable, ask, room, (now, rng), *part);
        }
        if choices.len() >= max {
            break;
        }
    }
    for tier in &routes.tiers {
        for part in parts(tier, ask) {
            order::extend(&mut choices, &tier.suspect, ask, max, (now, rng), *part);
        }
    }
    if choices.is_empty() {
        let choice = last_resort(view.settled, routes, ask, now)?;
        return Ok(Plan {
            choices: vec![choice],
            last_resort: true,
        });
    }
    owner::prefer(&mut choices, ask);
    repeat(&mut choices, max);
    Ok(Plan {
        choices,
        last_resort: false,
    })
}

/// The parts of a tier in the order to try them: those that read the request as it is come first. One part where all
/// are alike, which is known without a look at each.
fn parts(tier: &TierRoutes, ask: &RouteQuery<'_>) -> &'static [DialectPart] {
    match ask.dialect {
        Some(asked) if !tier.dialects.contains(asked.dialect) => {
            &[DialectPart::Own, DialectPart::Translated]
        }
        _ => &[DialectPart::Any],
    }
}

/// Puts one that nobody probes first, when no other request is trying it: it costs one request a
/// failed attempt, and the fallback follows.
fn push_trial(
    choices: &mut Vec<Choice>,
    unusable: &[Arc<Candidate>],
    ask: &RouteQuery<'_>,
    now: Instant,
) {
    let trial = unusable.iter().find(|candidate| {
        let upstream = &candidate.upstream;
        upstream.trial && upstream.in_flight.count() == 0 && ask.allows(candidate)
    });
    if let Some(candidate) = trial.filter(|_| choices.is_empty()) {
        choices.push(choice(candidate, RouteReason::Trial, ask, now));
    }
}

/// The least bad of the unusable ones: reachable ones only, those behind a full link last, and the soonest to return
/// first.
fn last_resort(
    is_settled: bool,
    routes: &Routes,
    ask: &RouteQuery<'_>,
    now: Instant,
) -> Result<Choice, PlanError> {
    let all = || {
        routes.tiers.iter().flat_map(|tier| {
            tier.unusable
                .iter()
                .chain(&tier.usable)
                .chain(&tier.suspect)
        })
    };
    let reachable = all().filter(|candidate| {
        let reach = candidate.upstream.reach;
        let is_there = reach.takes_work() || reach == Reach::Silent;
        is_there && !candidate.upstream.standing.is_disabled() && ask.allows(candidate)
    });
    let awake = reachable
        .clone()
        .filter(|candidate| candidate.rests_for(now).is_none());
    let badness = |candidate: &&Arc<Candidate>| {
        let upstream = &candidate.upstream;
        (!upstream.has_link_room(), upstream.reach)
    };
    if let Some(candidate) = awake.min_by_key(badness) {
        return Ok(choice(candidate, RouteReason::LastResort, ask, now));
    }
    // What asked for a rest gets it, also where nothing else is left.
    if let Some(rest) = reachable
        .filter_map(|candidate| candidate.rests_for(now))
        .min()
    {
        return Err(PlanError::Resting { retry_after: rest });
    }
    if all().any(|candidate| ask.allows(candidate)) {
        return Err(NONE_REACHABLE);
    }
    if !is_settled {
        return Err(PlanError::Joining);
    }
    if all().next().is_none() {
        return Err(NONE_REACHABLE);
    }
    let permitted =
        || all().filter(|candidate| ask.is_asked_of(candidate) && ask.is_permitted(candidate));
    let by = if !all().any(|candidate| ask.is_asked_of(candidate)) {
        Bar::Upstream
    } else if permitted().next().is_none() {
        Bar::Residency
    } else if permitted().any(|candidate| ask.is_answered_by(candidate)) {
        Bar::ClientRegions
    } else if !permitted().any(|candidate| ask.is_opened_by(candidate)) {
        Bar::WebSocket
    } else {
        Bar::Dialect
    };
    Err(PlanError::NotAllowed { by })
}

/// Appends further attempts at candidates that allow them.
fn repeat(choices: &mut Vec<Choice>, max: usize) {
    let once = choices.len();
    for round in 2..=max {
        for index in 0..once {
            if choices.len() >= max {
                return;
            }
            if choices[index].candidate.upstream.attempts_max as usize >= round {
                let again = Choice {
                    reason: RouteReason::Fallback,
                    ..choices[index].clone()
                };
                choices.push(again);
            }
        }
    }
}

fn choice(
    candidate: &Arc<Candidate>,
    reason: RouteReason,
    ask: &RouteQuery<'_>,
    now: Instant,
) -> Choice {
    Choice {
        candidate: Arc::clone(candidate),
        cost: Cost::of(candidate, ask.shape, now),
        reason,
    }
}
