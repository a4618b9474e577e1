//! The order of candidates within a tier.
//!
//! The first choice is lexicographic, not a weighted sum: among a small sample, cold before hot, then
//! the least cost among the cold or the least load among the hot (Prequal's rule, Wydrowski et al.,
//! NSDI 2024). A sample instead of everything keeps nodes that share slightly old figures from
//! all choosing the same candidate.
//!
//! Bound: a tier is scored over its 16 cheapest candidates and two others, however many it has, those of a
//! region that the client prefers before all others; by geography, over the 16 nearest to the client, and
//! for a conversation over the 16 that it belongs to first.

use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;

use super::dialect_part::DialectPart;
use super::near::{EXPLORED_SHARE, TRIED_REQUESTS, WINDOW, is_near};
use super::scored::{LOAD_STEPS, Scored};
use super::{Choice, RouteQuery, RouteReason, Strategy, affinity, geo};
use crate::latency::AnswerClass;
use crate::random;
use crate::time::Instant;
use crate::view::{Candidate, Reach, Way};

/// Candidates drawn into the sample with probability falling with cost.
const DRAWN: usize = 2;

/// Up to this many candidates are all in the sample.
const SAMPLE_ALL: usize = 4;

/// Candidates drawn uniformly when the whole sample is hot.
const DRAWN_WHEN_HOT: usize = 3;

/// Appends the tier's candidates to `choices` in the order to try them, up to `max` in all.
pub(super) fn extend(
    choices: &mut Vec<Choice>,
    usable: &[Arc<Candidate>],
    ask: &RouteQuery<'_>,
    max: usize,
    (now, rng): (Instant, &mut impl Rng),
    part: DialectPart,
) {
    let mut scored = window(usable, ask, part, now, rng);
    if scored.is_empty() || choices.len() >= max {
        return;
    }
    if let Some(region) = ask.prefer_region {
        let split = partition(&mut scored, |one| one.candidate.upstream.region == *region);
        let others = scored.split_off(split);
        let reason = Some(RouteReason::PreferredRegion);
        append(choices, scored, ask, max, (now, rng), reason);
        append(choices, others, ask, max, (now, rng), None);
    } else {
        append(choices, scored, ask, max, (now, rng), None);
    }
}

/// The candidates to score: the cheapest, and a few drawn from the rest of a long list.
fn window<'a>(
    usable: &'a [Arc<Candidate>],
    ask: &RouteQuery<'_>,
    part: DialectPart,
    now: Instant,
    rng: &mut impl Rng,
) -> Vec<Scored<'a>> {
    let fits = |candidate: &&Arc<Candidate>| {
        candidate.takes_work(now) && ask.allows(candidate) && part.has(candidate, ask)
    };
    let fitting = usable.iter().filter(fits);
    let ordered = match (ask.strategy, ask.session) {
        (Strategy::Geo, _) => Some(geo::nearest(fitting.clone(), ask, now)),
        (Strategy::Latency, Some(session)) => {
            let fitting = fitting.clone();
            Some(affinity::by_cost(fitting, ask, session, now, rng))
        }
        (Strategy::Weighted | Strategy::LeastBusy, Some(session)) => {
            Some(affinity::by_rank(fitting.clone(), ask, session, now))
        }
        _ => None,
    };
    if let Some(ordered) = ordered {
        let scored = ordered.into_iter();
        return scored
            .map(|one| Scored::new(one, ask.shape, now, rng))
            .collect();
    }
    let mut scored: Vec<Scored<'a>> = Vec::with_capacity(usable.len().min(WINDOW + DRAWN));
    // The list is in order of cost, and the client's region may stand far behind in it.
    if ask.prefer_region.is_some() {
        let preferred = fitting.filter(|one| !ask.is_elsewhere(one)).take(WINDOW);
        scored.extend(preferred.map(|one| Scored::new(one, ask.shape, now, rng)));
    }
    let mut rest = usable.len();
    for (index, candidate) in usable.iter().enumerate() {
        if scored.len() == WINDOW {
            rest = index;
            break;
        }
        let is_in = ask.prefer_region.is_some() && !ask.is_elsewhere(candidate);
        if fits(&candidate) && !is_in {
            scored.push(Scored::new(candidate, ask.shape, now, rng));
        }
    }
    for _ in 0..DRAWN {
        let drawn = rest + random::below(rng, usable.len() - rest);
        let fresh = |candidate: &&Arc<Candidate>| {
            !scored
                .iter()
                .any(|one| Arc::ptr_eq(one.candidate, candidate))
        };
        if let Some(candidate) = usable.get(drawn).filter(fits).filter(fresh) {
            scored.push(Scored::new(candidate, ask.shape, now, rng));
        }
    }
    scored
}

