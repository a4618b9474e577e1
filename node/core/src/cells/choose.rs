//! Which upstream of which cell a request goes to, and in which order it falls back.

use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::Rng;

use super::CellOffer;
use crate::Instant;
use crate::ids::RegionName;
use crate::link::{DIAL_PAUSE, DIAL_ROUND_TRIPS};
use crate::random;
use crate::route::is_near;

/// What was received longer ago than this costs more with each second.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// What was received longer ago than this is used where nothing else is left. Longer than a delegate takes to be
/// replaced, shorter than upstreams stay as they are.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// What each second beyond [`STALE_AFTER`] adds, as a share of the time to first byte.
const STALE_SHARE_PER_SECOND: f64 = 0.01;

/// An upstream that is this full goes behind others (as within a cell).
const HOT_LOAD: f64 = 0.85;

/// An offer as one node may use it.
#[derive(Clone, Copy, Debug)]
pub struct CellCandidate<'a> {
    /// What its owner or a delegate published.
    pub offer: &'a CellOffer,
    /// The round trip to its owner, measured or estimated.
    pub rtt: Duration,
    /// Whether a link leads there.
    pub is_linked: bool,
    /// Whether it is in this node's own cell.
    pub is_own_cell: bool,
    /// When the offer was received.
    pub received_at: Instant,
    /// Requests that this node has in flight there.
    pub in_flight: u32,
    /// When its owner last did not answer this node; `None` where it did since.
    pub unreached_at: Option<Instant>,
}

impl CellCandidate<'_> {
    /// How full it is: as published, and what this node sent since.
    fn load(&self) -> f64 {
        let sent = f64::from(self.in_flight) / f64::from(self.offer.in_flight_max.max(1));
        self.offer.load.get().max(sent)
    }

    /// The expected wait for the first byte: round trips, those of a dial where no link leads there, the time to first byte
    /// under its load, and what the age of all that adds.
    pub fn cost(&self, now: Instant) -> Duration {
        let dial = if self.is_linked { 0 } else { DIAL_ROUND_TRIPS };
        let age = now.since(self.received_at).saturating_sub(STALE_AFTER);
        let stale = age.as_secs_f64() * STALE_SHARE_PER_SECOND;
        let ttft = self.offer.ttft.mul_f64(1.0 + self.load() + stale);
        self.rtt.saturating_mul(1 + dial).saturating_add(ttft)
    }
}

/// A candidate by its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    /// Whether its owner did not answer lately, whether it is forgotten, and whether it is hot.
    class: (bool, bool, bool),
    cost: Duration,
    index: usize,
}

/// The candidates in the order to try them, as indices, at most `max`; without those that `fence` excludes.
///
/// Those whose owner did not answer lately come last, before them what is forgotten, before that what is hot; then by cost.
/// Of those that cost about as little as the cheapest, one is drawn as the first, of the own cell where some are: nodes that
/// know the same must not all go to the same.
pub fn order(
    now: Instant,
    candidates: &[CellCandidate<'_>],
    fence: Option<&BTreeSet<RegionName>>,
    max: usize,
    rng: &mut impl Rng,
) -> Vec<usize> {
    let is_permitted =
        |one: &CellCandidate<'_>| fence.is_none_or(|regions| regions.contains(&one.offer.region));
    let class = |one: &CellCandidate<'_>| {
        let is_unreached = one
            .unreached_at
            .is_some_and(|at| now.since(at) < DIAL_PAUSE);
        let is_forgotten = !one.is_own_cell && now.since(one.received_at) >= FORGOTTEN_AFTER;
        (is_unreached, is_forgotten, one.load() >= HOT_LOAD)
    };
    let permitted = candidates
        .iter()
        .enumerate()
        .filter(|(_, one)| is_permitted(one));
    let mut ranked: Vec<Ranked> = permitted
        .map(|(index, one)| Ranked {
            class: class(one),
            cost: one.cost(now),
            index,
        })
        .collect();
    ranked.sort_unstable();
    let is_own = |one: &Ranked| candidates[one.index].is_own_cell;
    let near = ranked.first().copied().map_or(0, |best| {
        let near = ranked.iter();
        near.take_while(|one| one.class == best.class && is_near(one.cost, best.cost))
            .count()
    });
    let near = &mut ranked[..near];
    near.sort_by_key(|one| !is_own(one));
    let own = near.iter().take_while(|one| is_own(one)).count();
    let drawn = random::below(rng, if own > 0 { own } else { near.len() });
    if let Some(first) = near.get_mut(..=drawn) {
        first.rotate_right(1);
    }
    ranked.truncate(max);
    ranked.into_iter().map(|one| one.index).collect()
}
