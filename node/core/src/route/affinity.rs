//! Where conversations stay, for the sake of the prompt cache they have warmed.
//!
//! A conversation's upstream is found by rendezvous hashing (Thaler and Ravishankar, 1998; weighted as in
//! Schindelhauer and Schomaker, 2005) inside a *near set*. Each of the set's members is ranked by a hash of
//! conversation and upstream alone, so all nodes that know the same set pick the same upstream, and when one of N
//! leaves or comes, about 1/N of the conversations move. No node has to send another anything.
//!
//! So the set must not depend on what jitters. Under `geo` it is the nearest region to the client, which
//! is the same from any entry node (see [`super::geo`]). Under `latency` it depends on where the request
//! entered, as every cost does: entry nodes of one region agree, those of different regions need not. It is the
//! nearest region by round trip with an upstream that is not *clearly slower*: not over thrice, and by more than 250
//! ms, the least time that any offers from here, and for 5 s at least. The expected time rises at once to each peak
//! (see [`crate::latency`]), and one first byte in some hundreds is late by seconds at any upstream: so each counts
//! by the least expected of it recently. Distance alone decides between the rest, and no member of a region is nearer
//! than another.
//!
//! A cache that is farther away can be worth the way ([`RouteQuery::cache_weight`]): then the conversation's own
//! upstream is looked for in all regions, and kept where it costs no more than the nearest and what its cache is expected to
//! save, which is the measured share of its prompts that come from the cache, of the time that the prompt takes.
//!
//! What else could move a conversation for a moment, and what is done about it:
//! - Load: a conversation stays up to the limit itself and not only up to 85 % of it, so the last
//!   part is kept for those who belong there. Beyond, or while it answers 429, the next in the
//!   conversation's own order takes over: consistent hashing with bounded loads (Mirrokni, Thorup and
//!   Zadimoghaddam, 2018) with the upstream's own limit as the bound.
//! - The age of figures, and exploring: neither counts. Only one that was left as clearly slower is tried now and
//!   then, by those that belong there.
//! - Slow start: by conversation, not by request. One that has moved back stays.
//! - Hysteresis of the best: not asked, since the best alone decides nothing here.
//!
//! An upstream that reports its load ([`crate::reported`]) is not full at its last slot: behind it requests wait, and
//! for how long is known. There a conversation stays as long as the wait costs no more than its cache saves
//! ([`super::queue`]); when it leaves, it goes where it would begin first, among equals in its own order.
//!
//! Bound: two passes over a tier without an allocation; hashes are made for members of the set only.

use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;

use super::near::{EXPLORED_SHARE, NEAR_SPAN, SLOW_START, best};
use super::{Cost, RouteQuery, queue};
use crate::latency::{RequestShape, size_adds};
use crate::random;
use crate::time::Instant;
use crate::view::{Candidate, UpstreamView};

/// Beyond this multiple of the least, a candidate is clearly slower.
const SLOWER: f64 = 3.0;

/// A difference below this is never clear: what a busy machine adds now and then.
const SLOWER_SPAN: Duration = Duration::from_millis(250);

/// How a candidate ranks for one conversation; the least is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RendezvousRank {
    /// It came back recently, and this conversation's turn to follow has not come.
    waits: bool,
    /// The complement of its score.
    order: u64,
}

/// The near set of an entry node.
struct Near<'a> {
    /// The nearest of those that are not clearly slower.
    nearest: &'a UpstreamView,
    /// What the nearest costs.
    least: Duration,
    /// The most that one of the set may cost, for a request of `shape`.
    cost_max: Duration,
    shape: RequestShape,
}

/// The window of candidates for `session` by measured cost, its own first.
pub(super) fn by_cost<'a>(
    candidates: impl Iterator<Item = &'a Arc<Candidate>> + Clone,
    ask: &RouteQuery<'_>,
    session: u64,
    now: Instant,
    rng: &mut impl Rng,
) -> Vec<&'a Arc<Candidate>> {
    let looks_at_slower = random::unit(rng) < EXPLORED_SHARE;
    let stand = |one: &Candidate| (ask.is_elsewhere(one), takes_none(&one.upstream, now));
    let first = candidates.clone().map(|one| stand(one)).min();
    let eligible = candidates.clone().filter(|one| Some(stand(one)) == first);
    // A conversation stays while its prompts grow.
    let shape = RequestShape::short(ask.shape.class);
    let mut near = Near::of(eligible.clone(), shape, looks_at_slower);
    if let Some(near) = &mut near
        && eligible.clone().any(|one| near.is_left_for_long(one, now))
    {
        // The conversations that belong there look at what was slower.
        near.cost_max = Duration::MAX;
    }
    let warm = near
        .as_ref()
        .filter(|_| ask.cache_weight > 0.0)
        .and_then(|near| warm(eligible.clone(), near, ask, session, now));
    let is_in_set = |one: &&Arc<Candidate>| near.as_ref().is_some_and(|near| near.holds(one));
    let home = warm.or_else(|| {
        let set = eligible.clone().filter(is_in_set);
        set.min_by_key(|one| rank(session, one, now))
    });
    let start_max = home.and_then(|home| queue::start_max(home, eligible, ask, shape));
    best(candidates, |one| {
        let waits = start_max.is_some_and(|max| queue::start(one, shape) > max);
        let is_warm = warm.is_some_and(|warm| Arc::ptr_eq(warm, one));
        let is_near = near.as_ref().is_some_and(|near| near.holds(one));
        let rank = match is_near {
            true => rank(session, one, now),
            // In the order of the list, which is that of cost.
            false => RendezvousRank::default(),
        };
        (stand(one), waits, !is_warm, !is_near, rank)
    })
}

