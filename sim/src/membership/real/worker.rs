//! The thread that real chitchat runs on: its entropy is seeded and its clock is paused.
//!
//! Each step sleeps until a moment, lets chitchat's own timers of that moment run, then carries out the
//! orders one after another, each until all tasks are idle. So no task ever finds two things ready at
//! once, and the order in which tokio would poll them has no effect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::ids::Generation;
use tokio::time::sleep_until;

use super::super::settings::Settings;
use super::super::{Entry, NodeIndex, Observation};
use super::instance::{Instance, InstanceSetup, address};
use super::socket::SentMessage;

/// Yields without activity after which all tasks are idle: one yield runs at most 61 tasks.
const QUIET_YIELDS: usize = 4;

/// One moment, and what to do in it.
#[derive(Debug)]
pub(super) struct Step {
    /// Since the start, in whole milliseconds.
    pub(super) at: Duration,
    pub(super) orders: Vec<Order>,
}

#[derive(Debug)]
pub(super) enum Order {
    Join {
        node: NodeIndex,
        generation: Generation,
        seeds: Vec<NodeIndex>,
        entries: Vec<Entry>,
    },
    Crash(NodeIndex),
    Set(NodeIndex, Entry),
    TrySeeds(NodeIndex),
    Deliver(u64),
    Lose(u64),
}

/// The result of a step.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) posted: Vec<Posted>,
    pub(super) found: Vec<Observation>,
}

/// A message that waits for the network's decision, by its number.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) number: u64,
    pub(super) from: NodeIndex,
    pub(super) to: NodeIndex,
    pub(super) bytes: usize,
}

struct Worker {
    settings: Settings,
    nodes: Vec<Option<Instance>>,
    addresses: BTreeMap<std::net::SocketAddr, NodeIndex>,
    outbox: Arc<Mutex<Vec<SentMessage>>>,
    activity: Arc<AtomicU64>,
    in_transit: BTreeMap<u64, (Instant, NodeIndex, SentMessage)>,
    number: u64,
}

/// Runs steps until their sender is dropped. To be called on a thread of its own.
pub(super) fn run(
    seed: u64,
    settings: Settings,
    nodes: u32,
    steps: &Receiver<Step>,
    done: &SyncSender<Done>,
) -> std::io::Result<()> {
    grapevine_sim_entropy::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let mut worker = Worker {
        settings,
        nodes: std::iter::repeat_with(|| None)
            .take(nodes as usize)
            .collect(),
        addresses: (0..nodes)
            .map(|node| (address(NodeIndex(node)), NodeIndex(node)))
            .collect(),
        outbox: Arc::default(),
        activity: Arc::default(),
        in_transit: BTreeMap::new(),
        number: 0,
    };
    let start = runtime.block_on(async { tokio::time::Instant::now() });
    for step in steps {
        let result = runtime.block_on(worker.step(start, step));
        if done.send(result).is_err() {
            break;
        }
    }
    // Their tasks end within the runtime.
    runtime.block_on(async { worker.nodes.clear() });
    Ok(())
}

impl Worker {
    async fn step(&mut self, start: tokio::time::Instant, step: Step) -> Done {
        sleep_until(start + step.at).await;
        let now = Instant::from_start(step.at);
        self.settle().await;
        for order in step.orders {
            self.carry_out(now, order).await;
            self.settle().await;
        }
        Done {
            posted: self.post(now),
            found: self.look(now).await,
        }
    }

    /// Waits until no task has anything to do at this moment.
    async fn settle(&self) {
        let mut quiet = 0;
        while quiet < QUIET_YIELDS {
            let before = self.activity.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            let is_quiet = self.activity.load(Ordering::Relaxed) == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }

    async fn carry_out(&mut self, now: Instant, order: Order) {
        match order {
            Order::Join {
                node,
                generation,
                seeds,
                entries,
            } => {
                let setup = InstanceSetup {
                    node,
                    generation,
                    seeds,
                    entries: &entries,
                    nodes: self.nodes.len(),
                    outbox: Arc::clone(&self.outbox),
                    activity: Arc::clone(&self.activity),
                };
                let instance = Instance::begin(now, self.settings, setup).await;
                self.nodes[node.at()] = Some(instance.expect("a transport in memory opens"));
            }
            Order::Crash(node) => self.nodes[node.at()] = None,
            Order::Set(node, entry) => {
                if let Some(instance) = &self.nodes[node.at()] {
                    instance.set(&entry).await;
                }
            }
            Order::TrySeeds(node) => {
                if let Some(instance) = &mut self.nodes[node.at()] {
                    instance.try_seeds(now);
                }
            }
            Order::Deliver(number) => {
                if let Some((sent_at, to, message)) = self.in_transit.remove(&number)
                    && let Some(instance) = &self.nodes[to.at()]
                {
                    instance
                        .deliver(sent_at, message.from, message.envelope)
                        .await;
                }
            }
            Order::Lose(number) => {
                self.in_transit.remove(&number);
            }
        }
    }

    fn post(&mut self, now: Instant) -> Vec<Posted> {
        let messages = {
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *outbox)
        };
        let mut posted = Vec::with_capacity(messages.len());
        for message in messages {
            let Some(to) = self.addresses.get(&message.to).copied() else {
                continue;
            };
            self.number += 1;
            posted.push(Posted {
                number: self.number,
                from: message.from,
                to,
                bytes: message.bytes,
            });
            self.in_transit.insert(self.number, (now, to, message));
        }
        posted
    }

    async fn look(&mut self, now: Instant) -> Vec<Observation> {
        let mut found = Vec::new();
        for (observer, instance) in (0..).map(NodeIndex).zip(&mut self.nodes) {
            let Some(instance) = instance else { continue };
            let observed = instance.look(now).await.into_iter();
            found.extend(observed.map(|what| Observation {
                at: now,
                observer,
                what,
            }));
        }
        found
    }
}
