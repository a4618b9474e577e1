//! Upstreams as they really are: how long they take, how much load they bear, how they fail.
//!
//! An upstream works on as many requests at once as it has slots. A request holds one from its start to the end of its
//! body, as at a server that generates tokens; the others wait in a queue, first come, first served, and are refused
//! when it is full.
//!
//! Nothing here is known to a node unless an attempt or a probe shows it. How slow one attempt happens
//! to be is hashed from the request's number, so that every policy meets the same draw.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::outcome::{Finding, Outcome, Stage};

use crate::chance;
use crate::scenario::{Upstream, UpstreamFault};

/// A connection that is refused.
const REFUSED: Duration = Duration::from_millis(3);

/// A list of models, or a quick error.
const QUICK: Duration = Duration::from_millis(20);

/// How long a probe waits.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Names a call: the request and the number of its attempt.
pub(crate) type CallKey = (u64, u32);

/// One upstream of one node.
#[derive(Debug)]
pub(crate) struct Endpoint {
    first_byte: Duration,
    spread: f64,
    capacity: usize,
    line_max: usize,
    /// The status of a refusal when the line is full: 429 or 503.
    when_full: u16,
    limit_per_second: Option<f64>,
    /// The `Retry-After` of a refusal.
    retry_after: Duration,
    /// The tokens that the limit has left, and when that was.
    allowance: (f64, Instant),
    faults: Vec<(usize, UpstreamFault)>,
    /// Calls that hold a slot.
    working: BTreeMap<CallKey, Work>,
    /// Calls that wait for one, the first in front.
    line: VecDeque<CallKey>,
}

/// A call that holds a slot.
#[derive(Clone, Copy, Debug)]
struct Work {
    began_at: Instant,
    ends_at: Instant,
}

/// What an upstream does with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reaction {
    /// When, from now.
    pub(crate) after: Duration,
    /// Its head, or how it failed.
    pub(crate) outcome: Outcome,
}

/// How an upstream receives a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reception {
    /// It works on the call, or has refused it.
    Reacts(Reaction),
    /// The call waits in line for a slot.
    Waits,
}

/// A call, as its upstream sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) key: CallKey,
    /// The random part of its duration and its outcome.
    pub(crate) draw: u64,
    /// How long its caller still waits for the first byte.
    pub(crate) patience: Duration,
    /// From the first byte to the last.
    pub(crate) body: Duration,
}

impl Endpoint {
    pub(crate) fn new(upstream: &Upstream) -> Self {
        Self {
            first_byte: upstream.first_byte,
            spread: upstream.spread,
            capacity: upstream.capacity as usize,
            line_max: upstream.line_max,
            when_full: upstream.when_full,
            limit_per_second: upstream.limit_per_second,
            retry_after: upstream.retry_after,
            allowance: (
                upstream.limit_per_second.unwrap_or_default(),
                Instant::START,
            ),
            faults: Vec::new(),
            working: BTreeMap::new(),
            line: VecDeque::new(),
        }
    }

    pub(crate) fn add_fault(&mut self, id: usize, fault: UpstreamFault) {
        self.faults.push((id, fault));
    }

    pub(crate) fn remove_fault(&mut self, id: usize) {
        self.faults.retain(|(other, _)| *other != id);
    }

    /// Receives a call. One that waits begins with [`Endpoint::begin`], once [`Endpoint::leave`] names it.
    pub(crate) fn receive(&mut self, now: Instant, demand: &Demand) -> Reception {
        let refused = |after, outcome| Reception::Reacts(Reaction { after, outcome });
        if self.has(|it| it == UpstreamFault::Down) {
            return refused(REFUSED, Outcome::ConnectFailed);
        }
        if !self.has(|it| it == UpstreamFault::Hangs) {
            if chance::to_unit(chance::mix(demand.draw)) < self.error_share() {
                return refused(QUICK, Outcome::status(500));
            }
            if !self.takes_one(now) {
                return refused(QUICK, self.asks_to_wait(429));
            }
        }
        if self.working.len() < self.capacity {
            return Reception::Reacts(self.begin(now, demand));
        }
        if self.line.len() >= self.line_max {
            return refused(QUICK, self.asks_to_wait(self.when_full));
        }
        self.line.push_back(demand.key);
        Reception::Waits
    }

