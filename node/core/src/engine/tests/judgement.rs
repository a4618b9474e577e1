//! Whose fault a failure is: of the upstream, of one model, of one client.

use super::*;
use crate::latency::{self, AnswerClass};

/// With an upstream that lists `models`, proven to work.
fn with_models(models: &[&str]) -> Bench {
    let mut bench = Bench::new();
    let listed = models.iter().map(|name| model(name)).collect();
    bench.handle(Event::Configured(vec![UpstreamSpec {
        models: Models::Listed(listed),
        ..spec(Probe::Models)
    }]));
    bench.handle(Event::PhaseChanged(Phase::Ready));
    bench.probe(Outcome::status(200));
    bench
}

impl Bench {
    /// An attempt for `name` that ended so, of a client of its own.
    fn attempt_for(&mut self, name: &str, outcome: Outcome) -> Vec<Effect> {
        self.requests += 1;
        let witness = witness(self.requests, self.now);
        self.attempt_of(name, outcome, witness)
    }

    fn attempt_of(&mut self, name: &str, outcome: Outcome, witness: Witness) -> Vec<Effect> {
        self.handle(Event::AttemptEnded(AttemptReport {
            shape: RequestShape::default(),
            peer: None,
            upstream: upstream("primary"),
            model: Some(model(name)),
            outcome,
            witness,
            detail: Some("as the test says".into()),
            first_byte: None,
        }))
    }

    /// Whether a plan for `name` leads to something usable.
    fn serves(&mut self, name: &str) -> bool {
        self.plan_for(name).is_ok_and(|plan| !plan.last_resort)
    }
}

fn answer(status: u16, finding: Finding) -> Outcome {
    Outcome::Status {
        status,
        retry_after: None,
        finding,
    }
}

fn limited(seconds: u64) -> Outcome {
    Outcome::Status {
        status: 429,
        retry_after: Some(Duration::from_secs(seconds)),
        finding: Finding::RateOfModel,
    }
}

#[test]
fn rate_limit_of_one_model_leaves_the_others() {
    let mut bench = with_models(&["big", "small"]);
    bench.attempt_for("big", limited(120));
    assert!(!bench.serves("big") && bench.serves("small"));
    bench.wait(Duration::from_secs(121));
    assert!(bench.serves("big"));
}

#[test]
fn model_that_is_missing_is_out_alone_also_where_it_was_never_listed() {
    for listed in [&["here", "gone"][..], &["*"], &["*", "here"]] {
        let mut bench = with_models(listed);
        let effects = bench.attempt_for("gone", answer(404, Finding::ModelMissing));
        assert!(!bench.serves("gone") && bench.serves("here"), "{listed:?}");
        let is_notice = |effect: &Effect| matches!(effect, Effect::Notice(Notice::ModelOut { .. }));
        // What nobody lists is no news: clients may name anything.
        let is_listed = listed.contains(&"gone");
        assert_eq!(effects.iter().any(is_notice), is_listed);
        // It is asked for again after a while, and found.
        bench.wait(Duration::from_secs(120));
        assert!(bench.serves("gone"), "{listed:?}");
        bench.attempt_for("gone", Outcome::status(200));
        assert!(bench.serves("gone"));
    }
}

#[test]
fn models_that_clients_make_up_are_bounded_and_no_news() {
    let mut bench = with_models(&["*", "here"]);
    let mut urgent = 0;
    for number in 0..1_000 {
        let name = format!("made-up-{number}");
        let effects = bench.attempt_for(&name, answer(404, Finding::ModelMissing));
        urgent += usize::from(urgent_standing(&effects).is_some());
    }
    assert_eq!(urgent, 0, "figures, not transitions");
    let (_, fact) = bench
        .engine
        .own_upstream(bench.now, &upstream("primary"))
        .expect("configured");
    assert_eq!(fact.models_out.len(), crate::fact::MODELS_OUT_MAX);
    assert!(bench.engine.view(bench.now).models.len() < 100);
    // One that is listed is told before all of them, and at once.
    let effects = bench.attempt_for("here", answer(404, Finding::ModelMissing));
    assert!(urgent_standing(&effects).is_some());
    assert!(!bench.serves("here"));
}

