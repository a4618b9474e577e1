//! The engine driven by hand-made events, on a clock turned by hand.

mod accounts;
mod breaks;
mod checks;
mod home;
mod joining;
mod judgement;
mod latency;
mod load;
mod refusals;
mod unlinked;

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::*;
use crate::fact::{FactKey, FurtherFigures, Load, NodeFact, Public, Standing, UpstreamFact};
use crate::health::{EjectionReason, FailureKind, HealthPolicy, Witness};
use crate::ids::{Generation, RegionName};
use crate::latency::RequestShape;
use crate::outcome::{Finding, Outcome, Refusal};
use crate::residency::{Residency, Rule, Unknown};
use crate::route::{Plan, PlanError, RouteQuery, Strategy, plan};
use crate::units::{Share, Weight};
use crate::view::{Reach, Way};

fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a valid name")
}

fn upstream(name: &str) -> UpstreamName {
    UpstreamName::new(name).expect("a valid name")
}

fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a valid name")
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a valid name")
}

/// An engine named `usa` with a hand-turned clock.
struct Bench {
    engine: Engine,
    rng: ChaCha8Rng,
    now: Instant,
    /// Counts requests, each of another client.
    requests: u64,
}

/// A request of a client of its own.
fn witness(number: u64, began_at: Instant) -> Witness {
    Witness {
        request: number,
        client: number,
        began_at,
        is_doubtful: false,
    }
}

impl Bench {
    fn new() -> Self {
        let identity = Identity {
            node: node("usa"),
            generation: Generation(7),
            region: region("usa"),
            place: None,
            protocol: 1,
            build: "test".into(),
            serves_requests: true,
            public: Public::default(),
        };
        let engine = Engine::new(Instant::START, identity);
        Self {
            engine,
            rng: ChaCha8Rng::seed_from_u64(1),
            now: Instant::START,
            requests: 0,
        }
    }

    /// With one upstream `primary` that serves `gpt` and is probed.
    fn with_upstream() -> Self {
        let mut bench = Self::new();
        bench.handle(Event::Configured(vec![spec(Probe::Models)]));
        bench.handle(Event::PhaseChanged(Phase::Ready));
        bench
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        self.engine.handle(self.now, event, &mut self.rng)
    }

    fn wait(&mut self, span: Duration) -> Vec<Effect> {
        self.now = self.now + span;
        self.handle(Event::Tick)
    }

    fn attempt(&mut self, outcome: Outcome) -> Vec<Effect> {
        let first_byte = Some(Duration::from_millis(300));
        self.requests += 1;
        let witness = witness(self.requests, self.now);
        self.handle(Event::AttemptEnded(AttemptReport {
            shape: RequestShape::default(),
            peer: None,
            upstream: upstream("primary"),
            model: Some(model("gpt")),
            outcome,
            witness,
            detail: None,
            first_byte,
        }))
    }

    fn probe(&mut self, outcome: Outcome) -> Vec<Effect> {
        let upstream = upstream("primary");
        self.handle(Event::ProbeEnded(ProbeReport {
            upstream,
            outcome,
            first_byte: None,
            models: None,
            detail: None,
        }))
    }

    fn receive(&mut self, from: &str, version: u64, fact: Fact) -> Vec<Effect> {
        self.receive_in(3, from, version, fact)
    }

    fn receive_in(&mut self, generation: u64, from: &str, version: u64, fact: Fact) -> Vec<Effect> {
        let stamp = Stamp {
            generation: Generation(generation),
            version,
        };
        self.handle(Event::FactReceived {
            node: node(from),
            stamp,
            fact,
            via: Via::Rumor,
        })
    }

    /// A peer in reach with one upstream of `ttft`.
    fn meet(&mut self, name: &str, rtt: Duration, ttft: Duration) {
        self.receive(name, 1, Fact::Node(node_fact(name)));
        self.receive(name, 2, Fact::Phase(Phase::Ready));
        self.receive(
            name,
            3,
            Fact::Upstream(upstream_fact(Standing::Ready, ttft)),
        );
        self.handle(Event::LinkUp { peer: node(name) });
        self.handle(Event::RttMeasured {
            peer: node(name),
            rtt,
        });
    }

    fn plan(&mut self) -> Result<Plan, PlanError> {
        self.plan_for("gpt")
    }

    fn plan_for(&mut self, name: &str) -> Result<Plan, PlanError> {
        let view = self.engine.view(self.now);
        let model = model(name);
        plan(&view, &RouteQuery::of(&model), self.now, &mut self.rng)
    }

    fn first_node(&mut self) -> String {
        let plan = self.plan().expect("a plan");
        plan.choices[0].candidate.upstream.node.to_string()
    }
}

