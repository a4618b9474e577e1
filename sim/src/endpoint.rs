//! Upstreams as they really are: how long they take, how much load they bear, how they fail.
//!
//! An upstream works on as many requests at once as it has slots. A request holds one from its start to the end of its
//! body, as at a server that generates tokens; the others wait in a queue, first come, first served, and are refused
//! when it is full.
//!
//! Nothing here is known to a node unless an attempt or a probe shows it. How slow one attempt happens
//! to be is hashed from the request's number, so that every policy meets the same draw.

mod engine;
mod faults;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::ModelName;
use grapevine_core::outcome::{Finding, Outcome, Stage};

use crate::chance;
use crate::scenario::{ClientFault, ErrorAnswer, Upstream, UpstreamFault};
use engine::EngineState;
pub(crate) use engine::Prompt;
use faults::{Asked, Faults};

/// A connection that is refused.
const REFUSED: Duration = Duration::from_millis(3);

/// A list of models, or a quick error.
pub(crate) const QUICK: Duration = Duration::from_millis(20);

/// How long a probe waits.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that arrive within this are one instant to a listener's backlog: Linux accepts as fast as the program
/// asks, and a program asks again within a few milliseconds.
const INSTANT: Duration = Duration::from_millis(50);

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
    faults: Faults,
    /// Connections that its listener takes in one instant.
    backlog: Option<usize>,
    /// When those of the last instant arrived.
    arrived: VecDeque<Instant>,
    /// Calls that hold a slot.
    working: BTreeMap<CallKey, Work>,
    /// Calls that wait for one, the first in front.
    line: VecDeque<CallKey>,
    /// What reports its load and caches prompts, where it does.
    engine: Option<EngineState>,
}

/// A call that holds a slot.
#[derive(Clone, Copy, Debug)]
struct Work {
    began_at: Instant,
    ends_at: Instant,
}

/// What an upstream does with a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reaction {
    /// When, from now.
    pub(crate) after: Duration,
    /// Its head, or how it failed.
    pub(crate) outcome: Outcome,
    /// An error's status and words, where it is one that has words.
    pub(crate) error: Option<Arc<ErrorAnswer>>,
    /// Its body breaks off after this share of it.
    pub(crate) breaks_after: Option<f64>,
    /// The tokens of its prompt that were in a cache.
    pub(crate) cached: u64,
}

impl Reaction {
    pub(crate) const fn new(after: Duration, outcome: Outcome) -> Self {
        Self {
            after,
            outcome,
            error: None,
            breaks_after: None,
            cached: 0,
        }
    }

    fn error(answer: &ErrorAnswer, names_identity: bool) -> Self {
        let outcome = Outcome::Status {
            status: answer.status,
            retry_after: answer.retry_after,
            finding: answer.finding(names_identity),
        };
        Self {
            error: Some(Arc::new(answer.clone())),
            ..Self::new(QUICK, outcome)
        }
    }
}

/// How an upstream receives a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reception {
    /// It works on the call, or has refused it.
    Reacts(Reaction),
    /// The call waits in line for a slot.
    Waits,
}

