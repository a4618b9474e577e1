//! Plans over views made by hand.

mod affinity;
mod breaks;
mod dialects;
mod home;
mod owner;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::*;
use crate::Instant;
use crate::fact::{Phase, Standing};
use crate::geo_point::GeoPoint;
use crate::health;
use crate::ids::{NodeName, UpstreamName};
use crate::latency::{ByClass, FirstByte, Tries};
use crate::limit::{InFlight, InFlightGuard};
use crate::link;
use crate::units::{Share, Tier, Weight};
use crate::view::{Reach, Routes, TierRoutes, UpstreamView, View, Way};

mod left_out;
mod queue;
mod websockets;

pub(crate) const NOW: Instant = Instant::from_start(Duration::from_secs(100));

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

static MODEL: LazyLock<ModelName> = LazyLock::new(|| ModelName::new("gpt").expect("a valid name"));

/// One at a peer named `name`, in the region of that name.
pub(crate) fn upstream(name: &str, rtt_ms: u64) -> UpstreamView {
    UpstreamView {
        way: Way::Peer,
        node: NodeName::new(name).expect("a valid name"),
        name: UpstreamName::new("primary").expect("a valid name"),
        region: RegionName::new(name).expect("a valid name"),
        place: None,
        tier: Tier(1),
        weight: Weight::default(),
        dialects: crate::dialect::DialectSet::ALL,
        websocket: false,
        attempts_max: 1,
        standing: Standing::Ready,
        reported_at: NOW,
        figures_at: NOW,
        break_rate: Share::ZERO,
        rtt: Duration::from_millis(rtt_ms),
        reach: Reach::Open,
        others_in_flight: 0,
        in_flight_max: 100,
        reported: None,
        admission_max: 100,
        in_flight: InFlight::default(),
        cache: Default::default(),
        hot_until: None,
        returned_at: None,
        trial: false,
        account: None,
    }
}

/// The same where its link carries all that it may; and what it carries.
fn behind_a_full_link(upstream: UpstreamView) -> (UpstreamView, Vec<InFlightGuard>) {
    let link = InFlight::default();
    let calls = (0..link::CALLS_MAX).map(|_| link.enter()).collect();
    let in_flight = InFlight::over(&link);
    (
        UpstreamView {
            in_flight,
            ..upstream
        },
        calls,
    )
}

/// One whose every first byte takes 300 ms.
fn candidate(upstream: UpstreamView) -> Candidate {
    let usual = FirstByte {
        expected: Duration::from_millis(300),
        low: Duration::from_millis(300),
    };
    Candidate {
        upstream: Arc::new(upstream),
        ttft: usual.expected,
        ttft_low: usual.low,
        whole: usual,
        per_kib: Duration::ZERO,
        model_standing: None,
        refused_until: None,
        measured: true,
        whole_measured: true,
        tries: ByClass::default(),
        p95: ByClass::default(),
        incumbent: false,
        account_rests_until: None,
    }
}

fn view(upstreams: Vec<UpstreamView>) -> View {
    let mut tiers: BTreeMap<Tier, TierRoutes> = BTreeMap::new();
    for upstream in upstreams {
        let tier = tiers.entry(upstream.tier).or_default();
        let candidate = candidate(upstream);
        let list = match candidate.is_usable(NOW) {
            true if candidate.is_suspect() => &mut tier.suspect,
            true => &mut tier.usable,
            false => &mut tier.unusable,
        };
        list.push(Arc::new(candidate));
    }
    for tier in tiers.values_mut() {
        tier.usable.sort_by_key(|candidate| candidate.upstream.rtt);
    }
    let routes = Routes {
        tiers: tiers.into_values().collect(),
    };
    View {
        made_at: NOW,
        node: NodeName::new("self").expect("a valid name"),
        region: RegionName::new("self").expect("a valid name"),
        place: None,
        phase: Phase::Ready,
        settled: true,
        models: BTreeMap::from([(MODEL.clone(), routes)]),
        any_model: Routes::default(),
        no_model: Routes::default(),
        own: BTreeMap::new(),
        nodes: Vec::new(),
        mesh_rules: Arc::default(),
    }
}

fn nodes(plan: &Plan) -> Vec<&str> {
    plan.choices
        .iter()
        .map(|choice| choice.candidate.upstream.node.as_str())
        .collect()
}

