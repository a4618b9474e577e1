//! Candidates by geography: a map's regions first, then the nearest to the client.
//!
//! The lists of a view are in order of cost from this node, which says nothing of the distance from the
//! client. So the nearest are looked for among all of a tier, in one pass that keeps the best 16: for
//! each candidate a product of two directions, and no allocation beyond the 16. That a thousand
//! candidates lie farther away never keeps the nearest out.

use std::sync::Arc;

use super::order::WINDOW;
use super::{Ask, Reason};
use crate::place::Place;
use crate::time::Instant;
use crate::view::{Candidate, UpstreamView};

/// Steps in which distances are compared, about 25 km each: the nodes of one city count as equally far,
/// and their cost decides.
const STEPS: f64 = 512.0;

/// How near a candidate is, the nearest the least. Where all is equal, the order of cost stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Nearness {
    /// Not in the region that the client asked for.
    elsewhere: bool,
    /// Nearly full: it stands behind all that are not, as in every strategy.
    hot: bool,
    /// The place of its region in the client's map; after its end where it is in none.
    home: usize,
    /// Steps of distance, or microseconds of round trip where the client has no place.
    far: u64,
}

/// The nearest of `candidates`, at most [`WINDOW`], the nearest first.
pub(super) fn nearest<'a>(
    candidates: impl Iterator<Item = &'a Arc<Candidate>>,
    ask: &Ask<'_>,
    now: Instant,
) -> Vec<&'a Arc<Candidate>> {
    let mut best: Vec<(Nearness, &Arc<Candidate>)> = Vec::with_capacity(WINDOW + 1);
    for candidate in candidates {
        let nearness = nearness(&candidate.upstream, ask, now);
        keep_least(&mut best, WINDOW, nearness, candidate);
    }
    best.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Puts `item` into `best` at its rank among at most `max`, behind its equals: they came first.
pub(crate) fn keep_least<K: Ord, T>(best: &mut Vec<(K, T)>, max: usize, rank: K, item: T) {
    if best.len() == max && best.last().is_none_or(|(last, _)| *last <= rank) {
        return;
    }
    let index = best.partition_point(|(other, _)| *other <= rank);
    best.insert(index, (rank, item));
    best.truncate(max);
}

/// Why the first of them is the first.
pub(super) fn reason(upstream: &UpstreamView, ask: &Ask<'_>) -> Reason {
    match ask.home_regions.contains(&upstream.region) {
        true => Reason::Mapped,
        false => Reason::Nearest,
    }
}

fn nearness(upstream: &UpstreamView, ask: &Ask<'_>, now: Instant) -> Nearness {
    let mut homes = ask.home_regions.iter();
    let home = homes.position(|region| *region == upstream.region);
    Nearness {
        elsewhere: ask
            .prefer_region
            .is_some_and(|region| *region != upstream.region),
        hot: upstream.is_hot(now),
        home: home.unwrap_or(ask.home_regions.len()),
        far: match ask.client_place {
            Some(client) => distance_steps(client, upstream.place),
            None => u64::try_from(upstream.rtt.as_micros()).unwrap_or(u64::MAX),
        },
    }
}

/// One whose place is not known stands behind all others.
pub(crate) fn distance_steps(client: Place, place: Option<Place>) -> u64 {
    // The root of the separation is the sine of half the angle: half way round the Earth is 1.
    place.map_or(u64::MAX, |place| {
        (client.separation(place).sqrt() * STEPS) as u64
    })
}
