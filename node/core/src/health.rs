//! Whether an upstream may be used: a state machine fed by every attempt and probe.
//!
//! ```text
//! Untested --(first proof)--> Healthy <--(a good answer | pause over)--> Suspect
//!                               |                                         |
//!                               | failures in a row, error rate           | confirmed
//!                               v                                         v
//!                            Ejected <------------------------------------+
//!                             |   ^
//!            (cooldown over)  v   | (one failure)
//!                            Probing --(successes in a row)--> Healthy
//! ```
//!
//! Consecutive failures catch an upstream that died; the error rate catches one that fails every other time, which
//! resets a count of consecutive failures forever. What is not proven yet ([`FailureRow`]) makes it *suspect*: others
//! go first, and it is probed at once. The cooldown doubles with each ejection and is jittered, so that nodes do not
//! return to a weak upstream in step; an upstream that stays healthy for a while starts from the first cooldown
//! again. Trials that cost nothing double it twice only: a free trial need not wait for long.
//!
//! A probe proves only what it asks for. Where a free one took an upstream back that requests had condemned, or a
//! suspicion ended by time, it is on *probation*: it counts as full with one request, the first good answer ends
//! that, and the first failure condemns it again, for longer.

mod events;
mod evidence;
mod judgement;
mod reason;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

pub use evidence::{Source, Witness};
pub use reason::{EjectionReason, FailureKind};

use crate::time::Instant;
use crate::units::Share;
use evidence::FailureRow;
use window::Window;

/// Where an upstream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// May be used; nothing has proved yet that it can be.
    Untested,
    /// May be used.
    Healthy,
    /// May be used where no other can.
    Suspect {
        /// When it is given another chance.
        until: Instant,
        /// Why.
        reason: EjectionReason,
    },
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

/// The first cooldown of an upstream where our account has no money: nobody pays within seconds.
pub const ACCOUNT_COOLDOWN: Duration = Duration::from_secs(120);

/// The longest one.
pub const ACCOUNT_COOLDOWN_MAX: Duration = Duration::from_secs(1_800);

/// The first pause after an upstream said that it does not have a model.
pub const MISSING_COOLDOWN: Duration = Duration::from_secs(60);

/// The longest one.
pub const MISSING_COOLDOWN_MAX: Duration = Duration::from_secs(900);

/// The share of failed attempts above which an upstream is ejected.
pub const ERROR_RATE_MAX: f64 = 0.5;

/// Attempts below which the error rate proves nothing.
pub const ERROR_RATE_ATTEMPTS_MIN: u32 = 20;

/// The span the error rate looks back.
pub const ERROR_RATE_WINDOW: Duration = Duration::from_secs(10);

/// The share of answers that break off from which an upstream is suspect: each costs a client its answer.
pub const BREAK_RATE_MAX: f64 = 0.1;

/// The span the rate of broken answers looks back; longer, since answers take longer than their first bytes.
pub const BREAK_RATE_WINDOW: Duration = Duration::from_secs(60);

/// Half of this, up and down, is the share by which a cooldown varies.
const JITTER: f64 = 0.2;

/// A changed state, for notices and for pushing to peers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Tested for the first time, and good.
    Proved,
    /// Others go first.
    Suspected(EjectionReason),
    /// No longer suspect.
    Cleared,
    /// Ejected.
    Ejected(EjectionReason),
    /// Being tried.
    Probing,
    /// Healthy again.
    Recovered,
}

/// What the next failure leads back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probation {
    Suspicion,
    Ejection,
}

/// The health of one upstream.
#[derive(Clone, Debug)]
pub struct Health {
    policy: HealthPolicy,
    state: HealthState,
    probation: Option<Probation>,
    failures: FailureRow,
    last_failure: Option<FailureKind>,
    /// Answers that began and broke off, or were none. Counted apart, since each begins as a success.
    breaks: FailureRow,
    refusals: FailureRow,
    /// Requests that wait while nothing comes.
    stalled: FailureRow,
    /// When anything of an answer came last.
    heard_at: Option<Instant>,
    ejections_in_row: u32,
    suspicions_in_row: u32,
    healthy_since: Instant,
    attempts: Window,
    answers: Window,
}

