//! Requests driven by hand: what each thing that an attempt may meet leads to.

use super::*;
mod fallbacks;
mod hedge;
mod rest;

use crate::account::{AccountSpec, QuotaScope};
use crate::forwarding::PathScope;
use crate::health::Witness;
use crate::ids::{AccountName, UpstreamName};
use crate::latency::{ByClass, FirstByte, RequestShape};
use crate::limit::RetryBudget;
use crate::outcome::{Refusal, RetryOn, Stage};
use crate::route::tests::{NOW, upstream};
use crate::route::{Cost, RouteReason};
use crate::view::{Candidate, Way};

const MILLISECOND: Duration = Duration::from_millis(1);

fn choice(upstream: UpstreamView) -> Choice {
    let candidate = Arc::new(Candidate {
        upstream: Arc::new(upstream),
        ttft: Duration::from_millis(100),
        ttft_low: Duration::from_millis(100),
        whole: FirstByte {
            expected: Duration::from_millis(100),
            low: Duration::from_millis(100),
        },
        per_kib: Duration::ZERO,
        model_standing: None,
        refused_until: None,
        measured: true,
        whole_measured: true,
        tries: ByClass::default(),
        p95: ByClass::default(),
        incumbent: false,
        account_rests_until: None,
    });
    Choice {
        cost: Cost::of(&candidate, RequestShape::default(), NOW),
        candidate,
        reason: RouteReason::LeastCost,
    }
}

fn own(name: &str) -> UpstreamView {
    UpstreamView {
        way: Way::Local,
        ..upstream(name, 0)
    }
}

fn plan(upstreams: impl IntoIterator<Item = UpstreamView>) -> Result<Plan, PlanError> {
    Ok(Plan {
        choices: upstreams.into_iter().map(choice).collect(),
        last_resort: false,
    })
}

/// Own upstreams of these names.
fn own_plan(names: &[&str]) -> Result<Plan, PlanError> {
    plan(names.iter().copied().map(own))
}

/// Peers of these names.
fn peer_plan(names: &[&str]) -> Result<Plan, PlanError> {
    plan(names.iter().map(|name| upstream(name, 1)))
}

fn terms() -> RequestTerms {
    RequestTerms {
        policy: Arc::new(FailoverPolicy {
            attempts_max: 3,
            retry_on: RetryOn::default(),
        }),
        priority: RequestPriority::Interactive,
        is_client_retrying: false,
        scope: PathScope::Inference,
        model: None,
        fallbacks: FallbackModels::default(),
        is_stream: true,
        shape: RequestShape::default(),
        hedge: HedgeTerms::Off,
        arrived_at: NOW,
        number: 1,
        client: 1,
    }
}

fn request_with(terms: RequestTerms) -> Request {
    Request::new(terms, RetryBudget::full().request())
}

fn request() -> Request {
    request_with(terms())
}

fn head(status: u16) -> AttemptEvent {
    AttemptEvent::Head {
        status,
        retry_after: None,
        finding: Finding::of_status(status),
        detail: None,
        load: None,
    }
}

fn failed(outcome: Outcome) -> AttemptEvent {
    AttemptEvent::Failed {
        outcome,
        detail: "as the test says".to_owned(),
        load: None,
    }
}

fn refused_with_load(refusal: Refusal) -> AttemptEvent {
    AttemptEvent::Failed {
        outcome: Outcome::Refused(refusal),
        detail: String::new(),
        load: Some(Load {
            upstream: UpstreamName::new("primary").expect("a valid name"),
            in_flight: 7,
            ttft: MILLISECOND,
        }),
    }
}

/// An action in short: what is done, and at whom.
fn short(action: &Action) -> String {
    match action {
        Action::Plan => "plan".to_owned(),
        Action::PlanFor { model } => format!("plan for {model}"),
        Action::Try { choice, .. } => format!("try {}", choice.candidate.upstream.node),
        Action::Pause { until } => format!("pause {} ms", NOW.until(*until).as_millis()),
        Action::AwaitBody(attempt) => format!("await {}", attempt.index()),
        Action::AwaitRest { attempt, until } => {
            let waits = NOW.until(*until).as_millis();
            format!("await the rest of {} until {waits} ms", attempt.index())
        }
        Action::Relay(attempt) => format!("relay {}", attempt.index()),
        Action::Fail(RequestError::Failed(outcome)) => format!("fail {}", outcome.as_str()),
        Action::Fail(error) => format!("fail {error:?}"),
    }
}

