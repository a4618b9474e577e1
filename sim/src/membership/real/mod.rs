//! Real chitchat, unmodified, on a paused clock: for up to 100 nodes.
//!
//! It runs on a thread of its own ([`worker`]), whose entropy follows from a seed, so a run is replayed
//! in any process and on any thread. Each [`instance`] is one chitchat, which sends and receives through a [`socket`]
//! in memory. Everything happens at whole milliseconds, tokio's own grain: what the world does between two
//! happens at the later one, and messages arrive then.
//!
//! Chitchat draws whom to gossip with from its own generators, which the seed feeds; the generator that
//! [`Membership::advance`] takes is not used.

mod instance;
mod socket;
mod worker;

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use rand_chacha::ChaCha8Rng;

use super::settings::{SEED_RETRY, Settings};
use super::{Carrier, Entry, Membership, NodeIndex, Observation, Sent};
use crate::heap::Heap;
use worker::{Done, Order, Step};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A mesh of real chitchats.
#[derive(Debug)]
pub struct Real {
    settings: Settings,
    heap: Heap<Due>,
    /// Incarnations so far, and whether the last one runs.
    incarnations: Vec<(u64, bool)>,
    sent: Vec<Sent>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    steps: SyncSender<Step>,
    done: Receiver<Done>,
    handle: JoinHandle<std::io::Result<()>>,
}

#[derive(Debug)]
enum Due {
    Order(Order),
    /// A round, which chitchat begins by itself.
    Round(NodeIndex, u64),
    TrySeeds(NodeIndex, u64),
}

impl Real {
    /// Real chitchats for nodes with indices below `nodes`, whose own draws follow from `seed`.
    ///
    /// # Panics
    /// When no thread can be started.
    pub fn new(settings: Settings, nodes: u32, seed: u64) -> Self {
        let (steps, taken) = sync_channel(1);
        let (made, done) = sync_channel(1);
        let handle = std::thread::Builder::new()
            .name("chitchat".to_owned())
            .spawn(move || worker::run(seed, settings, nodes, &taken, &made))
            .expect("a process that runs can start a thread");
        Self {
            settings,
            heap: Heap::default(),
            incarnations: vec![(0, false); nodes as usize],
            sent: vec![Sent::default(); nodes as usize],
            thread: Some(Thread {
                steps,
                done,
                handle,
            }),
        }
    }

    fn plan(&mut self, at: Instant, due: Due) {
        self.heap.plan(whole(at), due);
    }

    /// Everything that is due at `at`, as orders.
    fn orders(&mut self, at: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        while self.heap.next_at() == Some(at) {
            let Some((_, due)) = self.heap.take_next() else {
                break;
            };
            match due {
                Due::Order(order) => orders.push(order),
                Due::Round(node, incarnation)
                    if self.incarnations[node.at()] == (incarnation, true) =>
                {
                    let next = at + self.settings.interval;
                    self.plan(next, Due::Round(node, incarnation));
                }
                Due::TrySeeds(node, incarnation)
                    if self.incarnations[node.at()] == (incarnation, true) =>
                {
                    orders.push(Order::TrySeeds(node));
                    self.plan(at + SEED_RETRY, Due::TrySeeds(node, incarnation));
                }
                Due::Round(..) | Due::TrySeeds(..) => {}
            }
        }
        orders
    }

    fn step(&mut self, at: Instant, carrier: &mut dyn Carrier) -> Vec<Observation> {
        let orders = self.orders(at);
        let at_span = at.since_start();
        let thread = self.thread.as_ref().expect("the thread runs until dropped");
        let step = Step {
            at: at_span,
            orders,
        };
        thread
            .steps
            .send(step)
            .expect("the worker runs until its steps end");
        let done = thread.done.recv();
        let Done { posted, found } = done.expect("the worker answers each step");
        for message in posted {
            let sent = &mut self.sent[message.from.at()];
            sent.messages += 1;
            sent.bytes += message.bytes as u64;
            let arrival = carrier.carry(at, message.from, message.to, message.bytes);
            let (when, order) = match arrival {
                Some(arrival) => (arrival.max(at), Order::Deliver(message.number)),
                None => (at, Order::Lose(message.number)),
            };
            self.plan(when, Due::Order(order));
        }
        found
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(Thread { steps, handle, .. }) = self.thread.take() {
            drop(steps);
            // A worker that panicked has printed why already.
            let _ = handle.join();
        }
    }
}

impl Membership for Real {
    fn join(
        &mut self,
        now: Instant,
        node: NodeIndex,
        generation: Generation,
        seeds: &[NodeIndex],
        entries: &[Entry],
    ) {
        let (incarnations, runs) = &mut self.incarnations[node.at()];
        *incarnations += 1;
        *runs = true;
        let incarnation = *incarnations;
        let join = Order::Join {
            node,
            generation,
            seeds: seeds.to_vec(),
            entries: entries.to_vec(),
        };
        self.plan(now, Due::Order(join));
        self.plan(now, Due::Round(node, incarnation));
        self.plan(now, Due::TrySeeds(node, incarnation));
    }

    fn crash(&mut self, now: Instant, node: NodeIndex) {
        self.incarnations[node.at()].1 = false;
        self.plan(now, Due::Order(Order::Crash(node)));
    }

    fn set(&mut self, now: Instant, node: NodeIndex, entry: Entry) {
        self.plan(now, Due::Order(Order::Set(node, entry)));
    }

    fn next_due(&self) -> Option<Instant> {
        self.heap.next_at()
    }

    fn advance(
        &mut self,
        until: Instant,
        carrier: &mut dyn Carrier,
        _rng: &mut ChaCha8Rng,
    ) -> Vec<Observation> {
        let mut found = Vec::new();
        while let Some(at) = self.heap.next_at().filter(|at| *at <= until) {
            found.extend(self.step(at, carrier));
        }
        found
    }

    fn sent(&self, node: NodeIndex) -> Sent {
        self.sent[node.at()]
    }
}

/// The next whole millisecond.
fn whole(at: Instant) -> Instant {
    let grain = MILLISECOND.as_nanos();
    let millis = at.since_start().as_nanos().div_ceil(grain);
    Instant::from_start(Duration::from_millis(
        u64::try_from(millis).unwrap_or(u64::MAX),
    ))
}
