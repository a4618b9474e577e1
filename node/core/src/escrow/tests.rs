//! A few nodes, a network whose every message a test may hold, lose or repeat, and disks.

mod algebra;
mod budgets;
mod concurrency;
mod rates;
mod restarts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::Instant;
use crate::ids::{Generation, NodeName};

use super::calendar::WallTime;
use super::message::EscrowMessage;
use super::purse::{Purse, Reservation};
use super::seats::{Seat, Seats};
use super::spec::{LimitId, LimitSpec, LimitWindow};
use super::store::StoreImage;
use super::{ASK_WAIT, Escrow, EscrowEffect, EscrowEvent, EscrowReport, EscrowStart, TICK};

/// 2024-03-31 23:59:00, UTC: a minute before a day and a month end.
const WALL: Duration = Duration::from_secs(1_711_929_540);

struct Node {
    escrow: Option<Escrow>,
    disk: StoreImage,
    generation: u64,
    /// Added to the true wall clock.
    wall_ahead: Duration,
}

struct Mesh {
    now: Instant,
    nodes: Vec<Node>,
    wire: VecDeque<(Instant, Seat, Seat, EscrowMessage)>,
    delay: Duration,
    /// Whether messages from one seat to another get through.
    cut: Vec<(usize, usize)>,
    reports: Vec<(usize, EscrowReport)>,
    /// Whether writes are confirmed.
    disks_work: bool,
}

fn limit() -> LimitId {
    LimitId::of(&["app", "requests"])
}

fn spec(amount: u64, window: LimitWindow) -> LimitSpec {
    LimitSpec { amount, window }
}

impl Mesh {
    /// `count` nodes that have started and know one another.
    fn new(count: usize) -> Self {
        let node = |_| Node {
            escrow: None,
            disk: StoreImage::default(),
            generation: 100,
            wall_ahead: Duration::ZERO,
        };
        let mut mesh = Self {
            now: Instant::START,
            nodes: (0..count).map(node).collect(),
            wire: VecDeque::new(),
            delay: Duration::from_millis(40),
            cut: Vec::new(),
            reports: Vec::new(),
            disks_work: true,
        };
        for node in 0..count {
            mesh.start(node);
        }
        mesh.run(Duration::from_secs(2));
        mesh
    }

    fn wall(&self, node: usize) -> WallTime {
        WallTime(WALL + self.now.since_start() + self.nodes[node].wall_ahead)
    }

    fn start(&mut self, index: usize) {
        let name = |at: usize| NodeName::new(&format!("node-{at:03}")).expect("a name");
        let names = (0..self.nodes.len()).map(name).collect();
        let seats = Seats::new(names, &name(index)).expect("listed");
        let wall = self.wall(index);
        let node = &mut self.nodes[index];
        node.generation += 1;
        let start = EscrowStart {
            generation: Generation(node.generation),
            store: node.disk.clone(),
            wall,
        };
        node.escrow = Some(Escrow::new(self.now, seats, start));
    }

    /// The process ends in order.
    fn stop(&mut self, index: usize) {
        self.handle(index, EscrowEvent::Stop);
        let escrow = self.nodes[index].escrow.take().expect("it runs");
        assert!(escrow.is_stopped());
    }

    fn crash(&mut self, index: usize) {
        self.nodes[index].escrow = None;
    }

    /// Cuts `nodes` off from all others, in both directions.
    fn cut_off(&mut self, nodes: &[usize]) {
        for inside in nodes {
            for outside in (0..self.nodes.len()).filter(|node| !nodes.contains(node)) {
                self.cut.push((*inside, outside));
                self.cut.push((outside, *inside));
            }
        }
    }

    fn handle(&mut self, index: usize, event: EscrowEvent) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(escrow) = &mut node.escrow else {
            return;
        };
        for effect in escrow.handle(now, event) {
            match effect {
                EscrowEffect::Send(to, message) => {
                    if !self.cut.contains(&(index, usize::from(to.0))) {
                        let from = Seat(u16::try_from(index).expect("few"));
                        self.wire.push_back((now + self.delay, from, to, message));
                    }
                }
                EscrowEffect::Store(write) if self.disks_work => {
                    let wall = WallTime(WALL + now.since_start());
                    self.nodes[index].disk.apply(&write, wall);
                    return self.handle_rest(index, write.number);
                }
                EscrowEffect::Store(_) => {}
                EscrowEffect::Report(report) => self.reports.push((index, report)),
            }
        }
    }

    /// A write is always the last effect of a handling.
    fn handle_rest(&mut self, index: usize, number: u64) {
        self.handle(index, EscrowEvent::Stored(number));
    }

    fn deliver(&mut self) {
        while let Some((at, _, _, _)) = self.wire.front()
            && *at <= self.now
            && let Some((_, from, to, message)) = self.wire.pop_front()
        {
            self.handle(usize::from(to.0), EscrowEvent::Received(from, message));
        }
    }

    /// Lets time pass, in ticks.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.tick();
        }
    }

    fn tick(&mut self) {
        let end = self.now + TICK;
        while self.now < end {
            self.now = self.now + Duration::from_millis(10);
            self.deliver();
        }
        for node in 0..self.nodes.len() {
            let wall = self.wall(node);
            self.handle(node, EscrowEvent::Tick { wall });
        }
    }

    fn purse(&mut self, node: usize, spec: LimitSpec) -> Arc<Purse> {
        let now = self.now;
        let escrow = self.nodes[node].escrow.as_mut().expect("it runs");
        escrow.open(now, limit(), spec).expect("there is room")
    }

    /// One request at `node`; whether it is admitted.
    fn take(&mut self, node: usize, spec: LimitSpec) -> Option<Reservation> {
        let purse = self.purse(node, spec);
        let taken = purse.take(self.now, 1).ok();
        if taken.is_none() {
            self.handle(node, EscrowEvent::Empty(limit()));
        }
        taken
    }

    /// `per_tick` requests at each of `nodes` in every tick of `span`; how many are admitted.
    fn load(&mut self, nodes: &[usize], spec: LimitSpec, per_tick: usize, span: Duration) -> u64 {
        let end = self.now + span;
        let mut admitted = 0;
        while self.now < end {
            for node in nodes {
                for _ in 0..per_tick {
                    admitted += u64::from(self.take(*node, spec).is_some());
                }
            }
            self.tick();
            self.assert_kept();
        }
        admitted
    }

    /// No home has made or lost a right.
    fn assert_kept(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some((share, accounted)) = node.escrow.as_ref().and_then(|it| it.audit(limit()))
            {
                assert_eq!(share, accounted, "node {index} at {:?}", self.now);
            }
        }
    }
}