fn append(
    choices: &mut Vec<Choice>,
    mut scored: Vec<Scored<'_>>,
    ask: &RouteQuery<'_>,
    max: usize,
    (now, rng): (Instant, &mut impl Rng),
    first_reason: Option<RouteReason>,
) {
    if scored.is_empty() || choices.len() >= max {
        return;
    }
    let sole = scored.len() == 1 && choices.is_empty();
    let (first, reason) = first_choice(&mut scored, ask, now, rng);
    let reason = match first_reason {
        _ if !choices.is_empty() => RouteReason::Fallback,
        Some(reason) => reason,
        None if sole => RouteReason::Only,
        None => reason,
    };
    choices.push(first.choice(reason));
    let room = max - choices.len();
    choices.extend(
        scored
            .iter()
            .take(room)
            .map(|one| one.choice(RouteReason::Fallback)),
    );
}

/// Takes the first choice out of `scored` and leaves the others in the order to fall back to.
fn first_choice<'a>(
    scored: &mut Vec<Scored<'a>>,
    ask: &RouteQuery<'_>,
    now: Instant,
    rng: &mut impl Rng,
) -> (Scored<'a>, RouteReason) {
    let (index, reason) = match (ask.strategy, ask.session) {
        // The window came in this order, and conversations fall back in theirs.
        (Strategy::Latency | Strategy::Weighted | Strategy::LeastBusy, Some(_)) => {
            (0, RouteReason::Session)
        }
        (Strategy::Latency, None) => by_sample(scored, ask.shape.class, now, rng),
        (Strategy::Geo, _) => (0, geo::reason(scored.iter().map(|one| one.candidate), ask)),
        (Strategy::Priority, _) => {
            scored.sort_by(|left, right| configured_order(left).cmp(&configured_order(right)));
            (0, RouteReason::Priority)
        }
        (Strategy::Weighted, None) => (by_weight(scored, rng), RouteReason::Weighted),
        (Strategy::LeastBusy, None) => {
            scored.sort_by_key(|one| (one.load_step, one.total));
            let least = (scored[0].load_step, scored[0].total);
            let as_idle = scored.iter().take_while(|one| one.load_step == least.0);
            let own = (as_idle.clone()).position(|one| one.is_own() && is_near(one.total, least.1));
            (own.unwrap_or(0), RouteReason::LeastLoad)
        }
    };
    let first = scored.remove(index);
    let came_in_order = match ask.strategy {
        Strategy::Priority | Strategy::Geo => true,
        Strategy::Latency | Strategy::Weighted | Strategy::LeastBusy => ask.session.is_some(),
    };
    if !came_in_order {
        scored.sort_by_key(|one| (one.hot, one.total));
    }
    (first, reason)
}

fn configured_order<'a>(one: &Scored<'a>) -> (bool, &'a str, &'a str) {
    let upstream = &one.candidate.upstream;
    (
        upstream.way == Way::Peer,
        upstream.node.as_str(),
        upstream.name.as_str(),
    )
}