/// The window of candidates for `session` by the conversation's own order alone: for strategies that look at no cost.
pub(super) fn by_rank<'a>(
    candidates: impl Iterator<Item = &'a Arc<Candidate>>,
    ask: &RouteQuery<'_>,
    session: u64,
    now: Instant,
) -> Vec<&'a Arc<Candidate>> {
    best(candidates, |one| {
        let stand = (ask.is_elsewhere(one), is_full(&one.upstream, now));
        (stand, rank(session, one, now))
    })
}

/// The candidate that has the conversation's cache, wherever it is, where the time that the cache saves is worth the
/// way. Of all that are `eligible` the first in the conversation's own order: every entry node finds the same.
fn warm<'a>(
    eligible: impl Iterator<Item = &'a Arc<Candidate>>,
    near: &Near<'_>,
    ask: &RouteQuery<'_>,
    session: u64,
    now: Instant,
) -> Option<&'a Arc<Candidate>> {
    let home = eligible.min_by_key(|one| rank(session, one, now))?;
    let read = size_adds(home.per_kib, ask.shape.body_bytes);
    let saved = read.mul_f64(home.upstream.cache.share().get() * ask.cache_weight);
    let is_worth_it = Cost::low(home, near.shape) <= near.least.saturating_add(saved);
    (!near.holds(home) && is_worth_it).then_some(home)
}

/// Whether even conversations that belong there must go elsewhere.
pub(super) fn is_full(upstream: &UpstreamView, now: Instant) -> bool {
    upstream.load().get() >= 1.0 || upstream.hot_until.is_some_and(|until| now < until)
}

/// As [`is_full`], of one that does not say how long requests wait there.
fn takes_none(upstream: &UpstreamView, now: Instant) -> bool {
    let waits = upstream.wait().is_some();
    let is_full = !waits && upstream.load().get() >= 1.0;
    is_full || upstream.hot_until.is_some_and(|until| now < until)
}

/// How `candidate` ranks for `session`: the same at every node.
pub(super) fn rank(session: u64, candidate: &Candidate, now: Instant) -> RendezvousRank {
    let upstream = &*candidate.upstream;
    let node = random::hash(upstream.node.as_str().as_bytes());
    let name = random::hash(upstream.name.as_str().as_bytes());
    let mixed = random::mix(session ^ random::mix(node ^ random::mix(name)));
    let score = upstream.weight.get() / -share(mixed).ln();
    RendezvousRank {
        waits: upstream.returned_at.is_some_and(|returned_at| {
            let turn = SLOW_START.mul_f64(share(random::mix(mixed)));
            now.since(returned_at) < turn
        }),
        // The bits of numbers above zero are in their order.
        order: !score.to_bits(),
    }
}

/// A number between 0 and 1, and neither of them.
fn share(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

impl<'a> Near<'a> {
    fn of(
        eligible: impl Iterator<Item = &'a Arc<Candidate>> + Clone,
        shape: RequestShape,
        looks_at_slower: bool,
    ) -> Option<Self> {
        let least = eligible.clone().map(|one| Cost::base(one, shape)).min()?;
        let cost_max = match looks_at_slower {
            true => Duration::MAX,
            false => least.mul_f64(SLOWER).max(least + SLOWER_SPAN),
        };
        let fast = eligible.filter(|one| Cost::low(one, shape) <= cost_max);
        let nearest = fast.min_by_key(|one| one.upstream.rtt)?;
        Some(Self {
            nearest: &nearest.upstream,
            least: Cost::low(nearest, shape),
            cost_max,
            shape,
        })
    }

    fn holds(&self, candidate: &Candidate) -> bool {
        self.is_beside(candidate) && Cost::low(candidate, self.shape) <= self.cost_max
    }

    /// By region and not by round trip alone, which jitters; regions side by side count as one.
    fn is_beside(&self, candidate: &Candidate) -> bool {
        let upstream = &*candidate.upstream;
        upstream.region == self.nearest.region
            || upstream.rtt <= self.nearest.rtt.saturating_add(NEAR_SPAN)
    }

    /// Whether `candidate` was too slow to be in the set, and nobody has looked since.
    fn is_left_for_long(&self, candidate: &Candidate, now: Instant) -> bool {
        let cost = Cost::low(candidate, self.shape);
        let tries = candidate.tries.of(self.shape.class);
        let is_idle = candidate.upstream.in_flight.count() == 0;
        let ratio = cost.as_secs_f64() / self.cost_max.as_secs_f64();
        cost > self.cost_max
            && is_idle
            && self.is_beside(candidate)
            && tries.last().is_some()
            && tries.age(now) >= tries.pause(ratio)
    }
}
