use super::upstream::MODELS_MAX;
use super::*;
use crate::ids::ModelName;
use proptest::prelude::*;

fn at(seconds: u64) -> Instant {
    Instant::from_start(Duration::from_secs(seconds))
}

const FAST: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(2);

#[test]
fn clear_rise_is_followed_at_once() {
    let mut latency = Latency::new(at(0), FAST);
    latency.record(at(1), SLOW);
    assert_eq!(latency.average(), SLOW);
}

#[test]
fn rise_that_may_be_chance_is_blended_in() {
    let mut latency = Latency::new(at(0), FAST);
    latency.record(at(0), FAST.mul_f64(1.5));
    let expected = latency.average();
    assert!(
        expected > FAST && expected < FAST.mul_f64(1.1),
        "{expected:?}"
    );
}

#[test]
fn fall_is_followed_slowly() {
    let mut latency = Latency::new(at(0), SLOW);
    latency.record(at(1), FAST);
    assert!(latency.average() > SLOW / 2, "{:?}", latency.average());
    latency.record(at(60), FAST);
    assert!(latency.average() < FAST * 2, "{:?}", latency.average());
}

#[test]
fn peak_is_forgotten_by_time_alone_and_a_lasting_rise_is_not() {
    let mut peak = Latency::new(at(0), FAST);
    (0..20).for_each(|_| peak.record(at(0), FAST));
    peak.record(at(1), SLOW);
    assert_eq!(peak.expected(at(1)), SLOW);
    assert!(peak.expected(at(11)) < SLOW / 2);
    assert!(peak.expected(at(60)) < FAST * 2);
    let mut lasting = Latency::new(at(0), FAST);
    (0..20).for_each(|_| lasting.record(at(0), FAST));
    (0..20).for_each(|_| lasting.record(at(1), SLOW));
    assert_eq!(lasting.expected(at(600)), SLOW);
}

#[test]
fn median_is_that_of_the_newest_samples_however_many_came_before() {
    let mut latency = Latency::new(at(0), SLOW);
    for count in 1..1_000 {
        latency.record(at(0), SLOW);
        assert_eq!(latency.recent_median(), SLOW, "{count}");
    }
    for count in 1..=MEDIAN_OF {
        latency.record(at(0), FAST);
        let expected = if count * 2 > MEDIAN_OF { FAST } else { SLOW };
        if count * 2 != MEDIAN_OF {
            assert_eq!(latency.recent_median(), expected, "{count}");
        }
    }
}

#[test]
fn peak_moves_no_low_before_it_has_lasted() {
    let mut latency = Latency::new(at(0), FAST);
    latency.record(at(20), SLOW);
    assert_eq!(latency.average(), SLOW);
    assert_eq!(latency.first_byte(at(20)).low, FAST);
    assert_eq!(latency.first_byte(at(24)).low, FAST);
    assert_eq!(latency.first_byte(at(30)).low, SLOW);
}

#[test]
fn low_falls_at_once() {
    let mut low = Low::new(at(0), SLOW);
    assert_eq!(low.at(at(20)), SLOW);
    low.see(at(20), FAST);
    assert_eq!(low.at(at(20)), FAST);
    low.see(at(21), SLOW);
    assert_eq!(low.at(at(25)), FAST);
    low.see(at(26), SLOW);
    assert_eq!(low.at(at(30)), FAST);
    assert_eq!(low.at(at(31)), SLOW);
}

#[test]
fn first_figure_counts_for_nothing_at_first() {
    let low = Low::new(at(0), SLOW);
    assert_eq!(low.at(at(4)), Duration::ZERO);
    assert_eq!(low.at(at(10)), SLOW);
}

#[test]
fn wait_in_vain_counts_only_beyond_what_was_expected() {
    let mut latencies = Latencies::default();
    latencies.record(at(0), None, SLOW);
    latencies.waited_in_vain(at(1), None, FAST);
    assert_eq!(latencies.whole().map(Latency::average), Some(SLOW));
    latencies.waited_in_vain(at(1), None, SLOW * 2);
    assert_eq!(latencies.whole().map(Latency::average), Some(SLOW * 2));
}

