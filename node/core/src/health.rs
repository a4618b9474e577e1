//! Whether an upstream may be used: a state machine fed by every attempt and probe.
//!
//! ```text
//! Healthy --(failures in a row | error rate | bad credential)--> Ejected --(cooldown over)--> Probing
//!    ^                                                              ^                            |
//!    +----------------(successes in a row)--------------------------|----------------------------+
//!                                                                   +------(one failure)---------+
//! ```
//!
//! Consecutive failures catch an upstream that died; the error rate catches one that fails every other time, which
//! resets a count of consecutive failures forever. The cooldown doubles with each ejection and is jittered, so that
//! nodes do not return to a weak upstream in step; an upstream that stays healthy for a while starts from the first
//! cooldown again. Trials that cost nothing double it twice only: a free trial need not wait for long.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::Rng;

use crate::random;
use crate::time::Instant;
use crate::units::Share;

/// Why an upstream is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EjectionReason {
    /// `failure_threshold` failures in a row, the last of them of this kind.
    Failures(FailureKind),
    /// Too many of the attempts in the window failed.
    ErrorRate,
    /// The upstream refused our credential (401 or 403).
    Credential,
}

/// What kind of failure an attempt or a probe saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// No connection, TLS included.
    Connect,
    /// A wait ran out.
    Timeout,
    /// The connection broke.
    Reset,
    /// A status of 500 and above, or 408.
    Status,
}

impl EjectionReason {
    /// One word for gossip, headers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures(FailureKind::Connect) => "connect",
            Self::Failures(FailureKind::Timeout) => "timeout",
            Self::Failures(FailureKind::Reset) => "reset",
            Self::Failures(FailureKind::Status) => "status",
            Self::ErrorRate => "error_rate",
            Self::Credential => "credential",
        }
    }

    /// The reason that [`EjectionReason::as_str`] calls `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        const ALL: [EjectionReason; 6] = [
            EjectionReason::Failures(FailureKind::Connect),
            EjectionReason::Failures(FailureKind::Timeout),
            EjectionReason::Failures(FailureKind::Reset),
            EjectionReason::Failures(FailureKind::Status),
            EjectionReason::ErrorRate,
            EjectionReason::Credential,
        ];
        ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Where an upstream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// May be used.
    Healthy,
    /// Gets no requests.
    Ejected {
        /// When probing begins.
        until: Instant,
        /// Why.
        reason: EjectionReason,
    },
    /// Is tried, one probe or request at a time.
    Probing {
        /// Good answers in a row so far.
        successes: u32,
        /// Why it had been ejected.
        reason: EjectionReason,
    },
}

/// When to eject and when to take back.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPolicy {
    /// Failures in a row that eject; at least 1.
    pub failure_threshold: u32,
    /// Successes in a row that take back; at least 1.
    pub recovery_threshold: u32,
    /// The first cooldown; doubles with each ejection.
    pub cooldown: Duration,
    /// The longest cooldown.
    pub cooldown_max: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            failure_threshold: 3,
            recovery_threshold: 2,
            cooldown: Duration::from_secs(1),
            cooldown_max: Duration::from_secs(60),
        }
    }
}

/// How often trials that cost nothing double the cooldown: to 4 s, by default.
const FREE_DOUBLINGS_MAX: u32 = 2;

/// The share of failed attempts above which an upstream is ejected.
pub const ERROR_RATE_MAX: f64 = 0.5;

/// Attempts below which the error rate proves nothing.
pub const ERROR_RATE_ATTEMPTS_MIN: u32 = 20;

/// The span the error rate looks back.
pub const ERROR_RATE_WINDOW: Duration = Duration::from_secs(10);

/// The window's resolution: ten counters, however many attempts.
const BUCKET: Duration = Duration::from_secs(1);

/// Half of this, up and down, is the share by which a cooldown varies.
const JITTER: f64 = 0.2;