#[test]
fn upstream_that_reports_to_be_full_counts_as_full_and_is_still_called() {
    let mut bench = Bench::new();
    let roomy = UpstreamSpec {
        in_flight_max: 1_000,
        ..spec(Probe::Off)
    };
    bench.handle(Event::Configured(vec![roomy]));
    let own = |bench: &mut Bench| {
        let view = bench.engine.view(bench.now);
        Arc::clone(&view.own[&upstream("primary")])
    };
    let _in_flight: Vec<_> = (0..20).map(|_| own(&mut bench).in_flight.enter()).collect();
    assert_eq!(own(&mut bench).in_flight_max, 1_000);
    bench.attempt(Outcome::status(429));
    bench.wait(Duration::from_secs(1));
    let full = own(&mut bench);
    assert_eq!((full.in_flight_max, full.admission_max), (18, 1_000));
    assert!(full.is_hot(bench.now));
}

#[test]
fn peak_of_a_peers_upstream_raises_no_low_before_it_has_lasted() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.wait(Duration::from_secs(20));
    let peak = TTFT * 10;
    bench.receive(
        "jpn",
        4,
        Fact::Upstream(upstream_fact(Standing::Ready, peak)),
    );
    let figures = |bench: &mut Bench| {
        let first = bench.plan().expect("a plan").choices.swap_remove(0);
        (first.candidate.ttft, first.candidate.ttft_low)
    };
    assert_eq!(figures(&mut bench), (peak, TTFT));
    bench.wait(Duration::from_secs(4));
    assert_eq!(figures(&mut bench), (peak, TTFT));
    bench.wait(Duration::from_secs(6));
    assert_eq!(figures(&mut bench), (peak, peak));
}

fn spec(probe: Probe) -> UpstreamSpec {
    UpstreamSpec {
        name: upstream("primary"),
        models: Models::Listed(vec![model("gpt")]),
        tier: Tier(1),
        weight: Weight::default(),
        dialects: crate::dialect::DialectSet::ALL,
        websocket: false,
        attempts_max: 1,
        in_flight_max: 10,
        health: HealthPolicy::default(),
        probe,
        probe_interval: Duration::from_secs(30),
        load_interval: None,
        account: None,
    }
}

fn node_fact(name: &str) -> NodeFact {
    NodeFact {
        region: region(name),
        place: None,
        protocol: 1,
        build: "test".into(),
        serves_requests: true,
        public: Public::default(),
    }
}

fn upstream_fact(standing: Standing, ttft: Duration) -> UpstreamFact {
    UpstreamFact {
        name: upstream("primary"),
        models: BTreeMap::from([(model("gpt"), Some(ttft))]),
        standing,
        ttft: Some(ttft),
        error_rate: Share::ZERO,
        break_rate: Share::ZERO,
        in_flight: 0,
        in_flight_max: 10,
        tier: Tier(1),
        weight: Weight::default(),
        dialects: crate::dialect::DialectSet::ALL,
        websocket: false,
        models_out: BTreeMap::new(),
        further: FurtherFigures::default(),
        account: None,
    }
}

fn has_probe(effects: &[Effect]) -> bool {
    effects
        .iter()
        .any(|effect| matches!(effect, Effect::Probe { .. }))
}

fn urgent_standing(effects: &[Effect]) -> Option<Standing> {
    effects.iter().find_map(|effect| match effect {
        Effect::Publish {
            fact: Fact::Upstream(fact),
            urgent: true,
            ..
        } => Some(fact.standing),
        _ => None,
    })
}

const NEAR: Duration = Duration::from_millis(40);
const FAR: Duration = Duration::from_millis(160);
const TTFT: Duration = Duration::from_millis(300);

#[test]
fn new_upstream_is_probed_at_once_and_published() {
    let mut bench = Bench::new();
    let effects = bench.handle(Event::Configured(vec![spec(Probe::Models)]));
    assert!(has_probe(&effects));
    assert_eq!(urgent_standing(&effects), Some(Standing::Untested));
    let effects = bench.probe(Outcome::status(200));
    assert_eq!(urgent_standing(&effects), Some(Standing::Ready));
}

#[test]
fn one_probe_runs_at_a_time() {
    let mut bench = Bench::with_upstream();
    assert!(
        !has_probe(&bench.wait(Duration::from_secs(120))),
        "the first has not ended"
    );
    bench.probe(Outcome::status(200));
    assert!(!has_probe(&bench.wait(Duration::from_secs(29))));
    assert!(has_probe(&bench.wait(Duration::from_secs(1))));
}

