//! Own upstreams go before peers' of about the same cost.

use super::*;
use crate::geo_point::GeoPoint;
use crate::route::RouteReason;

const BESIDE: Duration = Duration::from_millis(1);

impl Bench {
    /// The own upstream answered after `first_byte`.
    fn answered(&mut self, first_byte: Duration) {
        self.requests += 1;
        let witness = witness(self.requests, self.now);
        self.handle(Event::AttemptEnded(AttemptReport {
            peer: None,
            upstream: upstream("primary"),
            model: Some(model("gpt")),
            outcome: Outcome::status(200),
            witness,
            detail: None,
            first_byte: Some(first_byte),
            shape: RequestShape::default(),
        }));
    }

    fn first(&mut self) -> (String, RouteReason) {
        let choice = self.plan().expect("a plan").choices.swap_remove(0);
        (choice.candidate.upstream.node.to_string(), choice.reason)
    }

    /// The nodes of the candidates for `gpt` as the view lists them, and which of them is the incumbent.
    fn listed(&mut self) -> (Vec<String>, Vec<bool>) {
        let view = self.engine.view(self.now);
        let tier = &view.models[&model("gpt")].tiers[0];
        let names = tier.usable.iter().map(|it| it.upstream.node.to_string());
        let incumbents = tier.usable.iter().map(|it| it.incumbent);
        (names.collect(), incumbents.collect())
    }
}

#[test]
fn upstream_that_was_slow_for_a_while_serves_its_own_clients_again() {
    let mut bench = Bench::with_upstream();
    bench.answered(TTFT);
    bench.meet("jpn", BESIDE, TTFT);
    assert_eq!(bench.first(), ("usa".to_owned(), RouteReason::Own));
    for _ in 0..20 {
        bench.wait(Duration::from_millis(100));
        bench.answered(TTFT * 2);
    }
    assert_eq!(bench.first(), ("jpn".to_owned(), RouteReason::LeastCost));
    assert_eq!(bench.listed().1, [true, false], "the peer is the incumbent");
    // It gets few requests until it has proved that it is as fast as before.
    for _ in 0..60 {
        bench.wait(Duration::from_secs(1));
        bench.answered(TTFT + BESIDE * 4);
    }
    bench.receive(
        "jpn",
        4,
        Fact::Upstream(upstream_fact(Standing::Ready, TTFT)),
    );
    assert_eq!(bench.first(), ("usa".to_owned(), RouteReason::Own));
    assert_eq!(bench.listed(), (names(&["usa", "jpn"]), vec![true, false]));
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn own_upstream_is_listed_before_cheaper_ones_as_long_as_it_is_near() {
    let mut bench = Bench::with_upstream();
    bench.answered(TTFT);
    bench.meet("near", BESIDE, TTFT - BESIDE * 10);
    bench.meet("far", FAR, TTFT);
    assert_eq!(bench.listed().0, ["usa", "near", "far"]);
    let faster = upstream_fact(Standing::Ready, TTFT - BESIDE * 40);
    bench.receive("near", 4, Fact::Upstream(faster));
    assert_eq!(bench.listed().0, ["near", "usa", "far"]);
}

#[test]
fn window_of_sixteen_holds_the_own_upstream_beside_many_cheaper_ones() {
    let mut bench = Bench::with_upstream();
    bench.answered(TTFT);
    for number in 0..40 {
        bench.meet(&format!("n{number}"), BESIDE, TTFT - BESIDE * 10);
    }
    assert_eq!(bench.first(), ("usa".to_owned(), RouteReason::Own));
}

#[test]
fn own_upstream_goes_first_among_those_in_the_clients_city() {
    let place = GeoPoint::new(48.0, 2.0);
    let mut bench = Bench::new();
    bench.engine.identity.place = place;
    bench.handle(Event::Configured(vec![spec(Probe::Models)]));
    bench.handle(Event::PhaseChanged(Phase::Ready));
    bench.answered(TTFT);
    bench.meet("jpn", BESIDE, TTFT - BESIDE * 10);
    let beside = NodeFact {
        place,
        ..node_fact("jpn")
    };
    bench.receive("jpn", 5, Fact::Node(beside));
    let view = bench.engine.view(bench.now);
    let gpt = model("gpt");
    let ask = RouteQuery {
        strategy: Strategy::Geo,
        client_place: place,
        ..RouteQuery::of(&gpt)
    };
    let plan = plan(&view, &ask, bench.now, &mut bench.rng).expect("a plan");
    assert_eq!(plan.choices[0].candidate.upstream.node.as_str(), "usa");
}
