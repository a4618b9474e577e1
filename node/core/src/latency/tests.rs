use super::recent::MEDIAN_OF;
use super::upstream::MODELS_MAX;
use super::*;
use crate::ids::ModelName;
use proptest::prelude::*;

fn at(seconds: u64) -> Instant {
    Instant::from_start(Duration::from_secs(seconds))
}

const STREAM: RequestShape = RequestShape::short(AnswerClass::Stream);
const FAST: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(2);

#[test]
fn clear_rise_is_followed_at_once() {
    let mut latency = Latency::new(at(0), 0, FAST);
    latency.record(at(1), 0, SLOW);
    assert_eq!(latency.average(), SLOW);
}

#[test]
fn rise_that_may_be_chance_is_blended_in() {
    let mut latency = Latency::new(at(0), 0, FAST);
    latency.record(at(0), 0, FAST.mul_f64(1.5));
    let expected = latency.average();
    assert!(
        expected > FAST && expected < FAST.mul_f64(1.1),
        "{expected:?}"
    );
}

#[test]
fn fall_is_followed_slowly() {
    let mut latency = Latency::new(at(0), 0, SLOW);
    latency.record(at(1), 0, FAST);
    assert!(latency.average() > SLOW / 2, "{:?}", latency.average());
    latency.record(at(60), 0, FAST);
    assert!(latency.average() < FAST * 2, "{:?}", latency.average());
}

#[test]
fn peak_is_forgotten_by_time_alone_and_a_lasting_rise_is_not() {
    let mut peak = Latency::new(at(0), 0, FAST);
    (0..20).for_each(|_| peak.record(at(0), 0, FAST));
    peak.record(at(1), 0, SLOW);
    assert_eq!(peak.expected(at(1)), SLOW);
    assert!(peak.expected(at(11)) < SLOW / 2);
    assert!(peak.expected(at(60)) < FAST * 2);
    let mut lasting = Latency::new(at(0), 0, FAST);
    (0..20).for_each(|_| lasting.record(at(0), 0, FAST));
    (0..20).for_each(|_| lasting.record(at(1), 0, SLOW));
    assert_eq!(lasting.expected(at(600)), SLOW);
}

#[test]
fn median_is_that_of_the_newest_samples_however_many_came_before() {
    let mut latency = Latency::new(at(0), 0, SLOW);
    for count in 1..1_000 {
        latency.record(at(0), 0, SLOW);
        assert_eq!(latency.recent.median(), SLOW, "{count}");
    }
    for count in 1..=MEDIAN_OF {
        latency.record(at(0), 0, FAST);
        let expected = if count * 2 > MEDIAN_OF { FAST } else { SLOW };
        if count * 2 != MEDIAN_OF {
            assert_eq!(latency.recent.median(), expected, "{count}");
        }
    }
}

#[test]
fn peak_moves_no_low_before_it_has_lasted() {
    let mut latency = Latency::new(at(0), 0, FAST);
    (0..2).for_each(|_| latency.record(at(20), 0, SLOW));
    assert_eq!(latency.average(), SLOW);
    assert_eq!(latency.first_byte(at(20)).low, FAST);
    assert_eq!(latency.first_byte(at(24)).low, FAST);
    assert_eq!(latency.first_byte(at(30)).low, SLOW);
}

#[test]
fn low_is_never_above_what_time_made_of_a_peak() {
    let mut latency = Latency::new(at(0), 0, FAST);
    (0..9).for_each(|_| latency.record(at(1), 0, FAST));
    latency.record(at(20), 0, SLOW);
    let later = latency.first_byte(at(80));
    assert!(later.low < FAST * 2, "{later:?}");
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
    latencies.record(at(0), None, STREAM, SLOW);
    latencies.waited_in_vain(at(1), None, STREAM, FAST);
    assert_eq!(
        latencies.overall(AnswerClass::Stream).map(Latency::average),
        Some(SLOW)
    );
    latencies.waited_in_vain(at(1), None, STREAM, SLOW * 2);
    assert_eq!(
        latencies.overall(AnswerClass::Stream).map(Latency::average),
        Some(SLOW * 2)
    );
}