fn plan_with<'a>(
    view: &View,
    change: impl FnOnce(&mut RouteQuery<'a>),
    seed: u64,
) -> Result<Plan, PlanError> {
    let mut ask = RouteQuery::of(&MODEL);
    change(&mut ask);
    plan(view, &ask, NOW, &mut rng(seed))
}

fn share_of(view: &View, node: &str) -> f64 {
    let hits = (0..1_000).filter(|seed| {
        let plan = plan_with(view, |_| {}, *seed).expect("a plan");
        nodes(&plan)[0] == node
    });
    hits.count() as f64 / 1_000.0
}

#[test]
fn next_tier_follows_the_last_of_the_first() {
    let second = UpstreamView {
        tier: Tier(2),
        ..upstream("near", 1)
    };
    let plan = plan_with(
        &view(vec![second, upstream("a", 200), upstream("b", 100)]),
        |_| {},
        1,
    );
    assert_eq!(nodes(&plan.expect("a plan")), ["b", "a", "near"]);
}

#[test]
fn last_attempt_is_kept_for_the_next_tier() {
    let second = UpstreamView {
        tier: Tier(2),
        ..upstream("other-provider", 300)
    };
    let first = (0..8).map(|index| upstream(&format!("n{index}"), index));
    let all: Vec<_> = first.chain([second]).collect();
    let plan = |attempts| {
        let plan = plan_with(&view(all.clone()), |ask| ask.attempts_max = attempts, 1);
        plan.expect("a plan")
    };
    assert_eq!(nodes(&plan(6)).len(), 6);
    assert_eq!(nodes(&plan(6)).last(), Some(&"other-provider"));
    assert_eq!(nodes(&plan(2))[1], "other-provider");
    assert_ne!(nodes(&plan(1)), ["other-provider"]);
}

#[test]
fn plan_is_never_longer_than_the_attempts() {
    let many = (0..40)
        .map(|index| upstream(&format!("n{index}"), index))
        .collect();
    let plan = plan_with(&view(many), |ask| ask.attempts_max = 4, 1).expect("a plan");
    assert_eq!(plan.choices.len(), 4);
    let distinct: BTreeSet<_> = nodes(&plan).into_iter().collect();
    assert_eq!(distinct.len(), 4);
}

#[test]
fn upstream_that_allows_three_attempts_gets_them_after_all_others() {
    let own = UpstreamView {
        attempts_max: 3,
        ..upstream("own", 0)
    };
    let plan = plan_with(&view(vec![own, upstream("far", 90)]), |_| {}, 1).expect("a plan");
    assert_eq!(nodes(&plan), ["own", "far", "own", "own"]);
}

#[test]
fn hot_candidate_stands_behind_a_cold_one() {
    let hot = UpstreamView {
        others_in_flight: 85,
        ..upstream("hot", 1)
    };
    let plan = plan_with(&view(vec![hot, upstream("cold", 120)]), |_| {}, 1).expect("a plan");
    assert_eq!(nodes(&plan), ["cold", "hot"]);
}

#[test]
fn least_loaded_wins_when_all_are_hot() {
    let full = UpstreamView {
        others_in_flight: 100,
        ..upstream("full", 1)
    };
    let fuller = UpstreamView {
        others_in_flight: 86,
        ..upstream("less", 100)
    };
    let plan = plan_with(&view(vec![full, fuller]), |_| {}, 1).expect("a plan");
    assert_eq!(
        (nodes(&plan)[0], plan.choices[0].reason),
        ("less", RouteReason::LeastLoad)
    );
}

#[test]
fn about_equal_costs_are_shared_by_load() {
    let busy = UpstreamView {
        others_in_flight: 6,
        ..upstream("busy", 10)
    };
    let plan = plan_with(&view(vec![busy, upstream("idle", 12)]), |_| {}, 1).expect("a plan");
    assert_eq!(
        (nodes(&plan)[0], plan.choices[0].reason),
        ("idle", RouteReason::LeastLoad)
    );
}

#[test]
fn one_that_came_back_starts_slowly() {
    let after = |seconds: u64| {
        let returned_at = Some(Instant::from_start(Duration::from_secs(100 - seconds)));
        view(vec![
            UpstreamView {
                returned_at,
                ..upstream("back", 1)
            },
            upstream("old", 90),
        ])
    };
    assert_eq!(share_of(&after(0), "back"), 0.0);
    let half_way = share_of(&after(5), "back");
    assert!((0.4..0.6).contains(&half_way), "{half_way}");
    // All but the few that look at the other.
    assert!(share_of(&after(10), "back") > 0.98);
}