/// What follows from `event` of the attempt begun last, or held.
fn on(request: &mut Request, index: u32, event: AttemptEvent) -> String {
    let now = NOW + MILLISECOND;
    let action = request.on(now, AttemptId(index), event);
    action.as_ref().map_or_else(|| "nothing".to_owned(), short)
}

/// How the attempts ended, as reported to the engine, and which of it is urgent.
fn reported(request: &mut Request) -> Vec<(&'static str, bool)> {
    let reports = request.reports();
    let word = |event: &Event| match event {
        Event::AttemptEnded(report) => report.outcome.as_str(),
        Event::AnswerBegan(_) => "began",
        Event::LoadReceived { .. } => "load",
        _ => "another",
    };
    let pair = |report: &RequestReport| (word(&report.event), report.is_urgent);
    reports.iter().map(pair).collect()
}

#[test]
fn what_an_attempt_meets_leads_to_an_answer_the_next_candidate_or_an_error() {
    // What happens to the first of two candidates, what follows, and what costs the retry budget.
    let rows = [
        (head(200), "await 0", false),
        (head(204), "await 0", false),
        // The client's mistakes and what it asked for in vain.
        (head(400), "await 0", false),
        (head(404), "await 0", false),
        (head(413), "await 0", false),
        (head(422), "await 0", false),
        // Our credential is refused: the client cannot mend it.
        (head(401), "try b", false),
        (head(403), "try b", false),
        // It cannot now.
        (head(408), "try b", true),
        (head(429), "try b", true),
        (head(500), "try b", true),
        (head(503), "try b", true),
        (head(529), "try b", true),
        // It was not reached: nothing was done there.
        (failed(Outcome::ConnectFailed), "try b", false),
        (failed(Outcome::TimedOut(Stage::Connect)), "try b", false),
        (failed(Outcome::PeerUnreached), "try b", false),
        // It may have worked for this one.
        (failed(Outcome::Reset), "try b", true),
        (failed(Outcome::TimedOut(Stage::FirstByte)), "try b", true),
        (failed(Outcome::PeerLost), "try b", true),
        // A peer would not.
        (failed(Outcome::Refused(Refusal::Full)), "try b", false),
        (failed(Outcome::Refused(Refusal::Draining)), "try b", false),
        (failed(Outcome::Refused(Refusal::Residency)), "try b", false),
        (failed(Outcome::Refused(Refusal::Protocol)), "try b", false),
        // Nobody waits.
        (
            failed(Outcome::DeadlinePassed),
            "fail deadline_passed",
            false,
        ),
        (failed(Outcome::Cancelled), "fail cancelled", false),
    ];
    for (event, follows, costs) in rows {
        let case = format!("{event:?}");
        // A budget of no retry at all: what costs one ends the request, what does not goes on.
        let mut spent = Request::new(terms(), RetryBudget::default().request());
        spent.start(NOW, peer_plan(&["a", "b"]));
        let again = match &event {
            AttemptEvent::Head { status, .. } => head(*status),
            AttemptEvent::Failed { outcome, .. } => failed(*outcome),
            other => panic!("no row is of {other:?}"),
        };
        let without_budget = on(&mut spent, 0, again);
        assert_eq!(costs, without_budget != follows, "{case}: {without_budget}");

        let mut request = request();
        request.start(NOW, peer_plan(&["a", "b"]));
        assert_eq!(on(&mut request, 0, event), follows, "{case}");
    }
}

#[test]
fn answer_is_relayed_with_its_first_byte_and_reported_when_its_body_ends() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b"]));
    assert_eq!(on(&mut request, 0, head(200)), "await 0");
    assert_eq!(
        on(&mut request, 0, AttemptEvent::FirstByte { finding: None }),
        "relay 0"
    );
    assert_eq!(request.first_byte(), MILLISECOND);
    assert!(request.reports().is_empty());
    request.body_goes_on(NOW + MILLISECOND);
    request.body_ended(NOW + 9 * MILLISECOND);
    assert_eq!(
        reported(&mut request),
        [("began", false), ("answered", false)]
    );
    let ended = request.ended();
    assert_eq!((ended.len(), ended[0].took), (1, 9 * MILLISECOND));
    assert_eq!(request.take_history().1.len(), 1, "the rest of the plan");
}

