//! The candidates of one model in tiers: the usable ones, the suspect ones, and the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::fact::Standing;
use crate::latency::{AnswerClass, ByClass, FirstByte, LatencyFigures, TTFT_UNKNOWN};
use crate::route::{Cost, is_near};
use crate::time::Instant;
use crate::units::Tier;
use crate::view::{Candidate, Reach, Routes, TierRoutes, UpstreamView, Way};

/// An upstream as one model sees it.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) upstream: Arc<UpstreamView>,
    pub(super) figures: LatencyFigures,
    pub(super) model_standing: Option<Standing>,
    /// Until when this model counts as refused there.
    pub(super) refused_until: Option<Instant>,
    /// Until when its account rests for this model.
    pub(super) account_rests_until: Option<Instant>,
}

/// The entries of one model.
pub(super) type Listed = Vec<Entry>;

/// What is assumed of streams where none was measured.
const UNKNOWN: FirstByte = FirstByte {
    expected: TTFT_UNKNOWN,
    low: TTFT_UNKNOWN,
};

/// The entries of a model as candidates in tiers, those to be tried first before the others.
pub(super) fn tiers(
    now: Instant,
    listed: Listed,
    is_incumbent: impl Fn(Tier, &UpstreamView) -> bool,
) -> Routes {
    let priors = ByClass::each(|class| prior(&listed, class));
    let mut by_tier: BTreeMap<Tier, TierRoutes> = BTreeMap::new();
    for Entry {
        upstream,
        figures,
        model_standing,
        refused_until,
        account_rests_until,
    } in listed
    {
        let routes = by_tier.entry(upstream.tier).or_default();
        routes.dialects = routes.dialects.within(upstream.dialects);
        let incumbent = is_incumbent(upstream.tier, &upstream);
        let LatencyFigures {
            times, tries, p95, ..
        } = figures;
        let stream = times.stream.or(priors.stream).unwrap_or(UNKNOWN);
        // Before the first whole answer anywhere, streams are compared: who is quicker there is quicker here.
        let whole = times.whole.or(priors.whole).unwrap_or(stream);
        let candidate = Candidate {
            upstream,
            ttft: stream.expected,
            ttft_low: stream.low,
            whole,
            per_kib: figures.per_kib,
            model_standing,
            refused_until,
            account_rests_until,
            measured: times.stream.is_some(),
            whole_measured: times.whole.is_some(),
            tries,
            p95,
            incumbent,
        };
        let list = match candidate.is_usable(now) {
            true if candidate.goes_last(now) => &mut routes.suspect,
            true => &mut routes.usable,
            false => &mut routes.unusable,
        };
        list.push(Arc::new(candidate));
    }
    let mut tiers: Vec<TierRoutes> = by_tier.into_values().collect();
    for tier in &mut tiers {
        tier.usable
            .sort_by_key(|candidate| Cost::unloaded(candidate, now));
        put_back_unlinked(tier, now);
        // Also where a window holds fewer candidates than are near, and where all are equally far from a client.
        let near = near_count(&tier.usable, now);
        tier.usable[..near].sort_by_key(|candidate| candidate.upstream.way == Way::Peer);
        tier.suspect
            .sort_by_key(|candidate| (candidate.goes_last(now), Cost::unloaded(candidate, now)));
        tier.unusable.sort_by_key(|candidate| {
            let upstream = &candidate.upstream;
            (
                upstream.reach,
                badness(upstream.standing),
                Cost::unloaded(candidate, now),
            )
        });
    }
    Routes { tiers }
}

/// Puts those that need a link behind the linked ones, unless they are clearly cheaper for it or no linked one is
/// cold: in a large mesh any node may serve a model as well as the few that are linked, and links would come and go
/// for nothing. `usable` is in order of cost.
fn put_back_unlinked(tier: &mut TierRoutes, now: Instant) {
    let is_linked = |one: &&Arc<Candidate>| one.upstream.reach != Reach::Unlinked;
    let mut cold = tier
        .usable
        .iter()
        .filter(is_linked)
        .filter(|one| !one.upstream.is_hot(now));
    let Some(best) = cold.next().map(|one| Cost::unloaded(one, now)) else {
        return;
    };
    let goes_back = |one: &mut Arc<Candidate>| {
        one.upstream.reach == Reach::Unlinked && is_near(best, Cost::unloaded(one, now))
    };
    tier.suspect.extend(tier.usable.extract_if(.., goes_back));
}

/// Unmeasured ones count as fast as the fastest known, so that they get measured.
fn prior(listed: &Listed, class: AnswerClass) -> Option<FirstByte> {
    let known = listed.iter().filter_map(|it| *it.figures.times.of(class));
    let least = known.map(|first_byte| first_byte.expected).min()?;
    Some(FirstByte {
        expected: least,
        low: least,
    })
}

/// How many of the first cost about as little as the cheapest, which is one of them.
pub(super) fn near_count(usable: &[Arc<Candidate>], now: Instant) -> usize {
    let costs = || {
        usable
            .iter()
            .map(|candidate| Cost::unloaded(candidate, now))
    };
    // The own ones among them stand first, each group by cost.
    let Some(best) = costs().min() else {
        return 0;
    };
    costs().take_while(|cost| is_near(*cost, best)).count()
}

/// How far an upstream is from being usable.
fn badness(standing: Standing) -> (u8, Duration) {
    match standing {
        Standing::Ready | Standing::Untested => (0, Duration::ZERO),
        Standing::Suspect { .. } => (1, Duration::ZERO),
        Standing::Probing { .. } => (2, Duration::ZERO),
        Standing::CoolingDown { remaining } => (3, remaining),
        Standing::Ejected { .. } => (4, Duration::ZERO),
    }
}
