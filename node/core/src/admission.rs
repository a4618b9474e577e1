//! Whether a node serves a request that a peer forwarded to it: the checks of the upstream's owner.
//!
//! The sender may have decided by values that are older than the owner's, or made up. So the owner checks again its
//! own rules, its peers' rules, its phase, the upstream's state and its limit. A refusal costs the sender one round
//! trip and counts against nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fact::{Phase, Standing, UpstreamFact};
use crate::ids::{ModelName, NodeName, RegionName, UpstreamName};
use crate::link::CALLS_MAX;
use crate::outcome::Refusal;
use crate::residency::{MeshRules, Residency, ResidencyQuestion};
use crate::share::{Holdings, ShareExceeded};
use crate::time::Instant;
use crate::view::UpstreamView;

/// A request is forwarded once.
pub const HOPS_MAX: u8 = 1;

/// Forwarded requests in flight at a node at most. One peer alone gets half of them, at least as many as one link
/// carries.
pub const FORWARDS_IN_FLIGHT_MAX: u64 = 32_768;

const _: () = assert!(
    FORWARDS_IN_FLIGHT_MAX / 2 >= CALLS_MAX as u64,
    "one peer's share is a full link"
);

/// A forwarded request as its head describes it.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// How often it was forwarded, this time included.
    pub hops: u8,
    /// What rules ask of it.
    pub question: ResidencyQuestion<'a>,
    /// The regions that its client allows; empty when all may.
    pub allow_regions: &'a [RegionName],
    /// Whether it is to be tried although the upstream is not usable.
    pub last_resort: bool,
}

/// The node that received it.
#[derive(Clone, Copy, Debug)]
pub struct OwnerNode<'a> {
    /// Its region.
    pub region: &'a RegionName,
    /// Its phase.
    pub phase: Phase,
    /// Whether it answers requests at all, by its mode.
    pub serves_requests: bool,
    /// Its own rules.
    pub residency: &'a Residency,
    /// Rules of peers that bind it.
    pub mesh_rules: &'a MeshRules,
}

/// Why a forwarded request is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRefused {
    /// What kind of reason it is.
    pub refusal: Refusal,
    /// The same in words, for the operator.
    pub detail: String,
}

impl ForwardRefused {
    /// A refusal with its reason in words.
    pub fn new(refusal: Refusal, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { refusal, detail }
    }

    /// The upstream has as many requests in flight as its owner admits.
    pub fn upstream_full() -> Self {
        Self::new(Refusal::Full, "upstream is at its limit")
    }
}

/// Whether `owner` serves `request` at `now`. `upstream` is the one of its own that the request names, with its fact;
/// `None` where it has none of that name. Takes no slot: the body is still to come.
///
/// # Errors
/// Why it does not.
pub fn admit(
    owner: &OwnerNode<'_>,
    upstream: Option<(&UpstreamView, &UpstreamFact)>,
    request: &Forwarded<'_>,
    now: Instant,
) -> Result<(), ForwardRefused> {
    if request.hops > HOPS_MAX {
        let detail = "request was forwarded before";
        return Err(ForwardRefused::new(Refusal::HopLimit, detail));
    }
    if owner.phase == Phase::Draining {
        return Err(ForwardRefused::new(Refusal::Draining, "node is draining"));
    }
    if !owner.serves_requests {
        let detail = "node serves no requests by its WORKER_MODE";
        return Err(ForwardRefused::new(Refusal::UnknownUpstream, detail));
    }
    stays_within(owner, request)?;
    let Some((upstream, fact)) = upstream else {
        let detail = "node has no such upstream";
        return Err(ForwardRefused::new(Refusal::UnknownUpstream, detail));
    };
    if !serves(fact, request.question.model) {
        let detail = "upstream does not serve the model";
        return Err(ForwardRefused::new(Refusal::UnknownUpstream, detail));
    }
    let standing = if takes_work(upstream, now) {
        let of_model = request
            .question
            .model
            .and_then(|model| fact.models_out.get(model));
        // The fact was made just now, so that a cooldown in it lasts.
        of_model.filter(|it| !it.is_ready() && !matches!(it, Standing::Suspect { .. }))
    } else {
        Some(&upstream.standing)
    };
    let is_final = !request.last_resort || upstream.standing.is_disabled();
    if let Some(standing) = standing.filter(|_| is_final) {
        let detail = format!("upstream is {}", standing.as_str());
        return Err(ForwardRefused::new(Refusal::Ejected, detail));
    }
    // No slot is held for it: its body may never come.
    match upstream.in_flight.count() < upstream.admission_max {
        true => Ok(()),
        false => Err(ForwardRefused::upstream_full()),
    }
}