#[test]
fn wait_that_goes_on_counts_from_twice_the_average_on() {
    let mut latencies = Latencies::default();
    let model = ModelName::new("a").expect("a valid name");
    latencies.record(at(0), Some(&model), STREAM, FAST);
    assert!(!latencies.waits(
        at(1),
        Some(&model),
        STREAM,
        FAST * 2 - Duration::from_nanos(1)
    ));
    assert!(latencies.waits(at(1), Some(&model), STREAM, FAST * 2));
    let expected = |latency: Option<&Latency>| latency.map(Latency::average);
    assert_eq!(
        expected(latencies.of(&model, AnswerClass::Stream)),
        Some(FAST * 2)
    );
    assert_eq!(
        expected(latencies.overall(AnswerClass::Stream)),
        Some(FAST * 2)
    );
    let percentiles = latencies
        .overall(AnswerClass::Stream)
        .map(Latency::percentiles);
    assert_eq!(percentiles, Some((FAST, FAST)), "no sample is kept");
}

#[test]
fn wait_for_one_model_does_not_count_for_another() {
    let name = |name: &str| ModelName::new(name).expect("a valid name");
    let mut latencies = Latencies::default();
    latencies.record(at(0), Some(&name("quick")), STREAM, FAST);
    latencies.record(at(0), Some(&name("slow")), STREAM, SLOW);
    assert!(latencies.waits(at(1), Some(&name("quick")), STREAM, SLOW));
    assert_eq!(
        latencies
            .of(&name("quick"), AnswerClass::Stream)
            .map(Latency::average),
        Some(SLOW)
    );
    assert!(!latencies.waits(at(2), Some(&name("slow")), STREAM, FAST * 3));
    assert_eq!(
        latencies
            .of(&name("slow"), AnswerClass::Stream)
            .map(Latency::average),
        Some(SLOW)
    );
}

#[test]
fn upstream_that_nobody_measured_may_take_twice_what_is_assumed() {
    let mut latencies = Latencies::default();
    assert!(!latencies.waits(at(0), None, STREAM, TTFT_UNKNOWN));
    assert!(latencies.waits(at(0), None, STREAM, TTFT_UNKNOWN * 2));
    assert_eq!(
        latencies.overall(AnswerClass::Stream).map(Latency::average),
        Some(TTFT_UNKNOWN * 2)
    );
}

#[test]
fn unknown_model_takes_the_upstreams_own_figure() {
    let model = |name: &str| ModelName::new(name).expect("a valid name");
    let mut latencies = Latencies::default();
    assert!(latencies.of(&model("a"), AnswerClass::Stream).is_none());
    latencies.record(at(0), Some(&model("a")), STREAM, FAST);
    assert_eq!(
        latencies
            .of(&model("b"), AnswerClass::Stream)
            .map(Latency::average),
        Some(FAST)
    );
}

#[test]
fn models_measured_apart_are_limited() {
    let mut latencies = Latencies::default();
    for index in 0..1_000 {
        let model = ModelName::new(&format!("m{index}")).expect("a valid name");
        latencies.record(at(index), Some(&model), STREAM, FAST);
    }
    assert_eq!(latencies.models(), MODELS_MAX);
}

proptest! {
    #[test]
    fn figures_stay_within_the_samples(
        samples in prop::collection::vec((0u64..10_000_000, 0u64..100_000), 1..400)
    ) {
        let span = |micros: u64| Duration::from_micros(micros).clamp(SAMPLE_MIN, SAMPLE_MAX);
        let mut latency = Latency::new(Instant::START, 0, Duration::from_micros(samples[0].0));
        for (micros, millis) in &samples[1..] {
            let now = Instant::from_start(Duration::from_millis(*millis));
            latency.record(now, 0, Duration::from_micros(*micros));
        }
        let least = samples.iter().map(|(micros, _)| span(*micros)).min().unwrap_or_default();
        let most = samples.iter().map(|(micros, _)| span(*micros)).max().unwrap_or_default();
        let (p50, p99) = latency.percentiles();
        for figure in [latency.average(), p50, p99] {
            prop_assert!(figure > Duration::ZERO);
            // Averages round down by a nanosecond a step.
            prop_assert!(figure + Duration::from_nanos(samples.len() as u64) >= least && figure <= most);
        }
        prop_assert!(p50 <= p99);
    }

    #[test]
    fn whatever_the_sizes_no_figure_is_zero_nor_beyond_all_bounds(
        samples in prop::collection::vec((any::<u32>(), 0u64..u64::MAX, 0u64..100_000), 1..400)
    ) {
        let mut latency = Latency::new(Instant::START, samples[0].0, Duration::from_nanos(samples[0].1));
        for (bytes, nanos, millis) in &samples[1..] {
            let now = Instant::from_start(Duration::from_millis(*millis));
            match nanos % 5 {
                0 => drop(latency.waits(now, *bytes, Duration::from_nanos(*nanos))),
                1 => latency.waited_in_vain(now, *bytes, Duration::from_nanos(*nanos)),
                _ => latency.record(now, *bytes, Duration::from_nanos(*nanos)),
            }
            let expected = latency.expected(now);
            prop_assert!(expected > Duration::ZERO && expected <= SAMPLE_MAX, "{expected:?}");
            prop_assert!(latency.per_kib() <= Duration::from_secs(1));
        }
    }
}

