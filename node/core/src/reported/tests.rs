use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::from_start(SECOND * u32::try_from(seconds).expect("a short test"))
}

fn meter() -> LoadMeter {
    LoadMeter::new(at(0), Some(SECOND), 256)
}

fn running(running: u32, waiting: u32) -> EngineMetrics {
    EngineMetrics {
        running,
        waiting,
        ..EngineMetrics::default()
    }
}

/// A reading at each of the seconds from `from` on.
fn read(meter: &mut LoadMeter, from: u64, readings: &[EngineMetrics]) {
    for (second, metrics) in (from..).zip(readings) {
        assert!(meter.begin(at(second), 0));
        assert!(meter.ended(at(second), LoadReading::Read(*metrics)));
    }
}

#[test]
fn what_others_have_there_is_what_it_holds_without_the_own_requests_of_then() {
    let mut meter = meter();
    assert_eq!(meter.others(), None);
    assert!(meter.begin(at(0), 3));
    assert!(meter.ended(at(0), LoadReading::Read(running(5, 4))));
    assert_eq!(meter.others(), Some(6));
}

#[test]
fn a_full_cache_counts_as_full_slots() {
    let mut meter = meter();
    let long_prompts = EngineMetrics {
        cache_usage: Some(Share::clamped(0.9)),
        ..running(2, 0)
    };
    read(&mut meter, 0, &[long_prompts]);
    assert_eq!((meter.others(), meter.slots()), (Some(231), 256));
}

#[test]
fn slots_are_what_runs_while_requests_wait_and_stay_so_after_a_second_reading() {
    let mut meter = meter();
    read(&mut meter, 0, &[running(8, 1)]);
    assert_eq!(meter.slots(), 8);
    read(&mut meter, 1, &[running(3, 0)]);
    assert_eq!(meter.slots(), 256, "it waited for the next step");
    read(&mut meter, 2, &[running(7, 2), running(8, 5)]);
    assert_eq!(meter.slots(), 8);
    read(&mut meter, 4, &[running(2, 0)]);
    assert_eq!(
        meter.slots(),
        8,
        "without a queue nothing is known of the others"
    );
    read(&mut meter, 5, &[running(12, 0)]);
    assert_eq!(meter.slots(), 12, "so many fit");
}

#[test]
fn learned_slots_double_in_ten_minutes_without_a_queue() {
    let mut meter = meter();
    read(&mut meter, 0, &[running(8, 5), running(8, 5)]);
    read(&mut meter, 2, &[running(1, 0); 600]);
    assert!((15..=17).contains(&meter.slots()), "{}", meter.slots());
    read(&mut meter, 602, &[running(1, 0); 6_000]);
    assert_eq!(meter.slots(), 256, "never beyond what is configured");
}

#[test]
fn slot_time_is_what_runs_over_what_ends() {
    let mut meter = meter();
    let holds = |second: u64| EngineMetrics {
        // Four a second end, and eight run: each takes two seconds.
        ended: Some(100 + second * 4),
        ..running(8, 0)
    };
    let readings: Vec<_> = (0..60).map(holds).collect();
    read(&mut meter, 0, &readings);
    let slot_time = meter.reported(at(59)).and_then(|load| load.slot_time);
    let slot_time = slot_time.expect("requests ended").as_secs_f64();
    assert!((slot_time - 2.0).abs() < 0.01, "{slot_time}");
}

#[test]
fn a_restart_of_the_engine_teaches_nothing() {
    let mut meter = meter();
    let ended = |ended| EngineMetrics {
        ended: Some(ended),
        prefill: Some(Prefill {
            seconds: ended as f64,
            tokens: ended * 1_000,
        }),
        ..running(8, 0)
    };
    read(&mut meter, 0, &[ended(90), ended(2)]);
    let load = meter.reported(at(1)).expect("figures");
    assert_eq!((load.slot_time, load.prefill), (None, None));
    read(&mut meter, 2, &[ended(10)]);
    let load = meter.reported(at(2)).expect("figures");
    assert_eq!((load.slot_time, load.prefill), (Some(SECOND), Some(SECOND)));
}

