//! A second attempt beside one that is late.

use super::*;
use crate::hedge_budget::HedgeBudget;
use crate::ids::RegionName;
use crate::latency::AnswerClass;
use crate::units::Share;

/// Of every candidate's answers.
const P95: Duration = Duration::from_millis(300);

/// A budget with one second attempt in it, and room for that of the request itself.
fn budget() -> HedgeBudget {
    let budget = HedgeBudget::of(Share::clamped(1.0));
    budget.request();
    budget
}

fn hedged(budget: HedgeBudget) -> RequestTerms {
    RequestTerms {
        hedge: HedgeTerms::Twice(budget),
        ..terms()
    }
}

/// A plan of peers and their regions, all of them measured.
fn regions(peers: &[(&str, &str)]) -> Result<Plan, PlanError> {
    let in_region = |(name, region): &(&str, &str)| UpstreamView {
        region: RegionName::new(region).expect("a name"),
        ..upstream(name, 1)
    };
    let mut plan = plan(peers.iter().map(in_region)).expect("a plan");
    for choice in &mut plan.choices {
        Arc::make_mut(&mut choice.candidate).p95 = ByClass::each(|_| Some(P95));
    }
    Ok(plan)
}

fn started(peers: &[(&str, &str)]) -> Request {
    let mut request = request_with(hedged(budget()));
    request.start(NOW, regions(peers));
    request
}

/// It is late, and its key has rights for a second attempt.
fn late(request: &mut Request) -> String {
    let at = request.hedge_at().expect("a time");
    let action = request.hedge(at, true);
    action.as_ref().map_or_else(|| "nothing".to_owned(), short)
}

fn came() -> AttemptEvent {
    AttemptEvent::FirstByte { finding: None }
}

/// Its two attempts are in flight.
fn both() -> Request {
    let mut request = started(&[("a", "usa"), ("b", "eur"), ("c", "sgp")]);
    assert_eq!(late(&mut request), "try b");
    request
}

fn outcomes(request: &Request) -> Vec<(u32, &'static str, &'static str)> {
    let ended = request.ended().iter();
    let shown = |it: &EndedAttempt| {
        let reason = it.choice.reason.as_str();
        (it.id.index(), it.outcome.as_str(), reason)
    };
    ended.map(shown).collect()
}

#[test]
fn second_attempt_goes_to_another_region_then_another_node() {
    let usa = ("b", "usa");
    for (plan, goes) in [
        ([("a", "usa"), usa, ("c", "eur")], "try c"),
        ([("a", "usa"), usa, ("c", "usa")], "try b"),
    ] {
        let mut request = started(&plan);
        assert_eq!(late(&mut request), goes);
        assert_eq!(request.attempts(), 2);
        assert_eq!(request.hedge_at(), None, "there is one");
        assert!(request.hedge(NOW, true).is_none());
    }
    let mut alone = request_with(hedged(budget()));
    let mut own = own_plan(&["a", "b"]).expect("a plan");
    for choice in &mut own.choices {
        Arc::make_mut(&mut choice.candidate).p95 = ByClass::each(|_| Some(P95));
    }
    alone.start(NOW, Ok(own));
    assert_eq!(
        late(&mut alone),
        "try b",
        "another upstream of the same node"
    );
}

#[test]
fn attempt_is_late_by_the_candidates_own_times() {
    let at = |change: &dyn Fn(&mut Candidate), shape: RequestShape| {
        let mut plan = regions(&[("a", "usa"), ("b", "eur")]).expect("a plan");
        change(Arc::make_mut(&mut plan.choices[0].candidate));
        let mut request = request_with(RequestTerms {
            shape,
            ..hedged(budget())
        });
        request.start(NOW, Ok(plan));
        request.hedge_at().map(|at| NOW.until(at))
    };
    let short = RequestShape::default();
    assert_eq!(at(&|_| {}, short), Some(P95));
    let unmeasured = |it: &mut Candidate| it.p95 = ByClass::default();
    assert_eq!(at(&unmeasured, short), None, "nothing says that it is late");
    let quick = |it: &mut Candidate| {
        it.p95 = ByClass::each(|_| Some(MILLISECOND));
        it.ttft = MILLISECOND;
    };
    assert_eq!(at(&quick, short), Some(HEDGE_AFTER_MIN));
    let of_streams = |it: &mut Candidate| it.p95.whole = None;
    let whole = RequestShape::short(AnswerClass::Whole);
    assert_eq!(at(&of_streams, whole), None, "classes are apart");
    // 100 KiB at 10 ms each, beside 100 ms, and a way of 1 ms.
    let reads = |it: &mut Candidate| it.per_kib = 10 * MILLISECOND;
    let long = RequestShape::new(true, 100 * 1_024);
    let waits = at(&reads, long).expect("a time");
    assert!(waits > 2 * P95, "a long prompt takes its time: {waits:?}");
}