#[test]
fn traffic_that_proves_the_state_saves_the_probe() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    bench.wait(Duration::from_secs(29));
    bench.attempt(Outcome::status(200));
    assert!(!has_probe(&bench.wait(Duration::from_secs(29))));
    assert!(has_probe(&bench.wait(Duration::from_secs(1))));
}

#[test]
fn third_failure_ejects_and_is_published_at_once() {
    let mut bench = Bench::with_upstream();
    bench.attempt(Outcome::Reset);
    bench.attempt(Outcome::Reset);
    let effects = bench.attempt(Outcome::ConnectFailed);
    let reason = EjectionReason::Failures(FailureKind::Connect);
    assert_eq!(
        urgent_standing(&effects),
        Some(Standing::Ejected { reason })
    );
}

#[test]
fn upstream_that_cuts_every_stream_is_ejected_though_each_begins_as_a_success() {
    let mut bench = Bench::with_upstream();
    let mut published = None;
    for _ in 0..3 {
        assert_eq!(published, None);
        bench.handle(Event::AnswerBegan(AnswerReport {
            shape: RequestShape::default(),
            upstream: upstream("primary"),
            model: None,
            first_byte: TTFT,
        }));
        published = urgent_standing(&bench.attempt(Outcome::BrokenOff));
    }
    let reason = EjectionReason::Failures(FailureKind::Reset);
    assert_eq!(published, Some(Standing::Ejected { reason }));
}

#[test]
fn upstream_recovers_by_two_probes_after_its_cooldown() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    assert!(has_probe(&bench.wait(Duration::from_secs(2))));
    bench.probe(Outcome::status(200));
    assert!(has_probe(&bench.wait(Duration::from_millis(200))));
    let effects = bench.probe(Outcome::status(200));
    assert_eq!(urgent_standing(&effects), Some(Standing::Ready));
}

#[test]
fn outage_is_shown_since_its_beginning_whatever_probes_find() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    bench.wait(Duration::from_secs(9));
    let ejected_at = bench.now;
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    let status = |bench: &mut Bench| bench.engine.view(bench.now).nodes[0].upstreams[0].clone();
    let again_at = status(&mut bench).again_at.expect("a cooldown");
    assert!(
        again_at > ejected_at + Duration::from_millis(800),
        "{again_at:?}"
    );
    bench.wait(Duration::from_secs(2));
    assert_eq!(status(&mut bench).again_at, None);
    bench.probe(Outcome::ConnectFailed);
    assert_eq!(status(&mut bench).stands_since, ejected_at);
    assert!(status(&mut bench).again_at.is_some());
}

#[test]
fn outage_of_a_peers_upstream_is_shown_since_it_was_received() {
    let mut bench = Bench::new();
    bench.meet("eur", Duration::from_millis(20), Duration::from_millis(300));
    let fact = |standing| Fact::Upstream(upstream_fact(standing, Duration::from_millis(300)));
    let reason = EjectionReason::ErrorRate;
    bench.wait(Duration::from_secs(5));
    let received_at = bench.now;
    bench.receive("eur", 4, fact(Standing::Ejected { reason }));
    bench.wait(Duration::from_secs(5));
    bench.receive("eur", 5, fact(Standing::Probing { reason }));
    let view = bench.engine.view(bench.now);
    assert_eq!(view.nodes[1].upstreams[0].stands_since, received_at);
    let remaining = Duration::from_secs(3);
    bench.receive("eur", 6, fact(Standing::CoolingDown { remaining }));
    let status = bench.engine.view(bench.now).nodes[1].upstreams[0].clone();
    assert_eq!(
        (status.stands_since, status.again_at),
        (bench.now, Some(bench.now + remaining))
    );
}

#[test]
fn failed_probe_starts_a_new_cooldown_without_a_second_probe() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    bench.wait(Duration::from_secs(2));
    bench.probe(Outcome::ConnectFailed);
    assert!(!has_probe(&bench.wait(Duration::from_secs(1))));
    assert!(has_probe(&bench.wait(Duration::from_secs(2))));
}

#[test]
fn wake_is_never_in_the_past_for_long() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    for _ in 0..200 {
        let Some(wake) = bench.engine.next_wake() else {
            break;
        };
        bench.now = bench.now.max(wake);
        let effects = bench.handle(Event::Tick);
        if bench.engine.view_is_due(bench.now) {
            bench.engine.view(bench.now);
        }
        if has_probe(&effects) {
            bench.probe(Outcome::ConnectFailed);
        }
    }
    assert!(
        bench.now.since_start() > Duration::from_secs(60),
        "busy wake-ups: {:?}",
        bench.now
    );
}