    /// Begins to work on a call.
    pub(crate) fn begin(&mut self, now: Instant, demand: &Demand) -> Reaction {
        let patience = demand.patience;
        let factor = (self.spread * chance::to_normal(demand.draw)).exp();
        let after = self.median().mul_f64(factor);
        let hangs = self.has(|it| it == UpstreamFault::Hangs);
        let (after, outcome) = if self.has(|it| it == UpstreamFault::Down) {
            // It waited in line meanwhile.
            (Duration::ZERO, Outcome::Reset)
        } else if hangs || after > patience {
            (patience, Outcome::TimedOut(Stage::FirstByte))
        } else {
            (after, Outcome::status(200))
        };
        let reaction = Reaction { after, outcome };
        let work = Work {
            began_at: now,
            ends_at: now + reaction.after + demand.body,
        };
        self.working.insert(demand.key, work);
        reaction
    }

    /// A call is over, whether it was worked on, waited or was refused. Returns the call that begins next.
    pub(crate) fn leave(&mut self, key: CallKey) -> Option<CallKey> {
        if self.working.remove(&key).is_some() {
            return self.line.pop_front();
        }
        self.line.retain(|other| *other != key);
        None
    }

    /// Calls that it works on, and that wait for it.
    pub(crate) fn in_flight(&self) -> usize {
        self.working.len() + self.line.len()
    }

