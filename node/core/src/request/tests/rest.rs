//! Answers that are kept until they are whole.

use super::*;
use crate::latency::AnswerClass;
use crate::limit::RESTS_MAX;

const AWAITS: &str = "await the rest of 0 until 15001 ms";

fn whole_answer() -> RequestTerms {
    RequestTerms {
        is_stream: false,
        shape: RequestShape::short(AnswerClass::Whole),
        ..terms()
    }
}

fn piece(bytes: u64, length: Option<u64>) -> AttemptEvent {
    AttemptEvent::FirstPiece { bytes, length }
}

fn came() -> AttemptEvent {
    AttemptEvent::FirstByte { finding: None }
}

/// A request whose first answer's head came, of two own upstreams.
fn answered(terms: RequestTerms) -> Request {
    let mut request = request_with(terms);
    request.start(NOW, own_plan(&["a", "b"]));
    on(&mut request, 0, head(200));
    request
}

#[test]
fn answer_that_may_fit_is_awaited_whole() {
    let most = REST_BYTES_MAX;
    for (bytes, length, follows) in [
        (1, None, AWAITS),
        (1, Some(2), AWAITS),
        (1, Some(most), AWAITS),
        (most, None, AWAITS),
        (1, Some(most + 1), "relay 0"),
        (most + 1, None, "relay 0"),
    ] {
        let mut request = answered(whole_answer());
        let event = piece(bytes, length);
        assert_eq!(on(&mut request, 0, event), follows, "{bytes} of {length:?}");
    }
}

#[test]
fn stream_passes_as_it_comes() {
    let mut request = answered(terms());
    assert_eq!(on(&mut request, 0, piece(1, None)), "relay 0");
}

#[test]
fn answer_that_came_whole_is_given_and_timed_by_its_first_piece() {
    let mut request = answered(whole_answer());
    on(&mut request, 0, piece(1, None));
    let whole_at = NOW + 7 * MILLISECOND;
    let action = request.on(whole_at, AttemptId(0), came());
    assert_eq!(action.as_ref().map(short).as_deref(), Some("relay 0"));
    assert_eq!(
        request.first_byte(),
        7 * MILLISECOND,
        "what the client waits for"
    );
    request.body_ended(whole_at);
    let reports = request.reports();
    let Some(Event::AttemptEnded(report)) = reports.first().map(|report| &report.event) else {
        panic!("{reports:?}");
    };
    assert_eq!(
        report.first_byte,
        Some(MILLISECOND),
        "what the upstream took"
    );
}

#[test]
fn answer_that_breaks_in_its_middle_goes_on_elsewhere_as_what_it_was() {
    for (outcome, follows, word) in [
        (Outcome::BrokenOff, "try b", "broken_off"),
        (Outcome::PeerLost, "try b", "peer_lost"),
        // It may have been billed, and nobody said that this is to be risked.
        (
            Outcome::TimedOut(Stage::Idle),
            "fail idle_timeout",
            "idle_timeout",
        ),
        (
            Outcome::DeadlinePassed,
            "fail deadline_passed",
            "deadline_passed",
        ),
    ] {
        let mut request = answered(whole_answer());
        on(&mut request, 0, piece(1, None));
        assert_eq!(on(&mut request, 0, failed(outcome)), follows);
        assert_eq!(reported(&mut request)[0].0, word);
    }
}

#[test]
fn retry_rules_are_those_of_an_answer_that_never_began() {
    let with = |change: fn(&mut RetryOn)| {
        let mut policy = FailoverPolicy {
            attempts_max: 3,
            retry_on: RetryOn::default(),
        };
        change(&mut policy.retry_on);
        let mut request = answered(RequestTerms {
            policy: Arc::new(policy),
            ..whole_answer()
        });
        on(&mut request, 0, piece(1, None));
        request
    };
    let mut never = with(|retry_on| retry_on.connect = false);
    assert_eq!(
        on(&mut never, 0, failed(Outcome::BrokenOff)),
        "fail broken_off"
    );
    let mut slow = with(|retry_on| retry_on.answer_timeout = true);
    let idle = failed(Outcome::TimedOut(Stage::Idle));
    assert_eq!(on(&mut slow, 0, idle), "try b");
    let mut spent = Request::new(whole_answer(), RetryBudget::default().request());
    spent.start(NOW, own_plan(&["a", "b"]));
    on(&mut spent, 0, head(200));
    on(&mut spent, 0, piece(1, None));
    let broken = failed(Outcome::BrokenOff);
    assert_eq!(on(&mut spent, 0, broken), "fail RetriesSpent");
}

#[test]
fn same_upstream_is_not_asked_again_for_an_answer_that_it_broke() {
    let mut request = request_with(whole_answer());
    request.start(NOW, own_plan(&["a", "a"]));
    on(&mut request, 0, head(200));
    on(&mut request, 0, piece(1, None));
    let broken = failed(Outcome::BrokenOff);
    assert_eq!(on(&mut request, 0, broken), "fail broken_off");
}

#[test]
fn no_more_answers_are_kept_than_there_is_room_for() {
    let budget = RetryBudget::full();
    let kept: Vec<_> = (0..RESTS_MAX)
        .map(|_| {
            let mut request = Request::new(whole_answer(), budget.request());
            request.start(NOW, own_plan(&["a"]));
            on(&mut request, 0, head(200));
            assert_eq!(on(&mut request, 0, piece(1, None)), AWAITS);
            request
        })
        .collect();
    let next = || {
        let mut request = Request::new(whole_answer(), budget.request());
        request.start(NOW, own_plan(&["a"]));
        on(&mut request, 0, head(200));
        on(&mut request, 0, piece(1, None))
    };
    assert_eq!(next(), "relay 0");
    drop(kept);
    assert_eq!(next(), AWAITS);
}