#[test]
fn unmeasured_one_gets_one_request_at_a_time() {
    let mut view = view(vec![upstream("known", 10), upstream("new", 40)]);
    set_unmeasured(&mut view, "new");
    let plan = plan_with(&view, |_| {}, 1).expect("a plan");
    assert_eq!(
        (nodes(&plan), plan.choices[0].reason),
        (vec!["new", "known"], RouteReason::Exploration)
    );
    let _in_flight = plan.choices[0].candidate.upstream.in_flight.enter();
    assert_eq!(share_of(&view, "new"), 0.0);
}

#[test]
fn unmeasured_one_is_left_where_its_way_alone_costs_more() {
    let mut view = view(vec![upstream("known", 10), upstream("new", 310)]);
    set_unmeasured(&mut view, "new");
    assert_eq!(share_of(&view, "new"), 0.0);
}

#[test]
fn best_one_is_measured_before_others_are() {
    let mut view = view(vec![upstream("near", 10), upstream("far", 90)]);
    set_unmeasured(&mut view, "near");
    set_unmeasured(&mut view, "far");
    assert_eq!(share_of(&view, "near"), 1.0);
}

#[test]
fn measured_ones_that_are_not_the_best_are_looked_at_now_and_then() {
    let view = view(vec![upstream("near", 10), upstream("far", 90)]);
    let share = share_of(&view, "far");
    assert!(share > 0.0 && share < 0.01, "{share}");
}

#[test]
fn old_figures_are_renewed_by_nodes_that_have_requests_to_spare() {
    let seconds = |ago| Instant::from_start(NOW.since_start() - Duration::from_secs(ago));
    let explored = |asked_here: Option<u64>, asked_anywhere, asked_other| {
        let mut view = view(vec![upstream("near", 10), upstream("far", 90)]);
        let mut tries = Tries::default();
        if let Some(ago) = asked_here {
            tries.answered(seconds(ago));
        }
        let near = tries.later(Tries::answered_elsewhere(seconds(asked_anywhere)));
        let far = Tries::answered_elsewhere(seconds(asked_other));
        let routes = view.models.get_mut(&*MODEL).expect("the model");
        for (one, tries) in routes.tiers[0].usable.iter_mut().zip([near, far]) {
            Arc::make_mut(one).tries.stream = tries;
        }
        share_of(&view, "far") > 0.9
    };
    assert!(explored(Some(1), 1, 12));
    assert!(!explored(Some(1), 1, 8), "young figures");
    assert!(!explored(Some(9), 1, 12), "one of a few requests");
    assert!(!explored(None, 1, 99), "others have requests");
    assert!(explored(Some(9), 1, 95));
}

fn set_unmeasured(view: &mut View, node: &str) {
    let routes = view.models.get_mut(&*MODEL).expect("the model");
    for candidate in routes.tiers.iter_mut().flat_map(|tier| &mut tier.usable) {
        if candidate.upstream.node.as_str() == node {
            Arc::make_mut(candidate).measured = false;
        }
    }
}

#[test]
fn preferred_region_comes_first_however_far() {
    let region = RegionName::new("far").expect("a valid name");
    let view = view(vec![upstream("near", 1), upstream("far", 250)]);
    let plan = plan_with(&view, |ask| ask.prefer_region = Some(&region), 1).expect("a plan");
    assert_eq!(nodes(&plan), ["far", "near"]);
    assert_eq!(plan.choices[0].reason, RouteReason::PreferredRegion);
}

#[test]
fn region_that_is_not_allowed_is_never_a_fallback() {
    let allowed = [RegionName::new("far").expect("a valid name")];
    let view = view(vec![upstream("near", 1), upstream("far", 250)]);
    let plan = plan_with(&view, |ask| ask.allow_regions = &allowed, 1).expect("a plan");
    assert_eq!(nodes(&plan), ["far"]);
    let nowhere = [RegionName::new("moon").expect("a valid name")];
    let refused = plan_with(&view, |ask| ask.allow_regions = &nowhere, 1);
    assert_eq!(
        refused.expect_err("nothing is allowed"),
        PlanError::NotAllowed {
            by: Bar::ClientRegions
        }
    );
}