/// Sorts by cost and picks from a sample: own upstreams, the cheapest, and two drawn.
fn by_sample(
    scored: &mut [Scored<'_>],
    class: AnswerClass,
    now: Instant,
    rng: &mut impl Rng,
) -> (usize, RouteReason) {
    scored.sort_by_key(|one| one.total);
    let mut sample = Sample::default();
    // A short list is its own sample.
    (0..scored.len())
        .filter(|_| scored.len() <= SAMPLE_ALL)
        .for_each(|index| sample.add(index));
    // The cheapest that is not just coming back; newcomers come in by the draws.
    sample.add(scored.iter().position(|one| !one.warming).unwrap_or(0));
    for (index, one) in scored.iter().enumerate() {
        if one.is_own() {
            sample.add(index);
        }
    }
    for _ in 0..DRAWN {
        // The square makes the density fall with the rank.
        let share = random::unit(rng).powi(2);
        sample.add((share * scored.len() as f64) as usize);
    }
    if let Some((best, reason)) = best_cold(scored, sample.indices()) {
        let explored = explored(scored, best, class, now, rng);
        return explored.map_or((best, reason), |index| (index, RouteReason::Exploration));
    }
    for _ in 0..DRAWN_WHEN_HOT {
        sample.add(random::below(rng, scored.len()));
    }
    best_cold(scored, sample.indices()).unwrap_or_else(|| {
        let least = sample
            .indices()
            .min_by_key(|index| (scored[*index].load_step, scored[*index].total));
        (least.unwrap_or(0), RouteReason::LeastLoad)
    })
}

/// Up to 32 indices, each once.
#[derive(Default)]
struct Sample(u32);

impl Sample {
    fn add(&mut self, index: usize) {
        debug_assert!(index < 32, "a window holds 18 candidates");
        self.0 |= 1 << index;
    }

    /// In rising order.
    fn indices(&self) -> impl Iterator<Item = usize> + Clone + use<> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let index = (bits != 0).then(|| bits.trailing_zeros() as usize);
            bits &= bits.wrapping_sub(1);
            index
        })
    }
}