#[test]
fn answer_that_ends_with_its_first_piece_is_one_report() {
    let mut request = request();
    request.start(NOW, own_plan(&["a"]));
    on(&mut request, 0, head(200));
    on(&mut request, 0, AttemptEvent::FirstByte { finding: None });
    request.body_ended(NOW + MILLISECOND);
    let reports = request.reports();
    let [
        RequestReport {
            event: Event::AttemptEnded(report),
            ..
        },
    ] = reports.as_slice()
    else {
        panic!("one report: {reports:?}");
    };
    assert_eq!(report.first_byte, Some(MILLISECOND));
}

#[test]
fn peer_reports_the_beginning_of_its_own_answers() {
    let mut request = request();
    request.start(NOW, peer_plan(&["a"]));
    on(&mut request, 0, head(200));
    on(&mut request, 0, AttemptEvent::FirstByte { finding: None });
    request.body_goes_on(NOW + MILLISECOND);
    assert!(request.reports().is_empty());
}

#[test]
fn head_without_a_first_byte_is_no_answer() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, head(200));
    let broken = failed(Outcome::BrokenOff);
    assert_eq!(on(&mut request, 0, broken), "try b");
    assert_eq!(reported(&mut request), [("reset", true)]);
}

#[test]
fn answer_that_breaks_off_after_its_first_byte_moves_nowhere() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, head(200));
    on(&mut request, 0, AttemptEvent::FirstByte { finding: None });
    request.body_goes_on(NOW + MILLISECOND);
    request.broke_off(NOW + 2 * MILLISECOND, Outcome::BrokenOff, None);
    assert_eq!(
        reported(&mut request),
        [("began", false), ("broken_off", true)]
    );
    assert_eq!(
        on(&mut request, 0, AttemptEvent::FirstByte { finding: None }),
        "nothing"
    );
}

#[test]
fn last_bad_answer_is_given_when_nothing_better_comes() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b", "c"]));
    assert_eq!(on(&mut request, 0, head(503)), "try b");
    assert_eq!(on(&mut request, 1, head(429)), "try c");
    assert_eq!(request.held(), Some(AttemptId(1)));
    let refused = failed(Outcome::ConnectFailed);
    assert_eq!(on(&mut request, 2, refused), "await 1");
    assert_eq!(
        on(&mut request, 1, AttemptEvent::FirstByte { finding: None }),
        "relay 1"
    );
    // It was reported when it was found wanting.
    drop(request.reports());
    request.body_ended(NOW + MILLISECOND);
    assert!(request.reports().is_empty());
}

#[test]
fn held_answer_whose_body_never_comes_is_replaced_by_an_error_of_our_own() {
    let mut request = request();
    request.start(NOW, own_plan(&["a"]));
    assert_eq!(on(&mut request, 0, head(500)), "await 0");
    let broken = failed(Outcome::BrokenOff);
    assert_eq!(on(&mut request, 0, broken), "fail server_error");
}

#[test]
fn refused_credential_is_never_shown_to_the_client() {
    let mut request = request();
    request.start(NOW, own_plan(&["a"]));
    assert_eq!(on(&mut request, 0, head(401)), "fail credential_refused");
    assert_eq!(request.held(), None);
}

#[test]
fn attempts_stop_at_their_limit() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b", "c", "d"]));
    assert_eq!(on(&mut request, 0, failed(Outcome::Reset)), "try b");
    assert_eq!(on(&mut request, 1, failed(Outcome::Reset)), "try c");
    assert_eq!(on(&mut request, 2, failed(Outcome::Reset)), "fail reset");
    assert_eq!((request.attempts(), request.attempts_left()), (3, 1));
    assert_eq!(request.take_history().1.len(), 1, "the rest of the plan");
}