/// A call, as its upstream sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) key: CallKey,
    pub(crate) model: &'a ModelName,
    /// What is wrong with it by its client's fault.
    pub(crate) client_fault: Option<ClientFault>,
    /// The random part of its duration and its outcome.
    pub(crate) draw: u64,
    /// How long its caller waits for a connection.
    pub(crate) connect: Duration,
    /// How long its caller still waits for the first byte.
    pub(crate) patience: Duration,
    /// Which wait that is.
    pub(crate) stage: Stage,
    /// How much later than others its first byte comes, by its prompt.
    pub(crate) prompt: f64,
    /// How much later, since it is made as a whole.
    pub(crate) making: Duration,
    /// From the first byte to the last.
    pub(crate) body: Duration,
    /// What an engine reads before, where it has a cache.
    pub(crate) conversation: Option<Prompt>,
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
            faults: Faults::default(),
            backlog: upstream.backlog,
            arrived: VecDeque::new(),
            working: BTreeMap::new(),
            line: VecDeque::new(),
            engine: upstream.engine.map(EngineState::new),
        }
    }

    pub(crate) fn add_fault(&mut self, id: usize, fault: UpstreamFault, model: Option<ModelName>) {
        self.faults.add(id, fault, model);
    }

    pub(crate) fn remove_fault(&mut self, id: usize) {
        self.faults.remove(id);
    }

    /// Receives a call. One that waits begins with [`Endpoint::begin`], once [`Endpoint::leave`] names it.
    pub(crate) fn receive(&mut self, now: Instant, demand: &Demand<'_>) -> Reception {
        if let Some(refusal) = self.refuses(now, demand) {
            return Reception::Reacts(refusal);
        }
        if self.working.len() < self.capacity {
            return Reception::Reacts(self.begin(now, demand));
        }
        if self.line.len() >= self.line_max {
            let full = self.asks_to_wait(self.when_full);
            return Reception::Reacts(Reaction::new(QUICK, full));
        }
        self.line.push_back(demand.key);
        Reception::Waits
    }

    /// How it refuses a call that it does not work on.
    fn refuses(&mut self, now: Instant, demand: &Demand<'_>) -> Option<Reaction> {
        let asked = Asked::Model(demand.model);
        if self.faults.is_down() {
            return Some(Reaction::new(REFUSED, Outcome::ConnectFailed));
        }
        if !self.listens(now) {
            let timed_out = Outcome::TimedOut(Stage::Connect);
            return Some(Reaction::new(demand.connect, timed_out));
        }
        if self.faults.hangs(asked) {
            return None;
        }
        let draw = chance::mix(demand.draw);
        if chance::to_unit(draw) < self.faults.error_share(asked) {
            return Some(Reaction::new(QUICK, Outcome::status(500)));
        }
        if let Some(answer) = self.faults.answer(asked, draw) {
            return Some(Reaction::error(answer, demand.names_identity()));
        }
        if let Some(fault) = demand.client_fault {
            return Some(Reaction::error(&fault.answer(), demand.names_identity()));
        }
        let takes = self.takes_one(now);
        (!takes).then(|| Reaction::new(QUICK, self.asks_to_wait(429)))
    }

    /// Whether its listener has room for one more connection.
    fn listens(&mut self, now: Instant) -> bool {
        let Some(backlog) = self.backlog else {
            return true;
        };
        while (self.arrived.front()).is_some_and(|at| now.since(*at) >= INSTANT) {
            self.arrived.pop_front();
        }
        let has_room = self.arrived.len() < backlog;
        if has_room {
            self.arrived.push_back(now);
        }
        has_room
    }

    /// Begins to work on a call.
    pub(crate) fn begin(&mut self, now: Instant, demand: &Demand<'_>) -> Reaction {
        let asked = Asked::Model(demand.model);
        let patience = demand.patience;
        let factor = (self.spread * chance::to_normal(demand.draw)).exp();
        let first_byte = self.median(asked).mul_f64(factor * demand.prompt);
        let engine = self.engine.as_mut().zip(demand.conversation);
        let read = engine.map(|(engine, prompt)| engine.reads(prompt));
        let (reading, cached) = read.unwrap_or_default();
        let after = first_byte + reading + demand.making;
        let mut reaction = if self.faults.is_down() {
            // It waited in line meanwhile.
            Reaction::new(Duration::ZERO, Outcome::Reset)
        } else if self.faults.hangs(asked) || after > patience {
            Reaction::new(patience, Outcome::TimedOut(demand.stage))
        } else {
            self.answers(after, demand)
        };
        reaction.cached = cached;
        let work = Work {
            began_at: now,
            ends_at: now + reaction.after + demand.body,
        };
        self.working.insert(demand.key, work);
        reaction
    }

    /// A good answer, unless it breaks off.
    fn answers(&self, after: Duration, demand: &Demand<'_>) -> Reaction {
        let good = Reaction::new(after, Outcome::status(200));
        let share = self.faults.break_share(Asked::Model(demand.model));
        let draw = |number| chance::to_unit(chance::hash(&[demand.draw, number]));
        if draw(2) >= share {
            return good;
        }
        match demand.body.is_zero() {
            // Nothing of it was sent before all of it was made.
            true => Reaction::new(after.mul_f64(draw(3)), Outcome::Reset),
            false => Reaction {
                breaks_after: Some(draw(3)),
                ..good
            },
        }
    }

    /// Whether it works on this call.
    pub(crate) fn works_on(&self, key: CallKey) -> bool {
        self.working.contains_key(&key)
    }

    /// A call is over, whether it was worked on, waited or was refused. Returns the call that begins next.
    pub(crate) fn leave(&mut self, key: CallKey) -> Option<CallKey> {
        if self.working.remove(&key).is_some() {
            if let Some(engine) = &mut self.engine {
                engine.ends_one();
            }
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
        self.faults.is_paused()
    }

    fn asks_to_wait(&self, status: u16) -> Outcome {
        Outcome::Status {
            status,
            retry_after: Some(self.retry_after),
            finding: Finding::of_status(status),
        }
    }

    /// The result of a free probe: it asks for the list of models, which a slow or limited upstream still returns.
    pub(crate) fn probe(&self, draw: u64) -> Reaction {
        let asked = Asked::FreeProbe;
        if self.faults.is_down() {
            Reaction::new(REFUSED, Outcome::ConnectFailed)
        } else if self.faults.hangs(asked) {
            Reaction::new(PROBE_TIMEOUT, Outcome::TimedOut(Stage::FirstByte))
        } else if chance::to_unit(draw) < self.faults.error_share(asked) {
            Reaction::new(QUICK, Outcome::status(500))
        } else if let Some(answer) = self.faults.answer(asked, draw) {
            Reaction::error(answer, false)
        } else {
            Reaction::new(QUICK, Outcome::status(200))
        }
    }

    /// The median first byte of an attempt for `model` that would begin now, its wait in line included; for the
    /// oracle.
    pub(crate) fn expected(&self, now: Instant, model: &ModelName) -> Duration {
        self.wait_in_line(now) + self.median(Asked::Model(model))
    }

    /// The median first byte once it is worked on.
    fn median(&self, asked: Asked<'_>) -> Duration {
        self.first_byte.mul_f64(self.faults.slowness(asked))
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

    /// Whether an attempt for `model` that begins now is expected to succeed.
    pub(crate) fn is_healthy(&self, now: Instant, model: &ModelName) -> bool {
        let is_allowed = self.allowance_at(now).is_none_or(|left| left >= 1.0);
        self.faults.permit(model) && is_allowed
    }

    /// The tightest of the limits there are.
    fn limit(&self) -> Option<f64> {
        let limits = self.faults.limit().into_iter().chain(self.limit_per_second);
        limits.min_by(f64::total_cmp)
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

impl Demand<'_> {
    /// Whether the client names an organization of its own.
    fn names_identity(&self) -> bool {
        self.client_fault == Some(ClientFault::Organization)
    }
}
