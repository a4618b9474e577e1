//! Refusals by a state that the owner has not published yet.

use super::*;
use crate::route::{Absence, left_out};

const LAPSES_AFTER: Duration = Duration::from_secs(2);

/// With a peer `jpn` that serves `gpt` and `o3`, and `sgp`, farther away, that serves both too.
fn with_peers() -> Bench {
    let mut bench = Bench::new();
    for (name, rtt) in [("jpn", NEAR), ("sgp", FAR)] {
        bench.meet(name, rtt, TTFT);
        bench.receive(name, 4, Fact::Upstream(fact(Standing::Ready)));
    }
    bench
}

fn fact(standing: Standing) -> UpstreamFact {
    let models = ["gpt", "o3"].map(|name| (model(name), Some(TTFT)));
    UpstreamFact {
        models: BTreeMap::from(models),
        ..upstream_fact(standing, TTFT)
    }
}

impl Bench {
    fn refused(&mut self, name: Option<&str>, refusal: Refusal) {
        self.handle(Event::AttemptEnded(AttemptReport {
            peer: Some(node("jpn")),
            upstream: upstream("primary"),
            model: name.map(model),
            outcome: Outcome::Refused(refusal),
            witness: witness(0, self.now),
            detail: None,
            first_byte: None,
            shape: RequestShape::default(),
        }));
    }

    /// The nodes that a plan for `name` holds, by the order of the configuration, which does not look at load.
    fn configured(&mut self, name: &str) -> Vec<String> {
        let view = self.engine.view(self.now);
        let model = model(name);
        let ask = configured_ask(&model);
        let plan = plan(&view, &ask, self.now, &mut self.rng).expect("a plan");
        let nodes = plan.choices.iter();
        nodes
            .map(|it| it.candidate.upstream.node.to_string())
            .collect()
    }
}

/// By the order of the configuration, which does not look at load.
fn configured_ask(model: &ModelName) -> RouteQuery<'_> {
    RouteQuery {
        strategy: Strategy::Priority,
        ..RouteQuery::of(model)
    }
}

#[test]
fn refusal_by_state_takes_the_model_out_until_the_owner_publishes_anew() {
    for refusal in [Refusal::Ejected, Refusal::UnknownUpstream] {
        let mut bench = with_peers();
        bench.refused(Some("gpt"), refusal);
        assert_eq!(bench.configured("gpt"), ["sgp"], "{refusal:?}");
        assert_eq!(bench.configured("o3"), ["jpn", "sgp"], "{refusal:?}");
        let choices = bench.plan_for("o3").expect("a plan").choices;
        assert!(!choices[0].candidate.upstream.is_hot(bench.now));
        bench.receive("jpn", 5, Fact::Upstream(fact(Standing::Ready)));
        assert_eq!(bench.configured("gpt"), ["jpn", "sgp"], "{refusal:?}");
    }
}

#[test]
fn refusal_lapses_by_itself() {
    let mut bench = with_peers();
    bench.refused(Some("gpt"), Refusal::Ejected);
    bench.wait(LAPSES_AFTER - Duration::from_millis(1));
    assert_eq!(bench.configured("gpt"), ["sgp"]);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.configured("gpt"), ["jpn", "sgp"]);
}

#[test]
fn refusal_without_a_model_is_one_of_the_whole_upstream() {
    let mut bench = with_peers();
    bench.refused(None, Refusal::Ejected);
    assert_eq!(bench.configured("gpt"), ["sgp"]);
    assert_eq!(bench.configured("o3"), ["sgp"]);
}

#[test]
fn models_that_clients_make_up_keep_nobody_from_the_others() {
    let mut bench = with_peers();
    for number in 0..1_000 {
        bench.refused(Some(&format!("made-up-{number}")), Refusal::Ejected);
    }
    assert_eq!(bench.configured("gpt"), ["jpn", "sgp"]);
    assert!(bench.engine.view(bench.now).models.len() == 2);
}

#[test]
fn refusal_for_another_reason_says_nothing_of_the_upstreams_state() {
    for refusal in [
        Refusal::Full,
        Refusal::Residency,
        Refusal::Duplicate,
        Refusal::HopLimit,
        Refusal::Protocol,
    ] {
        let mut bench = with_peers();
        bench.refused(Some("gpt"), refusal);
        assert_eq!(bench.configured("gpt"), ["jpn", "sgp"], "{refusal:?}");
    }
}

#[test]
fn last_one_that_refused_is_tried_as_a_last_resort() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.refused(Some("gpt"), Refusal::Ejected);
    assert!(bench.plan().expect("a plan").last_resort);
}

#[test]
fn cooldown_that_was_published_explains_the_refusal() {
    let mut bench = with_peers();
    bench.refused(Some("gpt"), Refusal::Ejected);
    let gpt = model("gpt");
    let absence = |bench: &mut Bench| {
        let view = bench.engine.view(bench.now);
        let out = left_out(&view, &configured_ask(&gpt), &[], bench.now);
        let jpn = |it: &&crate::route::LeftOut| it.candidate.upstream.node == node("jpn");
        out.iter().find(jpn).map(|it| it.absence)
    };
    assert_eq!(absence(&mut bench), Some(Absence::Refused));
    let remaining = Duration::from_secs(9);
    let resting = fact(Standing::CoolingDown { remaining });
    bench.receive("jpn", 5, Fact::Upstream(resting));
    assert_eq!(absence(&mut bench), Some(Absence::CoolingDown));
    bench.wait(Duration::from_secs(8));
    assert_eq!(bench.configured("gpt"), ["sgp"]);
}

#[test]
fn upstream_that_its_owner_made_anew_was_refused_nothing() {
    let mut bench = with_peers();
    bench.refused(Some("gpt"), Refusal::UnknownUpstream);
    bench.receive("jpn", 5, Fact::UpstreamGone(upstream("primary")));
    bench.receive("jpn", 6, Fact::Upstream(fact(Standing::Ready)));
    assert_eq!(bench.configured("gpt"), ["jpn", "sgp"]);
}

#[test]
fn refusal_that_comes_after_what_the_owner_published_says_nothing_new() {
    let remaining = Duration::from_millis(500);
    let mut bench = with_peers();
    bench.receive(
        "jpn",
        5,
        Fact::Upstream(fact(Standing::CoolingDown { remaining })),
    );
    bench.refused(Some("gpt"), Refusal::Ejected);
    assert_eq!(bench.configured("gpt"), ["sgp"]);
    bench.wait(remaining);
    assert_eq!(bench.configured("gpt"), ["jpn", "sgp"]);
}