#[test]
fn retries_end_with_the_budget_but_not_where_nothing_is_left_to_try() {
    let budget = RetryBudget::default();
    let mut spent = Request::new(terms(), budget.request());
    spent.start(NOW, own_plan(&["a", "b"]));
    let end = on(&mut spent, 0, failed(Outcome::Reset));
    assert_eq!(end, "fail RetriesSpent");

    let mut last = Request::new(terms(), budget.request());
    last.start(NOW, own_plan(&["a"]));
    assert_eq!(on(&mut last, 0, failed(Outcome::Reset)), "fail reset");
}

#[test]
fn last_bad_answer_is_given_when_the_budget_is_spent() {
    let mut request = Request::new(terms(), RetryBudget::default().request());
    request.start(NOW, own_plan(&["a", "b"]));
    assert_eq!(on(&mut request, 0, head(500)), "await 0");
}

#[test]
fn retrying_client_spends_twice() {
    let (mut patient, mut retrying) = (0, 0);
    for (is_client_retrying, retries) in [(false, &mut patient), (true, &mut retrying)] {
        let budget = RetryBudget::full();
        let again = RequestTerms {
            is_client_retrying,
            ..terms()
        };
        loop {
            let mut request = Request::new(again.clone(), budget.request());
            request.start(NOW, own_plan(&["a", "b"]));
            if on(&mut request, 0, failed(Outcome::Reset)) != "try b" {
                break;
            }
            *retries += 1;
        }
    }
    // Beside the reserve of 100, each request adds a fifth of a retry.
    assert_eq!((patient, retrying), (125, 55));
}

#[test]
fn peer_that_refuses_with_its_load_has_the_plan_made_again_once() {
    let mut request = request();
    request.start(NOW, peer_plan(&["a", "b"]));
    let full = || refused_with_load(Refusal::Full);
    assert_eq!(on(&mut request, 0, full()), "plan");
    assert_eq!(
        reported(&mut request),
        [("load", true), ("refused_full", false)]
    );
    assert_eq!(request.attempts_left(), 2);
    // The one that refused is left out.
    let action = request.replan(NOW, peer_plan(&["a", "c", "d"]));
    assert_eq!(short(&action), "try c");
    assert_eq!(on(&mut request, 1, full()), "try d");
}

#[test]
fn old_order_stays_where_a_new_plan_has_nothing_else() {
    let mut request = request();
    request.start(NOW, peer_plan(&["a", "b"]));
    on(&mut request, 0, refused_with_load(Refusal::Full));
    let action = request.replan(NOW, peer_plan(&["a"]));
    assert_eq!(short(&action), "try b");
}

#[test]
fn second_plan_of_last_resort_is_tried_as_one() {
    let mut request = request();
    request.start(NOW, peer_plan(&["a"]));
    on(&mut request, 0, refused_with_load(Refusal::Ejected));
    let last = peer_plan(&["b"]).map(|plan| Plan {
        last_resort: true,
        ..plan
    });
    let action = request.replan(NOW, last);
    let is_last_resort = matches!(
        action,
        Action::Try {
            is_last_resort: true,
            ..
        }
    );
    assert!(is_last_resort, "{action:?}");
}

#[test]
fn full_upstream_of_our_own_is_passed_over_without_a_call() {
    let full = UpstreamView {
        admission_max: 1,
        ..own("a")
    };
    let held = full.in_flight.enter();
    let mut request = request();
    let action = request.start(NOW, plan([full, own("b")]));
    assert_eq!(short(&action), "try b");
    assert_eq!(reported(&mut request), [("refused_full", false)]);
    assert_eq!(request.attempts(), 2);
    drop(held);
}

#[test]
fn peer_decides_itself_whether_it_is_full_unless_the_request_can_wait() {
    let full = || UpstreamView {
        admission_max: 1,
        in_flight_max: 1,
        ..upstream("a", 1)
    };
    let enter = |priority| {
        let upstream = full();
        let _held = upstream.in_flight.enter();
        let mut request = request_with(RequestTerms {
            priority,
            ..terms()
        });
        short(&request.start(NOW, plan([upstream])))
    };
    assert_eq!(enter(RequestPriority::Interactive), "try a");
    assert_eq!(enter(RequestPriority::Background), "fail refused_full");
}

