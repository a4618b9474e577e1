//! Another model when the one that was asked for cannot.

use std::collections::BTreeSet;

use super::*;
use crate::ids::ModelName;
use crate::route::Bar;

fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a valid name")
}

/// A request for `big` with three attempts, where `names` stand in for `on`.
fn standing_in(names: &[&str], on: &[FallbackCause]) -> Request {
    request_with(RequestTerms {
        model: Some(model("big")),
        fallbacks: FallbackModels {
            models: names.iter().copied().map(model).collect(),
            on: on.iter().copied().collect(),
        },
        ..terms()
    })
}

fn found(status: u16, finding: Finding) -> AttemptEvent {
    AttemptEvent::Head {
        status,
        retry_after: None,
        finding,
        detail: None,
        load: None,
    }
}

fn too_long() -> AttemptEvent {
    found(400, Finding::ContextTooLong)
}

fn forbidden() -> AttemptEvent {
    found(400, Finding::ContentPolicy)
}

fn start(request: &mut Request, planned: Result<Plan, PlanError>) -> String {
    short(&request.start(NOW, planned))
}

fn start_fallback(request: &mut Request, planned: Result<Plan, PlanError>) -> String {
    short(&request.start_fallback(NOW, planned.ok()))
}

fn steps(request: &Request) -> Vec<(String, FallbackCause)> {
    let steps = request.fallbacks(None).iter();
    steps
        .map(|step| (step.model.to_string(), step.cause))
        .collect()
}

const NOBODY: PlanError = PlanError::UnknownModel {
    nearest: Vec::new(),
};

#[test]
fn answer_that_the_context_is_too_long_goes_to_the_other_model_at_once() {
    let mut request = standing_in(&["long"], &[FallbackCause::ContextTooLong]);
    assert_eq!(start(&mut request, own_plan(&["a", "b"])), "try a");
    assert_eq!(on(&mut request, 0, too_long()), "plan for long");
    assert_eq!(request.model(), Some(&model("long")));
    assert_eq!(reported(&mut request), [("context_too_long", false)]);
    assert_eq!(start_fallback(&mut request, own_plan(&["c"])), "try c");
    assert_eq!(on(&mut request, 1, head(200)), "await 1");
    let came = AttemptEvent::FirstByte { finding: None };
    assert_eq!(on(&mut request, 1, came), "relay 1");
    let cause = FallbackCause::ContextTooLong;
    assert_eq!(steps(&request), [("long".to_owned(), cause)]);
    assert!(request.fallbacks(Some(AttemptId(0))).is_empty());
    assert_eq!(request.fallbacks(Some(AttemptId(1))).len(), 1);
    request.body_ended(NOW);
    let asked = request.ended().iter().map(|ended| ended.model.clone());
    let asked: Vec<_> = asked.collect();
    assert_eq!(asked, [Some(model("big")), Some(model("long"))]);
}

#[test]
fn upstream_that_could_not_for_one_model_is_asked_for_the_other() {
    let mut request = standing_in(&["long"], &[FallbackCause::ContextTooLong]);
    assert_eq!(start(&mut request, own_plan(&["a"])), "try a");
    assert_eq!(on(&mut request, 0, too_long()), "plan for long");
    let action = request.start_fallback(NOW, own_plan(&["a"]).ok());
    let Action::Try { choice, .. } = action else {
        panic!("{}", short(&action));
    };
    assert_eq!(choice.reason, RouteReason::FallbackModel);
}

#[test]
fn causes_that_are_not_listed_pass_through() {
    let all = [
        (too_long(), FallbackCause::ContextTooLong),
        (forbidden(), FallbackCause::ContentPolicy),
    ];
    for (event, cause) in all {
        let others = FallbackCause::ALL.into_iter().filter(|it| *it != cause);
        let others: Vec<_> = others.collect();
        let mut request = standing_in(&["other"], &others);
        assert_eq!(start(&mut request, own_plan(&["a", "b"])), "try a");
        assert_eq!(on(&mut request, 0, event), "await 0");
    }
    let mut request = standing_in(&["other"], &[FallbackCause::ContentPolicy]);
    assert_eq!(
        start(&mut request, Err(NOBODY)),
        "fail NoPlan(UnknownModel { nearest: [] })"
    );
    let mut request = standing_in(&["other"], &FallbackCause::ALL);
    assert_eq!(start(&mut request, own_plan(&["a"])), "try a");
    assert_eq!(on(&mut request, 0, head(400)), "await 0");
}

#[test]
fn first_answer_is_given_where_the_other_model_fares_no_better() {
    let mut request = standing_in(&["long"], &[FallbackCause::ContextTooLong]);
    assert_eq!(start(&mut request, own_plan(&["a"])), "try a");
    assert_eq!(on(&mut request, 0, too_long()), "plan for long");
    assert_eq!(start_fallback(&mut request, own_plan(&["c"])), "try c");
    let lost = failed(Outcome::ConnectFailed);
    assert_eq!(on(&mut request, 1, lost), "await 0");
    let came = AttemptEvent::FirstByte { finding: None };
    assert_eq!(on(&mut request, 0, came), "relay 0");
}