#[test]
fn refusal_distinguishes_the_fence_from_the_clients_regions() {
    let regions = |names: &[&str]| -> Vec<RegionName> {
        let names = names.iter().map(|name| RegionName::new(name));
        names.collect::<Result<_, _>>().expect("valid names")
    };
    let view = view(vec![upstream("near", 1), upstream("far", 250)]);
    let refused = |fence, regions| {
        let planned = plan_with(
            &view,
            |ask| (ask.fence, ask.allow_regions) = (Some(fence), regions),
            1,
        );
        planned.map(|plan| plan.choices.len())
    };
    let (far, near, moon) = (regions(&["far"]), regions(&["near"]), regions(&["moon"]));
    let barred = |by| Err(PlanError::NotAllowed { by });
    assert_eq!(refused(&far[..], &[][..]), Ok(1));
    assert_eq!(refused(&far, &near), barred(Bar::ClientRegions));
    assert_eq!(refused(&moon, &near), barred(Bar::Residency));
    assert_eq!(refused(&[], &[]), barred(Bar::Residency));
}

#[test]
fn ejected_candidate_is_used_only_when_nothing_else_is_left() {
    let standing = Standing::Ejected {
        reason: health::EjectionReason::ErrorRate,
    };
    let ejected = UpstreamView {
        standing,
        ..upstream("out", 1)
    };
    let plan = plan_with(&view(vec![ejected.clone(), upstream("in", 90)]), |_| {}, 1);
    assert_eq!(nodes(&plan.expect("a plan")), ["in"]);
    let plan = plan_with(&view(vec![ejected]), |_| {}, 1).expect("a plan");
    assert!(plan.last_resort && plan.choices[0].reason == RouteReason::LastResort);
}

#[test]
fn weights_share_the_work_three_to_one() {
    let heavy = UpstreamView {
        weight: Weight::new(3.0).expect("valid"),
        dialects: crate::dialect::DialectSet::ALL,
        websocket: false,
        ..upstream("heavy", 9)
    };
    let view = view(vec![heavy, upstream("light", 9)]);
    let hits = (0..2_000).filter(|seed| {
        let plan = plan_with(&view, |ask| ask.strategy = Strategy::Weighted, *seed);
        nodes(&plan.expect("a plan"))[0] == "heavy"
    });
    let share = hits.count() as f64 / 2_000.0;
    assert!((0.72..0.78).contains(&share), "{share}");
}

#[test]
fn preferred_region_is_found_behind_a_hundred_cheaper_candidates() {
    let region = RegionName::new("far").expect("a valid name");
    let mut upstreams: Vec<_> = (0..100)
        .map(|index| upstream(&format!("n{index}"), index))
        .collect();
    upstreams.push(upstream("far", 300));
    let view = view(upstreams);
    for strategy in [
        Strategy::Latency,
        Strategy::Priority,
        Strategy::Weighted,
        Strategy::LeastBusy,
    ] {
        let plan = plan_with(
            &view,
            |ask| (ask.strategy, ask.prefer_region) = (strategy, Some(&region)),
            1,
        );
        let plan = plan.expect("a plan");
        assert_eq!((nodes(&plan)[0], plan.choices.len()), ("far", 6));
        let distinct: BTreeSet<_> = nodes(&plan).into_iter().collect();
        assert_eq!(distinct.len(), 6, "{strategy:?}");
    }
}

#[test]
fn node_that_does_not_know_all_of_the_mesh_does_not_report_a_model_as_unknown() {
    let mut view = view(Vec::new());
    view.settled = false;
    let refused = plan_with(&view, |_| {}, 1).expect_err("nobody serves it");
    assert!(matches!(refused, PlanError::Joining));
}

#[test]
fn node_that_does_not_know_all_of_the_mesh_does_not_report_a_fence_as_closed() {
    let mut view = view(vec![upstream("a", 1)]);
    let elsewhere = [RegionName::new("elsewhere").expect("a valid name")];
    let refused = |view: &View, settled| {
        let view = View {
            settled,
            ..view.clone()
        };
        let fenced = plan_with(&view, |ask| ask.fence = Some(&elsewhere), 1);
        fenced.expect_err("it is fenced off")
    };
    assert!(matches!(refused(&view, false), PlanError::Joining));
    let by = Bar::Residency;
    assert_eq!(refused(&view, true), PlanError::NotAllowed { by });
    view.settled = false;
    assert!(plan_with(&view, |_| {}, 1).is_ok(), "it serves what it can");
}

