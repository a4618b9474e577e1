//! An upstream, call by call.

use super::*;
use grapevine_core::ids::UpstreamName;
use grapevine_core::units::Tier;

const PATIENCE: Duration = Duration::from_secs(8);

fn endpoint() -> Endpoint {
    Endpoint::new(&Upstream {
        name: UpstreamName::new("primary").expect("a valid name"),
        models: Vec::new(),
        provider: "one".into(),
        at: Vec::new(),
        first_byte: Duration::from_millis(300),
        spread: 0.1,
        in_flight_max: 64,
        capacity: 10,
        line_max: 5,
        when_full: 503,
        tier: Tier::default(),
        limit_per_second: None,
        retry_after: Duration::from_secs(2),
        price: 1.0,
        backlog: None,
        attempts_max: 1,
        engine: None,
    })
}

fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a valid name")
}

fn demand(key: u64, model: &ModelName) -> Demand<'_> {
    Demand {
        key: (key, 1),
        model,
        client_fault: None,
        draw: key,
        connect: Duration::from_secs(2),
        patience: PATIENCE,
        stage: Stage::FirstByte,
        prompt: 1.0,
        making: Duration::ZERO,
        body: Duration::from_secs(1),
        conversation: None,
    }
}

fn received(endpoint: &mut Endpoint, now: Instant, key: u64) -> Option<Reaction> {
    match endpoint.receive(now, &demand(key, &model("gpt"))) {
        Reception::Reacts(reaction) => Some(reaction),
        Reception::Waits => None,
    }
}

fn outcome(endpoint: &mut Endpoint, key: u64) -> Option<Outcome> {
    let reaction = received(endpoint, Instant::START, key);
    endpoint.leave((key, 1));
    reaction.map(|it| it.outcome)
}

#[test]
fn every_fault_shows_and_ends() {
    let mut endpoint = endpoint();
    endpoint.add_fault(1, UpstreamFault::Down, None);
    assert_eq!(outcome(&mut endpoint, 1), Some(Outcome::ConnectFailed));
    endpoint.remove_fault(1);
    endpoint.add_fault(2, UpstreamFault::Hangs, None);
    let timed_out = Outcome::TimedOut(Stage::FirstByte);
    assert_eq!(outcome(&mut endpoint, 1), Some(timed_out));
    endpoint.remove_fault(2);
    endpoint.add_fault(3, UpstreamFault::Slow(10.0), None);
    assert!(endpoint.expected(Instant::START, &model("gpt")) >= Duration::from_secs(3));
    endpoint.remove_fault(3);
    endpoint.add_fault(4, UpstreamFault::Errors(1.0), None);
    assert_eq!(outcome(&mut endpoint, 1), Some(Outcome::status(500)));
    endpoint.remove_fault(4);
    assert_eq!(outcome(&mut endpoint, 1), Some(Outcome::status(200)));
}

#[test]
fn limit_admits_its_rate() {
    let mut endpoint = endpoint();
    endpoint.add_fault(1, UpstreamFault::Limits(5.0), None);
    let at = |millis| Instant::from_start(Duration::from_millis(millis));
    let answered = (0..1_000)
        .filter(|step| {
            let reaction = received(&mut endpoint, at(step * 10), *step);
            endpoint.leave((*step, 1));
            reaction.is_some_and(|it| it.outcome == Outcome::status(200))
        })
        .count();
    assert!((49..=56).contains(&answered), "{answered} in ten seconds");
}

#[test]
fn call_without_a_slot_waits_in_line_and_begins_in_its_order() {
    let (mut endpoint, now) = (endpoint(), Instant::START);
    for key in 0..10 {
        assert!(received(&mut endpoint, now, key).is_some());
    }
    assert_eq!(
        endpoint.receive(now, &demand(10, &model("gpt"))),
        Reception::Waits
    );
    assert_eq!(
        endpoint.receive(now, &demand(11, &model("gpt"))),
        Reception::Waits
    );
    assert_eq!(endpoint.in_flight(), 12);
    assert_eq!(endpoint.leave((3, 1)), Some((10, 1)));
    endpoint.begin(now, &demand(10, &model("gpt")));
    assert_eq!(endpoint.leave((11, 1)), None, "it gave up in line");
    assert_eq!(endpoint.leave((4, 1)), None, "no call waits any more");
}

#[test]
fn call_that_finds_the_line_full_is_refused_with_retry_after() {
    let (mut endpoint, now) = (endpoint(), Instant::START);
    for key in 0..15 {
        endpoint.receive(now, &demand(key, &model("gpt")));
    }
    let reaction = received(&mut endpoint, now, 15).expect("it does not wait");
    let full = Outcome::Status {
        status: 503,
        retry_after: Some(Duration::from_secs(2)),
        finding: Finding::Failed,
    };
    assert_eq!((reaction.after, reaction.outcome), (QUICK, full));
    assert_eq!(endpoint.in_flight(), 15);
}

#[test]
fn expected_wait_counts_those_in_front() {
    let (mut endpoint, now) = (endpoint(), Instant::START);
    let idle = endpoint.expected(now, &model("gpt"));
    for key in 0..10 {
        endpoint.receive(now, &demand(key, &model("gpt")));
    }
    let next = endpoint.expected(now, &model("gpt"));
    assert!(next > idle + Duration::from_secs(1), "{next:?}");
    for key in 10..15 {
        endpoint.receive(now, &demand(key, &model("gpt")));
    }
    assert!(endpoint.expected(now, &model("gpt")) >= next);
    let later = now + Duration::from_secs(1);
    assert!(
        endpoint.expected(later, &model("gpt")) < next,
        "time passes"
    );
}

