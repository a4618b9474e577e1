//! Answers that break off: what the owner publishes of them, and what peers make of it.

use super::*;

fn breaking(percent: u32, ttft: Duration) -> Fact {
    Fact::Upstream(UpstreamFact {
        break_rate: Share::of(percent, 100),
        ..upstream_fact(Standing::Ready, ttft)
    })
}

/// The rates of broken answers that `effects` publish, and whether at once.
fn published(effects: &[Effect]) -> Vec<(f64, bool)> {
    let of = |effect: &Effect| match effect {
        Effect::Publish {
            fact: Fact::Upstream(fact),
            urgent,
            ..
        } => Some((fact.break_rate.get(), *urgent)),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

#[test]
fn rate_of_breaks_is_published_with_the_figures_and_never_at_once() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    let mut all = Vec::new();
    for number in 1..=80 {
        all.extend(published(&bench.wait(Duration::from_millis(700))));
        let outcome = match number % 16 {
            0 => Outcome::BrokenOff,
            _ => Outcome::status(200),
        };
        all.extend(published(&bench.attempt(outcome)));
    }
    let rates: Vec<f64> = all.iter().map(|(rate, _)| *rate).collect();
    assert!(all.iter().all(|(rate, urgent)| *rate == 0.0 || !urgent));
    assert!(rates.iter().any(|rate| *rate > 0.0), "{rates:?}");
    // Not with each answer, which changes the share a little.
    assert!(rates.len() <= 12, "{rates:?}");
    let last = bench.engine.own_upstream(bench.now, &upstream("primary"));
    assert_eq!(last.expect("configured").0.break_rate.get(), 0.06);
}

#[test]
fn peer_that_breaks_answers_off_is_left_for_another_and_used_again_when_it_does_not() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    bench.meet("kor", NEAR + Duration::from_millis(60), TTFT);
    assert_eq!(bench.first_node(), "jpn");
    bench.receive("jpn", 4, breaking(6, TTFT));
    assert_eq!(bench.first_node(), "kor");
    bench.wait(Duration::from_secs(1));
    bench.receive("kor", 4, breaking(0, TTFT));
    bench.receive("jpn", 5, breaking(0, TTFT));
    assert_eq!(bench.first_node(), "jpn");
}

#[test]
fn peer_of_a_build_that_publishes_no_rate_counts_as_breaking_nothing() {
    let mut bench = Bench::new();
    bench.meet("jpn", NEAR, TTFT);
    let plan = bench.plan().expect("a plan");
    assert_eq!(plan.choices[0].cost.breaks, Duration::ZERO);
}
