//! A hop needs a reason: an own upstream goes before peers' of about the same cost.

use super::*;
use crate::random;

/// One of this node's own.
fn own(name: &str) -> UpstreamView {
    UpstreamView {
        way: Way::Local,
        name: UpstreamName::new(name).expect("a valid name"),
        in_flight: InFlight::default(),
        ..upstream("self", 0)
    }
}

fn set_ttft(view: &mut View, node: &str, ttft: Duration) {
    let routes = view.models.get_mut(&*MODEL).expect("the model");
    for candidate in routes.tiers.iter_mut().flat_map(|tier| &mut tier.usable) {
        if candidate.upstream.node.as_str() == node {
            Arc::make_mut(candidate).ttft = ttft;
        }
    }
}

fn set_incumbent(view: &mut View, node: &str) {
    let routes = view.models.get_mut(&*MODEL).expect("the model");
    for candidate in routes.tiers.iter_mut().flat_map(|tier| &mut tier.usable) {
        Arc::make_mut(candidate).incumbent = candidate.upstream.node.as_str() == node;
    }
}

fn first(view: &View) -> (String, RouteReason) {
    let plan = plan_with(view, |_| {}, 1).expect("a plan");
    (nodes(&plan)[0].to_owned(), plan.choices[0].reason)
}

#[test]
fn own_upstream_goes_before_an_incumbent_of_about_the_same_cost() {
    for slower in [0, 4, 8, 29] {
        let mut view = view(vec![own("primary"), upstream("peer", 1)]);
        set_incumbent(&mut view, "peer");
        set_ttft(&mut view, "self", Duration::from_millis(300 + slower));
        let expected = ("self".to_owned(), RouteReason::Own);
        assert_eq!(first(&view), expected, "{slower} ms slower");
        assert!(share_of(&view, "self") > 0.98);
    }
}

#[test]
fn short_first_bytes_may_differ_by_five_milliseconds() {
    let mut view = view(vec![own("primary"), upstream("peer", 0)]);
    set_ttft(&mut view, "peer", Duration::from_millis(10));
    set_ttft(&mut view, "self", Duration::from_millis(14));
    assert_eq!(first(&view).1, RouteReason::Own);
    set_ttft(&mut view, "self", Duration::from_millis(16));
    assert_eq!(first(&view), ("peer".to_owned(), RouteReason::LeastCost));
}

#[test]
fn clearly_faster_peer_is_a_reason_to_hop() {
    let mut view = view(vec![own("primary"), upstream("peer", 1)]);
    set_ttft(&mut view, "self", Duration::from_millis(340));
    assert_eq!(first(&view), ("peer".to_owned(), RouteReason::LeastCost));
}

#[test]
fn step_of_load_is_a_reason_to_hop_and_one_request_more_or_less_is_not() {
    // 96 at once, so that a step is 4.8 of them: no count is at its edge.
    let limited = |upstream| UpstreamView {
        in_flight_max: 96,
        ..upstream
    };
    for others in [0, 4, 10, 33, 70] {
        let kept = others + 5;
        let plan = |here: u32| {
            let home = limited(own("primary"));
            let _in_flight: Vec<_> = (0..here).map(|_| home.in_flight.enter()).collect();
            let near = |name| UpstreamView {
                others_in_flight: others,
                ..limited(upstream(name, 1))
            };
            first(&view(vec![home, near("a"), near("b")]))
        };
        for here in 0..=kept {
            assert_eq!(plan(here).0, "self", "{here} of 96 beside {others}");
        }
        for here in kept + 1..82 {
            assert_ne!(plan(here).0, "self", "{here} of 96 beside {others}");
        }
    }
}

#[test]
fn low_limit_makes_no_single_request_a_reason_to_hop() {
    for limit in [3, 8, 20] {
        let home = UpstreamView {
            in_flight_max: limit,
            ..own("primary")
        };
        let peer = UpstreamView {
            in_flight_max: limit,
            ..upstream("peer", 1)
        };
        let mut in_flight = vec![home.in_flight.enter()];
        let view = view(vec![home.clone(), peer]);
        assert_eq!(first(&view).0, "self", "{limit}");
        in_flight.extend((1..limit).map(|_| home.in_flight.enter()));
        assert_eq!(first(&view).0, "peer", "{limit}");
    }
}

#[test]
fn least_loaded_of_several_own_upstreams_stays() {
    let busy = UpstreamView {
        others_in_flight: 20,
        ..own("busy")
    };
    let plan = plan_with(
        &view(vec![busy, own("idle"), upstream("peer", 1)]),
        |_| {},
        1,
    );
    let choice = &plan.expect("a plan").choices[0];
    assert_eq!(choice.candidate.upstream.name.as_str(), "idle");
    assert_eq!(choice.reason, RouteReason::Own);
}

