//! Keeps second attempts within a share of all requests.
//!
//! A token bucket as [`RetryBudget`](crate::limit::RetryBudget) is, but one that starts empty, gains nothing by the
//! passing of time, and saves up little: where a provider is slow everywhere, every request is late, and the share is
//! all that is sent beside.

use std::sync::Arc;

use crate::token_bucket::TokenBucket;
use crate::units::Share;

/// What one second attempt costs.
const HEDGE: i64 = 1_000_000;

/// Second attempts that may be saved up.
const RESERVE: i64 = 10 * HEDGE;

/// The second attempts that a node may send. Cheap to clone; clones spend together.
#[derive(Clone, Debug)]
pub struct HedgeBudget {
    deposit: i64,
    balance: Arc<TokenBucket>,
}

impl HedgeBudget {
    /// An empty budget to which each request adds `share` of a second attempt.
    pub fn of(share: Share) -> Self {
        Self {
            deposit: (share.get() * HEDGE as f64) as i64,
            balance: Arc::default(),
        }
    }

    /// A request was let in.
    pub fn request(&self) {
        self.balance.add(self.deposit, RESERVE);
    }

    /// Takes one second attempt; false where the budget is spent.
    pub fn take(&self) -> bool {
        self.balance.take(HEDGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_its_share_of_all_requests_and_ten_are_saved_up() {
        let budget = HedgeBudget::of(Share::clamped(0.03));
        assert!(!budget.take(), "it starts empty");
        let mut taken = 0;
        for _ in 0..10_000 {
            budget.request();
            taken += u32::from(budget.take());
        }
        assert!((299..=300).contains(&taken), "{taken}");
        for _ in 0..10_000 {
            budget.request();
        }
        let saved = (0..100).take_while(|_| budget.take()).count();
        assert_eq!(saved, 10);
    }
}