/// A changed state, for notices and for pushing to peers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Ejected.
    Ejected(EjectionReason),
    /// Being tried.
    Probing,
    /// Healthy again.
    Recovered,
}

/// The health of one upstream.
#[derive(Clone, Debug)]
pub struct Health {
    policy: HealthPolicy,
    state: HealthState,
    failures_in_row: u32,
    breaks_in_row: u32,
    ejections_in_row: u32,
    healthy_since: Instant,
    window: Window,
}

impl Health {
    /// A new upstream is taken to be healthy until it proves otherwise.
    pub fn new(now: Instant, policy: HealthPolicy) -> Self {
        Self {
            policy,
            state: HealthState::Healthy,
            failures_in_row: 0,
            breaks_in_row: 0,
            ejections_in_row: 0,
            healthy_since: now,
            window: Window::default(),
        }
    }

    /// Where the upstream stands.
    pub const fn state(&self) -> HealthState {
        self.state
    }

    /// The share of attempts in the window that failed.
    pub fn error_rate(&self, now: Instant) -> Share {
        self.window.failed_share(now)
    }

    /// Takes new thresholds; the state stays.
    pub fn set_policy(&mut self, policy: HealthPolicy) {
        self.policy = policy;
    }

    /// An answer began. Its body may go on for minutes, and still break off: the upstream takes requests, which is
    /// all that is known.
    pub fn answer_began(&mut self) {
        self.failures_in_row = 0;
    }