#[test]
fn model_that_fails_while_others_are_served_is_out_alone() {
    let mut bench = with_models(&["good", "bad"]);
    for _ in 0..3 {
        bench.wait(Duration::from_millis(10));
        bench.attempt_for("good", Outcome::status(200));
        bench.attempt_for("bad", Outcome::status(500));
    }
    assert!(bench.serves("good") && !bench.serves("bad"));
}

#[test]
fn upstream_that_fails_every_model_is_out_as_a_whole() {
    let mut bench = with_models(&["one", "two"]);
    for name in ["one", "two", "one"] {
        bench.wait(Duration::from_millis(10));
        bench.attempt_for(name, Outcome::status(500));
    }
    assert!(!bench.serves("one") && !bench.serves("two"));
}

#[test]
fn account_without_money_is_out_at_once_and_says_so() {
    let mut bench = with_models(&["gpt"]);
    let effects = bench.attempt_for("gpt", answer(402, Finding::Account));
    let ejected = Standing::Ejected {
        reason: EjectionReason::Account,
    };
    assert_eq!(urgent_standing(&effects), Some(ejected));
}

#[test]
fn suspect_is_probed_at_once_and_tried_after_all_others() {
    let mut bench = with_models(&["gpt"]);
    bench.meet("jpn", FAR, TTFT);
    assert_eq!(bench.first_node(), "usa");
    let mut effects = Vec::new();
    for number in 1..4 {
        bench.wait(Duration::from_millis(10));
        let witness = Witness {
            client: 1,
            ..witness(number, bench.now)
        };
        effects.extend(bench.attempt_of("gpt", Outcome::status(500), witness));
    }
    assert!(has_probe(&effects));
    let reason = EjectionReason::Failures(FailureKind::Status);
    assert_eq!(
        urgent_standing(&effects),
        Some(Standing::Suspect { reason })
    );
    let plan = bench.plan().expect("a plan");
    let nodes: Vec<_> = plan
        .choices
        .iter()
        .map(|it| it.candidate.upstream.node.as_str())
        .collect();
    assert_eq!((nodes, plan.last_resort), (vec!["jpn", "usa"], false));
}

#[test]
fn silence_makes_suspect_after_ten_seconds_or_four_times_the_slowest_answers() {
    let mut bench = with_models(&["gpt"]);
    let began_at = bench.now;
    let wait = |bench: &mut Bench, number| {
        let waited = bench.now.since(began_at);
        bench.handle(Event::AnswerAwaited(WaitReport {
            shape: RequestShape::default(),
            upstream: upstream("primary"),
            model: Some(model("gpt")),
            waited,
            witness: witness(number, began_at),
        }))
    };
    let after = latency::stalled_after(AnswerClass::Stream, None).expect("streams stall");
    assert_eq!(after, Duration::from_secs(10));
    bench.wait(after - Duration::from_millis(1));
    assert_eq!(urgent_standing(&wait(&mut bench, 1)), None);
    assert_eq!(urgent_standing(&wait(&mut bench, 2)), None);
    bench.wait(Duration::from_millis(1));
    assert_eq!(urgent_standing(&wait(&mut bench, 1)), None);
    let suspect = Standing::Suspect {
        reason: EjectionReason::Stall,
    };
    assert_eq!(urgent_standing(&wait(&mut bench, 2)), Some(suspect));
    let slow = Some(Duration::from_secs(60));
    let after = |class| latency::stalled_after(class, slow);
    assert_eq!(after(AnswerClass::Stream), Some(Duration::from_secs(240)));
    assert_eq!(after(AnswerClass::Whole), Some(Duration::from_secs(240)));
    // Nobody knows how long they take.
    assert_eq!(latency::stalled_after(AnswerClass::Whole, None), None);
}

#[test]
fn cooldown_that_grew_is_told_at_once() {
    let mut bench = with_models(&["gpt"]);
    bench.attempt_for("gpt", answer(429, Finding::RateOfAccount));
    bench.wait(Duration::from_millis(500));
    let longer = Outcome::Status {
        status: 429,
        retry_after: Some(Duration::from_secs(9)),
        finding: Finding::RateOfAccount,
    };
    let remaining = Duration::from_secs(9);
    let effects = bench.attempt_for("gpt", longer);
    assert_eq!(
        urgent_standing(&effects),
        Some(Standing::CoolingDown { remaining })
    );
}

