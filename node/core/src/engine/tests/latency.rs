//! Where requests go as the time of answers depends on the prompt, the class, and the moment.

use super::*;
use crate::fact::AnswerFigures;
use crate::forwarding::PathScope;
use crate::latency::AnswerClass;
use crate::outcome::Stage;
use crate::request::{LongWait, UpstreamCall};
use crate::route::RouteReason;

const SECOND: Duration = Duration::from_secs(1);
const QUICK: Duration = Duration::from_millis(300);
const SLOW: Duration = Duration::from_millis(1_500);
const LONG: u32 = 100 * 1_024;

/// A call in flight.
struct InFlightCall {
    call: UpstreamCall,
    name: UpstreamName,
    wait: LongWait,
    ends_at: Instant,
    _guard: crate::limit::InFlightGuard,
}

/// Two own upstreams, `a` and `b`, and requests at a steady pace.
struct Traffic {
    bench: Bench,
    in_flight: Vec<InFlightCall>,
    /// How often requests were tried out on another than the best.
    explored: u32,
}

impl Traffic {
    fn new() -> Self {
        let mut bench = Bench::new();
        let named = |name: &str| UpstreamSpec {
            name: upstream(name),
            ..spec(Probe::Off)
        };
        bench.handle(Event::Configured(vec![named("a"), named("b")]));
        bench.handle(Event::PhaseChanged(Phase::Ready));
        Self {
            bench,
            in_flight: Vec::new(),
            explored: 0,
        }
    }

    /// Lets time pass until `at`: answers come, and long waits are reported.
    fn run_until(&mut self, at: Instant) {
        loop {
            let due = |one: &InFlightCall| one.ends_at.min(one.wait.due_at());
            let next = (0..self.in_flight.len()).min_by_key(|index| due(&self.in_flight[*index]));
            let Some(index) = next.filter(|index| due(&self.in_flight[*index]) <= at) else {
                break;
            };
            self.bench.now = due(&self.in_flight[index]);
            let event = if self.in_flight[index].ends_at <= self.bench.now {
                let done = self.in_flight.remove(index);
                let mut call = done.call;
                call.first_byte_came(self.bench.now);
                call.ended(self.bench.now, Outcome::status(200), None).event
            } else {
                let one = &mut self.in_flight[index];
                one.wait
                    .report(self.bench.now, one.name.clone(), Some(model("gpt")))
            };
            self.bench.handle(event);
        }
        self.bench.now = at;
        self.bench.handle(Event::Tick);
    }

    /// Sends a request now that `takes` so long, by upstream. Returns where it went.
    fn send(&mut self, shape: RequestShape, takes: impl FnOnce(&str) -> Duration) -> UpstreamName {
        let view = self.bench.engine.view(self.bench.now);
        let model = model("gpt");
        let ask = RouteQuery {
            shape,
            ..RouteQuery::of(&model)
        };
        let now = self.bench.now;
        let plan = plan(&view, &ask, now, &mut self.bench.rng).expect("a plan");
        let choice = &plan.choices[0];
        self.explored += u32::from(choice.reason == RouteReason::Exploration);
        let it = Arc::clone(&choice.candidate.upstream);
        self.bench.requests += 1;
        let witness = witness(self.bench.requests, now);
        let expected = view.own_expected(&it.name, Some(&model), shape);
        let p99 = view.own_p99(&it.name, shape.class);
        self.in_flight.push(InFlightCall {
            call: UpstreamCall::at(&it, PathScope::Inference, Some(model), shape, witness),
            name: it.name.clone(),
            wait: LongWait::new(witness, shape, expected, p99),
            ends_at: now + takes(it.name.as_str()),
            _guard: it.in_flight.enter(),
        });
        it.name.clone()
    }

    /// One short prompt a second for `seconds`; returns where each went.
    fn short_prompts(&mut self, seconds: u32) -> Vec<String> {
        let send = |_| {
            self.run_until(self.bench.now + SECOND);
            self.send(stream(2_000), short).to_string()
        };
        (0..seconds).map(send).collect()
    }
}

fn stream(body_bytes: usize) -> RequestShape {
    RequestShape::new(true, body_bytes)
}

fn short(upstream: &str) -> Duration {
    match upstream {
        "a" => QUICK,
        _ => SLOW,
    }
}