#[test]
fn wait_is_a_slot_time_for_each_slotful_ahead() {
    let load = ReportedLoad {
        slot_time: Some(SECOND * 4),
        ..ReportedLoad::default()
    };
    assert_eq!(load.wait(7, 8), Some(Duration::ZERO));
    assert_eq!(load.wait(8, 8), Some(Duration::from_millis(500)));
    assert_eq!(load.wait(15, 8), Some(SECOND * 4));
    assert_eq!(
        load.wait(u32::MAX, 0),
        Some(SPAN_MAX),
        "and nothing overflows"
    );
    assert_eq!(ReportedLoad::default().wait(9, 8), None, "nobody knows");
    assert_eq!(ReportedLoad::default().wait(7, 8), Some(Duration::ZERO));
}

#[test]
fn figures_are_dropped_when_no_new_ones_come() {
    let mut meter = meter();
    read(&mut meter, 0, &[running(8, 0)]);
    for second in 1..5 {
        if meter.begin(at(second), 0) {
            assert!(!meter.ended(at(second), LoadReading::Failed));
        }
        assert!(!meter.expire(at(second)));
    }
    assert_eq!(meter.next_change(), Some(at(5)));
    assert!(meter.expire(at(5)));
    assert_eq!(meter.others(), None);
    assert!(!meter.expire(at(5)), "once");
}

#[test]
fn an_upstream_without_such_metrics_is_asked_once_a_minute() {
    let mut meter = meter();
    assert!(meter.begin(at(0), 0));
    assert!(!meter.begin(at(1), 0), "one at a time");
    assert!(!meter.ended(at(1), LoadReading::Absent));
    assert!(!meter.begin(at(60), 0));
    assert!(meter.begin(at(61), 0));
}

#[test]
fn readings_that_fail_come_ever_less_often() {
    let mut meter = meter();
    let mut readings = 0;
    for second in 0..200 {
        if meter.begin(at(second), 0) {
            readings += 1;
            meter.ended(at(second), LoadReading::Failed);
        }
    }
    assert_eq!(
        readings, 11,
        "after 1, 2, 4, 8, 16, 32, 32 seconds and so on"
    );
}

#[test]
fn nobody_is_asked_where_that_is_off() {
    let mut meter = LoadMeter::new(at(0), None, 256);
    assert!(!meter.begin(at(9), 0));
    assert_eq!(meter.next_change(), None);
    meter.reconfigure(at(9), Some(SECOND), 256);
    assert!(meter.begin(at(9), 0));
    meter.reconfigure(at(9), None, 256);
    assert!(
        !meter.ended(at(9), LoadReading::Read(running(1, 1))),
        "it was of another configuration"
    );
    assert_eq!(meter.others(), None);
}

proptest::proptest! {
    #[test]
    fn no_figures_make_numbers_that_are_none(
        readings in proptest::collection::vec(
            (0u64..100, proptest::num::u32::ANY, proptest::num::u32::ANY, proptest::num::f64::ANY,
             proptest::num::u64::ANY, proptest::num::f64::ANY, proptest::num::u64::ANY),
            0..40,
        ),
        slots in proptest::num::u32::ANY,
    ) {
        let mut meter = LoadMeter::new(at(0), Some(SECOND), slots);
        let mut now = 0;
        for (pause, running, waiting, usage, ended, seconds, tokens) in readings {
            now += pause;
            meter.expire(at(now));
            if !meter.begin(at(now), running) {
                continue;
            }
            meter.ended(at(now), LoadReading::Read(EngineMetrics {
                running,
                waiting,
                cache_usage: Some(Share::clamped(usage)),
                ended: Some(ended),
                prefill: Some(Prefill { seconds, tokens }),
            }));
            assert!((1..=slots.max(1)).contains(&meter.slots()));
            let load = meter.reported(at(now)).expect("figures");
            assert!(load.slot_time.unwrap_or_default() <= SPAN_MAX);
            assert!(load.prefill.unwrap_or_default() <= SPAN_MAX);
            assert!(load.wait(running, slots).unwrap_or_default() <= SPAN_MAX);
        }
    }
}