#[test]
fn change_too_small_to_publish_does_not_keep_the_engine_awake() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    bench.wait(Duration::from_millis(1_500));
    bench.engine.view(bench.now);
    let wake = bench.engine.next_wake().expect("a probe is due some time");
    assert!(wake > bench.now + Duration::from_secs(10), "{wake:?}");
}

#[test]
fn rate_limit_cools_down_without_ejecting() {
    let mut bench = Bench::with_upstream();
    let requested = Some(Duration::from_secs(7));
    let effects = bench.attempt(Outcome::Status {
        finding: Finding::RateOfAccount,
        status: 429,
        retry_after: requested,
    });
    let standing = urgent_standing(&effects).expect("published at once");
    assert_eq!(
        standing,
        Standing::CoolingDown {
            remaining: Duration::from_secs(7)
        }
    );
    // It gets its rest, also where nothing else is left.
    let resting = PlanError::Resting {
        retry_after: Duration::from_secs(7),
    };
    assert_eq!(bench.plan().expect_err("nothing to ask"), resting);
    let effects = bench.wait(Duration::from_secs(7));
    assert_eq!(urgent_standing(&effects), Some(Standing::Untested));
    assert!(!bench.plan().expect("a plan").last_resort);
}

/// How often figures are published in five seconds in which they change all the time.
fn published_in_five_seconds(bench: &mut Bench) -> usize {
    bench.wait(Duration::from_secs(1));
    bench.attempt(Outcome::status(200));
    (0..50)
        .map(|_| {
            bench.now = bench.now + Duration::from_millis(100);
            let first_byte = Some(Duration::from_millis(
                bench.now.since_start().as_millis() as u64
            ));
            let effects = bench.handle(Event::AttemptEnded(AttemptReport {
                shape: RequestShape::default(),
                peer: None,
                upstream: upstream("primary"),
                model: None,
                outcome: Outcome::status(200),
                witness: witness(0, bench.now),
                detail: None,
                first_byte,
            }));
            effects
                .iter()
                .filter(|effect| matches!(effect, Effect::Publish { .. }))
                .count()
        })
        .sum()
}

#[test]
fn figures_are_published_at_most_once_a_second() {
    let times = published_in_five_seconds(&mut Bench::with_upstream());
    assert!((3..=6).contains(&times), "{times} times in five seconds");
}

#[test]
fn figures_are_published_less_often_where_more_peers_receive_them() {
    let mut bench = Bench::with_upstream();
    let peers = (0..200).map(|index| node(&format!("n{index}")));
    bench.handle(Event::MembersChanged(peers.collect()));
    let times = published_in_five_seconds(&mut bench);
    assert!((1..=2).contains(&times), "{times} times in five seconds");
}

#[test]
fn local_upstream_wins_over_an_equal_one_far_away() {
    let mut bench = Bench::with_upstream();
    bench.attempt(Outcome::status(200));
    bench.meet("sgp", FAR, TTFT);
    assert_eq!(bench.first_node(), "usa");
}

#[test]
fn much_faster_peer_wins_over_a_slow_local_upstream() {
    let mut bench = Bench::with_upstream();
    bench.attempt(Outcome::status(200));
    bench.meet("jpn", NEAR, Duration::from_millis(100));
    assert_eq!(bench.first_node(), "jpn");
}

#[test]
fn peer_without_a_link_gets_no_request() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    assert_eq!(bench.first_node(), "jpn");
    bench.handle(Event::LinkDown { peer: node("jpn") });
    assert!(matches!(bench.plan(), Err(PlanError::NoneReachable { .. })));
}

#[test]
fn silent_peer_is_only_a_last_resort() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.handle(Event::LinkSilent { peer: node("jpn") });
    assert!(bench.plan().expect("a plan").last_resort);
    bench.handle(Event::LinkRecovered { peer: node("jpn") });
    assert!(!bench.plan().expect("a plan").last_resort);
}

#[test]
fn draining_peer_gets_no_request_at_all() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.receive("jpn", 9, Fact::Phase(Phase::Draining));
    assert!(matches!(bench.plan(), Err(PlanError::NoneReachable { .. })));
}

#[test]
fn lost_request_makes_its_peer_suspect_for_half_a_second() {
    let mut bench = Bench::with_upstream();
    bench.attempt(Outcome::status(200));
    bench.meet("jpn", NEAR, Duration::from_millis(50));
    let report = AttemptReport {
        shape: RequestShape::default(),
        peer: Some(node("jpn")),
        upstream: upstream("primary"),
        model: None,
        outcome: Outcome::PeerLost,
        witness: witness(0, bench.now),
        detail: None,
        first_byte: None,
    };
    bench.handle(Event::AttemptEnded(report));
    assert_eq!(bench.first_node(), "usa");
    bench.wait(Duration::from_millis(500));
    assert_eq!(bench.first_node(), "jpn");
}