#[test]
fn few_requests_find_out_what_another_upstream_costs() {
    let mut traffic = Traffic::new();
    // Nearly as good, and never the best.
    let beside = |at: &str| QUICK + if at == "a" { 0 } else { 60 } * Duration::from_millis(1);
    for _ in 0..1_000 {
        traffic.run_until(traffic.bench.now + SECOND);
        traffic.send(stream(2_000), beside);
    }
    let explored = traffic.explored;
    assert!((40..=110).contains(&explored), "{explored}");
}

#[test]
fn rare_requests_seldom_explore() {
    let mut traffic = Traffic::new();
    let mut went = Vec::new();
    for _ in 0..200 {
        traffic.run_until(traffic.bench.now + SECOND * 60);
        went.push(traffic.send(stream(2_000), short));
    }
    let explored = traffic.explored;
    assert!((2..=22).contains(&explored), "{explored}");
}

#[test]
fn upstream_that_only_fails_is_not_tried_for_ever() {
    let mut traffic = Traffic::new();
    let mut failed = 0;
    for _ in 0..1_000 {
        traffic.run_until(traffic.bench.now + SECOND);
        if traffic.send(stream(2_000), |_| QUICK).as_str() == "b" {
            failed += 1;
            let call = traffic.in_flight.pop().expect("just sent").call;
            // Nobody's fault that can be shown, so that it is not ejected.
            let outcome = Outcome::TimedOut(Stage::FirstByte);
            let event = call.ended(traffic.bench.now, outcome, None).event;
            traffic.bench.handle(event);
        }
    }
    assert!(failed <= 20, "{failed}");
}

#[test]
fn whole_answers_go_where_whole_answers_are_quick() {
    let mut traffic = Traffic::new();
    // The quicker first byte is that of the slower writer.
    let takes = |shape: RequestShape, at: &str| match (shape.class, at) {
        (AnswerClass::Stream, at) => short(at),
        (AnswerClass::Whole, "a") => SECOND * 20,
        (AnswerClass::Whole, _) => SECOND * 4,
    };
    let (mut streams, mut whole) = (Vec::new(), Vec::new());
    for number in 0..400 {
        traffic.run_until(traffic.bench.now + SECOND);
        let shape = RequestShape::new(number % 4 != 0, 2_000);
        let at = traffic.send(shape, |at| takes(shape, at)).to_string();
        match shape.class {
            AnswerClass::Stream => streams.push(at),
            AnswerClass::Whole => whole.push(at),
        }
    }
    let share = |went: &[String], name: &str| {
        let there = went[20..].iter().filter(|at| *at == name).count();
        there as f64 / (went.len() - 20) as f64
    };
    assert!(share(&streams, "a") > 0.95, "{}", share(&streams, "a"));
    assert!(share(&whole, "b") > 0.9, "{}", share(&whole, "b"));
}

#[test]
fn peak_at_a_peers_upstream_is_published_as_it_passes() {
    let mut bench = Bench::with_upstream();
    (0..40).for_each(|_| drop(bench.attempt(Outcome::status(200))));
    bench.wait(SECOND * 2);
    let slow = AttemptReport {
        shape: RequestShape::default(),
        peer: None,
        upstream: upstream("primary"),
        model: Some(model("gpt")),
        outcome: Outcome::status(200),
        witness: witness(99, bench.now),
        detail: None,
        first_byte: Some(SECOND * 5),
    };
    let mut published = bench.handle(Event::AttemptEnded(slow));
    (0..60).for_each(|_| published.extend(bench.wait(SECOND)));
    let ttft = published.iter().rev().find_map(|effect| match effect {
        Effect::Publish {
            fact: Fact::Upstream(fact),
            ..
        } => Some((fact.ttft, fact.models[&model("gpt")])),
        _ => None,
    });
    let (all, of_model) = ttft.expect("published again");
    assert!(
        all < Some(SECOND) && of_model < Some(SECOND),
        "{all:?} {of_model:?}"
    );
    assert!(published.len() < 60, "{}", published.len());
}