#[test]
fn background_work_leaves_half_of_an_upstream_to_clients() {
    let limit = |in_flight_max, places| {
        let upstream = UpstreamView {
            in_flight_max,
            admission_max: places,
            ..own("a")
        };
        RequestPriority::Background.in_flight_max(&upstream)
    };
    assert_eq!(limit(100, 40), Some(20));
    assert_eq!(limit(10, 1_000), Some(5));
    assert_eq!(limit(1, 1), Some(1));
}

#[test]
fn attempt_counts_in_flight_until_it_is_over() {
    let counted = own("a");
    let in_flight = counted.in_flight.clone();
    let mut request = request();
    request.start(NOW, plan([counted]));
    on(&mut request, 0, head(200));
    on(&mut request, 0, AttemptEvent::FirstByte { finding: None });
    assert_eq!(in_flight.count(), 1);
    request.body_ended(NOW);
    assert_eq!(in_flight.count(), 0);
}

#[test]
fn client_that_goes_away_before_the_first_byte_is_reported_with_its_wait() {
    let mut request = request();
    request.start(NOW, own_plan(&["a"]));
    request.broke_off(NOW + 7 * MILLISECOND, Outcome::Cancelled, None);
    let reports = request.reports();
    let [
        RequestReport {
            event: Event::AttemptEnded(report),
            ..
        },
    ] = reports.as_slice()
    else {
        panic!("one report: {reports:?}");
    };
    assert_eq!(report.first_byte, Some(7 * MILLISECOND));
}

#[test]
fn path_that_the_operator_added_counts_for_no_upstream_that_answered() {
    let mut request = request_with(RequestTerms {
        scope: PathScope::Extra,
        ..terms()
    });
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, head(500));
    assert_eq!(reported(&mut request), [("cancelled", false)]);
}

#[test]
fn requested_cooldown_is_urgent_although_nobody_is_to_blame() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, head(429));
    assert_eq!(reported(&mut request), [("rate_limited", true)]);
}

#[test]
fn without_a_plan_nothing_is_tried() {
    let mut request = request();
    let action = request.start(NOW, Err(PlanError::Joining));
    assert_eq!(short(&action), "fail NoPlan(Joining)");
    assert_eq!((request.attempts(), request.reports().len()), (0, 0));
}

#[test]
fn event_of_an_attempt_that_is_over_changes_nothing() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, failed(Outcome::ConnectFailed));
    assert_eq!(on(&mut request, 0, head(200)), "nothing");
    assert_eq!(on(&mut request, 1, head(200)), "await 1");
}

#[test]
fn long_wait_is_reported_at_twice_what_was_expected_and_with_each_doubling() {
    let expected = Duration::from_millis(100);
    let witness = Witness {
        request: 1,
        client: 1,
        began_at: NOW,
        is_doubtful: false,
    };
    let mut wait = LongWait::new(witness, RequestShape::default(), Some(expected), None);
    let mut dues = Vec::new();
    for _ in 0..3 {
        let due = wait.due_at();
        dues.push(due.since(NOW).as_millis());
        let name = UpstreamName::new("primary").expect("a valid name");
        wait.report(due, name, None);
    }
    assert_eq!(dues, [200, 400, 800]);
}

fn shows(status: u16, finding: Finding) -> AttemptEvent {
    AttemptEvent::Head {
        status,
        retry_after: None,
        finding,
        detail: None,
        load: None,
    }
}

/// Own upstreams, each of them to be tried twice.
fn plan_of_two_rounds(names: &[&str]) -> Result<Plan, PlanError> {
    own_plan(&[names, names].concat())
}

#[test]
fn what_the_account_lacks_is_tried_elsewhere_and_what_the_client_did_is_not() {
    for (status, finding) in [
        (402, Finding::Account),
        (429, Finding::Account),
        (404, Finding::ModelMissing),
        (401, Finding::Credential),
        (403, Finding::Forbidden),
        (307, Finding::Redirect),
    ] {
        let mut request = request();
        request.start(NOW, own_plan(&["a", "b"]));
        assert_eq!(
            on(&mut request, 0, shows(status, finding)),
            "try b",
            "{finding:?}"
        );
    }
    for (status, finding) in [
        (401, Finding::ClientIdentity),
        (403, Finding::ClientMistake),
        (400, Finding::ClientMistake),
    ] {
        let mut request = request();
        request.start(NOW, own_plan(&["a", "b"]));
        assert_eq!(
            on(&mut request, 0, shows(status, finding)),
            "await 0",
            "{finding:?}"
        );
    }
}

