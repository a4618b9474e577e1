//! Whether a conversation waits for its cache.
//!
//! Its own upstream has read most of the prompt before, and an engine with a queue begins it late. It stays while the
//! wait costs no more than the cache saves, both in time:
//!
//! `wait(own) - wait(other) <= cached tokens x time to read one`, each with round trip and first byte beside the wait.
//!
//! The time to read a token is what the engine reports of its prefill, of tokens that were not cached; where it reports
//! none, what the size of prompts was measured to add, which is less, since it knows prompts from the cache too. The
//! cached tokens are the share of recent prompts that came from the cache there, of this one. The rule is that of
//! Preble (Srivatsa et al., ICLR 2025), which explores elsewhere where recomputing costs less than the load.

use std::sync::Arc;
use std::time::Duration;

use super::near::{is_near, near_max};
use super::{Cost, RouteQuery};
use crate::latency::{RequestShape, size_adds};
use crate::reported::TOKENS_PER_KIB;
use crate::view::Candidate;

/// When an answer of `candidate` to a short request would begin, by the way, the wait, and the recent low of the first
/// byte: what no single peak raises.
pub(super) fn start(candidate: &Candidate, shape: RequestShape) -> Duration {
    let wait = candidate.upstream.wait().unwrap_or_default();
    Cost::low(candidate, shape).saturating_add(wait)
}

/// The latest start of those that a conversation goes to instead of `home`, where its wait there costs more than its
/// cache saves; `None` where it stays.
pub(super) fn start_max<'a>(
    home: &Candidate,
    eligible: impl Iterator<Item = &'a Arc<Candidate>>,
    ask: &RouteQuery<'_>,
    shape: RequestShape,
) -> Option<Duration> {
    // Nothing waits there, or nobody can say: most conversations.
    home.upstream.wait().filter(|wait| !wait.is_zero())?;
    let soonest = eligible.map(|one| start(one, shape)).min()?;
    let worth = start(home, shape).saturating_sub(saved(home, ask));
    (!is_near(worth, soonest)).then(|| near_max(soonest))
}

/// What the cache of `home` saves a request like `ask`.
fn saved(home: &Candidate, ask: &RouteQuery<'_>) -> Duration {
    let body_bytes = ask.shape.body_bytes;
    let tokens = f64::from(body_bytes) / 1_024.0 * TOKENS_PER_KIB;
    let reported = home.upstream.reported.and_then(|load| load.prefill);
    let reported = reported.unwrap_or_default().mul_f64(tokens / 1_000.0);
    let read = reported.max(size_adds(home.per_kib, body_bytes));
    let share = home.upstream.cache.expected_share().get();
    // What is saved here is time, as what is lost: it counts whole, unless it should count more.
    read.mul_f64(share * ask.cache_weight.max(1.0))
}