    /// An answer that had begun broke off. Counted by itself, since every such answer begins as a success: only whole
    /// answers end the row.
    pub fn broke_off(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Transition> {
        self.breaks_in_row += 1;
        if self.breaks_in_row >= self.policy.failure_threshold {
            self.failures_in_row = self.policy.failure_threshold;
        }
        self.failed(now, FailureKind::Reset, rng)
    }

    /// An attempt or probe succeeded. While ejected it is a late result from before, and ignored.
    pub fn succeeded(&mut self, now: Instant) -> Option<Transition> {
        match self.state {
            HealthState::Healthy => {
                self.failures_in_row = 0;
                self.breaks_in_row = 0;
                self.window.record(now, true);
                None
            }
            HealthState::Ejected { .. } => None,
            HealthState::Probing { successes, reason } => {
                let successes = successes + 1;
                if successes < self.policy.recovery_threshold {
                    self.state = HealthState::Probing { successes, reason };
                    return None;
                }
                self.state = HealthState::Healthy;
                self.failures_in_row = 0;
                self.breaks_in_row = 0;
                self.healthy_since = now;
                self.window = Window::default();
                Some(Transition::Recovered)
            }
        }
    }

    /// An attempt or probe failed. While ejected it is a late result, and ignored.
    pub fn failed(
        &mut self,
        now: Instant,
        failure: FailureKind,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        match self.state {
            HealthState::Healthy => {
                self.failures_in_row += 1;
                self.window.record(now, false);
                if self.failures_in_row >= self.policy.failure_threshold {
                    return Some(self.eject(now, EjectionReason::Failures(failure), rng));
                }
                if self.window.is_failing(now) {
                    return Some(self.eject(now, EjectionReason::ErrorRate, rng));
                }
                None
            }
            HealthState::Ejected { .. } => None,
            HealthState::Probing { .. } => {
                Some(self.eject(now, EjectionReason::Failures(failure), rng))
            }
        }
    }

    /// A probe that costs nothing failed. While it is a trial, the cooldown doubles twice and is repeated from then on.
    ///
    /// Doubled, it would go on for as long again as the outage had lasted: in the simulator's outage of a provider
    /// for 15 s, its upstreams were ejected for 15 s more.
    pub fn free_probe_failed(
        &mut self,
        now: Instant,
        failure: FailureKind,
        rng: &mut impl Rng,
    ) -> Option<Transition> {
        let is_trial = matches!(self.state, HealthState::Probing { .. });
        if is_trial && self.ejections_in_row > FREE_DOUBLINGS_MAX {
            self.ejections_in_row -= 1;
        }
        self.failed(now, failure, rng)
    }

    /// The upstream refused our credential: out at once, since every later request would fail too.
    pub fn credential_refused(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Transition> {
        match self.state {
            HealthState::Ejected { .. } => None,
            HealthState::Healthy | HealthState::Probing { .. } => {
                Some(self.eject(now, EjectionReason::Credential, rng))
            }
        }
    }

    /// Lets time pass: an ejection whose cooldown is over turns into probing.
    pub fn tick(&mut self, now: Instant) -> Option<Transition> {
        match self.state {
            HealthState::Ejected { until, reason } if until <= now => {
                self.state = HealthState::Probing {
                    successes: 0,
                    reason,
                };
                Some(Transition::Probing)
            }
            _ => None,
        }
    }

    fn eject(&mut self, now: Instant, reason: EjectionReason, rng: &mut impl Rng) -> Transition {
        let stayed_healthy = matches!(self.state, HealthState::Healthy)
            && now.since(self.healthy_since) > self.policy.cooldown_max;
        if stayed_healthy {
            self.ejections_in_row = 0;
        }
        let doublings = self.ejections_in_row.min(16);
        let cooldown = self
            .policy
            .cooldown
            .saturating_mul(1 << doublings)
            .min(self.policy.cooldown_max);
        self.ejections_in_row += 1;
        self.failures_in_row = 0;
        self.breaks_in_row = 0;
        let until = now + cooldown.mul_f64(random::jitter(rng, JITTER));
        self.state = HealthState::Ejected { until, reason };
        Transition::Ejected(reason)
    }
}

/// Successes and failures of the last [`ERROR_RATE_WINDOW`], by second.
#[derive(Clone, Debug, Default)]
struct Window {
    buckets: VecDeque<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    began: Instant,
    succeeded: u32,
    failed: u32,
}

impl Window {
    fn record(&mut self, now: Instant, succeeded: bool) {
        while self
            .buckets
            .front()
            .is_some_and(|first| now.since(first.began) >= ERROR_RATE_WINDOW)
        {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            Some(last) if now.since(last.began) < BUCKET => last.count(succeeded),
            _ => {
                let mut bucket = Bucket {
                    began: now,
                    succeeded: 0,
                    failed: 0,
                };
                bucket.count(succeeded);
                self.buckets.push_back(bucket);
            }
        }
    }

    fn totals(&self, now: Instant) -> (u32, u32) {
        let fresh = self
            .buckets
            .iter()
            .filter(|bucket| now.since(bucket.began) < ERROR_RATE_WINDOW);
        fresh.fold((0, 0), |(failed, all), bucket| {
            (
                failed + bucket.failed,
                all + bucket.failed + bucket.succeeded,
            )
        })
    }

    fn failed_share(&self, now: Instant) -> Share {
        let (failed, all) = self.totals(now);
        Share::of(failed, all)
    }

    fn is_failing(&self, now: Instant) -> bool {
        let (failed, all) = self.totals(now);
        all >= ERROR_RATE_ATTEMPTS_MIN && Share::of(failed, all).get() > ERROR_RATE_MAX
    }
}

impl Bucket {
    fn count(&mut self, succeeded: bool) {
        let counter = if succeeded {
            &mut self.succeeded
        } else {
            &mut self.failed
        };
        *counter = counter.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
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

    fn healthy() -> Health {
        Health::new(at(0), HealthPolicy::default())
    }

    fn ejected() -> Health {
        let mut health = healthy();
        let mut rng = rng();
        (0..3).for_each(|_| {
            health.failed(at(0), FailureKind::Connect, &mut rng);
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
        assert_eq!(health.failed(at(1), FailureKind::Status, &mut rng()), None);
        assert_eq!(health.failed(at(2), FailureKind::Status, &mut rng()), None);
        let transition = health.failed(at(3), FailureKind::Timeout, &mut rng());
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
            health.failed(at(millis), FailureKind::Status, &mut rng());
            health.succeeded(at(millis));
        }
        assert_eq!(health.state(), HealthState::Healthy);
    }

    #[test]
    fn upstream_whose_every_answer_breaks_off_is_ejected() {
        let mut health = healthy();
        let mut transition = None;
        for millis in 0..3 {
            assert_eq!(transition, None);
            health.answer_began();
            transition = health.broke_off(at(millis), &mut rng());
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
            health.answer_began();
            health.broke_off(at(millis), &mut rng());
            health.succeeded(at(millis));
        }
        assert_eq!(health.state(), HealthState::Healthy);
    }

    #[test]
    fn upstream_that_fails_two_times_of_three_is_ejected_by_rate() {
        let mut health = healthy();
        let mut transition = None;
        for round in 0..10 {
            health.succeeded(at(round * 100));
            for _ in 0..2 {
                transition =
                    transition.or(health.failed(at(round * 100), FailureKind::Status, &mut rng()));
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
            health.succeeded(at(round));
            health.failed(at(round), FailureKind::Status, &mut rng());
            health.failed(at(round), FailureKind::Status, &mut rng());
        }
        assert_eq!(health.state(), HealthState::Healthy);
        assert!(health.error_rate(at(10)).get() > 0.6);
    }

    #[test]
    fn error_rate_forgets_after_ten_seconds() {
        let mut health = healthy();
        health.failed(at(0), FailureKind::Status, &mut rng());
        assert_eq!(health.error_rate(at(9_999)).get(), 1.0);
        assert_eq!(health.error_rate(at(10_000)).get(), 0.0);
    }

    #[test]
    fn late_success_while_ejected_is_ignored() {
        let mut health = ejected();
        let before = health.state();
        assert_eq!(health.succeeded(at(1)), None);
        assert_eq!(health.failed(at(1), FailureKind::Reset, &mut rng()), None);
        assert_eq!(health.state(), before);
    }

    #[test]
    fn two_successes_while_probing_recover() {
        let mut health = ejected();
        assert_eq!(health.tick(at(100)), None);
        assert_eq!(health.tick(at(2_000)), Some(Transition::Probing));
        assert_eq!(health.succeeded(at(2_001)), None);
        assert_eq!(health.succeeded(at(2_002)), Some(Transition::Recovered));
        assert_eq!(health.state(), HealthState::Healthy);
    }

    #[test]
    fn failure_while_probing_ejects_for_longer() {
        let mut health = ejected();
        let first = cooldown(&health, at(0));
        health.tick(at(2_000));
        health.failed(at(2_000), FailureKind::Connect, &mut rng());
        assert!(cooldown(&health, at(2_000)) > first.mul_f64(1.2));
    }

    #[test]
    fn cooldown_stops_growing_at_its_limit() {
        let mut health = ejected();
        let mut now = at(0);
        for _ in 0..40 {
            now = now + Duration::from_secs(100);
            health.tick(now);
            health.failed(now, FailureKind::Connect, &mut rng());
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
            health.succeeded(at(2_000));
        });
        let later = at(2_000 + 61_000);
        (0..3).for_each(|_| {
            health.failed(later, FailureKind::Connect, &mut rng());
        });
        assert!(cooldown(&health, later) <= Duration::from_secs(1).mul_f64(1.0 + JITTER));
    }

    #[test]
    fn refused_credential_ejects_at_once() {
        let mut health = healthy();
        let transition = health.credential_refused(at(0), &mut rng());
        assert_eq!(
            transition,
            Some(Transition::Ejected(EjectionReason::Credential))
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
                    Step::Success => health.succeeded(now),
                    Step::Failure => health.failed(now, FailureKind::Status, &mut rng),
                    Step::Credential => health.credential_refused(now, &mut rng),
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
}