/// An own upstream that draws on `account`.
fn of_account(name: &str, account: &str) -> UpstreamView {
    let spec = AccountSpec {
        name: AccountName::new(account).expect("a name"),
        quota: QuotaScope::Account,
    };
    UpstreamView {
        account: Some(Arc::new(spec)),
        ..own(name)
    }
}

#[test]
fn limited_account_is_tried_at_its_other_upstreams_only_when_nothing_else_is_left() {
    let upstreams = || [("a", "main"), ("b", "main"), ("c", "other")];
    let upstreams = || upstreams().map(|(name, account)| of_account(name, account));
    let mut request = request();
    request.start(NOW, plan(upstreams()));
    assert_eq!(on(&mut request, 0, head(429)), "try c");
    assert_eq!(on(&mut request, 1, head(500)), "try b");
    assert_eq!(on(&mut request, 2, head(200)), "await 2");
}

#[test]
fn limit_of_a_deployment_and_a_failure_leave_the_order_of_its_account() {
    for (status, finding) in [(529, Finding::RateOfPlace), (500, Finding::Failed)] {
        let mut request = request();
        let upstreams = [("a", "main"), ("b", "main"), ("c", "other")];
        let upstreams = upstreams.map(|(name, account)| of_account(name, account));
        request.start(NOW, plan(upstreams));
        assert_eq!(on(&mut request, 0, shows(status, finding)), "try b");
    }
}

#[test]
fn own_limit_of_an_account_goes_on_for_free_and_the_first_to_end_is_said() {
    let limit = |seconds: Option<u64>| AttemptEvent::Head {
        status: 429,
        retry_after: seconds.map(Duration::from_secs),
        finding: Finding::AccountLimit,
        detail: None,
        load: None,
    };
    let budget = RetryBudget::default();
    let mut request = Request::new(terms(), budget.request());
    request.start(NOW, own_plan(&["a", "b", "c"]));
    assert_eq!(
        on(&mut request, 0, limit(Some(20))),
        "try b",
        "no retry is left, and none is needed"
    );
    assert_eq!(reported(&mut request), [("account_limit", false)]);
    assert_eq!(on(&mut request, 1, limit(None)), "try c");
    let end = request.on(NOW, AttemptId(2), limit(Some(30)));
    let Some(Action::Fail(RequestError::Failed(Outcome::Status { retry_after, .. }))) = end else {
        panic!("an error of its own: {end:?}");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(20)));
}

#[test]
fn redirect_is_never_given_to_the_client() {
    let mut request = request();
    request.start(NOW, own_plan(&["a"]));
    assert_eq!(
        on(&mut request, 0, shows(307, Finding::Redirect)),
        "fail redirect"
    );
}

#[test]
fn upstream_that_failed_is_tried_again_after_a_pause_of_its_own_that_doubles() {
    let mut pauses = [const { Vec::new() }; 2];
    for number in 0..200 {
        let mut request = request_with(RequestTerms {
            policy: Arc::new(FailoverPolicy {
                attempts_max: 4,
                retry_on: RetryOn::default(),
            }),
            number,
            ..terms()
        });
        request.start(NOW, own_plan(&["a", "a", "a"]));
        pauses[0].push(paused(request.on(NOW, AttemptId(0), head(500))));
        assert_eq!(short(&request.resume(NOW)), "try a");
        let failed = failed(Outcome::Reset);
        pauses[1].push(paused(request.on(NOW, AttemptId(1), failed)));
    }
    for (pauses, average) in pauses.iter().zip([100, 200]) {
        let (least, most) = (average / 2, average * 3 / 2);
        assert!(pauses.iter().all(|pause| (least..=most).contains(pause)));
        // Those that failed in one instant are spread over all of it.
        for tenth in 0..10 {
            let from = least + average * tenth / 10;
            let within = pauses
                .iter()
                .filter(|pause| (from..from + average / 10).contains(*pause));
            assert!(within.count() > 5, "{average} ms, {tenth}");
        }
    }
}

