//! Candidates by geography: a map's regions first, then the nearest to the client.
//!
//! The lists of a view are in order of cost from this node, which does not depend on the distance from the
//! client. So the nearest are looked for among all of a tier, in one pass that keeps the best 16: for
//! each candidate a product of two directions, and no allocation beyond the 16. That a thousand
//! candidates lie farther away never keeps the nearest out.
//!
//! A conversation's near set is all that are equally near: the first region of the map that is usable, else the
//! nearest distance step. Nothing in it is measured here, so it is the same from any entry node in the world. For a
//! client without a place it is the region nearest to the entry node. What is full, or reports so itself, is left
//! out; see [`super::affinity`].

use std::sync::Arc;

use super::affinity::{self, RendezvousRank};
use super::near::best;
use super::{RouteQuery, RouteReason};
use crate::geo_point::GeoPoint;
use crate::ids::RegionName;
use crate::time::Instant;
use crate::view::Candidate;

/// Steps in which distances are compared, about 25 km each: the nodes of one city count as equally far,
/// and their cost decides.
const STEPS: f64 = 512.0;

/// How near a candidate is, the nearest the least. Where all is equal, the order of cost stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Nearness {
    /// Not in the region that the client asked for.
    elsewhere: bool,
    /// Nearly full, or for a conversation full: it stands behind all that are not, as in every strategy.
    hot: bool,
    /// The position of its region in the client's map; after its end where it is in none.
    home: usize,
    /// Steps of distance, or microseconds of round trip where the client has no place.
    far: u64,
}

/// The nearest of `candidates`, the nearest first: as many as a window holds. A conversation's own is the first of
/// those that are equally near.
pub(super) fn nearest<'a>(
    candidates: impl Iterator<Item = &'a Arc<Candidate>> + Clone,
    ask: &RouteQuery<'_>,
    now: Instant,
) -> Vec<&'a Arc<Candidate>> {
    let Some(session) = ask.session else {
        return best(candidates, |one| nearness(one, ask, None, now));
    };
    let ours = match ask.client_place {
        Some(_) => None,
        None => nearest_region(candidates.clone(), ask, now),
    };
    let measure = |one: &Candidate| nearness(one, ask, ours, now);
    let nearest = candidates.clone().map(|one| measure(one)).min();
    best(candidates, |one| {
        let nearness = measure(one);
        let rank = match Some(nearness) == nearest {
            true => affinity::rank(session, one, now),
            false => RendezvousRank::default(),
        };
        (nearness, rank)
    })
}

/// Why the first of them, in this order, is the first.
pub(super) fn reason<'a>(
    mut ordered: impl Iterator<Item = &'a Arc<Candidate>>,
    ask: &RouteQuery<'_>,
) -> RouteReason {
    let region = |one: &'a Arc<Candidate>| &one.upstream.region;
    let (first, second) = (ordered.next().map(region), ordered.next().map(region));
    if ask.session.is_some() && first == second {
        return RouteReason::Session;
    }
    match first.is_some_and(|region| ask.home_regions.contains(region)) {
        true => RouteReason::Mapped,
        false => RouteReason::Nearest,
    }
}

/// The region nearest to this node of those that are not full: a round trip jitters, a region does not.
fn nearest_region<'a>(
    candidates: impl Iterator<Item = &'a Arc<Candidate>>,
    ask: &RouteQuery<'_>,
    now: Instant,
) -> Option<&'a RegionName> {
    let key = |one: &&Arc<Candidate>| {
        let is_full = affinity::is_full(&one.upstream, now);
        (ask.is_elsewhere(one), is_full, one.upstream.rtt)
    };
    candidates.min_by_key(key).map(|one| &one.upstream.region)
}

/// `ours` is the region that counts as no distance at all.
fn nearness(
    candidate: &Candidate,
    ask: &RouteQuery<'_>,
    ours: Option<&RegionName>,
    now: Instant,
) -> Nearness {
    let upstream = &*candidate.upstream;
    let mut homes = ask.home_regions.iter();
    let home = homes.position(|region| *region == upstream.region);
    Nearness {
        elsewhere: ask.is_elsewhere(candidate),
        hot: match ask.session {
            Some(_) => affinity::is_full(upstream, now),
            None => upstream.is_hot(now),
        },
        home: home.unwrap_or(ask.home_regions.len()),
        far: match ask.client_place {
            // A mapped region is one, wherever its nodes are.
            _ if home.is_some() && ask.session.is_some() => 0,
            Some(client) => distance_steps(client, upstream.place),
            None if ours == Some(&upstream.region) => 0,
            None => u64::try_from(upstream.rtt.as_micros()).unwrap_or(u64::MAX),
        },
    }
}

/// One whose place is not known stands behind all others.
pub(crate) fn distance_steps(client: GeoPoint, place: Option<GeoPoint>) -> u64 {
    // The root of the separation is the sine of half the angle: half way round the Earth is 1.
    place.map_or(u64::MAX, |place| {
        (client.separation(place).sqrt() * STEPS) as u64
    })
}