#[test]
fn own_upstream_that_is_full_or_has_just_come_back_does_not_go_first() {
    let full = UpstreamView {
        others_in_flight: 85,
        ..own("primary")
    };
    assert_eq!(first(&view(vec![full, upstream("peer", 1)])).0, "peer");
    let back = UpstreamView {
        returned_at: Some(NOW),
        ..own("primary")
    };
    assert_eq!(first(&view(vec![back, upstream("peer", 1)])).0, "peer");
}

#[test]
fn own_upstream_goes_first_among_equally_busy_ones() {
    let choose = |here: u32, ttft: u64| {
        let home = UpstreamView {
            others_in_flight: here,
            ..own("primary")
        };
        let peer = UpstreamView {
            others_in_flight: 5,
            ..upstream("peer", 1)
        };
        let mut view = view(vec![home, peer]);
        set_ttft(&mut view, "self", Duration::from_millis(ttft));
        let plan = plan_with(&view, |ask| ask.strategy = Strategy::LeastBusy, 1);
        nodes(&plan.expect("a plan"))[0].to_owned()
    };
    assert_eq!(choose(9, 305), "self", "in the same step");
    assert_eq!(choose(10, 305), "peer", "a step above");
    assert_eq!(choose(9, 900), "peer", "clearly slower");
}

/// Nodes side by side, whose upstreams take 100 requests at once, and the share of requests that hop in a long run in
/// which each node gets its share of `entered` and `in_flight` requests run at a time.
fn hops(entered: [usize; 3], in_flight: usize) -> (f64, [u32; 3]) {
    let cells: [InFlight; 3] = Default::default();
    let seen_by = |entry: usize| {
        let all = cells.iter().enumerate().map(|(index, cell)| UpstreamView {
            way: if index == entry {
                Way::Local
            } else {
                Way::Peer
            },
            in_flight: cell.clone(),
            ..upstream(&format!("n{index}"), u64::from(index != entry))
        });
        view(all.collect())
    };
    let views = [0, 1, 2].map(seen_by);
    let entries: Vec<usize> = (0..3)
        .flat_map(|entry| std::iter::repeat_n(entry, entered[entry]))
        .collect();
    let mut rng = rng(1);
    let (mut running, mut hops) = (Vec::new(), 0);
    let rounds = 3_000;
    for round in 0..rounds {
        if running.len() == in_flight {
            running.swap_remove(random::below(&mut rng, in_flight));
        }
        let entry = entries[random::below(&mut rng, entries.len())];
        let plan = plan_with(&views[entry], |_| {}, round).expect("a plan");
        let upstream = &plan.choices[0].candidate.upstream;
        hops += usize::from(upstream.way == Way::Peer);
        running.push(upstream.in_flight.enter());
    }
    let loads = cells.each_ref().map(InFlight::count);
    (hops as f64 / rounds as f64, loads)
}

#[test]
fn nodes_side_by_side_keep_their_clients_while_they_share_the_load() {
    for in_flight in [6, 30] {
        let (share, loads) = hops([1, 1, 1], in_flight);
        assert!(share < 0.05, "{share}, {loads:?}");
    }
    // By chance one has a step more than another now and then.
    let (share, loads) = hops([1, 1, 1], 180);
    assert!(share < 0.25, "{share}, {loads:?}");
}

#[test]
fn node_that_all_clients_enter_spreads_what_is_above_a_step() {
    let (_, loads) = hops([1, 0, 0], 150);
    let spread = loads[0].abs_diff(loads[1]).max(loads[0].abs_diff(loads[2]));
    assert!(spread <= 12, "{loads:?}");
    let (share, loads) = hops([1, 0, 0], 6);
    assert!(share < 0.05, "{share}, {loads:?}");
}

#[test]
fn weighted_and_configured_orders_know_no_home() {
    let heavy = UpstreamView {
        weight: Weight::new(1_000.0).expect("valid"),
        ..upstream("heavy", 1)
    };
    let view = view(vec![own("primary"), heavy]);
    let choose = |strategy| {
        let plan = plan_with(&view, |ask| ask.strategy = strategy, 1).expect("a plan");
        nodes(&plan)[0].to_owned()
    };
    assert_eq!(choose(Strategy::Weighted), "heavy");
    assert_eq!(choose(Strategy::Priority), "self");
}
