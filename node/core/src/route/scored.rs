//! What the order of candidates compares, computed once for each.

use std::sync::Arc;
use std::time::Duration;

use rand_core::Rng;

use super::near::SLOW_START;
use super::{Choice, Cost, RouteReason};
use crate::latency::RequestShape;
use crate::random;
use crate::time::Instant;
use crate::view::{Candidate, Way};

/// Steps in which loads are compared: smaller differences are noise.
pub(super) const LOAD_STEPS: f64 = 20.0;

/// A candidate with what the comparison needs, computed once.
pub(super) struct Scored<'a> {
    pub(super) candidate: &'a Arc<Candidate>,
    pub(super) cost: Cost,
    pub(super) total: Duration,
    pub(super) load: f64,
    pub(super) load_step: u32,
    pub(super) hot: bool,
    pub(super) warming: bool,
}

impl<'a> Scored<'a> {
    pub(super) fn new(
        candidate: &'a Arc<Candidate>,
        shape: RequestShape,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Self {
        let upstream = &*candidate.upstream;
        let cost = Cost::of(candidate, shape, now);
        let load = upstream.fullness() / upstream.weight.get();
        Self {
            candidate,
            cost,
            total: cost.total(),
            load,
            load_step: (load * LOAD_STEPS) as u32,
            hot: upstream.is_hot(now),
            warming: is_warming(upstream.returned_at, now, rng),
        }
    }

    pub(super) fn is_own(&self) -> bool {
        self.candidate.upstream.way == Way::Local
    }

    /// Its cost and its load with one of its requests left out.
    pub(super) fn but_one(&self) -> (Duration, f64) {
        let upstream = &*self.candidate.upstream;
        let one = match upstream.in_flight() {
            0 => 0.0,
            _ => 1.0 / f64::from(upstream.in_flight_max.max(1)),
        };
        let total = self.total.saturating_sub(self.cost.ttft.mul_f64(one));
        (total, self.load - one / upstream.weight.get())
    }

    pub(super) fn choice(&self, reason: RouteReason) -> Choice {
        Choice {
            candidate: Arc::clone(self.candidate),
            cost: self.cost,
            reason,
        }
    }
}

/// One that came back takes a share of the work that grows with the time since then.
fn is_warming(returned_at: Option<Instant>, now: Instant, rng: &mut impl Rng) -> bool {
    returned_at.is_some_and(|returned_at| {
        let age = now.since(returned_at);
        age < SLOW_START && random::unit(rng) >= age.as_secs_f64() / SLOW_START.as_secs_f64()
    })
}
