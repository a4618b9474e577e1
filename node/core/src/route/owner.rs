//! Requests about what one upstream keeps: a response, a conversation, a container, a file.
//!
//! Their plan is any other's in which the owner is the only one allowed, so fences, trials and the last resort hold for
//! it as they do for all. What differs is the error: an owner that is out of reach comes back, and one that no node
//! has any more does not.

use std::time::Duration;

use super::{Bar, Choice, NONE_REACHABLE, PlanError, RouteQuery, RouteReason};
use crate::fact::Phase;
use crate::time::Instant;
use crate::view::{Candidate, Routes, View};

/// A node that started more recently may not know all nodes yet, and takes none for gone: far longer than a node takes to
/// see all of a mesh.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// Checks that the owner of what `ask` is about is still there, and among `routes`.
///
/// # Errors
/// When no node has it any more, or it does not serve the model.
pub(super) fn check(
    view: &View,
    routes: &Routes,
    ask: &RouteQuery<'_>,
    now: Instant,
) -> Result<(), PlanError> {
    let Some(owner) = ask.owner else {
        return Ok(());
    };
    let keeps = |candidate: &Candidate| owner.is(&candidate.upstream);
    if all(routes).any(keeps) {
        return Ok(());
    }
    if all(&view.no_model).any(keeps) {
        return Err(PlanError::NotAllowed { by: Bar::Owner });
    }
    // Clients take the last of these as final: it must not be said of one that this node will learn of in a moment.
    Err(match view.phase {
        Phase::Joining => PlanError::Joining,
        _ if now.since_start() < SETTLED_AFTER || !knows_all(view) => NONE_REACHABLE,
        _ => PlanError::OwnerGone,
    })
}

/// Whether every node that is there has published what it is.
fn knows_all(view: &View) -> bool {
    view.nodes
        .iter()
        .all(|node| !node.live || node.fact.is_some())
}

/// Puts the owner's own node first among those of its region that have the same upstream.
pub(super) fn prefer(choices: &mut [Choice], ask: &RouteQuery<'_>) {
    let Some(owner) = ask.owner else { return };
    choices.sort_by_key(|choice| !owner.is_at_the_node_of(&choice.candidate.upstream));
    for (index, choice) in choices.iter_mut().enumerate() {
        choice.reason = match index {
            0 => RouteReason::Owner,
            _ => RouteReason::Fallback,
        };
    }
}

fn all(routes: &Routes) -> impl Iterator<Item = &Candidate> {
    let tiers = routes.tiers.iter();
    tiers.flat_map(|tier| {
        let others = tier.suspect.iter().chain(&tier.unusable);
        tier.usable.iter().chain(others).map(|one| &**one)
    })
}