/// How a call of `model` ends that begins now, and its finding.
fn shown(endpoint: &mut Endpoint, demand: &Demand<'_>) -> (Outcome, Option<Finding>) {
    let reception = endpoint.receive(Instant::START, demand);
    endpoint.leave(demand.key);
    match reception {
        Reception::Reacts(reaction) => (reaction.outcome, reaction.outcome.finding()),
        Reception::Waits => panic!("it waits"),
    }
}

fn answers(status: u16, code: Option<&str>, in_probes: bool) -> UpstreamFault {
    UpstreamFault::Answers {
        share: 1.0,
        answer: ErrorAnswer {
            status,
            code: code.map(Into::into),
            retry_after: None,
        },
        in_probes,
    }
}

#[test]
fn errors_show_what_their_status_and_words_say() {
    let gpt = model("gpt");
    for (status, code, finding) in [
        (402, None, Finding::Account),
        (429, Some("insufficient_quota"), Finding::Account),
        (429, None, Finding::RateOfModel),
        (404, Some("model_not_found"), Finding::ModelMissing),
        (307, None, Finding::Redirect),
        (401, None, Finding::Credential),
        (200, Some("insufficient_quota"), Finding::Account),
        (200, None, Finding::HiddenError),
    ] {
        let mut endpoint = endpoint();
        endpoint.add_fault(1, answers(status, code, false), None);
        let (_, seen) = shown(&mut endpoint, &demand(1, &gpt));
        assert_eq!(seen, Some(finding), "{status} {code:?}");
        assert_eq!(endpoint.probe(1).outcome, Outcome::status(200), "{status}");
    }
}

#[test]
fn fault_of_one_model_leaves_others_and_probes() {
    let (big, small) = (model("big"), model("small"));
    for fault in [answers(429, None, true), UpstreamFault::Errors(1.0)] {
        let mut endpoint = endpoint();
        endpoint.add_fault(1, fault, Some(big.clone()));
        assert_ne!(
            shown(&mut endpoint, &demand(1, &big)).0,
            Outcome::status(200)
        );
        assert_eq!(
            shown(&mut endpoint, &demand(1, &small)).0,
            Outcome::status(200)
        );
        assert_eq!(endpoint.probe(1).outcome, Outcome::status(200));
        assert!(endpoint.is_healthy(Instant::START, &small));
        assert!(!endpoint.is_healthy(Instant::START, &big));
    }
}

#[test]
fn fault_shows_in_free_probes_where_it_says_so() {
    let mut endpoint = endpoint();
    endpoint.add_fault(1, answers(307, None, true), None);
    let finding = endpoint.probe(1).outcome.finding();
    assert_eq!(finding, Some(Finding::Redirect));
}

#[test]
fn request_that_is_wrong_itself_fails_at_every_upstream() {
    let gpt = model("gpt");
    for (fault, finding) in [
        (ClientFault::Poison, Finding::Failed),
        (ClientFault::Organization, Finding::ClientIdentity),
    ] {
        let faulty = Demand {
            client_fault: Some(fault),
            ..demand(1, &gpt)
        };
        let (_, seen) = shown(&mut endpoint(), &faulty);
        assert_eq!(seen, Some(finding));
    }
}

#[test]
fn backlog_drops_what_is_too_much_in_one_instant_and_serves_the_rest() {
    let mut endpoint = Endpoint {
        backlog: Some(2),
        ..endpoint()
    };
    let at = |millis| Instant::from_start(Duration::from_millis(millis));
    let ends = |endpoint: &mut Endpoint, millis, key| {
        received(endpoint, at(millis), key).map(|reaction| reaction.outcome)
    };
    let good = Some(Outcome::status(200));
    assert_eq!(ends(&mut endpoint, 0, 1), good);
    assert_eq!(ends(&mut endpoint, 1, 2), good);
    let dropped = Some(Outcome::TimedOut(Stage::Connect));
    assert_eq!(ends(&mut endpoint, 2, 3), dropped);
    assert_eq!(ends(&mut endpoint, 50, 4), good, "the first was accepted");
}

#[test]
fn share_of_answers_breaks_off_and_whole_ones_break_before_they_begin() {
    let gpt = model("gpt");
    let mut endpoint = Endpoint {
        capacity: 1_000,
        ..endpoint()
    };
    endpoint.add_fault(1, UpstreamFault::Breaks(0.3), None);
    let mut reaction = |demand: Demand<'_>| match endpoint.receive(Instant::START, &demand) {
        Reception::Reacts(reaction) => reaction,
        Reception::Waits => panic!("there is room"),
    };
    let streams = (0..400).filter(|key| reaction(demand(*key, &gpt)).breaks_after.is_some());
    let broken = streams.count();
    assert!((90..=150).contains(&broken), "{broken} of 400");
    let whole = |key| Demand {
        stage: Stage::Answer,
        body: Duration::ZERO,
        ..demand(key, &gpt)
    };
    let resets = (400..800).filter(|key| reaction(whole(*key)).outcome == Outcome::Reset);
    let broken = resets.count();
    assert!((90..=150).contains(&broken), "{broken} of 400");
}