#[test]
fn time_alone_raises_no_expectation_by_rounding() {
    let mut latency = Latency::new(at(0), 0, Duration::from_nanos(3_600_000_000_000));
    latency.record(at(74_221), 0, Duration::from_nanos(3_616_073_096_316));
    latency.record(
        at(77_971),
        0,
        Duration::from_nanos(2_322_420_833_415_413_992),
    );
    assert!(latency.expected(at(77_971)) <= SAMPLE_MAX);
    assert!(latency.expected(at(77_971)) <= latency.average());
}

#[test]
fn average_of_two_samples_exceeds_neither_by_rounding() {
    for millis in 1..10_000 {
        let now = Instant::from_start(Duration::from_millis(millis));
        let mut latency = Latency::new(Instant::START, 0, SAMPLE_MAX);
        latency.record(now, 0, SAMPLE_MAX);
        assert!(latency.expected(now) <= SAMPLE_MAX, "after {millis} ms");
    }
}

/// The growth of 47 ms for each KiB beyond four.
fn takes(kib: u32, base: Duration) -> Duration {
    base + Duration::from_millis(47) * kib.saturating_sub(4)
}

fn expects(latency: &Latency, now: Instant, kib: u32) -> f64 {
    let added = size_adds(latency.per_kib(), kib * 1_024);
    (latency.expected(now) + added).as_secs_f64()
}

/// Ninety-eight short prompts and two long ones in a hundred, one a second.
fn mixed(base: Duration, seconds: u64) -> Latency {
    let mut latency = Latency::new(at(0), 1_024, base);
    for second in 1..seconds {
        let kib = if second % 50 == 0 { 100 } else { 1 };
        latency.record(at(second), kib * 1_024, takes(kib, base));
    }
    latency
}

#[test]
fn long_prompts_teach_their_size_and_raise_nothing_else() {
    let latency = mixed(FAST * 3, 1_000);
    assert!(latency.average() < FAST * 4, "{:?}", latency.average());
    let long = expects(&latency, at(1_000), 100);
    assert!((4.0..6.0).contains(&long), "{long}");
}

#[test]
fn first_long_prompt_is_no_peak() {
    let mut latency = Latency::new(at(0), 1_024, FAST * 3);
    (1..9).for_each(|second| latency.record(at(second), 1_024, FAST * 3));
    assert!(!latency.waits(at(9), 100 * 1_024, Duration::from_secs(4)));
    latency.record(at(9), 100 * 1_024, takes(100, FAST * 3));
    assert!(latency.average() < FAST * 6, "{:?}", latency.average());
}

#[test]
fn slow_answer_to_a_short_prompt_is_a_peak_whatever_long_ones_take() {
    let mut latency = mixed(FAST * 3, 200);
    latency.record(at(200), 1_024, SLOW);
    assert_eq!(latency.average(), SLOW);
}

#[test]
fn upstream_that_turns_slow_is_noticed_by_long_prompts_too() {
    let mut latency = mixed(FAST * 3, 200);
    // Ten times as slow as it was, reading included.
    latency.record(at(200), 100 * 1_024, takes(100, FAST * 3) * 10);
    assert!(latency.average() > FAST * 6, "{:?}", latency.average());
}