#[test]
fn peer_publishes_whole_answers_sizes_and_its_age() {
    let mut bench = Bench::with_upstream();
    bench.meet("sgp", Duration::from_millis(100), QUICK);
    let further = FurtherFigures {
        all: AnswerFigures {
            whole: Some(SECOND * 9),
            per_kib: Duration::from_millis(40),
        },
        models: BTreeMap::new(),
        asked_ago: Some(SECOND * 3),
        ..FurtherFigures::default()
    };
    let fact = UpstreamFact {
        further,
        ..upstream_fact(Standing::Ready, QUICK)
    };
    bench.now = Instant::START + SECOND * 100;
    bench.receive("sgp", 4, Fact::Upstream(fact));
    let view = bench.engine.view(bench.now);
    let routes = view.routes(Some(&model("gpt"))).expect("known");
    let it = routes.tiers[0].usable.iter();
    let it = { it }.find(|it| it.upstream.way == Way::Peer).expect("one");
    assert_eq!(
        it.expected(RequestShape::short(AnswerClass::Whole)),
        SECOND * 9
    );
    let long = it.expected(stream(104 * 1_024));
    assert_eq!(long, QUICK + SECOND * 4);
    // It may have been asked again, and the peer has not said so yet.
    let age = it.tries.stream.age(bench.now + SECOND * 20);
    assert_eq!(age, SECOND * (20 + 3 - 10 - 1));
}

#[test]
fn few_long_prompts_keep_no_short_one_from_the_quick_upstream() {
    let mut traffic = Traffic::new();
    traffic.short_prompts(30);
    let mut quick = 0;
    let mut sent = 0;
    for number in 0..2_000_u32 {
        traffic.run_until(traffic.bench.now + SECOND);
        if number % 50 == 7 {
            let adds = Duration::from_millis(4_700);
            traffic.send(stream(LONG as usize), |at| short(at) + adds);
            continue;
        }
        let at = traffic.send(stream(2_000), short);
        sent += 1;
        quick += u32::from(at.as_str() == "a");
    }
    let share = f64::from(quick) / f64::from(sent);
    assert!(share >= 0.95, "{share}");
}

#[test]
fn upstream_is_the_best_again_soon_after_one_slow_answer() {
    let mut traffic = Traffic::new();
    traffic.short_prompts(60);
    // One answer of five seconds, without a reason.
    traffic.run_until(traffic.bench.now + SECOND);
    let seconds = Duration::from_secs(5);
    assert_eq!(traffic.send(stream(2_000), |_| seconds).as_str(), "a");
    traffic.run_until(traffic.bench.now + seconds);
    let went = traffic.short_prompts(60);
    let elsewhere = went.iter().rposition(|at| at == "b").unwrap_or(0);
    let avoided = went.iter().take_while(|at| *at == "b").count();
    assert!(avoided <= 12, "{avoided}");
    let strays = went[avoided..].iter().filter(|at| *at == "b").count();
    assert!(strays <= 3, "{strays}, the last at {elsewhere}");
}

#[test]
fn view_that_says_when_an_attempt_is_late_is_made_without_another_request() {
    let of_model = |view: &View, node_name: &str| {
        let routes = view.routes(Some(&model("gpt"))).expect("routes");
        let mut candidates = routes.tiers.iter().flat_map(|tier| &tier.usable);
        let found = candidates.find(|it| it.upstream.node == node(node_name));
        let found = found.expect("a candidate");
        crate::request::late_after(found, RequestShape::default())
    };
    for peer in [None, Some(node("sgp"))] {
        let mut bench = Bench::with_upstream();
        bench.meet("sgp", Duration::from_millis(10), QUICK);
        bench.wait(SECOND);
        let owner = peer.clone().unwrap_or_else(|| node("usa"));
        let mut view = bench.engine.view(bench.now);
        for number in 0..20 {
            bench.now = bench.now + Duration::from_millis(1);
            bench.handle(Event::AttemptEnded(AttemptReport {
                shape: RequestShape::default(),
                peer: peer.clone(),
                upstream: upstream("primary"),
                model: Some(model("gpt")),
                outcome: Outcome::status(200),
                witness: witness(number, bench.now),
                detail: None,
                first_byte: Some(SECOND),
            }));
            if bench.engine.view_is_due(bench.now) {
                view = bench.engine.view(bench.now);
            }
        }
        // A request that follows at once is planned by a view that has few of the answers.
        assert_eq!(of_model(&view, owner.as_str()), None, "{owner}");
        let wake_at = bench.engine.next_wake().expect("a view to be made");
        bench.wait(wake_at.since(bench.now));
        assert!(bench.engine.view_is_due(bench.now));
        let after = bench.engine.view(bench.now);
        assert_eq!(of_model(&after, owner.as_str()), Some(SECOND), "{owner}");
    }
}