/// How long the request pauses, in milliseconds.
fn paused(action: Option<Action>) -> u128 {
    match action {
        Some(Action::Pause { until }) => NOW.until(until).as_millis(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn upstream_that_would_say_the_same_is_not_asked_again() {
    let never = [
        shows(401, Finding::Credential),
        shows(402, Finding::Account),
        shows(404, Finding::ModelMissing),
        shows(429, Finding::RateOfModel),
        shows(307, Finding::Redirect),
    ];
    for event in never {
        let case = format!("{event:?}");
        let mut request = request();
        request.start(NOW, plan_of_two_rounds(&["a"]));
        let end = on(&mut request, 0, event);
        assert!(
            !end.starts_with("try") && !end.starts_with("pause"),
            "{case}: {end}"
        );
    }
}

#[test]
fn answer_whose_first_piece_is_none_goes_on() {
    for finding in [Finding::NotAnAnswer, Finding::HiddenError] {
        let mut request = request();
        request.start(NOW, own_plan(&["a", "b"]));
        on(&mut request, 0, head(200));
        let none = AttemptEvent::FirstByte {
            finding: Some(finding),
        };
        assert_eq!(on(&mut request, 0, none), "try b", "{finding:?}");
        assert_eq!(reported(&mut request), [(finding.as_str(), true)]);
    }
}

#[test]
fn hidden_error_is_given_where_nothing_better_comes() {
    let mut request = request();
    request.start(NOW, own_plan(&["a"]));
    on(&mut request, 0, head(200));
    let none = AttemptEvent::FirstByte {
        finding: Some(Finding::HiddenError),
    };
    assert_eq!(on(&mut request, 0, none), "await 0");
    let again = AttemptEvent::FirstByte { finding: None };
    assert_eq!(on(&mut request, 0, again), "relay 0");
}

#[test]
fn request_that_fails_alike_at_two_upstreams_is_doubted_at_both() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, head(500));
    drop(request.reports());
    on(&mut request, 1, head(500));
    let reports = request.reports();
    let events: Vec<_> = reports.iter().map(|report| &report.event).collect();
    let [
        Event::BlameDoubted { request: 1, .. },
        Event::AttemptEnded(second),
    ] = events.as_slice()
    else {
        panic!("both are doubted: {events:?}");
    };
    assert!(second.witness.is_doubtful);
}

#[test]
fn different_failures_are_not_the_requests_fault() {
    let mut request = request();
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, head(500));
    on(&mut request, 1, failed(Outcome::ConnectFailed));
    let is_doubt = |report: &RequestReport| matches!(report.event, Event::BlameDoubted { .. });
    assert!(!request.reports().iter().any(is_doubt));
}

#[test]
fn candidate_that_refused_for_its_state_is_the_last_resort_of_an_empty_plan() {
    let mut request = request();
    request.start(NOW, peer_plan(&["a"]));
    assert_eq!(
        on(&mut request, 0, refused_with_load(Refusal::Ejected)),
        "plan"
    );
    let action = request.replan(NOW, Err(PlanError::Joining));
    let Action::Try {
        is_last_resort: true,
        ..
    } = action
    else {
        panic!("a last resort: {action:?}");
    };
    // Once.
    assert_eq!(
        on(&mut request, 1, refused_with_load(Refusal::Ejected)),
        "fail refused_ejected"
    );
}

#[test]
fn stream_that_waits_for_one_that_answers_nobody_moves_where_it_can() {
    let mut moves = request();
    moves.start(NOW, own_plan(&["a", "b"]));
    assert_eq!(on(&mut moves, 0, AttemptEvent::Stalled), "try b");
    assert_eq!(reported(&mut moves), [("stalled", false)]);
    // Nothing else is left: it goes on waiting.
    assert_eq!(on(&mut moves, 1, AttemptEvent::Stalled), "nothing");
    assert_eq!(on(&mut moves, 1, head(200)), "await 1");

    let mut alone = request();
    alone.start(NOW, own_plan(&["a", "a"]));
    assert_eq!(on(&mut alone, 0, AttemptEvent::Stalled), "nothing");

    // A whole answer may have been billed.
    let mut whole = request_with(RequestTerms {
        is_stream: false,
        ..terms()
    });
    whole.start(NOW, own_plan(&["a", "b"]));
    assert_eq!(on(&mut whole, 0, AttemptEvent::Stalled), "nothing");
}
