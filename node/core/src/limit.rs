//! Counts shared by the request threads: requests in flight, and the budget for retries.
//!
//! Plain atomic counters with relaxed order: each is read as a hint about load, never to guard other
//! memory, and a simulation on one thread sees exact values.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::token_bucket::TokenBucket;

/// Requests that this node has in flight at one candidate.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    here: Arc<AtomicU32>,
    /// The count that all candidates behind one link share; `None` where no link leads there.
    link: Option<Arc<AtomicU32>>,
}

impl InFlight {
    /// None in flight yet, at a candidate that is reached over a link: each counts on `link` too.
    pub fn over(link: &Self) -> Self {
        Self {
            here: Arc::default(),
            link: Some(Arc::clone(&link.here)),
        }
    }

    /// How many are in flight.
    pub fn count(&self) -> u32 {
        self.here.load(Ordering::Relaxed)
    }

    /// How many are in flight over the link that leads there; `None` where none does.
    pub fn count_on_link(&self) -> Option<u32> {
        let link = self.link.as_ref()?;
        Some(link.load(Ordering::Relaxed))
    }

    /// Counts one more until the guard is dropped.
    pub fn enter(&self) -> InFlightGuard {
        self.here.fetch_add(1, Ordering::Relaxed);
        self.entered()
    }

    /// Counts one more until the guard is dropped, unless `max` are in flight already.
    pub fn enter_below(&self, max: u32) -> Option<InFlightGuard> {
        let below = |count: u32| (count < max).then(|| count + 1);
        let entered = self
            .here
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below);
        entered.is_ok().then(|| self.entered())
    }

    /// One was counted here: counts it on the link, and both until the guard is dropped.
    fn entered(&self) -> InFlightGuard {
        if let Some(link) = &self.link {
            link.fetch_add(1, Ordering::Relaxed);
        }
        InFlightGuard(self.clone())
    }
}