#[test]
fn first_that_can_be_given_wins_and_the_other_is_over() {
    for (winner, result, loser) in [(1, HedgeResult::Won, 0), (0, HedgeResult::Lost, 1)] {
        let mut request = both();
        assert_eq!(
            on(&mut request, winner, head(200)),
            format!("await {winner}")
        );
        let relay = format!("relay {winner}");
        assert_eq!(on(&mut request, winner, came()), relay);
        assert_eq!(request.hedge_result(), Some(result));
        assert_eq!(request.hedge_loser().map(AttemptId::index), Some(loser));
        assert!(!request.is_in_flight(AttemptId(loser)));
        assert_eq!(
            on(&mut request, loser, head(200)),
            "nothing",
            "only one answer"
        );
        request.body_ended(NOW + P95);
        let words = if winner == 1 {
            ["cancelled", "answered"]
        } else {
            ["answered", "cancelled"]
        };
        let ended = outcomes(&request);
        assert_eq!([ended[0].1, ended[1].1], words);
        assert_eq!((ended[0].0, ended[1].0, ended[1].2), (0, 1, "hedge"));
        let reports = reported(&mut request);
        assert_eq!(reports.iter().filter(|it| it.0 == "cancelled").count(), 1);
        assert_eq!(reports.len(), 2, "each attempt once: {reports:?}");
    }
}

#[test]
fn head_alone_does_not_win() {
    let mut request = both();
    assert_eq!(on(&mut request, 0, head(200)), "await 0");
    assert_eq!(on(&mut request, 1, head(200)), "await 1");
    assert_eq!(on(&mut request, 1, came()), "relay 1");
}

#[test]
fn where_one_of_two_fails_the_request_waits_for_the_other() {
    for (event, word) in [
        (head(500), "server_error"),
        (failed(Outcome::Reset), "reset"),
        (failed(Outcome::TimedOut(Stage::Total)), "total_timeout"),
        (refused_with_load(Refusal::Full), "refused_full"),
        (AttemptEvent::Stalled, "stalled"),
    ] {
        let mut request = both();
        assert_eq!(on(&mut request, 0, event), "nothing");
        assert_eq!(outcomes(&request), [(0, word, "least-cost")]);
        assert!(request.is_in_flight(AttemptId(1)));
        on(&mut request, 1, head(200));
        assert_eq!(on(&mut request, 1, came()), "relay 1");
        assert_eq!(request.hedge_result(), Some(HedgeResult::Won));
        assert_eq!(request.hedge_loser(), None, "it failed by itself");
    }
}

#[test]
fn where_both_fail_the_request_goes_on() {
    let mut request = both();
    assert_eq!(on(&mut request, 1, failed(Outcome::Reset)), "nothing");
    assert_eq!(on(&mut request, 0, failed(Outcome::Reset)), "try c");
    let ended = outcomes(&request);
    assert_eq!(
        (ended[0].0, ended[1].0),
        (0, 1),
        "in the order in which they began"
    );
    assert_eq!(request.hedge_result(), Some(HedgeResult::NoAnswer));
    assert_eq!(request.hedge_at(), None, "there was one");
    on(&mut request, 2, head(200));
    assert_eq!(on(&mut request, 2, came()), "relay 2");
}

#[test]
fn end_of_the_request_ends_both() {
    let mut request = both();
    let passed = failed(Outcome::DeadlinePassed);
    assert_eq!(on(&mut request, 1, passed), "fail deadline_passed");
    assert_eq!(reported(&mut request).len(), 2);
    let mut request = both();
    request.broke_off(NOW + P95, Outcome::Cancelled, None);
    let cancelled = [("cancelled", false), ("cancelled", false)];
    assert_eq!(reported(&mut request), cancelled);
    assert_eq!(outcomes(&request).len(), 2);
}

#[test]
fn spent_budget_and_missing_rights_are_the_last_word() {
    let empty = HedgeBudget::of(Share::clamped(0.03));
    for (budget, has_rights, result) in [
        (empty, true, HedgeResult::NoBudget),
        (budget(), false, HedgeResult::NoRights),
    ] {
        let mut request = request_with(hedged(budget));
        request.start(NOW, regions(&[("a", "usa"), ("b", "eur")]));
        let at = request.hedge_at().expect("a time");
        assert!(request.hedge(at, has_rights).is_none());
        assert_eq!(request.hedge_result(), Some(result));
        assert_eq!(request.hedge_at(), None);
        assert_eq!((request.attempts(), request.attempts_left()), (1, 2));
        on(&mut request, 0, head(200));
        assert_eq!(on(&mut request, 0, came()), "relay 0");
        assert_eq!(request.hedge_result(), Some(result));
    }
}