#[test]
fn sizes_that_hardly_differ_teach_nothing() {
    let mut latency = Latency::new(at(0), 100 * 1_024, SLOW);
    for second in 1..300 {
        let kib = 100 + (second % 2) as u32;
        let noise = Duration::from_millis(second * 37 % 200);
        latency.record(at(second), kib * 1_024, SLOW + noise);
    }
    let short = expects(&latency, at(300), 1);
    let long = expects(&latency, at(300), 100);
    assert!(long < short * 1.5, "{short} {long}");
}

#[test]
fn prompts_that_a_cache_answers_make_no_short_one_seem_free() {
    let mut latency = mixed(FAST * 3, 200);
    for second in 200..260 {
        latency.record(at(second), 100 * 1_024, FAST * 3);
        latency.record(at(second), 1_024, FAST * 3);
    }
    let (short, long) = (
        expects(&latency, at(260), 1),
        expects(&latency, at(260), 100),
    );
    assert!((0.15..0.4).contains(&short), "{short}");
    assert!(long < 2.0, "{long}");
}

#[test]
fn size_is_forgotten_where_no_long_prompt_comes_any_more() {
    let mut latency = mixed(FAST * 3, 200);
    (200..2_000).for_each(|second| latency.record(at(second), 1_024, FAST * 3));
    assert!(latency.per_kib() < Duration::from_millis(10));
}

#[test]
fn whole_answers_and_streams_are_measured_apart() {
    let model = ModelName::new("a").expect("a valid name");
    let whole = RequestShape::short(AnswerClass::Whole);
    let mut latencies = Latencies::default();
    latencies.record(at(0), Some(&model), whole, SLOW * 10);
    assert!(latencies.of(&model, AnswerClass::Stream).is_none());
    latencies.record(at(1), Some(&model), STREAM, FAST);
    let expected = |shape| latencies.expected(at(1), Some(&model), shape);
    assert_eq!(
        (expected(STREAM), expected(whole)),
        (Some(FAST), Some(SLOW * 10))
    );
    let p99 = |class| latencies.of(&model, class).and_then(Latency::p99);
    assert_eq!(p99(AnswerClass::Stream), Some(FAST));
    assert_eq!(p99(AnswerClass::Whole), Some(SLOW * 10));
}

#[test]
fn long_wait_for_a_whole_answer_slows_no_stream() {
    let whole = RequestShape::short(AnswerClass::Whole);
    let mut latencies = Latencies::default();
    latencies.record(at(0), None, STREAM, FAST);
    assert!(latencies.waits(at(30), None, whole, Duration::from_secs(30)));
    latencies.waited_in_vain(at(40), None, whole, Duration::from_secs(40));
    assert_eq!(latencies.expected(at(40), None, STREAM), Some(FAST));
}

#[test]
fn what_costs_more_or_fails_is_tried_ever_less_often() {
    let mut tries = Tries::default();
    tries.answered(at(0));
    assert_eq!(tries.pause(1.0), TRIED_AGAIN_AFTER);
    assert_eq!(tries.pause(0.0), TRIED_AGAIN_AFTER);
    assert_eq!(tries.pause(4.0), TRIED_AGAIN_AFTER * 8);
    assert_eq!(tries.pause(f64::INFINITY), Duration::from_secs(300));
    tries.failed(at(1), true);
    tries.failed(at(2), true);
    assert_eq!(
        (tries.pause(1.0), tries.last()),
        (TRIED_AGAIN_AFTER * 4, Some(at(2)))
    );
    (0..300).for_each(|_| tries.failed(at(3), true));
    assert_eq!(tries.pause(1.0), Duration::from_secs(300));
    tries.answered(at(4));
    assert!(tries.is_hopeful());
    // What a client did wrong shows nothing of the upstream.
    tries.failed(at(5), false);
    assert!(tries.is_hopeful());
}

#[test]
fn recent_mean_is_of_the_last_ten_samples_alone() {
    let mut latency = Latency::new(at(0), 0, Duration::from_secs(60));
    assert_eq!(latency.recent_mean(), Duration::from_secs(60));
    latency.record(at(1), 0, Duration::from_secs(20));
    assert_eq!(
        latency.recent_mean(),
        Duration::from_secs(40),
        "fewer than ten"
    );
    // More than the window holds: the oldest are overwritten.
    for number in 0..200 {
        latency.record(at(2 + number), 0, Duration::from_millis(100 + number));
    }
    let mean = latency.recent_mean().as_secs_f64();
    assert!((mean - 0.294_5).abs() < 0.001, "{mean}");
}