#[test]
fn older_fact_is_ignored_and_not_relayed() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    let ejected = Standing::Ejected {
        reason: EjectionReason::ErrorRate,
    };
    let effects = bench.receive("jpn", 5, Fact::Upstream(upstream_fact(ejected, TTFT)));
    let relayed = Effect::Relay {
        node: node("jpn"),
        key: FactKey::Upstream(upstream("primary")),
        stamp: Stamp {
            generation: Generation(3),
            version: 5,
        },
    };
    assert!(effects.contains(&relayed));
    let effects = bench.receive(
        "jpn",
        4,
        Fact::Upstream(upstream_fact(Standing::Ready, TTFT)),
    );
    assert!(effects.is_empty(), "{effects:?}");
    assert!(bench.plan().expect("a plan").last_resort);
}

#[test]
fn new_incarnation_of_a_peer_replaces_the_old_one() {
    let mut bench = Bench::new();
    bench.handle(Event::PhaseChanged(Phase::Ready));
    bench.meet("jpn", NEAR, TTFT);
    let stamp = Stamp {
        generation: Generation(4),
        version: 1,
    };
    let fact = Fact::Phase(Phase::Ready);
    bench.handle(Event::FactReceived {
        node: node("jpn"),
        stamp,
        fact,
        via: Via::Gossip,
    });
    assert!(matches!(bench.plan(), Err(PlanError::Joining)));
    bench.receive(
        "jpn",
        99,
        Fact::Upstream(upstream_fact(Standing::Ready, TTFT)),
    );
    assert!(
        bench.plan().is_err(),
        "facts of the old incarnation come too late"
    );
}

#[test]
fn facts_about_this_node_from_outside_change_nothing() {
    let mut bench = Bench::with_upstream();
    let ejected = Standing::Ejected {
        reason: EjectionReason::ErrorRate,
    };
    assert!(
        bench
            .receive("usa", 99, Fact::Upstream(upstream_fact(ejected, TTFT)))
            .is_empty()
    );
    assert_eq!(bench.first_node(), "usa");
}

#[test]
fn dead_peer_is_forgotten_after_ten_minutes() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.handle(Event::MembersChanged(BTreeSet::from([node("jpn")])));
    bench.handle(Event::LinkDown { peer: node("jpn") });
    bench.handle(Event::MembersChanged(BTreeSet::new()));
    bench.wait(Duration::from_secs(599));
    assert_eq!(bench.engine.view(bench.now).nodes.len(), 2);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.engine.view(bench.now).nodes.len(), 1);
}

#[test]
fn peer_considered_dead_keeps_its_work_while_its_link_is_up() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.handle(Event::MembersChanged(BTreeSet::from([node("jpn")])));
    bench.handle(Event::MembersChanged(BTreeSet::new()));
    assert_eq!(bench.first_node(), "jpn");
    assert!(!bench.engine.view(bench.now).nodes[1].live);
}

#[test]
fn load_reported_by_a_peer_makes_it_hot() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.meet("sgp", FAR, TTFT);
    assert_eq!(bench.first_node(), "jpn");
    let load = Load {
        upstream: upstream("primary"),
        in_flight: 9,
        ttft: TTFT,
    };
    bench.handle(Event::LoadReceived {
        peer: node("jpn"),
        loads: vec![load],
    });
    assert_eq!(bench.first_node(), "sgp");
}

#[test]
fn long_wait_moves_requests_elsewhere_before_it_ends() {
    let mut bench = Bench::with_upstream();
    bench.attempt(Outcome::status(200));
    bench.meet("jpn", NEAR, TTFT);
    assert_eq!(bench.first_node(), "usa");
    let waits = |waited| {
        let (upstream, model) = (upstream("primary"), Some(model("gpt")));
        Event::AnswerAwaited(WaitReport {
            shape: RequestShape::default(),
            upstream,
            model,
            waited,
            witness: witness(0, Instant::START),
        })
    };
    bench.handle(waits(Duration::from_millis(599)));
    assert_eq!(bench.first_node(), "usa", "not yet unusual");
    bench.handle(waits(Duration::from_millis(600)));
    assert!(
        bench
            .engine
            .view_is_due(bench.now + Duration::from_millis(50))
    );
    assert_eq!(bench.first_node(), "jpn");
    let view = bench.engine.view(bench.now);
    let expected = view.own_expected(
        &upstream("primary"),
        Some(&model("gpt")),
        RequestShape::default(),
    );
    assert_eq!(expected, Some(Duration::from_millis(600)));
}

