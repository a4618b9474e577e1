//! Requests about what one upstream keeps: a response, a conversation, a container, a file.
//!
//! Their plan is any other's in which the owner is the only one allowed, so fences, trials and the last resort hold for
//! it as they do for all. What differs is the error: an owner that is out of reach comes back, and one that no node
//! has any more does not.

use super::{Bar, Choice, PlanError, RouteQuery, RouteReason};
use crate::view::{Candidate, Routes, View};

/// Checks that the owner of what `ask` is about is still there, and among `routes`.
///
/// # Errors
/// When no node has it any more, or it does not serve the model.
pub(super) fn check(view: &View, routes: &Routes, ask: &RouteQuery<'_>) -> Result<(), PlanError> {
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
    // Clients take that it is gone as final: it must not be said of one that this node will learn of in a moment.
    Err(match view.settled {
        true => PlanError::OwnerGone,
        false => PlanError::Joining,
    })
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