#[test]
fn model_without_an_upstream_falls_back() {
    let mut request = standing_in(&["x", "y"], &[FallbackCause::Unavailable]);
    assert_eq!(start(&mut request, Err(NOBODY)), "plan for x");
    assert_eq!(start_fallback(&mut request, Err(NOBODY)), "plan for y");
    assert_eq!(start_fallback(&mut request, own_plan(&["c"])), "try c");
    let mut request = standing_in(&["x"], &[FallbackCause::Unavailable]);
    assert_eq!(start(&mut request, Err(NOBODY)), "plan for x");
    assert_eq!(
        start_fallback(&mut request, Err(PlanError::Joining)),
        "fail NoPlan(UnknownModel { nearest: [] })",
        "the error is about the model that the client asked for"
    );
}

#[test]
fn model_whose_upstreams_all_failed_falls_back() {
    let mut request = standing_in(&["x"], &[FallbackCause::Unavailable]);
    assert_eq!(start(&mut request, own_plan(&["a", "b"])), "try a");
    assert_eq!(on(&mut request, 0, head(503)), "try b");
    assert_eq!(on(&mut request, 1, head(429)), "plan for x");
    assert_eq!(request.attempts_left(), 1);
    assert_eq!(start_fallback(&mut request, own_plan(&["a"])), "try a");
}

#[test]
fn last_attempt_is_kept_for_the_model_that_stands_in() {
    let names = ["a", "b", "c", "d"];
    let mut request = standing_in(&["x"], &[FallbackCause::Unavailable]);
    assert_eq!(request.attempts_left(), 2);
    assert_eq!(start(&mut request, own_plan(&names)), "try a");
    assert_eq!(on(&mut request, 0, head(500)), "try b");
    assert_eq!(on(&mut request, 1, head(500)), "plan for x");
    assert_eq!(start_fallback(&mut request, own_plan(&names)), "try a");
    assert_eq!(on(&mut request, 2, head(500)), "await 2");
    let request = standing_in(&["x"], &[FallbackCause::ContextTooLong]);
    assert_eq!(request.attempts_left(), 3, "only failures use attempts up");
}

#[test]
fn cause_of_the_first_step_leads_past_a_model_that_nobody_has() {
    let mut request = standing_in(&["x", "y"], &[FallbackCause::ContentPolicy]);
    assert_eq!(start(&mut request, own_plan(&["a"])), "try a");
    assert_eq!(on(&mut request, 0, forbidden()), "plan for x");
    assert_eq!(start_fallback(&mut request, Err(NOBODY)), "plan for y");
    assert_eq!(start_fallback(&mut request, own_plan(&["c"])), "try c");
    let cause = FallbackCause::ContentPolicy;
    let both = ["x", "y"].map(|name| (name.to_owned(), cause));
    assert_eq!(steps(&request), both);
}

#[test]
fn residency_and_the_clients_own_regions_are_no_cause() {
    for by in [Bar::Residency, Bar::ClientRegions] {
        let mut request = standing_in(&["x"], &FallbackCause::ALL);
        let refused = start(&mut request, Err(PlanError::NotAllowed { by }));
        assert!(refused.starts_with("fail NoPlan(NotAllowed"), "{refused}");
    }
    let mut request = standing_in(&["x"], &FallbackCause::ALL);
    let by = Bar::Dialect;
    assert_eq!(
        start(&mut request, Err(PlanError::NotAllowed { by })),
        "plan for x"
    );
}

#[test]
fn what_ends_a_request_ends_it_with_other_models_left() {
    for outcome in [
        Outcome::Cancelled,
        Outcome::DeadlinePassed,
        Outcome::TimedOut(Stage::Answer),
    ] {
        let mut request = standing_in(&["x"], &FallbackCause::ALL);
        assert_eq!(start(&mut request, own_plan(&["a", "b"])), "try a");
        let ended = on(&mut request, 0, failed(outcome));
        assert_eq!(ended, format!("fail {}", outcome.as_str()));
    }
}

#[test]
fn other_model_costs_the_retry_budget_and_is_not_asked_without_it() {
    let budget = RetryBudget::full();
    let terms = RequestTerms {
        model: Some(model("big")),
        fallbacks: FallbackModels {
            models: vec![model("long")],
            on: BTreeSet::from(FallbackCause::ALL),
        },
        ..terms()
    };
    let mut asked = 0;
    loop {
        let mut request = Request::new(terms.clone(), budget.request());
        assert_eq!(start(&mut request, own_plan(&["a"])), "try a");
        match on(&mut request, 0, too_long()).as_str() {
            "plan for long" => asked += 1,
            without => {
                assert_eq!(without, "await 0", "the upstream's answer, not our limit");
                break;
            }
        }
        assert!(asked < 1_000, "nothing was taken from the budget");
    }
    assert!(asked > 0);
}
