//! Upstreams as they really are: how long they take, how much they bear, how they fail.
//!
//! Nothing here is known to a node unless an attempt or a probe shows it. How slow one attempt happens
//! to be is hashed from the request's number, so that every way of routing meets the same luck.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::outcome::{Outcome, Stage};

use crate::chance;
use crate::scenario::{Ailment, Upstream};

/// A connection that is refused.
const REFUSED: Duration = Duration::from_millis(3);

/// A list of models, or a quick error.
const QUICK: Duration = Duration::from_millis(20);

/// How long a probe waits.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How much slower an upstream is at its capacity.
const SLOWER_AT_CAPACITY: f64 = 0.5;

/// One upstream of one node.
#[derive(Debug)]
pub(crate) struct Endpoint {
    first_byte: Duration,
    spread: f64,
    capacity: u32,
    limit_per_second: Option<f64>,
    /// What a 429 asks for.
    retry_after: Duration,
    /// What the limit still allows, and when that was.
    allowance: (f64, Instant),
    ailments: Vec<(usize, Ailment)>,
    pub(crate) in_flight: u32,
}

/// What an upstream does with an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reaction {
    /// When, from the attempt's start.
    pub(crate) after: Duration,
    /// Its head, or how it failed.
    pub(crate) outcome: Outcome,
}

impl Endpoint {
    pub(crate) fn new(upstream: &Upstream) -> Self {
        Self {
            first_byte: upstream.first_byte,
            spread: upstream.spread,
            capacity: upstream.capacity,
            limit_per_second: upstream.limit_per_second,
            retry_after: upstream.retry_after,
            allowance: (
                upstream.limit_per_second.unwrap_or_default(),
                Instant::START,
            ),
            ailments: Vec::new(),
            in_flight: 0,
        }
    }

    pub(crate) fn fall_ill(&mut self, id: usize, ailment: Ailment) {
        self.ailments.push((id, ailment));
    }

    pub(crate) fn recover(&mut self, id: usize) {
        self.ailments.retain(|(other, _)| *other != id);
    }

    /// What becomes of an attempt that begins now. `luck` decides what chance decides; a wait beyond
    /// `patience` ends as a timeout.
    pub(crate) fn react(&mut self, now: Instant, luck: u64, patience: Duration) -> Reaction {
        let fails = |after, outcome| Reaction { after, outcome };
        let all = |ailment| self.ailments.iter().any(|(_, it)| *it == ailment);
        if all(Ailment::Down) {
            return fails(REFUSED, Outcome::ConnectFailed);
        }
        if all(Ailment::Hangs) {
            return fails(patience, Outcome::TimedOut(Stage::FirstByte));
        }
        if chance::to_unit(chance::mix(luck)) < self.error_share() {
            return fails(QUICK, Outcome::status(500));
        }
        if !self.takes_one(now) {
            let outcome = Outcome::Status {
                status: 429,
                retry_after: Some(self.retry_after),
            };
            return fails(QUICK, outcome);
        }
        let luck = (self.spread * chance::to_normal(luck)).exp();
        let after = self.expected().mul_f64(luck);
        if after > patience {
            return fails(patience, Outcome::TimedOut(Stage::FirstByte));
        }
        fails(after, Outcome::status(200))
    }

    /// How a free probe ends: it asks for the list of models, which a slow or limited one still gives.
    pub(crate) fn probe(&self, luck: u64) -> Reaction {
        let ends = |after, outcome| Reaction { after, outcome };
        let all = |ailment| self.ailments.iter().any(|(_, it)| *it == ailment);
        if all(Ailment::Down) {
            ends(REFUSED, Outcome::ConnectFailed)
        } else if all(Ailment::Hangs) {
            ends(PROBE_TIMEOUT, Outcome::TimedOut(Stage::FirstByte))
        } else if chance::to_unit(luck) < self.error_share() {
            ends(QUICK, Outcome::status(500))
        } else {
            ends(QUICK, Outcome::status(200))
        }
    }