#[test]
fn wait_that_goes_on_counts_from_twice_the_average_on() {
    let mut latencies = Latencies::default();
    let model = ModelName::new("a").expect("a valid name");
    latencies.record(at(0), Some(&model), FAST);
    assert!(!latencies.waits(at(1), Some(&model), FAST * 2 - Duration::from_nanos(1)));
    assert!(latencies.waits(at(1), Some(&model), FAST * 2));
    let expected = |latency: Option<&Latency>| latency.map(Latency::average);
    assert_eq!(expected(latencies.of(&model)), Some(FAST * 2));
    assert_eq!(expected(latencies.whole()), Some(FAST * 2));
    let percentiles = latencies.whole().map(Latency::percentiles);
    assert_eq!(percentiles, Some((FAST, FAST)), "no sample is kept");
}

#[test]
fn wait_for_one_model_does_not_count_for_another() {
    let name = |name: &str| ModelName::new(name).expect("a valid name");
    let mut latencies = Latencies::default();
    latencies.record(at(0), Some(&name("quick")), FAST);
    latencies.record(at(0), Some(&name("slow")), SLOW);
    assert!(latencies.waits(at(1), Some(&name("quick")), SLOW));
    assert_eq!(
        latencies.of(&name("quick")).map(Latency::average),
        Some(SLOW)
    );
    assert!(!latencies.waits(at(2), Some(&name("slow")), FAST * 3));
    assert_eq!(
        latencies.of(&name("slow")).map(Latency::average),
        Some(SLOW)
    );
}

#[test]
fn upstream_that_nobody_measured_may_take_twice_what_is_assumed() {
    let mut latencies = Latencies::default();
    assert!(!latencies.waits(at(0), None, TTFT_UNKNOWN));
    assert!(latencies.waits(at(0), None, TTFT_UNKNOWN * 2));
    assert_eq!(
        latencies.whole().map(Latency::average),
        Some(TTFT_UNKNOWN * 2)
    );
}

#[test]
fn unknown_model_takes_the_upstreams_own_figure() {
    let model = |name: &str| ModelName::new(name).expect("a valid name");
    let mut latencies = Latencies::default();
    assert!(latencies.of(&model("a")).is_none());
    latencies.record(at(0), Some(&model("a")), FAST);
    assert_eq!(latencies.of(&model("b")).map(Latency::average), Some(FAST));
}

#[test]
fn models_measured_apart_are_limited() {
    let mut latencies = Latencies::default();
    for index in 0..1_000 {
        let model = ModelName::new(&format!("m{index}")).expect("a valid name");
        latencies.record(at(index), Some(&model), FAST);
    }
    assert_eq!(latencies.models().count(), MODELS_MAX);
}

proptest! {
    #[test]
    fn figures_stay_within_the_samples(
        samples in prop::collection::vec((0u64..10_000_000_000, 0u64..100_000), 1..400)
    ) {
        let span = |nanos: u64| Duration::from_nanos(nanos).clamp(SAMPLE_MIN, SAMPLE_MAX);
        let mut latency = Latency::new(Instant::START, Duration::from_nanos(samples[0].0));
        for (nanos, millis) in &samples[1..] {
            let now = Instant::from_start(Duration::from_millis(*millis));
            latency.record(now, Duration::from_nanos(*nanos));
        }
        let least = samples.iter().map(|(nanos, _)| span(*nanos)).min().unwrap_or_default();
        let most = samples.iter().map(|(nanos, _)| span(*nanos)).max().unwrap_or_default();
        let (p50, p99) = latency.percentiles();
        for figure in [latency.average(), p50, p99] {
            prop_assert!(figure > Duration::ZERO);
            // Averages round down by a nanosecond a step.
            prop_assert!(figure + Duration::from_nanos(samples.len() as u64) >= least && figure <= most);
        }
        prop_assert!(p50 <= p99);
    }
}
