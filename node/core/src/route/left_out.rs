//! Why a plan does not hold a candidate: for dry runs and for the operator, off the request path.
//!
//! Of several reasons the strictest is returned: residency before the client's regions, those before the state of the
//! way, that before the state of the upstream, and the order of the plan last.

use std::sync::Arc;

use super::{Choice, Cost, RouteQuery};
use crate::fact::Standing;
use crate::time::Instant;
use crate::view::{Candidate, Reach, View};

/// A candidate of the model that the plan does not hold.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Which.
    pub candidate: Arc<Candidate>,
    /// What it is thought to cost.
    pub cost: Cost,
    /// Why it is not in the plan.
    pub absence: Absence,
}

/// Why a candidate is not in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Residency does not permit its region.
    Residency,
    /// The client does not allow its region.
    NotAllowed,
    /// It does not read the request's dialect, which cannot be translated.
    OtherDialect,
    /// It takes no WebSockets.
    NoWebSocket,
    /// There is no link to its node.
    Down,
    /// The link to its node has been silent for too long.
    Silent,
    /// Its node shuts down or is not ready.
    Closed,
    /// The link to its node carries as many requests as it may.
    LinkFull,
    /// Its owner ejected it.
    Ejected,
    /// Its owner is trying whether it is healthy again.
    Probing,
    /// It asked for no requests for a while.
    CoolingDown,
    /// Its owner refused a request by a state that it has not published yet.
    Refused,
    /// The plan has as many others before it as there are attempts.
    AttemptsSpent,
    /// It is not among those of its tier that are compared: others are cheaper, or nearer.
    OutsideWindow,
}

/// The candidates for `ask` that `choices` do not hold, the first tier first.
///
/// `choices` are a plan's for the same ask and view, or none where there is no plan. Empty when no node
/// knows the model.
pub fn left_out(
    view: &View,
    ask: &RouteQuery<'_>,
    choices: &[Choice],
    now: Instant,
) -> Vec<LeftOut> {
    let tiers = view
        .routes(ask.model)
        .map_or(&[][..], |routes| &routes.tiers);
    let all = tiers.iter().flat_map(|tier| {
        tier.usable
            .iter()
            .chain(&tier.suspect)
            .chain(&tier.unusable)
    });
    let is_chosen = |candidate: &Arc<Candidate>| {
        choices
            .iter()
            .any(|choice| is_same(&choice.candidate, candidate))
    };
    let absent = all.filter(|candidate| !is_chosen(candidate));
    absent
        .map(|candidate| LeftOut {
            candidate: Arc::clone(candidate),
            cost: Cost::of(candidate, ask.shape, now),
            absence: absence(candidate, ask, choices, now),
        })
        .collect()
}

fn is_same(one: &Candidate, other: &Candidate) -> bool {
    one.upstream.node == other.upstream.node && one.upstream.name == other.upstream.name
}

fn absence(
    candidate: &Candidate,
    ask: &RouteQuery<'_>,
    choices: &[Choice],
    now: Instant,
) -> Absence {
    let upstream = &*candidate.upstream;
    if !ask.is_permitted(candidate) {
        return Absence::Residency;
    }
    if !ask.is_opened_by(candidate) {
        return Absence::NoWebSocket;
    }
    if !ask.is_answered_by(candidate) {
        return Absence::OtherDialect;
    }
    if !ask.allows(candidate) {
        return Absence::NotAllowed;
    }
    match upstream.reach {
        Reach::Open | Reach::Unlinked => {}
        Reach::Silent => return Absence::Silent,
        Reach::Down => return Absence::Down,
        Reach::Closed => return Absence::Closed,
    }
    if !candidate.is_usable(now) {
        // Of the upstream as a whole first.
        let standings = [Some(upstream.standing), candidate.model_standing];
        let absence = |standing| match standing {
            Standing::Ejected { .. } => Some(Absence::Ejected),
            Standing::Probing { .. } => Some(Absence::Probing),
            Standing::CoolingDown { .. } => Some(Absence::CoolingDown),
            Standing::Ready | Standing::Untested | Standing::Suspect { .. } => None,
        };
        if let Some(absence) = standings.into_iter().flatten().find_map(absence) {
            return absence;
        }
        if candidate.is_refused(now) {
            return Absence::Refused;
        }
    }
    if !upstream.has_link_room() {
        return Absence::LinkFull;
    }
    match choices.len() >= ask.attempts_max.max(1) as usize {
        true => Absence::AttemptsSpent,
        false => Absence::OutsideWindow,
    }
}

impl Absence {
    /// A word or two for the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Residency => "residency",
            Self::NotAllowed => "not-allowed-by-client",
            Self::OtherDialect => "other-dialect",
            Self::NoWebSocket => "no-websocket",
            Self::Down => "down",
            Self::Silent => "silent",
            Self::Closed => "draining",
            Self::LinkFull => "link-full",
            Self::Ejected => "ejected",
            Self::Probing => "probing",
            Self::CoolingDown => "cooldown",
            Self::Refused => "refused",
            Self::AttemptsSpent => "attempts-spent",
            Self::OutsideWindow => "outside-window",
        }
    }
}