#[test]
fn rights_that_are_missing_cost_the_budget_nothing() {
    let budget = budget();
    let mut request = request_with(hedged(budget.clone()));
    request.start(NOW, regions(&[("a", "usa"), ("b", "eur")]));
    request.hedge(NOW + P95, false);
    assert!(budget.take());
}

#[test]
fn no_second_attempt_where_none_may_be() {
    let plan = [("a", "usa"), ("b", "eur")];
    let never = |change: fn(&mut RequestTerms), planned: Result<Plan, PlanError>| {
        let mut terms = hedged(budget());
        change(&mut terms);
        let mut request = request_with(terms);
        request.start(NOW, planned);
        request.hedge_at()
    };
    assert!(never(|_| {}, regions(&plan)).is_some());
    assert_eq!(never(|it| it.hedge = HedgeTerms::Off, regions(&plan)), None);
    let once = |it: &mut RequestTerms| it.hedge = HedgeTerms::Once(budget());
    assert_eq!(never(once, regions(&plan)), None);
    assert_eq!(never(|_| {}, regions(&plan[..1])), None, "nobody else");
    let one_attempt = |it: &mut RequestTerms| {
        it.policy = Arc::new(FailoverPolicy {
            attempts_max: 1,
            retry_on: RetryOn::default(),
        });
    };
    assert_eq!(never(one_attempt, regions(&plan)), None);
    let mut last = regions(&plan).expect("a plan");
    last.last_resort = true;
    assert_eq!(never(|_| {}, Ok(last)), None);
    let mut trial = regions(&plan).expect("a plan");
    trial.choices[0].reason = RouteReason::Trial;
    assert_eq!(never(|_| {}, Ok(trial)), None);
}

#[test]
fn second_attempt_that_finds_no_room_leaves_the_first_where_it_was() {
    let mut plan = regions(&[("a", "usa"), ("b", "eur")]).expect("a plan");
    let second = Arc::make_mut(&mut plan.choices[1].candidate);
    let full = Arc::make_mut(&mut second.upstream);
    (full.way, full.admission_max) = (Way::Local, 0);
    let mut request = request_with(hedged(budget()));
    request.start(NOW, Ok(plan));
    assert_eq!(late(&mut request), "nothing");
    assert_eq!(request.hedge_result(), Some(HedgeResult::NoRoom));
    on(&mut request, 0, head(200));
    assert_eq!(on(&mut request, 0, came()), "relay 0");
}

#[test]
fn answer_that_is_awaited_whole_wins_when_it_is_whole() {
    let mut request = request_with(RequestTerms {
        is_stream: false,
        shape: RequestShape::short(AnswerClass::Whole),
        ..hedged(budget())
    });
    request.start(NOW, regions(&[("a", "usa"), ("b", "eur"), ("c", "sgp")]));
    late(&mut request);
    on(&mut request, 0, head(200));
    let piece = AttemptEvent::FirstPiece {
        bytes: 1,
        length: None,
    };
    assert!(on(&mut request, 0, piece).starts_with("await the rest of 0"));
    on(&mut request, 1, head(200));
    assert_eq!(on(&mut request, 0, failed(Outcome::BrokenOff)), "nothing");
    assert_eq!(outcomes(&request)[0].1, "broken_off");
    assert_eq!(on(&mut request, 1, came()), "relay 1");
}