    /// Whether its answers are paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.has(|it| it == UpstreamFault::Pauses)
    }

    fn asks_to_wait(&self, status: u16) -> Outcome {
        Outcome::Status {
            status,
            retry_after: Some(self.retry_after),
            finding: Finding::of_status(status),
        }
    }

    fn has(&self, is_it: impl Fn(UpstreamFault) -> bool) -> bool {
        self.faults.iter().any(|(_, fault)| is_it(*fault))
    }

    /// The result of a free probe: it asks for the list of models, which a slow or limited upstream still returns.
    pub(crate) fn probe(&self, draw: u64) -> Reaction {
        let ends = |after, outcome| Reaction { after, outcome };
        let all = |fault| self.has(|it| it == fault);
        if all(UpstreamFault::Down) {
            ends(REFUSED, Outcome::ConnectFailed)
        } else if all(UpstreamFault::Hangs) {
            ends(PROBE_TIMEOUT, Outcome::TimedOut(Stage::FirstByte))
        } else if chance::to_unit(draw) < self.error_share() {
            ends(QUICK, Outcome::status(500))
        } else {
            ends(QUICK, Outcome::status(200))
        }
    }

    /// The median first byte of an attempt that would begin now, its wait in line included; for the
    /// oracle.
    pub(crate) fn expected(&self, now: Instant) -> Duration {
        self.wait_in_line(now) + self.median()
    }

    /// The median first byte once it is worked on.
    fn median(&self) -> Duration {
        let slow = self.faults.iter().map(|(_, fault)| match fault {
            UpstreamFault::Slow(factor) => *factor,
            _ => 1.0,
        });
        self.first_byte.mul_f64(slow.product::<f64>())
    }

    /// How long one more would wait: calls in line begin as slots become free, and take as long as the mean of those
    /// that hold a slot.
    fn wait_in_line(&self, now: Instant) -> Duration {
        let slots = self.working.len();
        if slots < self.capacity {
            return Duration::ZERO;
        }
        let mut ends: Vec<Instant> = self.working.values().map(|work| work.ends_at).collect();
        ends.sort_unstable();
        let spans = self.working.values();
        let all: Duration = spans.map(|work| work.ends_at.since(work.began_at)).sum();
        let (rounds, turn) = (self.line.len() / slots, self.line.len() % slots);
        let mean = all / u32::try_from(slots).unwrap_or(u32::MAX);
        now.until(ends[turn]) + mean * u32::try_from(rounds).unwrap_or(u32::MAX)
    }

    /// Whether an attempt that begins now is expected to succeed.
    pub(crate) fn is_healthy(&self, now: Instant) -> bool {
        use UpstreamFault::{Down, Hangs, Pauses};
        let is_broken = self.has(|fault| matches!(fault, Down | Hangs | Pauses));
        !is_broken
            && self.error_share() < 0.1
            && self.allowance_at(now).is_none_or(|left| left >= 1.0)
    }

    fn error_share(&self) -> f64 {
        let good = self.faults.iter().map(|(_, fault)| match fault {
            UpstreamFault::Errors(share) => 1.0 - share,
            _ => 1.0,
        });
        1.0 - good.product::<f64>()
    }

    /// The tightest of the limits there are.
    fn limit(&self) -> Option<f64> {
        let acquired = self.faults.iter().filter_map(|(_, fault)| match fault {
            UpstreamFault::Limits(per_second) => Some(*per_second),
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
            line_max: 5,
            when_full: 503,
            tier: Tier::default(),
            limit_per_second: None,
            retry_after: Duration::from_secs(2),
            price: 1.0,
        })
    }

    fn demand(key: u64) -> Demand {
        Demand {
            key: (key, 1),
            draw: key,
            patience: PATIENCE,
            body: Duration::from_secs(1),
        }
    }

    fn received(endpoint: &mut Endpoint, now: Instant, key: u64) -> Option<Reaction> {
        match endpoint.receive(now, &demand(key)) {
            Reception::Reacts(reaction) => Some(reaction),
            Reception::Waits => None,
        }
    }

    fn outcome(endpoint: &mut Endpoint, key: u64) -> Option<Outcome> {
        let reaction = received(endpoint, Instant::START, key);
        endpoint.leave((key, 1));
        reaction.map(|it| it.outcome)
    }

    #[test]
    fn every_fault_shows_and_ends() {
        let mut endpoint = endpoint();
        endpoint.add_fault(1, UpstreamFault::Down);
        assert_eq!(outcome(&mut endpoint, 1), Some(Outcome::ConnectFailed));
        endpoint.remove_fault(1);
        endpoint.add_fault(2, UpstreamFault::Hangs);
        let timed_out = Outcome::TimedOut(Stage::FirstByte);
        assert_eq!(outcome(&mut endpoint, 1), Some(timed_out));
        endpoint.remove_fault(2);
        endpoint.add_fault(3, UpstreamFault::Slow(10.0));
        assert!(endpoint.expected(Instant::START) >= Duration::from_secs(3));
        endpoint.remove_fault(3);
        endpoint.add_fault(4, UpstreamFault::Errors(1.0));
        assert_eq!(outcome(&mut endpoint, 1), Some(Outcome::status(500)));
        endpoint.remove_fault(4);
        assert_eq!(outcome(&mut endpoint, 1), Some(Outcome::status(200)));
    }

    #[test]
    fn limit_admits_its_rate() {
        let mut endpoint = endpoint();
        endpoint.add_fault(1, UpstreamFault::Limits(5.0));
        let at = |millis| Instant::from_start(Duration::from_millis(millis));
        let answered = (0..1_000)
            .filter(|step| {
                let reaction = received(&mut endpoint, at(step * 10), *step);
                endpoint.leave((*step, 1));
                reaction.is_some_and(|it| it.outcome == Outcome::status(200))
            })
            .count();
        assert!((49..=56).contains(&answered), "{answered} in ten seconds");
    }

    #[test]
    fn call_without_a_slot_waits_in_line_and_begins_in_its_order() {
        let (mut endpoint, now) = (endpoint(), Instant::START);
        for key in 0..10 {
            assert!(received(&mut endpoint, now, key).is_some());
        }
        assert_eq!(endpoint.receive(now, &demand(10)), Reception::Waits);
        assert_eq!(endpoint.receive(now, &demand(11)), Reception::Waits);
        assert_eq!(endpoint.in_flight(), 12);
        assert_eq!(endpoint.leave((3, 1)), Some((10, 1)));
        endpoint.begin(now, &demand(10));
        assert_eq!(endpoint.leave((11, 1)), None, "it gave up in line");
        assert_eq!(endpoint.leave((4, 1)), None, "no call waits any more");
    }

    #[test]
    fn call_that_finds_the_line_full_is_refused_with_retry_after() {
        let (mut endpoint, now) = (endpoint(), Instant::START);
        for key in 0..15 {
            endpoint.receive(now, &demand(key));
        }
        let reaction = received(&mut endpoint, now, 15).expect("it does not wait");
        let full = Outcome::Status {
            status: 503,
            retry_after: Some(Duration::from_secs(2)),
            finding: Finding::Failed,
        };
        assert_eq!((reaction.after, reaction.outcome), (QUICK, full));
        assert_eq!(endpoint.in_flight(), 15);
    }

    #[test]
    fn expected_wait_counts_those_in_front() {
        let (mut endpoint, now) = (endpoint(), Instant::START);
        let idle = endpoint.expected(now);
        for key in 0..10 {
            endpoint.receive(now, &demand(key));
        }
        let next = endpoint.expected(now);
        assert!(next > idle + Duration::from_secs(1), "{next:?}");
        for key in 10..15 {
            endpoint.receive(now, &demand(key));
        }
        assert!(endpoint.expected(now) >= next);
        let later = now + Duration::from_secs(1);
        assert!(endpoint.expected(later) < next, "time passes");
    }
}
