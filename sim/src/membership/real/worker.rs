//! The thread that real chitchat runs on: its entropy is seeded and its clock is paused.
//!
//! Each step sleeps until a moment, lets chitchat's own timers of that moment run, then carries out the
//! orders one after another, each until nothing stirs. So no task ever finds two things ready at once,
//! and the order in which tokio would look at them never counts.

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
use super::life::{Birth, Life, address};
use super::socket::Letter;

/// Yields without a stir after which everybody is idle: one yield runs at most 61 tasks.
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
        life: Generation,
        seeds: Vec<NodeIndex>,
        entries: Vec<Entry>,
    },
    Crash(NodeIndex),
    Set(NodeIndex, Entry),
    TrySeeds(NodeIndex),
    Deliver(u64),
    Lose(u64),
}

/// What came of a step.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) posted: Vec<Posted>,
    pub(super) found: Vec<Observation>,
}

/// A message that waits for the network's word, by its number.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) number: u64,
    pub(super) from: NodeIndex,
    pub(super) to: NodeIndex,
    pub(super) bytes: usize,
}

struct Worker {
    settings: Settings,
    nodes: Vec<Option<Life>>,
    addresses: BTreeMap<std::net::SocketAddr, NodeIndex>,
    outbox: Arc<Mutex<Vec<Letter>>>,
    stirred: Arc<AtomicU64>,
    letters: BTreeMap<u64, (Instant, NodeIndex, Letter)>,
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
        stirred: Arc::default(),
        letters: BTreeMap::new(),
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
            let before = self.stirred.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            let is_quiet = self.stirred.load(Ordering::Relaxed) == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }

    async fn carry_out(&mut self, now: Instant, order: Order) {
        match order {
            Order::Join {
                node,
                life,
                seeds,
                entries,
            } => {
                let birth = Birth {
                    node,
                    generation: life,
                    seeds,
                    entries: &entries,
                    nodes: self.nodes.len(),
                    outbox: Arc::clone(&self.outbox),
                    stirred: Arc::clone(&self.stirred),
                };
                let life = Life::begin(now, self.settings, birth).await;
                self.nodes[node.at()] = Some(life.expect("a transport in memory opens"));
            }
            Order::Crash(node) => self.nodes[node.at()] = None,
            Order::Set(node, entry) => {
                if let Some(life) = &self.nodes[node.at()] {
                    life.set(&entry).await;
                }
            }
            Order::TrySeeds(node) => {
                if let Some(life) = &mut self.nodes[node.at()] {
                    life.try_seeds(now);
                }
            }
            Order::Deliver(number) => {
                if let Some((sent_at, to, letter)) = self.letters.remove(&number)
                    && let Some(life) = &self.nodes[to.at()]
                {
                    life.deliver(sent_at, letter.from, letter.envelope).await;
                }
            }
            Order::Lose(number) => {
                self.letters.remove(&number);
            }
        }
    }

    fn post(&mut self, now: Instant) -> Vec<Posted> {
        let letters = {
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *outbox)
        };
        let mut posted = Vec::with_capacity(letters.len());
        for letter in letters {
            let Some(to) = self.addresses.get(&letter.to).copied() else {
                continue;
            };
            self.number += 1;
            posted.push(Posted {
                number: self.number,
                from: letter.from,
                to,
                bytes: letter.bytes,
            });
            self.letters.insert(self.number, (now, to, letter));
        }
        posted
    }

    async fn look(&mut self, now: Instant) -> Vec<Observation> {
        let mut found = Vec::new();
        for (observer, life) in (0..).map(NodeIndex).zip(&mut self.nodes) {
            let Some(life) = life else { continue };
            let news = life.look(now).await.into_iter();
            found.extend(news.map(|what| Observation {
                at: now,
                observer,
                what,
            }));
        }
        found
    }
}