/// The best of those that are cold: the least cost, or, where several cost about the same, an own one, then the
/// least load, then the one that was the best before.
fn best_cold(
    scored: &[Scored<'_>],
    sample: impl Iterator<Item = usize> + Clone,
) -> Option<(usize, RouteReason)> {
    let settled = sample
        .clone()
        .filter(|index| !scored[*index].hot && !scored[*index].warming);
    let cold = sample.filter(|index| !scored[*index].hot);
    let best = settled.clone().map(|index| scored[index].total).min();
    let Some(best) = best else {
        // Only newcomers are cold: a newcomer is better than a hot one.
        let index = cold.min_by_key(|index| scored[*index].total)?;
        return Some((index, RouteReason::LeastCost));
    };
    if let Some(own) = at_home(scored, settled.clone(), best) {
        return Some((own, RouteReason::Own));
    }
    let near = settled.filter(|index| is_near(scored[*index].total, best));
    let several = near.clone().nth(1).is_some();
    let index = near.min_by_key(|index| {
        let one = &scored[*index];
        (one.load_step, !one.candidate.incumbent, one.total)
    })?;
    Some((
        index,
        if several {
            RouteReason::LeastLoad
        } else {
            RouteReason::LeastCost
        },
    ))
}

/// The own upstream that goes before peers' of about the same cost: a hop needs a reason. `None` where a peer's is
/// clearly better, or a load step less in use than the own one, or none is in question.
///
/// One request of the own upstream is left out. A difference of one is noise, which no node publishes; where a limit
/// is low, it would be several steps, and each second request of a quiet client would hop.
fn at_home(
    scored: &[Scored<'_>],
    settled: impl Iterator<Item = usize> + Clone,
    best: Duration,
) -> Option<usize> {
    let near = settled.clone().filter(|index| {
        let one = &scored[*index];
        !one.is_own() && is_near(one.total, best)
    });
    let least = near
        .map(|index| scored[index].load)
        .min_by(f64::total_cmp)?;
    let own = settled.filter(|index| {
        let one = &scored[*index];
        one.is_own() && is_near(one.but_one().0, best)
    });
    let own = own.min_by_key(|index| {
        let one = &scored[*index];
        (one.load_step, !one.candidate.incumbent, one.total)
    })?;
    (scored[own].but_one().1 - least <= 1.0 / LOAD_STEPS).then_some(own)
}

/// One to measure instead of the best: any that nobody has measured, one whose figures are old, now and then
/// another. One request at a time, and only where the way alone does not cost more than the best does in all. No link
/// is opened for it.
///
/// What is old depends on what it costs ([`Tries::pause`](crate::latency::Tries::pause)), on how many others there are
/// to try, and on how often requests come, which this node's last try of the best one shows: where they are rare, one in
/// [`TRIED_REQUESTS`] at most goes to find something out.
fn explored(
    scored: &[Scored<'_>],
    best: usize,
    class: AnswerClass,
    now: Instant,
    rng: &mut impl Rng,
) -> Option<usize> {
    // An unmeasured best one comes first: it costs nothing to measure.
    if scored.len() == 1 || !scored[best].candidate.is_measured(class) {
        return None;
    }
    let cost = scored[best].total;
    let tries = |index: usize| *scored[index].candidate.tries.of(class);
    let pause = |index: usize| {
        let ratio = scored[index].total.as_secs_f64() / cost.as_secs_f64();
        tries(index).pause(ratio)
    };
    let may_win = |index: &usize| {
        let one = &scored[*index];
        let is_idle = one.candidate.upstream.in_flight.count() == 0;
        let is_linked = one.candidate.upstream.reach != Reach::Unlinked;
        let is_new_work = *index != best && !one.hot && !one.warming;
        is_new_work && is_idle && is_linked && one.cost.rtt < cost
    };
    // What fails for ever is tried ever less often.
    let is_hopeful =
        |index: &usize| tries(*index).is_hopeful() || tries(*index).age(now) >= pause(*index);
    let drawn = (random::unit(rng) < EXPLORED_SHARE).then(|| random::below(rng, scored.len()));
    let unmeasured = |index: &usize| {
        !scored[*index].candidate.is_measured(class) && may_win(index) && is_hopeful(index)
    };
    if let Some(index) = (0..scored.len()).find(unmeasured) {
        return Some(index);
    }
    let others = (0..scored.len()).filter(may_win);
    let count = u32::try_from(others.clone().count()).unwrap_or(u32::MAX);
    let since_best = tries(best).age_here(now).saturating_mul(TRIED_REQUESTS);
    let is_old = |index: &usize| {
        let pause = pause(*index).max(since_best).saturating_mul(count);
        tries(*index).last().is_some() && tries(*index).age(now) >= pause
    };
    let oldest = others
        .filter(is_old)
        .max_by_key(|index| tries(*index).age(now));
    oldest.or_else(|| drawn.filter(|index| may_win(index) && is_hopeful(index)))
}

/// A draw in which each has the chance of its weight (Efraimidis and Spirakis, 2006).
fn by_weight(scored: &[Scored<'_>], rng: &mut impl Rng) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, one) in scored
        .iter()
        .enumerate()
        .filter(|(_, one)| !one.warming || scored.len() == 1)
    {
        let share = random::unit(rng).max(f64::MIN_POSITIVE);
        let key = share.ln() / one.candidate.upstream.weight.get();
        if key > best.1 {
            best = (index, key);
        }
    }
    best.0
}

/// Moves those that fit to the front; returns how many there are.
fn partition<T>(items: &mut [T], fits: impl Fn(&T) -> bool) -> usize {
    items.sort_by_key(|item| !fits(item));
    items.iter().take_while(|item| fits(item)).count()
}
