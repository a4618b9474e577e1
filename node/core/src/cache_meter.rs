//! How much of the prompts that an upstream reads comes from its cache, as it reports it in `usage`.
//!
//! Shared counters with relaxed order, as [`InFlight`](crate::limit::InFlight): each is read as a hint about money and
//! time, never to guard other memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::units::Share;

/// The tokens over which the recent share is taken: about a hundred prompts of agents. From twice as many on both
/// counts are halved, so that what is old counts ever less.
const RECENT_TOKENS: u64 = 1_000_000;

/// Tokens that the share to expect begins with, half of them from the cache: a few prompts outweigh them.
const PRIOR_TOKENS: f64 = 20_000.0;

/// Tokens of prompts that this node sent to one candidate. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct CacheMeter(Arc<CacheCounts>);

#[derive(Debug, Default)]
struct CacheCounts {
    input: AtomicU64,
    cached: AtomicU64,
    recent_input: AtomicU64,
    recent_cached: AtomicU64,
}

/// Tokens of prompts since the node began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedTokens {
    /// All of them.
    pub input: u64,
    /// Those that came from the cache.
    pub cached: u64,
}

impl CacheMeter {
    /// A prompt of `input` tokens was read, `cached` of them from the cache.
    pub fn record(&self, input: u64, cached: u64) {
        let cached = cached.min(input);
        let counts = &*self.0;
        counts.input.fetch_add(input, Ordering::Relaxed);
        counts.cached.fetch_add(cached, Ordering::Relaxed);
        counts.recent_cached.fetch_add(cached, Ordering::Relaxed);
        let recent = counts.recent_input.fetch_add(input, Ordering::Relaxed) + input;
        if recent >= 2 * RECENT_TOKENS {
            // Two threads that halve at once make both counts small alike.
            counts.recent_input.store(recent / 2, Ordering::Relaxed);
            let cached = counts.recent_cached.load(Ordering::Relaxed);
            counts.recent_cached.store(cached / 2, Ordering::Relaxed);
        }
    }

    /// The share of recent prompts that came from the cache; none before the first.
    pub fn share(&self) -> Share {
        let [input, cached] = [&self.0.recent_input, &self.0.recent_cached]
            .map(|count| count.load(Ordering::Relaxed) as f64);
        // Nothing of nothing is no number, and becomes none.
        Share::clamped(cached / input)
    }

    /// The share to expect of a prompt of a conversation that was there before: the recent one, from half of
    /// [`PRIOR_TOKENS`] on, so that a new upstream is neither given up nor waited for without end.
    pub fn expected_share(&self) -> Share {
        let [input, cached] = [&self.0.recent_input, &self.0.recent_cached]
            .map(|count| count.load(Ordering::Relaxed) as f64);
        Share::clamped((cached + PRIOR_TOKENS / 2.0) / (input + PRIOR_TOKENS))
    }

    /// What was counted since the node began.
    pub fn totals(&self) -> CachedTokens {
        let [input, cached] =
            [&self.0.input, &self.0.cached].map(|count| count.load(Ordering::Relaxed));
        CachedTokens { input, cached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_of_recent_tokens_and_totals_are_of_all() {
        let meter = CacheMeter::default();
        assert_eq!(meter.share(), Share::ZERO);
        meter.record(1_000, 0);
        meter.record(1_000, 500);
        assert_eq!(meter.share().get(), 0.25);
        for _ in 0..100 {
            meter.clone().record(100_000, 100_000);
        }
        assert!(meter.share().get() > 0.99);
        let CachedTokens { input, cached } = meter.totals();
        assert_eq!((input, cached), (10_002_000, 10_000_500));
    }

    #[test]
    fn no_report_makes_more_than_all_of_it_cached() {
        let meter = CacheMeter::default();
        meter.record(10, 4_000);
        assert_eq!(meter.share().get(), 1.0);
        meter.record(0, 5);
        assert_eq!(
            meter.totals(),
            CachedTokens {
                input: 10,
                cached: 10
            }
        );
    }
}