/// Checks the client's regions, the owner's rules, and those of its peers: the sender may have older ones, or none.
fn stays_within(owner: &OwnerNode<'_>, request: &Forwarded<'_>) -> Result<(), ForwardRefused> {
    let allowed = request.allow_regions;
    if !allowed.is_empty() && !allowed.contains(owner.region) {
        let detail = "request may not be answered in this region";
        return Err(ForwardRefused::new(Refusal::Residency, detail));
    }
    let permitted = owner
        .residency
        .permits_with(owner.mesh_rules, &request.question);
    match permitted.fence() {
        Some(fence) if !permitted.allows(owner.region) => {
            let detail = format!("{fence} keeps the request out of this region");
            Err(ForwardRefused::new(Refusal::Residency, detail))
        }
        _ => Ok(()),
    }
}

/// Whether an upstream serves `model`; every one serves requests without a model.
fn serves(fact: &UpstreamFact, model: Option<&ModelName>) -> bool {
    let listed = |model| fact.models.contains_key(model);
    model.is_none_or(listed) || fact.models.contains_key(ModelName::ANY)
}

/// Whether an own upstream may be called now: it is usable, or this is its trial.
fn takes_work(upstream: &UpstreamView, now: Instant) -> bool {
    let is_trial = upstream.trial && matches!(upstream.standing, Standing::Probing { .. });
    upstream.is_usable(now) || is_trial
}

/// A request in flight: its id, unique at its entry, and the upstream it was forwarded for.
pub type ForwardKey = (Arc<str>, UpstreamName);

/// Forwarded requests in flight at a node, at most [`FORWARDS_IN_FLIGHT_MAX`].
#[derive(Clone, Debug, Default)]
pub struct ForwardsInFlight {
    requests: BTreeSet<ForwardKey>,
    /// How many of them each peer sent; peers with none are left out.
    by_peer: BTreeMap<NodeName, u64>,
}

impl ForwardsInFlight {
    /// Notes a request of `peer`.
    ///
    /// # Errors
    /// It is in flight already, or this peer has no slot left.
    pub fn enter(&mut self, peer: &NodeName, key: ForwardKey) -> Result<(), ForwardRefused> {
        if self.requests.contains(&key) {
            let detail = "request is in flight already";
            return Err(ForwardRefused::new(Refusal::Duplicate, detail));
        }
        let held = Holdings {
            limit: FORWARDS_IN_FLIGHT_MAX,
            all: self.requests.len() as u64,
            own: self.by_peer.get(peer).copied().unwrap_or_default(),
        };
        held.admit(1).map_err(|over| {
            let detail = match over {
                ShareExceeded::Whole => "too many requests of peers are in flight",
                ShareExceeded::Share => {
                    "requests of this peer use their share of the slots for peers"
                }
            };
            ForwardRefused::new(Refusal::Full, detail)
        })?;
        self.requests.insert(key);
        *self.by_peer.entry(peer.clone()).or_default() += 1;
        Ok(())
    }

    /// Forgets a request of `peer` that was noted.
    pub fn leave(&mut self, peer: &NodeName, key: &ForwardKey) {
        if !self.requests.remove(key) {
            return;
        }
        if let Some(count) = self.by_peer.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests;
