//! A credential that is renewed: one at hand for every request, one renewal at a time.
//!
//! A request takes what is at hand without a lock. Once that is due for renewal, the first request that sees it begins
//! one in the background, and everybody goes on with the old one until it expires. Only where there is none at hand do
//! requests wait, all of them for the same renewal; after a failed one they fail at once until its pause is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use tokio::sync::watch;
use tokio::time::Instant;

use super::issue::{Issue, Issued};
use super::renewal::{LIFETIME_MIN, REFUSED_AGE_MIN, pause, terms};
use super::{CredentialFailure, CredentialState};

/// How long a renewal may take, over all of its calls.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What is at hand.
pub(in crate::upstream) struct Held {
    pub(in crate::upstream) issued: Issued,
    issued_at: Instant,
    /// `None` where it lasts, or is being renewed.
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
    serial: u64,
}

/// Obtains a credential, with calls outside.
pub(in crate::upstream) trait ObtainCredential: Clone + Send + 'static {
    /// One attempt. Limits what it reads; its time is limited by its caller.
    fn obtain(self) -> impl Future<Output = Result<Issue, CredentialFailure>> + Send;
}

/// A credential that is renewed.
pub(in crate::upstream) struct HeldCredential {
    kind: &'static str,
    held: ArcSwapOption<Held>,
    course: Mutex<Course>,
    /// Counts the renewals that ended.
    ended: watch::Sender<u64>,
}

/// The course of the renewals.
struct Course {
    is_renewing: bool,
    failures: u32,
    failures_total: u64,
    /// Not before then after a failure.
    next_at: Option<Instant>,
    last_failure: Option<(SystemTime, CredentialFailure)>,
    renewed_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    serial: u64,
    rng: ChaCha8Rng,
}

impl Course {
    /// From 0 to 1.
    fn draw(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX)
    }
}

/// What a request that needs a renewal finds.
enum Beginning {
    /// One is in flight: it or an earlier request began it.
    InFlight,
    /// The last one failed, and its pause is not over.
    Paused(CredentialFailure),
}

impl HeldCredential {
    /// A credential that nobody has asked for. `rng` draws when it is renewed.
    pub(in crate::upstream) fn new(kind: &'static str, rng: ChaCha8Rng) -> Self {
        Self {
            kind,
            held: ArcSwapOption::empty(),
            course: Mutex::new(Course {
                is_renewing: false,
                failures: 0,
                failures_total: 0,
                next_at: None,
                last_failure: None,
                renewed_at: None,
                expires_at: None,
                serial: 0,
                rng,
            }),
            ended: watch::Sender::new(0),
        }
    }

    /// The one at hand, else the next one.
    ///
    /// # Errors
    /// When there is none, and it cannot be renewed at the moment.
    pub(in crate::upstream) async fn get(
        self: &Arc<Self>,
        obtain: &impl ObtainCredential,
    ) -> Result<Arc<Held>, CredentialFailure> {
        loop {
            let now = Instant::now();
            if let Some(held) = self
                .held
                .load_full()
                .filter(|held| !has_come(held.expires_at, now))
            {
                if has_come(held.renew_at, now) {
                    // Whether it begins or is paused: the old one is used.
                    self.begin(now, obtain);
                }
                return Ok(held);
            }
            let mut ended = self.ended.subscribe();
            match self.begin(now, obtain) {
                Beginning::InFlight => {
                    // The sender lives as long as this.
                    let _ = ended.changed().await;
                }
                Beginning::Paused(failure) => return Err(failure),
            }
        }
    }

    /// The successor of `refused`, which an upstream did not take: the one that is at hand already, or that of a renewal
    /// made for it. `None` where it is too new for that, or cannot be renewed.
    pub(in crate::upstream) async fn succeed(
        self: &Arc<Self>,
        refused: &Held,
        obtain: &impl ObtainCredential,
    ) -> Option<Arc<Held>> {
        let newer = || {
            self.held
                .load_full()
                .filter(|held| held.serial > refused.serial)
        };
        if let Some(held) = newer() {
            return Some(held);
        }
        let now = Instant::now();
        if now.saturating_duration_since(refused.issued_at) < REFUSED_AGE_MIN {
            return None;
        }
        let mut ended = self.ended.subscribe();
        match self.begin(now, obtain) {
            Beginning::InFlight => {
                let _ = ended.changed().await;
                newer()
            }
            Beginning::Paused(_) => None,
        }
    }