impl Health {
    /// A new upstream may be used, and the first proof decides.
    pub fn new(now: Instant, policy: HealthPolicy) -> Self {
        Self {
            policy,
            state: HealthState::Untested,
            probation: None,
            failures: FailureRow::default(),
            last_failure: None,
            breaks: FailureRow::default(),
            refusals: FailureRow::default(),
            stalled: FailureRow::default(),
            heard_at: None,
            ejections_in_row: 0,
            suspicions_in_row: 0,
            healthy_since: now,
            attempts: Window::new(ERROR_RATE_WINDOW),
            answers: Window::new(BREAK_RATE_WINDOW),
        }
    }

    /// The health of one model of an upstream, which serves others.
    pub fn of_model(now: Instant, policy: HealthPolicy) -> Self {
        Self {
            state: HealthState::Healthy,
            ..Self::new(now, policy)
        }
    }

    /// Where the upstream stands.
    pub const fn state(&self) -> HealthState {
        self.state
    }

    /// Whether it was taken back without a proof, and should get one request at a time.
    pub const fn is_on_probation(&self) -> bool {
        self.probation.is_some()
    }

    /// The share of attempts in the window that failed.
    pub fn error_rate(&self, now: Instant) -> Share {
        self.attempts.totals(now).failed_share()
    }

    /// The share of answers in the window that broke off, as far as it is proven, in whole percents.
    ///
    /// Zero while all of them broke off in one moment, which may have one cause, and while one client of several saw
    /// all of them, which may be at fault. Fewer answers than [`ERROR_RATE_ATTEMPTS_MIN`] count as that many: two of
    /// three are no two thirds yet.
    pub fn break_rate(&self, now: Instant) -> Share {
        let answers = self.answers.totals(now);
        let is_one_client = answers.clients < 2 && answers.witnesses > 1;
        if answers.moments < 2 || is_one_client {
            return Share::ZERO;
        }
        let share = Share::of(answers.failed, answers.all.max(ERROR_RATE_ATTEMPTS_MIN));
        Share::clamped((share.get() * 100.0).round() / 100.0)
    }

    /// Takes new thresholds; the state stays.
    pub fn set_policy(&mut self, policy: HealthPolicy) {
        self.policy = policy;
    }

    /// Lets time pass: an ejection whose cooldown is over turns into probing, a suspicion into another chance.
    pub fn tick(&mut self, now: Instant) -> Option<Transition> {
        match self.state {
            HealthState::Ejected { until, reason } if until <= now => {
                self.state = HealthState::Probing {
                    successes: 0,
                    reason,
                };
                Some(Transition::Probing)
            }
            HealthState::Suspect { until, .. } if until <= now => {
                self.forget_failures();
                self.state = HealthState::Healthy;
                self.healthy_since = now;
                self.probation = Some(Probation::Suspicion);
                Some(Transition::Cleared)
            }
            _ => None,
        }
    }

    /// Takes one back that nothing probes: a request is its trial.
    pub fn release(&mut self, now: Instant) {
        if matches!(self.state, HealthState::Probing { .. }) {
            self.state = HealthState::Healthy;
            self.healthy_since = now;
            self.probation = Some(Probation::Ejection);
        }
    }

    /// Something of an answer came, whatever it says: the upstream does not stall.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = Some(now);
        self.stalled.clear();
    }

    fn forget_failures(&mut self) {
        self.failures.clear();
        self.breaks.clear();
        self.refusals.clear();
        self.stalled.clear();
        self.last_failure = None;
    }

    fn proved(&mut self) -> Transition {
        self.state = HealthState::Healthy;
        Transition::Proved
    }

    fn cleared(&mut self) -> Transition {
        self.state = HealthState::Healthy;
        self.suspicions_in_row = 0;
        self.forget_failures();
        Transition::Cleared
    }
}