#[test]
fn upstream_is_back_soon_after_a_long_outage() {
    let mut bench = Bench::with_upstream();
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    let mut probes = 0;
    for _ in 0..600 {
        let effects = bench.wait(Duration::from_millis(100));
        if effects
            .iter()
            .any(|effect| matches!(effect, Effect::Probe { .. }))
        {
            probes += 1;
            bench.probe(Outcome::ConnectFailed);
        }
    }
    assert!(
        (10..=40).contains(&probes),
        "{probes} free probes in a minute"
    );
    let mut waited = Duration::ZERO;
    while bench.plan().expect("a plan").last_resort {
        let effects = bench.wait(Duration::from_millis(100));
        waited += Duration::from_millis(100);
        if effects
            .iter()
            .any(|effect| matches!(effect, Effect::Probe { .. }))
        {
            bench.probe(Outcome::status(200));
        }
    }
    assert!(waited < Duration::from_secs(6), "{waited:?}");
}

#[test]
fn refusal_makes_a_peer_hot_for_a_second() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.meet("sgp", FAR, TTFT);
    let report = AttemptReport {
        shape: RequestShape::default(),
        peer: Some(node("jpn")),
        upstream: upstream("primary"),
        model: None,
        outcome: Outcome::Refused(Refusal::Full),
        witness: witness(0, bench.now),
        detail: None,
        first_byte: None,
    };
    bench.handle(Event::AttemptEnded(report));
    assert_eq!(bench.first_node(), "sgp");
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.first_node(), "jpn");
}

#[test]
fn refusal_of_an_ejected_upstream_is_forgotten_when_it_recovers() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    let report = AttemptReport {
        shape: RequestShape::default(),
        peer: Some(node("jpn")),
        upstream: upstream("primary"),
        model: None,
        outcome: Outcome::Refused(Refusal::Ejected),
        witness: witness(0, bench.now),
        detail: None,
        first_byte: None,
    };
    bench.handle(Event::AttemptEnded(report));
    let ejected = Standing::Ejected {
        reason: EjectionReason::ErrorRate,
    };
    for (version, standing) in [(4, ejected), (5, Standing::Ready)] {
        let fact = Fact::Upstream(upstream_fact(standing, TTFT));
        bench.receive("jpn", version, fact);
    }
    let choices = bench.plan().expect("a plan").choices;
    assert!(!choices[0].candidate.upstream.is_hot(bench.now));
}

#[test]
fn unprobed_upstream_gets_one_request_as_its_trial() {
    let mut bench = Bench::new();
    bench.handle(Event::Configured(vec![spec(Probe::Off)]));
    bench.meet("jpn", NEAR, TTFT);
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    bench.wait(Duration::from_secs(2));
    let plan = bench.plan().expect("a plan");
    let first = &plan.choices[0];
    assert_eq!(
        (first.reason, first.candidate.upstream.way),
        (crate::route::RouteReason::Trial, Way::Local)
    );
    let _trying = first.candidate.upstream.in_flight.enter();
    assert_eq!(bench.first_node(), "jpn");
}

#[test]
fn removed_upstream_is_withdrawn_from_the_mesh() {
    let mut bench = Bench::with_upstream();
    let effects = bench.handle(Event::Configured(vec![]));
    let gone = Fact::UpstreamGone(upstream("primary"));
    let withdrawn =
        |effect: &Effect| matches!(effect, Effect::Publish { fact, .. } if *fact == gone);
    assert!(effects.iter().any(withdrawn));
    assert!(matches!(bench.plan(), Err(PlanError::UnknownModel { .. })));
}

#[test]
fn reload_keeps_the_state_of_what_stays() {
    let mut bench = Bench::with_upstream();
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    bench.handle(Event::Configured(vec![spec(Probe::Models)]));
    assert!(bench.plan().expect("a plan").last_resort);
}

#[test]
fn own_ejected_upstream_is_tried_when_nothing_else_is_left() {
    let mut bench = Bench::with_upstream();
    (0..3).for_each(|_| {
        bench.attempt(Outcome::ConnectFailed);
    });
    let plan = bench.plan().expect("a plan");
    assert!(plan.last_resort && plan.choices.len() == 1);
}

#[test]
fn view_shows_a_peer_without_link_as_down() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.handle(Event::LinkDown { peer: node("jpn") });
    assert_eq!(bench.engine.view(bench.now).nodes[1].reach, Reach::Down);
}

#[test]
fn equal_events_give_equal_effects() {
    let run = || {
        let mut bench = Bench::with_upstream();
        let mut all = Vec::new();
        for round in 0..50u64 {
            all.extend(bench.attempt(if round % 3 == 0 {
                Outcome::status(200)
            } else {
                Outcome::Reset
            }));
            all.extend(bench.wait(Duration::from_millis(137)));
        }
        format!("{all:?}")
    };
    assert_eq!(run(), run());
}

