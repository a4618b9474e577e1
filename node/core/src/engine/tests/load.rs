use super::*;
use crate::reported::{EngineMetrics, LoadReading};

const SECOND: Duration = Duration::from_secs(1);

/// One upstream whose load is read each second.
fn reading() -> Bench {
    let mut bench = Bench::new();
    let read = UpstreamSpec {
        load_interval: Some(SECOND),
        in_flight_max: 100,
        ..spec(Probe::Off)
    };
    let effects = bench.handle(Event::Configured(vec![read]));
    assert!(is_asked(&effects), "at once");
    bench.handle(Event::PhaseChanged(Phase::Ready));
    bench
}

fn is_asked(effects: &[Effect]) -> bool {
    let upstream = upstream("primary");
    effects.contains(&Effect::ReadLoad { upstream })
}

fn read(bench: &mut Bench, running: u32, waiting: u32) -> Vec<Effect> {
    let figures = EngineMetrics {
        running,
        waiting,
        ..EngineMetrics::default()
    };
    ended(bench, LoadReading::Read(figures))
}

fn ended(bench: &mut Bench, reading: LoadReading) -> Vec<Effect> {
    bench.handle(Event::LoadRead(LoadReport {
        upstream: upstream("primary"),
        reading,
    }))
}

/// In flight and at most, by the own view.
fn load(bench: &mut Bench) -> (u32, u32) {
    let view = bench.engine.view(bench.now);
    let own = &view.own[&upstream("primary")];
    (own.in_flight(), own.in_flight_max)
}

fn published(effects: &[Effect]) -> Vec<(u32, bool)> {
    let facts = effects.iter().filter_map(|effect| match effect {
        Effect::Publish {
            fact: Fact::Upstream(fact),
            ..
        } => Some((fact.in_flight, fact.further.load.is_some())),
        _ => None,
    });
    facts.collect()
}

#[test]
fn load_is_read_each_second_and_own_requests_since_are_added() {
    let mut bench = reading();
    read(&mut bench, 40, 0);
    assert_eq!(load(&mut bench), (40, 100));
    let view = bench.engine.view(bench.now);
    let own = Arc::clone(&view.own[&upstream("primary")]);
    let sent: Vec<_> = (0..50).map(|_| own.in_flight.enter()).collect();
    assert_eq!(load(&mut bench), (90, 100));
    assert!(own.is_hot(bench.now), "at the mark of requests in flight");
    assert!(is_asked(&bench.wait(SECOND)));
    read(&mut bench, 90, 0);
    assert_eq!(load(&mut bench), (90, 100), "they are among those now");
    drop(sent);
    assert_eq!(load(&mut bench), (40, 100));
}

#[test]
fn load_is_published_like_requests_in_flight() {
    let mut bench = reading();
    read(&mut bench, 40, 0);
    let mut of_readings = |running| {
        let mut effects = bench.wait(SECOND);
        effects.extend(read(&mut bench, running, 0));
        published(&effects)
    };
    assert_eq!(of_readings(40), [(40, true)]);
    assert_eq!(of_readings(44), [], "a tenth");
    assert_eq!(of_readings(45), []);
    assert_eq!(of_readings(46), [(45, true)], "once a second");
    let loads = bench.engine.own_loads(bench.now);
    assert_eq!(
        loads[0].in_flight, 46,
        "answers and echoes carry what is new"
    );
}

#[test]
fn figures_that_are_too_old_are_dropped_and_that_is_published() {
    let mut bench = reading();
    read(&mut bench, 40, 0);
    bench.wait(SECOND);
    ended(&mut bench, LoadReading::Failed);
    let effects: Vec<Effect> = (0..5).flat_map(|_| bench.wait(SECOND)).collect();
    assert_eq!(published(&effects), [(0, false)]);
    assert_eq!(load(&mut bench), (0, 100));
}

#[test]
fn an_upstream_without_figures_counts_as_before() {
    let mut bench = reading();
    ended(&mut bench, LoadReading::Absent);
    assert_eq!(load(&mut bench), (0, 100));
    assert!(!(0..59).any(|_| is_asked(&bench.wait(SECOND))));
    assert!(is_asked(&bench.wait(SECOND)));
    let other = LoadReport {
        upstream: upstream("other"),
        reading: LoadReading::Absent,
    };
    assert_eq!(bench.handle(Event::LoadRead(other)), []);
}
