//! Everything together: nodes, network, requests, faults, and the checker after every event.

mod demand;
mod disturb;
mod held;
mod judge;
mod split;

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::escrow::message::EscrowMessage;
use grapevine_core::escrow::seats::Seat;
use grapevine_core::escrow::spec::{LimitId, LimitWindow};
use grapevine_core::escrow::{ASK_WAIT, EscrowEffect, EscrowEvent, TICK};
use grapevine_core::ids::NodeName;

use crate::chance::{self, Chance};
use crate::check::Violation;
use crate::digest::Digest;
use crate::heap::Heap;
use crate::matrix;
use crate::membership::{Carrier, NodeIndex};
use crate::network::Network;

use super::case::Case;
use super::check::Counter;
use super::fault::{DiskFate, Fault};
use super::node::{Node, Running};
use super::outcome::Outcome;
use super::sabotage::Breach;
use held::Held;
use split::Split;

/// Requests come after this: the nodes have met.
const BEGINS: Duration = Duration::from_secs(5);

/// A write is on the disk after this.
const WRITE_TAKES: Duration = Duration::from_millis(8);

/// What happens.
#[derive(Debug)]
pub(super) enum Happening {
    Tick(usize, u64),
    Arrived {
        to: usize,
        from: usize,
        message: Box<EscrowMessage>,
    },
    Stored(usize, u64, Box<grapevine_core::escrow::store::StoreWrite>),
    /// A request of a limit, at one of the nodes where the demand is.
    Request(usize),
    /// One that waits tries again.
    Again(Waiting),
    /// A request is over.
    Ended {
        node: usize,
        request: u64,
    },
    Moved,
    Fault(Fault),
    /// The mesh is cut in two.
    Split,
    Healed(usize),
    Start(usize, DiskFate),
    /// A process that stopped in order has ended, unless it crashed before.
    Stopped(usize, u64, Duration, DiskFate),
}

/// A request that waits for rights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    node: usize,
    process: u64,
    limit: usize,
    units: u64,
    until: Instant,
}

/// A run.
pub(super) struct World<'a> {
    case: &'a Case,
    seed: u64,
    breach: Breach,
    pub(super) now: Instant,
    pub(super) heap: Heap<Happening>,
    pub(super) network: Network,
    pub(super) nodes: Vec<Node>,
    ids: Vec<LimitId>,
    counters: Vec<Counter>,
    held: Held,
    /// The nodes where the demand is.
    active: Vec<usize>,
    split: Option<Split>,
    pub(super) chance: Chance,
    requests: u64,
    bytes: u64,
    pub(super) faults: u64,
    digest: Digest,
    violation: Option<Violation>,
}

impl<'a> World<'a> {
    pub(super) fn new(case: &'a Case, seed: u64, breach: Breach) -> Self {
        let atlas = matrix::azure();
        let known: Vec<_> = atlas.indices().collect();
        let regions = known.iter().copied().cycle().take(case.nodes).collect();
        let mut chance = Chance::new(seed);
        let name = |at: usize| NodeName::new(&format!("node-{at:03}")).expect("a name");
        let names: Vec<NodeName> = (0..case.nodes).map(name).collect();
        let node = |at: usize| {
            // Within 400 parts in a million of true time.
            let drift = 1.0 + (chance::unit(&mut chance.membership) - 0.5) * 8e-4;
            Node::new(names.clone(), at, drift * breach.rate(at))
        };
        let nodes = (0..case.nodes).map(node).collect();
        let id = |at: usize| LimitId::of(&[case.limits[at].name, &at.to_string()]);
        let counters = case.limits.iter().map(|it| Counter::new(it.spec));
        Self {
            network: Network::new(atlas, regions, (0.3, case.trouble.loss), None, seed),
            nodes,
            ids: (0..case.limits.len()).map(id).collect(),
            counters: counters.collect(),
            held: Held::new(case.nodes, case.limits.len()),
            case,
            seed,
            breach,
            now: Instant::START,
            heap: Heap::default(),
            active: Vec::new(),
            split: None,
            chance,
            requests: 0,
            bytes: 0,
            faults: 0,
            digest: Digest::default(),
            violation: None,
        }
    }