/// What was published, with the incarnation it was published in.
fn published(effects: &[Effect]) -> Vec<(FactKey, Stamp, bool)> {
    let publication = |effect: &Effect| match effect {
        Effect::Publish {
            fact,
            stamp,
            urgent,
        } => Some((fact.key(), *stamp, *urgent)),
        _ => None,
    };
    effects.iter().filter_map(publication).collect()
}

#[test]
fn later_generation_of_itself_makes_the_node_publish_everything_above_it() {
    let mut bench = Bench::with_upstream();
    let (former, now) = (Generation(3_600_000), Generation(7));
    let effects = bench.handle(Event::FormerIncarnation { generation: former });
    let stamp = |version| Stamp {
        generation: Generation(3_600_001),
        version,
    };
    let everything = vec![
        (FactKey::Node, stamp(1), true),
        (FactKey::Phase, stamp(2), true),
        (FactKey::Upstream(upstream("primary")), stamp(3), true),
    ];
    assert_eq!(published(&effects), everything);
    let notice = Effect::Notice(Notice::ClockWentBack { former, now });
    assert!(effects.contains(&notice));
    let drains = bench.handle(Event::PhaseChanged(Phase::Draining));
    assert_eq!(published(&drains), [(FactKey::Phase, stamp(4), true)]);
}

#[test]
fn earlier_incarnation_of_no_later_generation_is_ignored() {
    let mut bench = Bench::with_upstream();
    for generation in [0, 6, 7] {
        let generation = Generation(generation);
        let effects = bench.handle(Event::FormerIncarnation { generation });
        assert_eq!(effects, [], "{generation:?}");
    }
    let generation = Generation(8);
    let effects = bench.handle(Event::FormerIncarnation { generation });
    assert_eq!(published(&effects).len(), 3);
    assert_eq!(bench.handle(Event::FormerIncarnation { generation }), []);
}

/// A draining peer that died, and came back after `span` in an earlier incarnation that is ready.
fn came_back_earlier_after(span: Duration) -> Bench {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    let live = || Event::MembersChanged(BTreeSet::from([node("jpn")]));
    bench.handle(live());
    bench.receive("jpn", 4, Fact::Phase(Phase::Draining));
    bench.handle(Event::LinkDown { peer: node("jpn") });
    bench.handle(Event::MembersChanged(BTreeSet::new()));
    bench.wait(span);
    bench.handle(live());
    bench.handle(Event::LinkUp { peer: node("jpn") });
    bench.receive_in(2, "jpn", 1, Fact::Node(node_fact("jpn")));
    bench.receive_in(2, "jpn", 2, Fact::Phase(Phase::Ready));
    bench
}

#[test]
fn earlier_incarnation_of_a_peer_is_accepted_only_when_the_later_one_is_long_dead() {
    let reach = |span| {
        let mut bench = came_back_earlier_after(span);
        let view = bench.engine.view(bench.now);
        view.nodes[1].reach
    };
    assert_eq!(reach(Duration::from_secs(239)), Reach::Closed);
    assert_eq!(reach(Duration::from_secs(240)), Reach::Open);
}

/// One rule that keeps clients of the EU in `region`.
fn rules(name: &str) -> Residency {
    let rule = Rule {
        clients: vec!["EU".parse().expect("a known area")],
        keys: Vec::new(),
        models: Vec::new(),
        regions: [region(name)].into(),
    };
    Residency::new(vec![rule], Unknown::Fenced)
}

fn rules_fact(rules: &Residency) -> Fact {
    Fact::Rules(Arc::new(RulesFact {
        digest: rules.digest(),
        rules: rules.clone(),
    }))
}

/// The nodes whose rules `usa` knows beside its own, one for each set.
fn lenders(bench: &mut Bench) -> Vec<String> {
    let view = bench.engine.view(bench.now);
    let lenders = view
        .mesh_rules
        .others
        .iter()
        .map(|set| set.node.to_string());
    lenders.collect()
}

#[test]
fn own_rules_are_published_at_once_and_only_when_they_change() {
    let mut bench = Bench::new();
    let published = |effects: &[Effect]| {
        let all = published(effects).into_iter();
        all.filter(|(key, ..)| *key == FactKey::Rules)
            .map(|(.., urgent)| urgent)
            .collect::<Vec<_>>()
    };
    assert_eq!(published(&bench.handle(Event::Tick)), []);
    let none = Residency::default();
    assert_eq!(
        published(&bench.handle(Event::RulesChanged(none.clone()))),
        [true]
    );
    assert_eq!(published(&bench.handle(Event::RulesChanged(none))), []);
    assert_eq!(
        published(&bench.handle(Event::RulesChanged(rules("eur")))),
        [true]
    );
}

