//! What answers cost that break off.

use super::*;
use crate::health::{BREAK_RATE_MAX, BREAK_RATE_WINDOW};

fn breaking(name: &str, percent: u32) -> UpstreamView {
    UpstreamView {
        break_rate: Share::of(percent, 100),
        ..upstream(name, 10)
    }
}

fn first(view: &View, strategy: Strategy) -> String {
    let plan = plan_with(view, |ask| ask.strategy = strategy, 1).expect("a plan");
    nodes(&plan)[0].to_owned()
}

#[test]
fn broken_answer_costs_the_wait_for_another_and_two_seconds() {
    let view = view(vec![breaking("a", 10)]);
    let plan = plan_with(&view, |_| {}, 1).expect("a plan");
    let cost = plan.choices[0].cost;
    assert_eq!(cost.breaks, Duration::from_millis(231));
    assert_eq!(cost.total(), Duration::from_millis(10 + 300 + 231));
}

#[test]
fn of_two_about_equal_ones_the_one_is_used_that_breaks_less() {
    for percent in [2, 5, 9] {
        // The other is nearer, has less load, and was the best before.
        let busy = UpstreamView {
            others_in_flight: 2,
            ..breaking("whole", 0)
        };
        let near = UpstreamView {
            rtt: Duration::from_millis(3),
            ..breaking("breaks", percent)
        };
        let mut view = view(vec![near, busy]);
        let routes = view.models.get_mut(&*MODEL).expect("the model");
        Arc::make_mut(&mut routes.tiers[0].usable[0]).incumbent = true;
        assert_eq!(first(&view, Strategy::Latency), "whole", "{percent}");
        assert_eq!(first(&view, Strategy::LeastBusy), "whole", "{percent}");
    }
}

#[test]
fn own_upstream_that_breaks_is_a_reason_to_hop() {
    let own = |percent| UpstreamView {
        way: Way::Local,
        rtt: Duration::ZERO,
        ..breaking("self", percent)
    };
    let with = |percent| view(vec![own(percent), breaking("peer", 0)]);
    assert_eq!(first(&with(1), Strategy::Latency), "self");
    assert_eq!(first(&with(3), Strategy::Latency), "peer");
}

#[test]
fn few_breaks_are_no_reason_to_go_to_the_other_side_of_the_world() {
    let far = UpstreamView {
        rtt: Duration::from_millis(250),
        ..breaking("far", 0)
    };
    let view = view(vec![breaking("near", 9), far]);
    assert_eq!(first(&view, Strategy::Latency), "near");
}

#[test]
fn rate_that_no_window_holds_any_more_costs_nothing() {
    let reported = |age: Duration| {
        let candidate = candidate(breaking("a", 9));
        let shape = RequestShape::default();
        Cost::of(&candidate, shape, NOW + age).breaks
    };
    assert!(reported(BREAK_RATE_WINDOW - Duration::from_millis(1)) > Duration::ZERO);
    assert_eq!(reported(BREAK_RATE_WINDOW), Duration::ZERO);
}

#[test]
fn conversations_stay_where_their_cache_is_until_it_is_suspect() {
    let choices = |percent| {
        let all = (0..4).map(|index| match index {
            1 => breaking("n1", percent),
            _ => breaking(&format!("n{index}"), 0),
        });
        let view = view(all.collect());
        let choice = |number: u64| {
            let session = session(&number.to_le_bytes());
            let plan = plan_with(&view, |ask| ask.session = Some(session), number);
            nodes(&plan.expect("a plan"))[0].to_owned()
        };
        (0..200).map(choice).collect::<Vec<_>>()
    };
    assert_eq!(choices(0), choices((BREAK_RATE_MAX * 100.0) as u32));
}