    /// Runs to the end, or to the first violation.
    pub(super) fn run(mut self) -> Outcome {
        for node in 0..self.nodes.len() {
            self.heap
                .plan(self.now, Happening::Start(node, DiskFate::Kept));
        }
        let begin = self.now + BEGINS;
        self.heap.plan(begin, Happening::Moved);
        for limit in 0..self.case.limits.len() {
            self.plan_request(begin, limit);
        }
        self.plan_fault(begin);
        if self.case.splits {
            self.heap.plan(begin + self.case.span / 2, Happening::Split);
        }
        let end = begin + self.case.span;
        while self.violation.is_none()
            && let Some((at, happening)) = self.heap.take_next()
            && at <= end
        {
            self.now = at;
            self.happen(happening);
        }
        self.outcome()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick(node, process) => self.tick(node, process),
            Happening::Arrived { to, from, message } => self.arrive(to, from, *message),
            Happening::Stored(node, process, write) => {
                // A write that was handed over reaches the disk though its process is gone, unless the next has read it.
                if self.nodes[node].process == process {
                    self.nodes[node].write(self.now, &write);
                    self.handle(node, EscrowEvent::Stored(write.number));
                }
            }
            Happening::Request(limit) => self.request(limit),
            Happening::Again(waiting) => self.again(waiting),
            Happening::Ended { node, request } => self.end(node, request),
            Happening::Moved => self.move_demand(),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Split => self.split(),
            Happening::Healed(rule) => self.network.remove(rule),
            Happening::Start(node, fate) => self.start(node, fate),
            Happening::Stopped(node, process, down, fate) => {
                if self.nodes[node].process == process {
                    self.restart(node, down, fate);
                }
            }
        }
    }

    fn start(&mut self, node: usize, fate: DiskFate) {
        self.nodes[node].start(self.now, fate);
        self.weigh(node);
        let process = self.nodes[node].process;
        // Not all in step.
        let first = TICK.mul_f64(chance::unit(&mut self.chance.membership));
        self.heap
            .plan(self.now + first, Happening::Tick(node, process));
        self.check_all(node);
    }

    fn tick(&mut self, node: usize, process: u64) {
        if self.nodes[node].process != process || self.nodes[node].escrow.is_none() {
            return;
        }
        let next = self.now + TICK;
        self.heap.plan(
            next.max(self.nodes[node].asleep_until),
            Happening::Tick(node, process),
        );
        let wall = self.nodes[node].wall(self.now);
        self.handle(node, EscrowEvent::Tick { wall });
        self.check_all(node);
    }

    fn arrive(&mut self, to: usize, from: usize, mut message: EscrowMessage) {
        let asleep_until = self.nodes[to].asleep_until;
        if asleep_until > self.now {
            let message = Box::new(message);
            let late = Happening::Arrived { to, from, message };
            return self.heap.plan(asleep_until, late);
        }
        self.breach.message(&mut message);
        self.handle(to, EscrowEvent::Received(seat(from), message));
        self.check_all(to);
    }

    /// A node's purses may have changed.
    pub(super) fn weigh(&mut self, node: usize) {
        self.held.weigh(node, &self.nodes[node], &self.ids);
    }

    pub(super) fn handle(&mut self, index: usize, event: EscrowEvent) {
        let node = &mut self.nodes[index];
        let local = node.local(self.now);
        let Some(escrow) = &mut node.escrow else {
            return;
        };
        let effects = escrow.handle(local, event);
        self.weigh(index);
        for effect in effects {
            match effect {
                EscrowEffect::Send(to, message) => self.send(index, usize::from(to.0), &message),
                EscrowEffect::Store(write) => {
                    let process = self.nodes[index].process;
                    let stored = Happening::Stored(index, process, Box::new(write));
                    self.heap.plan(self.now + WRITE_TAKES, stored);
                }
                EscrowEffect::Report(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &EscrowMessage) {
        let bytes = message.wire_bytes();
        self.bytes += bytes as u64;
        let trouble = self.case.trouble;
        let copies = 1 + usize::from(trouble.repeats(&mut self.chance.faults));
        for _ in 0..copies {
            let (one, other) = (node_index(from), node_index(to));
            if let Some(at) = self.network.carry(self.now, one, other, bytes) {
                let late = trouble.lateness(&mut self.chance.faults);
                let message = Box::new(message.clone());
                let arrived = Happening::Arrived { to, from, message };
                self.heap.plan(at + late, arrived);
            }
        }
    }

    fn plan_request(&mut self, from: Instant, limit: usize) {
        let per_second = self.case.limits[limit].per_second * self.case.times;
        let wait = chance::exponential(&mut self.chance.workload, 1.0 / per_second);
        let at = from + Duration::from_secs_f64(wait);
        self.heap.plan(at, Happening::Request(limit));
    }

    fn request(&mut self, limit: usize) {
        self.plan_request(self.now, limit);
        let rng = &mut self.chance.workload;
        let node = self.active[chance::below(rng, self.active.len())];
        let (least, most) = self.case.limits[limit].units;
        let units = least + chance::below(rng, (most - least + 1) as usize) as u64;
        let waiting = Waiting {
            node,
            process: self.nodes[node].process,
            limit,
            units,
            until: self.now + ASK_WAIT,
        };
        self.try_to_take(waiting, true);
    }

    fn again(&mut self, waiting: Waiting) {
        if self.nodes[waiting.node].process == waiting.process {
            self.try_to_take(waiting, false);
        }
    }

    fn try_to_take(&mut self, waiting: Waiting, is_first: bool) {
        let Waiting {
            node, limit, units, ..
        } = waiting;
        let counted = &self.case.limits[limit];
        let local = self.nodes[node].local(self.now);
        let Some(purse) = self.nodes[node].purse(self.now, limit, self.ids[limit], counted) else {
            return;
        };
        let taken = if is_first {
            purse.take(local, units)
        } else {
            purse.take_again(local, units)
        };
        match taken {
            Ok(reservation) => {
                self.weigh(node);
                self.admit(node, limit, Running { limit, reservation });
                self.check(limit);
            }
            Err(empty) if empty.may_wait && self.now < waiting.until => {
                let is_awake = self.nodes[node].asleep_until <= self.now;
                if is_first && is_awake {
                    self.handle(node, EscrowEvent::Empty(self.ids[limit]));
                }
                let again = Happening::Again(waiting);
                self.heap.plan(self.now + TICK, again);
            }
            // Who was refused changed nothing.
            Err(_) => {}
        }
    }

    fn admit(&mut self, node: usize, limit: usize, running: Running) {
        self.requests += 1;
        let request = self.requests;
        let counted = &self.case.limits[limit];
        let local = self.nodes[node].local(self.now);
        let units = running.reservation.units();
        let escrow = self.nodes[node].escrow.as_ref();
        let number = escrow.and_then(|escrow| escrow.window(local, counted.spec));
        if let Some(split) = &mut self.split {
            split.admit(self.now, node, limit, units);
        }
        let wrong = self.counters[limit].admit(self.now, request, units, number);
        self.accuse(wrong);
        self.digest
            .words(&[request, node as u64, limit as u64, units]);
        self.nodes[node].running.insert(request, running);
        let mean = counted.lasts.as_secs_f64();
        let lasts = chance::exponential(&mut self.chance.workload, mean);
        let at = self.now + Duration::from_secs_f64(lasts);
        self.heap.plan(at, Happening::Ended { node, request });
    }

    fn end(&mut self, node: usize, request: u64) {
        let local = self.nodes[node].local(self.now);
        let Some(running) = self.nodes[node].running.remove(&request) else {
            return;
        };
        let counted = &self.case.limits[running.limit];
        let units = running.reservation.units();
        let used = match counted.spec.window {
            LimitWindow::Held => 0,
            _ => {
                let part = counted.used_min
                    + (1.0 - counted.used_min) * chance::unit(&mut self.chance.workload);
                ((units as f64 * part).ceil() as u64).min(units)
            }
        };
        self.counters[running.limit].end(request, used);
        // Bounds are upper ones: nothing is overdrawn here.
        let _ = running.reservation.settle(local, self.breach.used(used));
    }
}

fn seat(node: usize) -> Seat {
    Seat(u16::try_from(node).unwrap_or(u16::MAX))
}

fn node_index(node: usize) -> NodeIndex {
    NodeIndex(u32::try_from(node).unwrap_or(u32::MAX))
}
