//! The state machine, event by event.

use super::*;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

fn at(millis: u64) -> Instant {
    Instant::from_start(Duration::from_millis(millis))
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

thread_local! {
    static REQUESTS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn by(request: u64, client: u64, began_at: Instant) -> Source {
    Source::Request(Witness {
        request,
        client,
        began_at,
        is_doubtful: false,
    })
}

/// A request of a client that was not here before, sent at `began_at`.
fn by_another(began_at: Instant) -> Source {
    let number = REQUESTS.with(|it| it.replace(it.get() + 1));
    by(number, number, began_at)
}

/// The next request of one and the same client.
fn by_one_client(began_at: Instant) -> Source {
    let number = REQUESTS.with(|it| it.replace(it.get() + 1));
    by(number, u64::MAX, began_at)
}

fn untested() -> Health {
    Health::new(at(0), HealthPolicy::default())
}

/// One that served a request.
fn healthy() -> Health {
    let mut health = untested();
    health.succeeded(at(0), by_another(at(0)));
    health
}

fn ejected() -> Health {
    let mut health = healthy();
    let mut rng = rng();
    (0..3).for_each(|_| {
        health.failed(at(0), FailureKind::Connect, by_another(at(0)), &mut rng);
    });
    assert!(matches!(health.state(), HealthState::Ejected { .. }));
    health
}

fn cooldown(health: &Health, now: Instant) -> Duration {
    match health.state() {
        HealthState::Ejected { until, .. } => now.until(until),
        other => panic!("not ejected: {other:?}"),
    }
}

#[test]
fn third_failure_in_a_row_ejects() {
    let mut health = healthy();
    assert_eq!(
        health.failed(at(1), FailureKind::Status, by_another(at(1)), &mut rng()),
        None
    );
    assert_eq!(
        health.failed(at(2), FailureKind::Status, by_another(at(2)), &mut rng()),
        None
    );
    let transition = health.failed(at(3), FailureKind::Timeout, by_another(at(3)), &mut rng());
    assert_eq!(
        transition,
        Some(Transition::Ejected(EjectionReason::Failures(
            FailureKind::Timeout
        )))
    );
}

#[test]
fn success_resets_the_count_of_failures() {
    let mut health = healthy();
    for millis in 0..9 {
        health.failed(
            at(millis),
            FailureKind::Status,
            by_another(at(millis)),
            &mut rng(),
        );
        health.succeeded(at(millis), by_another(at(millis)));
    }
    assert_eq!(health.state(), HealthState::Healthy);
}

#[test]
fn upstream_whose_every_answer_breaks_off_is_ejected() {
    let mut health = healthy();
    let mut transition = None;
    for millis in 0..3 {
        assert_eq!(transition, None);
        health.answer_began(at(millis));
        transition = health.broke_off(
            at(millis),
            FailureKind::Reset,
            by_another(at(millis)),
            &mut rng(),
        );
    }
    assert_eq!(
        transition,
        Some(Transition::Ejected(EjectionReason::Failures(
            FailureKind::Reset
        )))
    );
}

#[test]
fn whole_answer_ends_the_row_of_broken_ones() {
    let mut health = healthy();
    for millis in 0..9 {
        health.answer_began(at(millis));
        health.broke_off(
            at(millis),
            FailureKind::Reset,
            by_another(at(millis)),
            &mut rng(),
        );
        health.succeeded(at(millis), by_another(at(millis)));
    }
    assert_eq!(health.state(), HealthState::Healthy);
}

#[test]
fn upstream_that_fails_two_times_of_three_is_ejected_by_rate() {
    let mut health = healthy();
    let mut transition = None;
    for round in 0..10 {
        health.succeeded(at(round * 200), by_another(at(round * 200)));
        for _ in 0..2 {
            transition = transition.or(health.failed(
                at(round * 200),
                FailureKind::Status,
                by_another(at(round * 200)),
                &mut rng(),
            ));
        }
    }
    assert_eq!(
        transition,
        Some(Transition::Ejected(EjectionReason::ErrorRate))
    );
}

#[test]
fn nineteen_attempts_are_too_few_for_a_rate() {
    let mut health = healthy();
    for round in 0..6 {
        health.succeeded(at(round), by_another(at(round)));
        health.failed(
            at(round),
            FailureKind::Status,
            by_another(at(round)),
            &mut rng(),
        );
        health.failed(
            at(round),
            FailureKind::Status,
            by_another(at(round)),
            &mut rng(),
        );
    }
    assert_eq!(health.state(), HealthState::Healthy);
    assert!(health.error_rate(at(10)).get() > 0.6);
}

#[test]
fn error_rate_forgets_after_ten_seconds() {
    let mut health = untested();
    health.failed(at(0), FailureKind::Status, by_another(at(0)), &mut rng());
    assert_eq!(health.error_rate(at(9_999)).get(), 1.0);
    assert_eq!(health.error_rate(at(10_000)).get(), 0.0);
}

#[test]
fn late_success_while_ejected_is_ignored() {
    let mut health = ejected();
    let before = health.state();
    assert_eq!(health.succeeded(at(1), by_another(at(1))), None);
    assert_eq!(
        health.failed(at(1), FailureKind::Reset, by_another(at(1)), &mut rng()),
        None
    );
    assert_eq!(health.state(), before);
}

#[test]
fn two_successes_while_probing_recover() {
    let mut health = ejected();
    assert_eq!(health.tick(at(100)), None);
    assert_eq!(health.tick(at(2_000)), Some(Transition::Probing));
    assert_eq!(health.succeeded(at(2_001), by_another(at(2_001))), None);
    assert_eq!(
        health.succeeded(at(2_002), by_another(at(2_002))),
        Some(Transition::Recovered)
    );
    assert_eq!(health.state(), HealthState::Healthy);
}

#[test]
fn failure_while_probing_ejects_for_longer() {
    let mut health = ejected();
    let first = cooldown(&health, at(0));
    health.tick(at(2_000));
    health.failed(
        at(2_000),
        FailureKind::Connect,
        by_another(at(2_000)),
        &mut rng(),
    );
    assert!(cooldown(&health, at(2_000)) > first.mul_f64(1.2));
}

#[test]
fn cooldown_stops_growing_at_its_limit() {
    let mut health = ejected();
    let mut now = at(0);
    for _ in 0..40 {
        now = now + Duration::from_secs(100);
        health.tick(now);
        health.failed(now, FailureKind::Connect, by_another(now), &mut rng());
    }
    assert!(cooldown(&health, now) <= Duration::from_secs(60).mul_f64(1.0 + JITTER));
}

#[test]
fn trials_by_free_probes_double_the_cooldown_twice() {
    let mut health = ejected();
    let most = HealthPolicy::default()
        .cooldown
        .mul_f64(4.0 * (1.0 + JITTER));
    let mut now = at(0);
    for _ in 0..40 {
        now = now + Duration::from_secs(100);
        health.tick(now);
        let ejected = health.free_probe_failed(now, FailureKind::Connect, &mut rng());
        assert!(ejected.is_some());
    }
    assert!(cooldown(&health, now) <= most);
}

#[test]
fn free_probe_that_fails_counts_like_a_failure_while_the_upstream_is_healthy() {
    let mut health = healthy();
    let mut failed =
        |second| health.free_probe_failed(at(second), FailureKind::Connect, &mut rng());
    assert_eq!((failed(1), failed(2)), (None, None));
    assert!(failed(3).is_some());
}

#[test]
fn long_health_forgets_earlier_ejections() {
    let mut health = ejected();
    health.tick(at(2_000));
    (0..2).for_each(|_| {
        health.succeeded(at(2_000), by_another(at(2_000)));
    });
    let later = at(2_000 + 61_000);
    (0..3).for_each(|_| {
        health.failed(later, FailureKind::Connect, by_another(later), &mut rng());
    });
    assert!(cooldown(&health, later) <= Duration::from_secs(1).mul_f64(1.0 + JITTER));
}

#[test]
fn credential_is_refused_for_good_once_a_second_client_or_a_probe_confirms_it() {
    for confirming in [by_another(at(2)), Source::FreeProbe, Source::ChatProbe] {
        let mut health = healthy();
        let mut refused = |source| health.credential_refused(at(2), source, &mut rng());
        let reason = EjectionReason::Credential;
        assert_eq!(
            refused(by_another(at(1))),
            Some(Transition::Suspected(reason))
        );
        assert_eq!(refused(confirming), Some(Transition::Ejected(reason)));
    }
}

#[test]
fn one_client_whose_requests_are_refused_ejects_nobody() {
    let mut health = healthy();
    for millis in 1..100 {
        health.credential_refused(at(millis), by_one_client(at(millis)), &mut rng());
    }
    assert!(matches!(health.state(), HealthState::Suspect { .. }));
}

#[test]
fn refused_probe_proves_nothing_while_requests_succeed() {
    let mut health = healthy();
    for millis in 1..10 {
        let refused = health.credential_refused(at(millis), Source::FreeProbe, &mut rng());
        assert_eq!(refused, None);
    }
    // Before any request, others go first, until one succeeds.
    let mut health = untested();
    let refused = health.credential_refused(at(1), Source::FreeProbe, &mut rng());
    assert_eq!(
        refused,
        Some(Transition::Suspected(EjectionReason::Credential))
    );
    assert_eq!(
        health.succeeded(at(2), by_another(at(1))),
        Some(Transition::Cleared)
    );
}

#[test]
fn first_probe_decides_about_one_that_nothing_has_tested() {
    let mut refused = untested();
    let ejected = refused.free_probe_failed(at(1), FailureKind::Connect, &mut rng());
    assert!(matches!(ejected, Some(Transition::Ejected(_))));
    let mut good = untested();
    assert_eq!(
        good.succeeded(at(1), Source::FreeProbe),
        Some(Transition::Proved)
    );
    assert_eq!(good.state(), HealthState::Healthy);
}

#[test]
fn one_client_alone_makes_suspect_and_a_second_one_ejects() {
    let mut health = healthy();
    let mut last = None;
    for millis in 1..50 {
        let source = by_one_client(at(millis));
        last = health
            .failed(at(millis), FailureKind::Status, source, &mut rng())
            .or(last);
    }
    let reason = EjectionReason::Failures(FailureKind::Status);
    assert_eq!(last, Some(Transition::Suspected(reason)));
    let another = by_another(at(50));
    let ejected = health.failed(at(50), FailureKind::Status, another, &mut rng());
    assert_eq!(ejected, Some(Transition::Ejected(reason)));
}

#[test]
fn failed_probe_confirms_a_suspicion() {
    let mut health = healthy();
    for millis in 1..4 {
        let source = by_one_client(at(millis));
        health.failed(at(millis), FailureKind::Reset, source, &mut rng());
    }
    let ejected = health.free_probe_failed(at(5), FailureKind::Status, &mut rng());
    assert!(matches!(ejected, Some(Transition::Ejected(_))));
}

#[test]
fn request_counts_once_however_often_it_was_tried() {
    let mut health = healthy();
    for millis in 1..10 {
        let again = by(7, 7, at(millis));
        assert_eq!(
            health.failed(at(millis), FailureKind::Status, again, &mut rng()),
            None
        );
    }
    assert_eq!(health.state(), HealthState::Healthy);
}

#[test]
fn many_failures_of_one_instant_are_one_piece_of_evidence() {
    // 198 connects that began together time out together: a backlog overflowed.
    let mut health = healthy();
    for _ in 0..198 {
        let source = by_another(at(0));
        health.failed(at(2_000), FailureKind::Connect, source, &mut rng());
    }
    assert!(matches!(health.state(), HealthState::Suspect { .. }));
    assert_eq!(
        health.succeeded(at(2_001), Source::FreeProbe),
        Some(Transition::Cleared)
    );
}

#[test]
fn doubtful_failures_of_one_client_count_as_one_and_of_several_clients_apart() {
    let doubtful = |number, client, began_at| {
        let Source::Request(witness) = by(number, client, began_at) else {
            unreachable!("a request");
        };
        Source::Request(Witness {
            is_doubtful: true,
            ..witness
        })
    };
    let mut poison = healthy();
    for millis in 1..100 {
        let source = doubtful(millis, 1, at(millis));
        let failed = poison.failed(at(millis), FailureKind::Status, source, &mut rng());
        assert_eq!(failed, None, "{millis}");
    }
    let mut outage = healthy();
    let mut last = None;
    for millis in 1..4 {
        let source = doubtful(millis, millis, at(millis));
        last = outage.failed(at(millis), FailureKind::Status, source, &mut rng());
    }
    assert!(matches!(last, Some(Transition::Ejected(_))));
}

#[test]
fn failure_that_is_doubted_later_clears_the_suspicion() {
    let mut health = healthy();
    for number in 1..4 {
        let source = by(number, 1, at(number));
        health.failed(at(number), FailureKind::Status, source, &mut rng());
    }
    assert!(matches!(health.state(), HealthState::Suspect { .. }));
    assert_eq!(health.doubt(1), None);
    assert_eq!(health.doubt(2), Some(Transition::Cleared));
}

#[test]
fn account_without_money_is_out_for_minutes_and_longer_each_time() {
    let mut health = healthy();
    let mut now = at(0);
    let mut cooldowns = Vec::new();
    for _ in 0..6 {
        let out = health.account_refused(now, &mut rng());
        assert_eq!(out, Some(Transition::Ejected(EjectionReason::Account)));
        cooldowns.push(cooldown(&health, now));
        now = now + Duration::from_secs(3_600);
        health.tick(now);
        // The list of models is no proof of money.
        health.succeeded(now, Source::FreeProbe);
        health.succeeded(now, Source::FreeProbe);
        assert!(health.is_on_probation());
    }
    assert!(cooldowns[0] >= ACCOUNT_COOLDOWN.mul_f64(1.0 - JITTER));
    assert!(cooldowns[1] > cooldowns[0]);
    assert!(cooldowns[5] <= ACCOUNT_COOLDOWN_MAX.mul_f64(1.0 + JITTER));
}

/// Ejected by requests that failed after they were sent, and taken back by free probes.
fn on_probation() -> Health {
    let mut health = healthy();
    for millis in 1..4 {
        let source = by_another(at(millis));
        health.failed(at(millis), FailureKind::Reset, source, &mut rng());
    }
    health.tick(at(2_000));
    health.succeeded(at(2_000), Source::FreeProbe);
    assert_eq!(
        health.succeeded(at(2_001), Source::FreeProbe),
        Some(Transition::Recovered)
    );
    health
}

#[test]
fn what_requests_condemned_is_on_probation_after_free_probes() {
    let mut fails_again = on_probation();
    assert!(fails_again.is_on_probation());
    let source = by_one_client(at(2_002));
    let ejected = fails_again.failed(at(2_003), FailureKind::Reset, source, &mut rng());
    assert!(matches!(ejected, Some(Transition::Ejected(_))));
    assert!(cooldown(&fails_again, at(2_003)) > Duration::from_secs(1).mul_f64(1.0 + JITTER));

    let mut works = on_probation();
    works.succeeded(at(2_003), by_another(at(2_002)));
    assert!(!works.is_on_probation());
}

#[test]
fn what_a_probe_asks_for_needs_no_probation() {
    let mut health = ejected();
    health.tick(at(2_000));
    health.succeeded(at(2_000), Source::FreeProbe);
    health.succeeded(at(2_001), Source::FreeProbe);
    assert_eq!(
        (health.state(), health.is_on_probation()),
        (HealthState::Healthy, false)
    );
}

#[test]
fn suspicion_ends_by_time_and_the_next_one_takes_longer() {
    let mut health = healthy();
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        for _ in 0..3 {
            health.failed(now, FailureKind::Status, by_one_client(now), &mut rng());
            now = now + Duration::from_millis(1);
        }
        let HealthState::Suspect { until, .. } = health.state() else {
            panic!("suspect: {:?}", health.state());
        };
        pauses.push(now.until(until));
        now = until;
        assert_eq!(health.tick(now), Some(Transition::Cleared));
    }
    assert!(
        pauses.is_sorted() && pauses[3] > 4 * pauses[0],
        "{pauses:?}"
    );
}

#[test]
fn silence_while_several_clients_wait_is_a_stall() {
    let waits = |number, client| Witness {
        request: number,
        client,
        began_at: at(1_000),
        is_doubtful: false,
    };
    let mut health = healthy();
    assert_eq!(health.stalls(at(11_000), waits(1, 1), &mut rng()), None);
    let stall = Some(Transition::Suspected(EjectionReason::Stall));
    assert_eq!(health.stalls(at(11_000), waits(2, 2), &mut rng()), stall);
    assert_eq!(health.answer_began(at(11_500)), Some(Transition::Cleared));

    let mut busy = healthy();
    // Something came since: it answers, only not these yet.
    busy.answer_began(at(5_000));
    for number in 0..9 {
        assert_eq!(
            busy.stalls(at(11_000), waits(number, number), &mut rng()),
            None
        );
    }
    // One client that waits for one answer proves nothing.
    let mut patient = healthy();
    for _ in 0..9 {
        assert_eq!(patient.stalls(at(99_000), waits(1, 1), &mut rng()), None);
    }
}

#[test]
fn upstream_that_breaks_off_every_fifth_answer_is_suspect_until_the_pause_is_over() {
    let mut health = healthy();
    let mut transitions = Vec::new();
    for number in 0..60 {
        let now = at(number * 100);
        let source = by_one_client(now);
        health.answer_began(now);
        transitions.extend(match number % 5 {
            0 => health.broke_off(now, FailureKind::Reset, source, &mut rng()),
            _ => health.succeeded(now, source),
        });
        transitions.extend(health.tick(now));
    }
    let suspected = Transition::Suspected(EjectionReason::BreakRate);
    assert_eq!(transitions[0], suspected, "{transitions:?}");
    assert!(
        !transitions
            .iter()
            .any(|it| matches!(it, Transition::Ejected(_)))
    );
}

#[test]
fn every_reason_is_found_by_its_word() {
    for reason in [
        EjectionReason::ErrorRate,
        EjectionReason::Credential,
        EjectionReason::Failures(FailureKind::Reset),
    ] {
        assert_eq!(EjectionReason::from_word(reason.as_str()), Some(reason));
    }
    assert_eq!(EjectionReason::from_word("bored"), None);
}

#[derive(Clone, Debug)]
enum Step {
    Success,
    Failure,
    Credential,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Success),
        3 => Just(Step::Failure),
        1 => Just(Step::Credential),
        2 => (0u64..20_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Whatever happens, an upstream leaves `Healthy` only by a failure, returns to it only
    /// through probing, and no ejection lasts longer than the limit.
    #[test]
    fn machine_keeps_its_rules(steps in steps()) {
        let mut health = healthy();
        let mut rng = rng();
        let mut now = at(0);
        for step in steps {
            let before = health.state();
            let transition = match step {
                Step::Success => health.succeeded(now, by_another(now)),
                Step::Failure => health.failed(now, FailureKind::Status, by_another(now), &mut rng),
                Step::Credential => health.credential_refused(now, by_another(now), &mut rng),
                Step::Wait(millis) => {
                    now = now + Duration::from_millis(millis);
                    health.tick(now)
                }
            };
            let changed = std::mem::discriminant(&before) != std::mem::discriminant(&health.state());
            prop_assert_eq!(transition.is_some(), changed);
            if let Some(Transition::Recovered) = transition {
                let was_probing = matches!(before, HealthState::Probing { .. });
                prop_assert!(was_probing);
            }
            if let HealthState::Ejected { until, .. } = health.state() {
                prop_assert!(now.until(until) <= Duration::from_secs(60).mul_f64(1.0 + JITTER));
            }
            prop_assert!((0.0..=1.0).contains(&health.error_rate(now).get()));
        }
    }
}

/// Each of `answers` comes a second after the one before: whether it broke off, and of which client.
fn break_rate_after(answers: impl IntoIterator<Item = (bool, u64)>) -> (f64, Health, Instant) {
    let (mut health, mut now, mut rng) = (untested(), at(0), rng());
    for (number, (breaks, client)) in answers.into_iter().enumerate() {
        now = now + Duration::from_secs(1);
        let source = by(number as u64, client, now);
        match breaks {
            true => health.broke_off(now, FailureKind::Reset, source, &mut rng),
            false => health.succeeded(now, source),
        };
    }
    (health.break_rate(now).get(), health, now)
}

#[test]
fn rate_of_breaks_is_their_share_of_the_last_minute() {
    let every_25th = (1..=50).map(|number| (number % 25 == 0, number));
    let (rate, health, now) = break_rate_after(every_25th);
    assert_eq!(rate, 0.04);
    // The break at 25 s has left the window, and one moment is left.
    let later = now + Duration::from_secs(40);
    assert_eq!(health.break_rate(later), Share::ZERO);
    assert!(matches!(health.state(), HealthState::Healthy));
}

#[test]
fn one_moment_proves_no_rate_of_breaks() {
    let (mut health, mut rng) = (healthy(), rng());
    for _ in 0..2 {
        health.broke_off(at(1), FailureKind::Reset, by_another(at(0)), &mut rng);
    }
    assert_eq!(health.break_rate(at(2)), Share::ZERO);
    health.succeeded(at(8_000), by_another(at(7_000)));
    health.broke_off(
        at(9_000),
        FailureKind::Reset,
        by_another(at(8_000)),
        &mut rng,
    );
    assert_eq!(
        health.break_rate(at(9_000)).get(),
        0.15,
        "of twenty, at least"
    );
}

#[test]
fn client_among_others_proves_no_rate_of_breaks_and_a_sole_one_does() {
    let poisonous = (1..=60).map(|number| match number % 20 {
        0 => (true, 1),
        _ => (false, 2 + number % 7),
    });
    assert_eq!(break_rate_after(poisonous).0, 0.0);
    let sole = (1..=60).map(|number| (number % 20 == 0, 1));
    assert_eq!(break_rate_after(sole).0, 0.05);
    let two = (1..=60).map(|number| (number % 20 == 0, number % 3));
    assert_eq!(break_rate_after(two).0, 0.05);
}