#[test]
fn fallback_model_ends_both() {
    let mut request = request_with(RequestTerms {
        model: Some(crate::ids::ModelName::new("m").expect("a name")),
        fallbacks: FallbackModels {
            models: vec![crate::ids::ModelName::new("larger").expect("a name")],
            on: [FallbackCause::ContextTooLong].into(),
        },
        ..hedged(budget())
    });
    request.start(NOW, regions(&[("a", "usa"), ("b", "eur"), ("c", "sgp")]));
    late(&mut request);
    let too_long = AttemptEvent::Head {
        status: 400,
        retry_after: None,
        finding: Finding::ContextTooLong,
        detail: None,
        load: None,
    };
    assert_eq!(on(&mut request, 1, too_long), "plan for larger");
    assert!(!request.is_in_flight(AttemptId(0)));
    assert_eq!(outcomes(&request).len(), 2);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Hedge { has_rights: bool },
        Head { attempt: u32, status: u16 },
        Piece { attempt: u32 },
        Came { attempt: u32 },
        Failed { attempt: u32, outcome: Outcome },
    }

    fn step() -> impl Strategy<Value = Step> {
        let attempt = 0_u32..4;
        let statuses = prop::sample::select(vec![200, 400, 429, 500, 503]);
        let outcomes = prop::sample::select(vec![
            Outcome::Reset,
            Outcome::BrokenOff,
            Outcome::PeerLost,
            Outcome::ConnectFailed,
            Outcome::TimedOut(Stage::Total),
            Outcome::Refused(Refusal::Full),
            Outcome::DeadlinePassed,
        ]);
        prop_oneof![
            any::<bool>().prop_map(|has_rights| Step::Hedge { has_rights }),
            (attempt.clone(), statuses)
                .prop_map(|(attempt, status)| Step::Head { attempt, status }),
            attempt.clone().prop_map(|attempt| Step::Piece { attempt }),
            attempt.clone().prop_map(|attempt| Step::Came { attempt }),
            (attempt, outcomes).prop_map(|(attempt, outcome)| Step::Failed { attempt, outcome }),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: at most two attempts in flight and one second attempt, no more attempts
        /// than allowed, one answer, and each attempt reported once.
        #[test]
        fn invariants_of_a_request_hold_with_two_in_flight(
            steps in prop::collection::vec(step(), 1..40),
            is_stream: bool,
            share in 0.0..1.0,
        ) {
            let budget = HedgeBudget::of(Share::clamped(share));
            (0..5).for_each(|_| budget.request());
            let mut request = request_with(RequestTerms {
                is_stream,
                shape: RequestShape::new(is_stream, 0),
                ..hedged(budget)
            });
            let peers = [("a", "usa"), ("b", "eur"), ("c", "sgp"), ("d", "jpn"), ("e", "usa")];
            let mut now = NOW;
            let mut begun = vec![0];
            let mut ends = 0;
            let mut relayed = false;
            let mut reports = 0;
            request.start(now, regions(&peers));
            for step in steps {
                now = now + MILLISECOND;
                let may = request.hedge_at().is_some();
                let action = match step {
                    Step::Hedge { has_rights } if may => request.hedge(now, has_rights),
                    Step::Hedge { .. } => None,
                    Step::Head { attempt, status } => {
                        request.on(now, AttemptId(attempt), head(status))
                    }
                    Step::Piece { attempt } => {
                        let piece = AttemptEvent::FirstPiece { bytes: 1, length: None };
                        request.on(now, AttemptId(attempt), piece)
                    }
                    Step::Came { attempt } => request.on(now, AttemptId(attempt), came()),
                    Step::Failed { attempt, outcome } => {
                        request.on(now, AttemptId(attempt), failed(outcome))
                    }
                };
                let action = match action {
                    Some(Action::Pause { until }) => Some(request.resume(until)),
                    Some(Action::Plan) => Some(request.replan(now, regions(&peers))),
                    action => action,
                };
                match action {
                    Some(Action::Try { attempt, .. }) => begun.push(attempt.index()),
                    Some(Action::Relay(_)) => {
                        relayed = true;
                        ends += 1;
                    }
                    Some(Action::Fail(_)) => ends += 1,
                    _ => {}
                }
                let ended = reported(&mut request);
                reports += ended.iter().filter(|it| !matches!(it.0, "load" | "began")).count();
                let ids = (0..8).map(AttemptId);
                let in_flight = ids.filter(|id| request.is_in_flight(*id)).count();
                prop_assert!(in_flight <= 2);
                prop_assert_eq!(request.attempts() as usize, begun.len());
                prop_assert!(request.attempts() <= 3);
                prop_assert_eq!(request.ended().len(), reports);
                prop_assert!(request.ended().is_sorted_by_key(|it| it.id));
                if ends > 0 {
                    break;
                }
            }
            prop_assert!(ends <= 1);
            begun.sort_unstable();
            begun.dedup();
            prop_assert_eq!(begun.len(), request.attempts() as usize, "ids are unique");
            let hedges = request.ended().iter();
            let hedges = hedges.filter(|it| it.choice.reason == RouteReason::Hedge).count();
            prop_assert!(hedges <= 1);
            if relayed {
                request.broke_off(now, Outcome::Cancelled, None);
                prop_assert!((0..8).all(|id| !request.is_in_flight(AttemptId(id))));
            }
        }
    }
}