    /// Begins a renewal, unless one is in flight or paused.
    fn begin(self: &Arc<Self>, now: Instant, obtain: &impl ObtainCredential) -> Beginning {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        if course.is_renewing {
            return Beginning::InFlight;
        }
        if let (Some(next_at), Some((_, failure))) = (course.next_at, &course.last_failure)
            && now < next_at
        {
            return Beginning::Paused(*failure);
        }
        course.is_renewing = true;
        drop(course);
        self.set_renew_at(None);
        let flight = Renewal(Some(Arc::clone(self)));
        let obtaining = obtain.clone().obtain();
        tokio::spawn(async move {
            let obtained = tokio::time::timeout(RENEWAL_TIMEOUT, obtaining).await;
            flight.end(obtained.unwrap_or(Err(CredentialFailure::TimedOut)));
        });
        Beginning::InFlight
    }

    /// The next renewal of what is at hand: while one is in flight there is none, so that no request looks further.
    fn set_renew_at(&self, renew_at: Option<Instant>) {
        if let Some(held) = self.held.load_full() {
            self.held.store(Some(Arc::new(Held {
                issued: held.issued.clone(),
                renew_at,
                ..*held
            })));
        }
    }

    fn end(&self, obtained: Result<Issue, CredentialFailure>) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_short = |issue: &Issue| issue.lifetime.is_some_and(|span| span < LIFETIME_MIN);
        match obtained {
            Ok(issue) if is_short(&issue) => {
                self.fail(CredentialFailure::Expired, now, &mut course)
            }
            Ok(issue) => self.store(issue, now, &mut course),
            Err(failure) => self.fail(failure, now, &mut course),
        }
        course.is_renewing = false;
        drop(course);
        self.ended.send_modify(|ended| *ended += 1);
    }

    fn fail(&self, failure: CredentialFailure, now: Instant, course: &mut Course) {
        course.failures = course.failures.saturating_add(1);
        course.failures_total += 1;
        let draw = course.draw();
        let next_at = now + pause(course.failures, draw);
        course.next_at = Some(next_at);
        course.last_failure = Some((SystemTime::now(), failure));
        self.set_renew_at(Some(next_at));
        let (kind, reason) = (self.kind, failure.as_str());
        tracing::warn!(
            credential.kind = kind,
            reason,
            "credential cannot be renewed"
        );
    }

    fn store(&self, issue: Issue, now: Instant, course: &mut Course) {
        let draw = course.draw();
        let terms = issue.lifetime.map(|lifetime| terms(lifetime, draw));
        course.serial += 1;
        course.failures = 0;
        course.next_at = None;
        course.renewed_at = Some(SystemTime::now());
        course.expires_at = issue.lifetime.map(|lifetime| SystemTime::now() + lifetime);
        self.held.store(Some(Arc::new(Held {
            issued: issue.issued,
            issued_at: now,
            renew_at: terms.map(|(renewed, _)| now + renewed),
            expires_at: terms.map(|(_, used)| now + used),
            serial: course.serial,
        })));
    }

    /// Makes what is at hand older by `span`.
    #[cfg(test)]
    pub(super) fn age(&self, span: Duration) {
        if let Some(held) = self.held.load_full() {
            self.held.store(Some(Arc::new(Held {
                issued: held.issued.clone(),
                issued_at: held.issued_at - span,
                ..*held
            })));
        }
    }

    /// For the operator: times and a reason, and nothing of the credential.
    pub(in crate::upstream) fn state(&self) -> CredentialState {
        let course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        CredentialState {
            kind: self.kind,
            expires_at: course.expires_at,
            renewed_at: course.renewed_at,
            last_failure: course.last_failure,
            renewals: (course.serial, course.failures_total),
        }
    }
}

/// A renewal in flight. One that is dropped, as with its runtime, has failed: nobody waits for it for ever.
struct Renewal(Option<Arc<HeldCredential>>);

impl Renewal {
    fn end(mut self, obtained: Result<Issue, CredentialFailure>) {
        if let Some(credential) = self.0.take() {
            credential.end(obtained);
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(credential) = self.0.take() {
            credential.end(Err(CredentialFailure::Interrupted));
        }
    }
}

fn has_come(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests;