/// One request in flight; ends when dropped.
#[derive(Debug)]
pub struct InFlightGuard(InFlight);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.here.fetch_sub(1, Ordering::Relaxed);
        if let Some(link) = &self.0.link {
            link.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What one retry costs, in thousandths of a retry.
const RETRY: i64 = 1_000;

/// What each request adds: in the long run at most a fifth of requests are retries.
const DEPOSIT: i64 = RETRY / 5;

/// What each second adds, so that a quiet node may retry too.
const REFILL_PER_SECOND: i64 = 10 * RETRY;

/// Retries that may be saved up beside one for each request in flight.
const RESERVE: i64 = 100 * RETRY;

/// A retry for a client that is itself retrying costs more, since both multiply.
const RETRYING_CLIENT_FACTOR: i64 = 2;

/// Answers of one node that are kept at a time until they are whole.
pub const RESTS_MAX: u32 = 512;

/// Keeps retries from multiplying an outage: in the long run a fifth of the requests.
///
/// A token bucket (Finagle's `RetryBudget`), not a share of the requests in flight (Envoy's): when an upstream dies,
/// everything that was waiting for it fails in one instant, and a share of a fifth would turn the other four fifths
/// into errors. So one retry for each request in flight may be saved up in calm times, and an outage that lasts runs
/// into the fifth.
#[derive(Clone, Debug, Default)]
pub struct RetryBudget(Arc<Balance>);

#[derive(Debug, Default)]
struct Balance {
    requests: AtomicU32,
    /// In thousandths of a retry.
    retries: TokenBucket,
    /// Answers that are kept until they are whole.
    rests: AtomicU32,
}

impl RetryBudget {
    /// A budget with its whole reserve.
    pub fn full() -> Self {
        let budget = Self::default();
        budget.deposit(RESERVE);
        budget
    }

    /// Counts a request until the guard is dropped, and adds its share to the budget.
    pub fn request(&self) -> RequestGuard {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        let guard = RequestGuard(self.clone());
        self.deposit(DEPOSIT);
        guard
    }

    /// Adds what the passing of `span` adds.
    pub fn refill(&self, span: Duration) {
        self.deposit((span.as_secs_f64() * REFILL_PER_SECOND as f64) as i64);
    }

    /// How many requests are in flight.
    pub fn requests(&self) -> u32 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// How many answers are kept until they are whole.
    pub fn rests(&self) -> u32 {
        self.0.rests.load(Ordering::Relaxed)
    }

    /// Takes one retry; false when the budget is spent.
    pub fn take_retry(&self, client_is_retrying: bool) -> bool {
        let cost = if client_is_retrying {
            RETRY * RETRYING_CLIENT_FACTOR
        } else {
            RETRY
        };
        self.0.retries.take(cost)
    }

    fn deposit(&self, amount: i64) {
        let max = RESERVE + i64::from(self.requests()) * RETRY;
        self.0.retries.add(amount, max);
    }
}

/// One request of a node in flight, which may retry from the node's budget; ends when dropped.
#[derive(Debug)]
pub struct RequestGuard(RetryBudget);

impl RequestGuard {
    /// Takes one retry; false when the budget is spent.
    pub fn take_retry(&self, client_is_retrying: bool) -> bool {
        self.0.take_retry(client_is_retrying)
    }

    /// Counts an answer that is kept until it is whole, until the guard is dropped; `None` where [`RESTS_MAX`] are.
    pub fn await_rest(&self) -> Option<RestGuard> {
        let balance = &self.0.0;
        let below = |count: u32| (count < RESTS_MAX).then(|| count + 1);
        let entered = (balance.rests).fetch_update(Ordering::Relaxed, Ordering::Relaxed, below);
        entered.is_ok().then(|| RestGuard(Arc::clone(balance)))
    }
}

/// One answer that is kept until it is whole; ends when dropped.
#[derive(Debug)]
pub struct RestGuard(Arc<Balance>);

impl Drop for RestGuard {
    fn drop(&mut self) {
        self.0.rests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries_left(budget: &RetryBudget, client_is_retrying: bool) -> usize {
        (0..10_000)
            .take_while(|_| budget.take_retry(client_is_retrying))
            .count()
    }

    #[test]
    fn everything_in_flight_may_move_once_when_an_upstream_dies() {
        let budget = RetryBudget::full();
        let requests: Vec<_> = (0..500).map(|_| budget.request()).collect();
        budget.refill(Duration::from_secs(60));
        assert!(retries_left(&budget, false) >= requests.len());
    }

    #[test]
    fn lasting_outage_is_held_to_a_fifth() {
        let budget = RetryBudget::full();
        retries_left(&budget, false);
        for _ in 0..1_000 {
            budget.request();
        }
        let retries = retries_left(&budget, false);
        assert!(
            (99..=101).contains(&retries),
            "capped by the reserve: {retries}"
        );
        for _ in 0..50 {
            budget.request();
        }
        assert_eq!(retries_left(&budget, false), 10);
    }

    #[test]
    fn retrying_client_gets_half_of_the_budget() {
        assert_eq!(retries_left(&RetryBudget::full(), true), 50);
    }

    #[test]
    fn quiet_node_regains_ten_retries_a_second() {
        let budget = RetryBudget::default();
        budget.refill(Duration::from_millis(500));
        assert_eq!(retries_left(&budget, false), 5);
    }

    #[test]
    fn candidates_behind_one_link_count_on_it_together() {
        let link = InFlight::default();
        let (one, other) = (InFlight::over(&link), InFlight::over(&link));
        let guards = [one.enter_below(2), one.enter_below(2), Some(other.enter())];
        assert!(guards.iter().all(Option::is_some) && one.enter_below(2).is_none());
        assert_eq!((one.count(), other.count()), (2, 1));
        assert_eq!(one.count_on_link(), Some(3));
        drop(guards);
        assert_eq!(other.count_on_link(), Some(0));
        assert_eq!(link.count_on_link(), None);
    }

    #[test]
    fn entering_below_a_limit_stops_at_the_limit() {
        let cell = InFlight::default();
        let first = cell.enter_below(1);
        assert!(first.is_some() && cell.enter_below(1).is_none());
        drop(first);
        assert_eq!(cell.count(), 0);
    }
}