#[test]
fn unknown_model_names_its_neighbours() {
    let asked = ModelName::new("gtp").expect("a valid name");
    let view = view(vec![upstream("a", 1)]);
    let refused = plan_with(&view, |_| {}, 1).is_ok();
    assert!(refused);
    let ask = RouteQuery::of(&asked);
    let error = plan(&view, &ask, NOW, &mut rng(1)).expect_err("nobody serves it");
    assert_eq!(
        error,
        PlanError::UnknownModel {
            nearest: vec![MODEL.clone()]
        }
    );
}

/// One in the region `name` at a latitude on Greenwich's meridian.
fn at(name: &str, latitude: f64, rtt_ms: u64) -> UpstreamView {
    UpstreamView {
        place: GeoPoint::new(latitude, 0.0),
        ..upstream(name, rtt_ms)
    }
}

fn geo_plan(view: &View, client: Option<f64>, homes: &[&str]) -> Plan {
    let homes: Vec<RegionName> = homes
        .iter()
        .map(|name| RegionName::new(name).expect("a valid name"))
        .collect();
    let planned = plan_with(
        view,
        |ask| {
            ask.strategy = Strategy::Geo;
            ask.client_place = client.and_then(|latitude| GeoPoint::new(latitude, 0.0));
            ask.home_regions = &homes;
        },
        1,
    );
    planned.expect("a plan")
}

#[test]
fn geo_uses_the_clients_distance_and_not_ours() {
    let nowhere = upstream("nowhere", 0);
    let view = view(vec![
        at("south", -30.0, 1),
        at("north", 60.0, 200),
        nowhere,
        at("mid", 20.0, 90),
    ]);
    let plan = geo_plan(&view, Some(55.0), &[]);
    assert_eq!(nodes(&plan), ["north", "mid", "south", "nowhere"]);
    assert_eq!(plan.choices[0].reason, RouteReason::Nearest);
}

#[test]
fn mapped_regions_come_before_nearer_ones_in_their_order() {
    let view = view(vec![
        at("near", 50.0, 1),
        at("second", 0.0, 9),
        at("first", -50.0, 90),
    ]);
    let plan = geo_plan(&view, Some(50.0), &["first", "second", "gone"]);
    assert_eq!(nodes(&plan), ["first", "second", "near"]);
    assert_eq!(plan.choices[0].reason, RouteReason::Mapped);
    let unplaced = geo_plan(&view, None, &["second"]);
    assert_eq!(nodes(&unplaced), ["second", "near", "first"]);
}

#[test]
fn full_home_spills_to_the_next_nearest() {
    let full = UpstreamView {
        others_in_flight: 90,
        ..at("home", 50.0, 1)
    };
    let view = view(vec![full, at("far", -50.0, 2), at("next", 30.0, 90)]);
    let plan = geo_plan(&view, Some(50.0), &["home"]);
    assert_eq!(nodes(&plan), ["next", "far", "home"]);
}

#[test]
fn nearest_to_the_client_is_found_among_a_thousand_cheaper_ones() {
    let mut upstreams: Vec<UpstreamView> = (0..1_000u32)
        .map(|index| {
            at(
                &format!("n{index}"),
                -80.0 + f64::from(index) * 0.1,
                u64::from(index),
            )
        })
        .collect();
    upstreams.push(at("mine", 61.0, 3_000));
    upstreams.push(at("mine-too", 60.0, 4_000));
    let plan = geo_plan(&view(upstreams), Some(65.0), &[]);
    assert_eq!(nodes(&plan)[..2], ["mine", "mine-too"]);
}

#[test]
fn equally_far_candidates_are_ordered_by_cost() {
    let view = view(vec![at("dear", 10.0, 40), at("cheap", 10.01, 4)]);
    assert_eq!(nodes(&geo_plan(&view, Some(12.0), &[])), ["cheap", "dear"]);
}