    /// The median first byte of an attempt that would begin now; for those who know everything.
    pub(crate) fn expected(&self) -> Duration {
        let slow = self.ailments.iter().map(|(_, ailment)| match ailment {
            Ailment::Slow(factor) => *factor,
            _ => 1.0,
        });
        let load = f64::from(self.in_flight) / f64::from(self.capacity);
        // Hardly slower up to its capacity, then steeply: a queue.
        let busy = 1.0 + SLOWER_AT_CAPACITY * load.powi(4);
        self.first_byte.mul_f64(slow.product::<f64>() * busy)
    }

    /// Whether an attempt that would begin now is answered well, luck aside.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        let broken = |ailment: &Ailment| matches!(ailment, Ailment::Down | Ailment::Hangs);
        let is_broken = self.ailments.iter().any(|(_, ailment)| broken(ailment));
        !is_broken
            && self.error_share() < 0.1
            && self.allowance_at(now).is_none_or(|left| left >= 1.0)
    }

    fn error_share(&self) -> f64 {
        let good = self.ailments.iter().map(|(_, ailment)| match ailment {
            Ailment::Errors(share) => 1.0 - share,
            _ => 1.0,
        });
        1.0 - good.product::<f64>()
    }

    /// The tightest of the limits there are.
    fn limit(&self) -> Option<f64> {
        let acquired = self
            .ailments
            .iter()
            .filter_map(|(_, ailment)| match ailment {
                Ailment::Limits(per_second) => Some(*per_second),
                _ => None,
            });
        acquired.chain(self.limit_per_second).min_by(f64::total_cmp)
    }

    fn allowance_at(&self, now: Instant) -> Option<f64> {
        let limit = self.limit()?;
        let (left, at) = self.allowance;
        Some((left + limit * now.since(at).as_secs_f64()).min(limit.max(1.0)))
    }

    fn takes_one(&mut self, now: Instant) -> bool {
        let Some(left) = self.allowance_at(now) else {
            return true;
        };
        let takes = left >= 1.0;
        self.allowance = (if takes { left - 1.0 } else { left }, now);
        takes
    }
}

#[cfg(test)]
mod tests {
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
            tier: Tier::default(),
            limit_per_second: None,
            retry_after: Duration::from_secs(2),
            price: 1.0,
        })
    }

    fn outcome(endpoint: &mut Endpoint, luck: u64) -> Outcome {
        endpoint.react(Instant::START, luck, PATIENCE).outcome
    }

    #[test]
    fn every_ailment_shows_and_passes() {
        let mut endpoint = endpoint();
        endpoint.fall_ill(1, Ailment::Down);
        assert_eq!(outcome(&mut endpoint, 1), Outcome::ConnectFailed);
        endpoint.recover(1);
        endpoint.fall_ill(2, Ailment::Hangs);
        assert_eq!(
            outcome(&mut endpoint, 1),
            Outcome::TimedOut(Stage::FirstByte)
        );
        endpoint.recover(2);
        endpoint.fall_ill(3, Ailment::Slow(10.0));
        assert!(endpoint.expected() >= Duration::from_secs(3));
        endpoint.recover(3);
        endpoint.fall_ill(4, Ailment::Errors(1.0));
        assert_eq!(outcome(&mut endpoint, 1), Outcome::status(500));
        endpoint.recover(4);
        assert_eq!(outcome(&mut endpoint, 1), Outcome::status(200));
    }

    #[test]
    fn limit_lets_its_rate_through() {
        let mut endpoint = endpoint();
        endpoint.fall_ill(1, Ailment::Limits(5.0));
        let at = |millis| Instant::from_start(Duration::from_millis(millis));
        let answered = (0..1_000)
            .map(|step| endpoint.react(at(step * 10), step, PATIENCE))
            .filter(|reaction| reaction.outcome == Outcome::status(200))
            .count();
        assert!((49..=56).contains(&answered), "{answered} in ten seconds");
    }

    #[test]
    fn full_upstream_is_slower() {
        let mut endpoint = endpoint();
        let idle = endpoint.expected();
        endpoint.in_flight = 20;
        assert!(endpoint.expected() > idle * 5);
    }
}