#[test]
fn peers_rules_are_kept_until_they_are_the_own() {
    let mut bench = Bench::new();
    let effects = bench.receive("eur", 1, rules_fact(&rules("eur")));
    let differ = Effect::Notice(Notice::RulesDiffer { peer: node("eur") });
    assert!(effects.contains(&differ));
    bench.receive("fra", 1, rules_fact(&rules("eur")));
    assert_eq!(lenders(&mut bench), ["eur"], "equal rules are one set");
    bench.handle(Event::RulesChanged(rules("eur")));
    assert_eq!(lenders(&mut bench), [""; 0]);
    let effects = bench.receive("eur", 2, rules_fact(&rules("fra")));
    assert!(effects.contains(&differ));
    let effects = bench.receive("eur", 3, rules_fact(&rules("eur")));
    let agree = Effect::Notice(Notice::RulesAgree { peer: node("eur") });
    assert!(effects.contains(&agree));
    assert_eq!(lenders(&mut bench), [""; 0]);
}

#[test]
fn peers_rules_outlast_its_link_and_its_restart_but_not_its_memory() {
    let mut bench = Bench::new();
    bench.meet("eur", NEAR, TTFT);
    bench.handle(Event::MembersChanged(BTreeSet::from([node("eur")])));
    bench.receive("eur", 4, rules_fact(&rules("eur")));
    bench.receive_in(4, "eur", 1, Fact::Node(node_fact("eur")));
    assert_eq!(lenders(&mut bench), ["eur"]);
    bench.handle(Event::MembersChanged(BTreeSet::new()));
    bench.handle(Event::LinkDown { peer: node("eur") });
    bench.wait(FORGET_AFTER - Duration::from_secs(1));
    assert_eq!(lenders(&mut bench), ["eur"]);
    bench.wait(Duration::from_secs(1));
    assert_eq!(lenders(&mut bench), [""; 0]);
}

#[test]
fn peer_that_publishes_no_rules_is_shown_where_there_are_some() {
    let mut bench = Bench::new();
    bench.meet("old", NEAR, TTFT);
    let differs = |bench: &mut Bench| {
        bench.engine.view(bench.now).nodes[1]
            .rules_differ_since
            .is_some()
    };
    assert!(!differs(&mut bench));
    bench.handle(Event::RulesChanged(rules("eur")));
    assert!(differs(&mut bench));
    bench.receive("old", 9, rules_fact(&rules("eur")));
    assert!(!differs(&mut bench));
}

#[test]
fn every_node_that_published_its_fact_counts_among_those_who_agree() {
    let mut bench = Bench::new();
    let mesh = |bench: &mut Bench| {
        let rules = bench.engine.view(bench.now).mesh_rules;
        let sets = rules.others.iter();
        let sets: Vec<_> = sets.map(|set| (set.node.to_string(), set.nodes)).collect();
        (rules.nodes, sets)
    };
    assert_eq!(mesh(&mut bench), (1, vec![]));
    bench.handle(Event::MembersChanged(BTreeSet::from([node("named")])));
    assert_eq!(mesh(&mut bench), (1, vec![]), "a name alone is no node");
    bench.receive("old", 1, Fact::Node(node_fact("old")));
    bench.receive("eur", 1, rules_fact(&rules("eur")));
    bench.receive("eur", 2, Fact::Node(node_fact("eur")));
    bench.receive("fra", 1, rules_fact(&rules("eur")));
    assert_eq!(mesh(&mut bench), (4, vec![("eur".to_string(), 2)]));
    bench.handle(Event::RulesChanged(rules("eur")));
    assert_eq!(mesh(&mut bench), (4, vec![]));
}

#[test]
fn rules_that_differ_are_shown_with_the_moment_they_began_to() {
    let mut bench = Bench::new();
    bench.receive("eur", 1, rules_fact(&rules("eur")));
    let since = |bench: &mut Bench| {
        let view = bench.engine.view(bench.now);
        view.nodes[1].rules_differ_since
    };
    let began = since(&mut bench);
    assert!(began.is_some());
    bench.wait(Duration::from_secs(5));
    bench.receive("eur", 2, rules_fact(&rules("fra")));
    assert_eq!(since(&mut bench), began);
    bench.handle(Event::RulesChanged(rules("fra")));
    assert_eq!(since(&mut bench), None);
}

fn set_members(bench: &mut Bench, names: &[&str]) {
    let names = names.iter().map(|name| node(name)).collect();
    bench.handle(Event::MembersChanged(names));
}