fn any_upstream() -> impl Generate<Value = UpstreamView> {
    let reach = prop_oneof![Just(Reach::Open), Just(Reach::Silent), Just(Reach::Down)];
    let standing = prop_oneof![
        3 => Just(Standing::Ready),
        1 => Just(Standing::Ejected { reason: health::EjectionReason::ErrorRate }),
        1 => Just(Standing::CoolingDown { remaining: Duration::from_secs(9) }),
    ];
    let numbers = (
        0u32..60,
        0u64..4_000_000_000,
        0u32..300,
        0u16..3,
        0.001f64..1_000.0,
        0u64..100,
    );
    (numbers, reach, standing).prop_map(
        |((name, rtt, load, tier, weight, figures_at), reach, standing)| UpstreamView {
            rtt: Duration::from_micros(rtt),
            others_in_flight: load,
            tier: Tier(tier),
            weight: Weight::new(weight).unwrap_or_default(),
            dialects: crate::dialect::DialectSet::ALL,
            websocket: false,
            figures_at: Instant::from_start(Duration::from_secs(figures_at)),
            reach,
            standing,
            ..upstream(&format!("n{name}"), 0)
        },
    )
}

fn any_strategy() -> impl Generate<Value = Strategy> {
    prop_oneof![
        Just(Strategy::Latency),
        Just(Strategy::Geo),
        Just(Strategy::Priority),
        Just(Strategy::Weighted),
        Just(Strategy::LeastBusy)
    ]
}

proptest! {
    /// Whatever the view holds and the strategy is: no choice is outside the fence, the trial, the last
    /// resort and the repeats included.
    #[test]
    fn no_choice_is_outside_the_fence(
        upstreams in prop::collection::vec(any_upstream(), 0..40),
        fence in prop::collection::vec(0u32..60, 0..8),
        seed in any::<u64>(),
        session in any::<Option<u64>>(),
        strategy in any_strategy(),
    ) {
        let region = |index| RegionName::new(&format!("n{index}")).expect("a valid name");
        let fence: Vec<RegionName> = fence.into_iter().map(region).collect();
        let view = view(upstreams);
        let planned = plan_with(
            &view,
            |ask| (ask.fence, ask.strategy, ask.session) = (Some(&fence[..]), strategy, session),
            seed,
        );
        for choice in planned.into_iter().flat_map(|plan| plan.choices) {
            prop_assert!(fence.contains(&choice.candidate.upstream.region));
        }
    }

    /// Whatever the view holds: a plan has 1 to `attempts` choices, tiers never step back before the repeats, every
    /// choice is usable unless it is the last resort, and every cost is a number above zero that is no less than its
    /// parts.
    #[test]
    fn plans_keep_their_limits(
        upstreams in prop::collection::vec(any_upstream(), 0..80),
        attempts in 1u32..12,
        seed in any::<u64>(),
        session in any::<Option<u64>>(),
        strategy in any_strategy(),
    ) {
        let view = view(upstreams);
        let planned = plan_with(
            &view,
            |ask| (ask.attempts_max, ask.strategy, ask.session) = (attempts, strategy, session),
            seed,
        );
        let Ok(plan) = planned else { return Ok(()) };
        prop_assert!((1..=attempts as usize).contains(&plan.choices.len()));
        let tiers: Vec<_> = plan.choices.iter().map(|choice| choice.candidate.upstream.tier).collect();
        prop_assert!(tiers.is_sorted());
        for choice in &plan.choices {
            let usable = choice.candidate.upstream.is_usable(NOW);
            prop_assert!(usable != plan.last_resort);
            let cost = choice.cost;
            prop_assert!(cost.total() > Duration::ZERO);
            prop_assert!(cost.total() >= cost.rtt && cost.total() >= cost.ttft);
        }
    }
}

#[test]
fn next_region_is_taken_without_a_try_at_one_behind_a_full_link() {
    let (full, mut calls) = behind_a_full_link(upstream("jpn", 1));
    let view = view(vec![full, upstream("usa", 150)]);
    let planned = || plan_with(&view, |_| {}, 1).expect("a plan");
    assert_eq!(
        (nodes(&planned()), planned().last_resort),
        (vec!["usa"], false)
    );
    // With room again, but nearly full: hot, and so behind the cold one.
    calls.pop();
    assert_eq!(nodes(&planned()), ["usa", "jpn"]);
    calls.truncate(100);
    assert_eq!(nodes(&planned()), ["jpn", "usa"]);
}

#[test]
fn where_every_link_is_full_one_is_tried_and_refuses_at_once() {
    let (full, _calls) = behind_a_full_link(upstream("jpn", 1));
    let view = view(vec![full]);
    let plan = plan_with(&view, |_| {}, 1).expect("a last resort");
    assert_eq!((nodes(&plan), plan.last_resort), (vec!["jpn"], true));
}