#[test]
fn what_went_wrong_last_is_kept_for_the_operator() {
    let mut bench = with_models(&["gpt"]);
    bench.attempt_for("gpt", Outcome::ConnectFailed);
    let view = bench.engine.view(bench.now);
    let shown = view.nodes[0].upstreams[0].last_failure.as_deref();
    assert_eq!(shown, Some("as the test says"));
}

#[test]
fn refusal_of_another_request_is_a_sign_of_life() {
    for (status, finding) in [
        (400, Finding::ClientMistake),
        (429, Finding::RateOfModel),
        (401, Finding::ClientIdentity),
    ] {
        for (refused_at, is_stall) in [(9, false), (0, true)] {
            let mut bench = with_models(&["gpt"]);
            bench.wait(Duration::from_secs(1));
            if refused_at == 0 {
                bench.attempt_for("gpt", answer(status, finding));
            }
            bench.wait(Duration::from_millis(1));
            let began_at = bench.now;
            bench.wait(Duration::from_secs(9));
            if refused_at == 9 {
                bench.attempt_for("gpt", answer(status, finding));
            }
            bench.wait(Duration::from_secs(3));
            for number in 1_000..1_002 {
                bench.handle(Event::AnswerAwaited(WaitReport {
                    shape: RequestShape::default(),
                    upstream: upstream("primary"),
                    model: Some(model("gpt")),
                    waited: bench.now.since(began_at),
                    witness: witness(number, began_at),
                }));
            }
            let own = bench.engine.own_upstream(bench.now, &upstream("primary"));
            let (_, fact) = own.expect("configured");
            let is_suspect = matches!(fact.standing, Standing::Suspect { .. });
            assert_eq!(is_suspect, is_stall, "{status} after {refused_at} s");
        }
    }
}

/// How many requests the upstream is said to carry after `many` for `big` were refused for their rate.
fn carries_after(models: &[&str], many: u32) -> u32 {
    let mut bench = with_models(models);
    let own = |bench: &mut Bench| {
        let view = bench.engine.view(bench.now);
        Arc::clone(&view.own[&upstream("primary")])
    };
    let upstream = own(&mut bench);
    let _under_way: Vec<_> = (0..9).map(|_| upstream.in_flight.enter()).collect();
    for _ in 0..many {
        bench.attempt_for("big", limited(120));
        bench.wait(Duration::from_millis(200));
    }
    bench.wait(Duration::from_secs(1));
    own(&mut bench).in_flight_max
}

#[test]
fn rate_limit_of_one_model_leaves_room_for_the_others() {
    let before = carries_after(&["big", "small"], 0);
    assert_eq!(carries_after(&["big", "small"], 20), before);
    assert!(carries_after(&["big"], 20) < before, "the only model");
}

#[test]
fn long_prompts_are_no_stall_of_a_model_that_answers_others() {
    for (answering, is_stall) in [("long", false), ("other", true)] {
        let mut bench = with_models(&["long", "other"]);
        let began_at = bench.now;
        bench.wait(Duration::from_secs(5));
        bench.handle(Event::AnswerBegan(AnswerReport {
            shape: RequestShape::default(),
            upstream: upstream("primary"),
            model: Some(model(answering)),
            first_byte: Duration::from_millis(300),
        }));
        bench.wait(Duration::from_secs(7));
        for number in 1..3 {
            bench.handle(Event::AnswerAwaited(WaitReport {
                shape: RequestShape::default(),
                upstream: upstream("primary"),
                model: Some(model("long")),
                waited: bench.now.since(began_at),
                witness: witness(number, began_at),
            }));
        }
        let own = bench.engine.own_upstream(bench.now, &upstream("primary"));
        let (_, fact) = own.expect("configured");
        let is_out = fact.models_out.contains_key(&model("long"));
        assert_eq!(is_out, is_stall, "{answering}");
    }
}
