use super::*;
use crate::cache_meter::CacheMeter;
use crate::latency::AnswerClass;
use crate::reported::ReportedLoad;

/// A conversation of some 50,000 tokens.
const LONG: u32 = 200 * 1_024;

/// One of a region's engines with 8 slots, each held for 4 s: a request behind the last waits for 0.5 s more. It reads
/// 10,000 tokens a second.
fn engine(name: &str, in_flight: u32) -> UpstreamView {
    UpstreamView {
        region: RegionName::new("eur").expect("a valid name"),
        others_in_flight: in_flight,
        in_flight_max: 8,
        reported: Some(ReportedLoad {
            slot_time: Some(Duration::from_secs(4)),
            prefill: Some(Duration::from_millis(100)),
            ..ReportedLoad::default()
        }),
        ..upstream(name, 1)
    }
}

/// With so many of 100,000 recent tokens from the cache.
fn caching(upstream: UpstreamView, cached: u64) -> UpstreamView {
    let cache = CacheMeter::default();
    cache.record(100_000, cached);
    UpstreamView { cache, ..upstream }
}

fn first(view: &View, body_bytes: u32, weight: f64) -> String {
    let ask = |ask: &mut RouteQuery<'_>| {
        ask.session = Some(7);
        ask.cache_weight = weight;
        ask.shape = RequestShape {
            class: AnswerClass::Stream,
            body_bytes,
        };
    };
    nodes(&plan_with(view, ask, 1).expect("a plan"))[0].to_owned()
}

/// The one of `a` and `b` that the conversation belongs to, and the other.
fn home() -> (&'static str, &'static str) {
    let view = view(vec![engine("a", 0), engine("b", 0)]);
    match first(&view, LONG, 0.0).as_str() {
        "a" => ("a", "b"),
        _ => ("b", "a"),
    }
}

/// Where the conversation goes with so many requests at its own, and `elsewhere` at the other.
fn goes(own: u32, elsewhere: u32, cached: u64, body_bytes: u32) -> bool {
    let (home, other) = home();
    let home = caching(engine(home, own), cached);
    let stays = home.node.as_str().to_owned();
    first(&view(vec![home, engine(other, elsewhere)]), body_bytes, 0.0) != stays
}

#[test]
fn conversation_stays_at_the_last_slot_and_at_a_mark_where_others_go() {
    assert!(!goes(7, 0, 90_000, LONG));
}

#[test]
fn conversation_waits_where_its_cache_saves_more() {
    // 50,000 tokens take 5 s to read, and nine in ten of them are cached: it waits 4 s for them and not 5.
    assert!(!goes(15, 0, 90_000, LONG));
    assert!(goes(18, 0, 90_000, LONG));
}

#[test]
fn conversation_leaves_a_queue_for_which_its_cache_saves_too_little() {
    // 0.5 s, and 5,000 tokens take as long to read.
    assert!(goes(9, 0, 90_000, LONG / 25));
    assert!(goes(15, 0, 0, LONG));
}

#[test]
fn conversation_stays_where_others_wait_as_long() {
    assert!(!goes(30, 30, 0, 0));
    assert!(goes(30, 20, 0, 0));
}

#[test]
fn weight_of_the_cache_makes_it_wait_longer_and_never_shorter() {
    let (home, other) = home();
    let stays = |weight: f64| {
        let home = caching(engine(home, 18), 90_000);
        let view = view(vec![home, engine(other, 0)]);
        first(&view, LONG, weight) == self::home().0
    };
    assert!(!stays(0.0));
    assert!(!stays(0.5));
    assert!(stays(2.0));
}

#[test]
fn another_region_is_better_than_a_queue() {
    let far = UpstreamView {
        region: RegionName::new("sgp").expect("a valid name"),
        rtt: Duration::from_millis(160),
        ..engine("far", 0)
    };
    let near = [engine("a", 12), engine("b", 12)];
    let all = || near.iter().cloned().chain([far.clone()]).collect();
    assert_eq!(first(&view(all()), 0, 0.0), "far");
    assert_ne!(
        first(&view(all()), LONG, 0.0),
        "far",
        "its cache is worth 2 s"
    );
}

#[test]
fn one_that_does_not_say_how_long_requests_wait_is_full_at_its_limit() {
    let (home, other) = home();
    let silent = UpstreamView {
        reported: Some(ReportedLoad::default()),
        ..caching(engine(home, 8), 100_000)
    };
    assert_eq!(
        first(&view(vec![silent, engine(other, 0)]), LONG, 0.0),
        other
    );
}

#[test]
fn what_waits_counts_in_the_order_of_load() {
    let least = |one, two| {
        let ask = |ask: &mut RouteQuery<'_>| ask.strategy = Strategy::LeastBusy;
        let view = view(vec![engine("a", one), engine("b", two)]);
        nodes(&plan_with(&view, ask, 1).expect("a plan"))[0].to_owned()
    };
    assert_eq!(least(30, 20), "b");
    assert_eq!(least(20, 30), "a");
}
