//! Drives core: passes it events in order, carries out its effects, publishes its views.
//!
//! One task owns the engine. Shells send it events and read the view; none of them holds a lock.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use grapevine_core::Instant;
use grapevine_core::engine::{Effect, Engine, Event, Probe};
use grapevine_core::fact::{Fact, FactKey, Phase};
use grapevine_core::ids::{NodeName, Stamp, UpstreamName};
use grapevine_core::limit::RetryBudget;
use grapevine_core::notice::Notice;
use grapevine_core::view::View;
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::entropy;

/// The most events in the inbox; beyond it, shells that report successes drop and count them.
const INBOX_MAX: usize = 16_384;

/// Events handled before a view is made: a view costs as much as some thousand of them.
const BURST_MAX: usize = 256;

/// The most orders that wait at one outlet.
const OUTLET_MAX: usize = 1_024;

/// The longest time between two ticks.
const TICK_MAX: Duration = Duration::from_millis(500);

/// What the mesh is asked to publish.
#[derive(Clone, Debug)]
pub enum Publication {
    /// A fact of this node.
    Own {
        /// The fact.
        fact: Fact,
        /// Its position in the order.
        stamp: Stamp,
        /// Whether to push it to peers at once, in addition to gossip.
        urgent: bool,
    },
    /// A pushed fact of a peer, to be passed on.
    Relay {
        /// The peer.
        node: NodeName,
        /// The fact's key.
        key: FactKey,
        /// Its position in the order.
        stamp: Stamp,
    },
}

/// An upstream to probe.
#[derive(Clone, Debug)]
pub struct ProbeOrder {
    /// The upstream.
    pub upstream: UpstreamName,
    /// The kind of probe.
    pub probe: Probe,
}

/// Receivers of effects, one for each shell.
#[derive(Debug)]
pub struct Outlets {
    /// For the mesh.
    pub publications: mpsc::Receiver<Publication>,
    /// For the prober.
    pub probes: mpsc::Receiver<ProbeOrder>,
    /// For the reader of the loads that upstreams report.
    pub loads: mpsc::Receiver<UpstreamName>,
    /// For logs and metrics.
    pub notices: mpsc::Receiver<Notice>,
}

/// The shells' handle of the driver: sends it events, reads its view. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DriverHandle {
    clock: Clock,
    view: Arc<ArcSwap<View>>,
    inbox: mpsc::Sender<Event>,
    budget: RetryBudget,
    changes: watch::Sender<()>,
    drains: watch::Sender<bool>,
}

impl DriverHandle {
    /// Core's time now.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The clock behind [`DriverHandle::now`].
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The newest view. Hold the guard for a short time and not across an await.
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// Notifies of each newer view.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Waits until the node drains: for what would not end by itself. Wakes nobody before.
    pub async fn draining(&self) {
        // The sender is in this handle.
        let _ = self.drains.subscribe().wait_for(|drains| *drains).await;
    }

    /// The retry budget of this node.
    pub const fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// Sends to the engine, waiting while the inbox is full. After the driver has ended, does nothing.
    pub async fn send(&self, event: Event) {
        // A closed inbox means that the node is shutting down: there is no receiver left.
        let _ = self.inbox.send(event).await;
    }

    /// The sender of events, for a shell that waits by itself.
    pub fn inbox(&self) -> mpsc::Sender<Event> {
        self.inbox.clone()
    }

    /// Sends to the engine without waiting; false when the inbox is full, and the event is lost.
    pub fn try_send(&self, event: Event) -> bool {
        self.inbox.try_send(event).is_ok()
    }
}

/// The task that owns the engine.
#[derive(Debug)]
pub struct Driver {
    engine: Engine,
    handle: DriverHandle,
    inbox: mpsc::Receiver<Event>,
    publications: mpsc::Sender<Publication>,
    probes: mpsc::Sender<ProbeOrder>,
    loads: mpsc::Sender<UpstreamName>,
    notices: mpsc::Sender<Notice>,
}

impl Driver {
    /// A driver of `engine`, the shells' handle of it, and the receivers of its effects.
    pub fn new(mut engine: Engine, clock: Clock) -> (Self, DriverHandle, Outlets) {
        let (inbox_in, inbox) = mpsc::channel(INBOX_MAX);
        let (publications, publications_out) = mpsc::channel(OUTLET_MAX);
        let (probes, probes_out) = mpsc::channel(OUTLET_MAX);
        let (loads, loads_out) = mpsc::channel(OUTLET_MAX);
        let (notices, notices_out) = mpsc::channel(OUTLET_MAX);
        let view = Arc::new(ArcSwap::from_pointee(engine.view(clock.now())));
        let handle = DriverHandle {
            clock,
            view,
            inbox: inbox_in,
            budget: RetryBudget::full(),
            changes: watch::Sender::new(()),
            drains: watch::Sender::new(false),
        };
        let driver = Self {
            engine,
            handle: handle.clone(),
            inbox,
            publications,
            probes,
            loads,
            notices,
        };
        let outlets = Outlets {
            publications: publications_out,
            probes: probes_out,
            loads: loads_out,
            notices: notices_out,
        };
        (driver, handle, outlets)
    }

    /// Runs until every [`DriverHandle`] but its own is gone; end it by aborting its task.
    pub async fn run(mut self) {
        let mut rng = entropy::generator();
        let mut ticked_at = self.handle.now();
        loop {
            let now = self.handle.now();
            let wake_at = self
                .engine
                .next_wake()
                .unwrap_or(now + TICK_MAX)
                .min(now + TICK_MAX);
            let event = tokio::select! {
                biased;
                event = self.inbox.recv() => event,
                () = tokio::time::sleep_until(self.handle.clock.timer(wake_at)) => Some(Event::Tick),
            };
            let Some(event) = event else { return };
            let now = self.handle.now();
            self.handle.budget.refill(now.since(ticked_at));
            ticked_at = now;
            self.take(now, event, &mut rng).await;
            // Waiting events are handled before a view is made, so that a burst costs one view.
            for _ in 0..BURST_MAX {
                let Ok(event) = self.inbox.try_recv() else {
                    break;
                };
                self.take(now, event, &mut rng).await;
            }
            if self.engine.view_is_due(now) {
                let view = Arc::new(self.engine.view(now));
                let is_draining = view.phase == Phase::Draining;
                self.handle.view.store(view);
                self.handle.drains.send_if_modified(|drains| {
                    let is_new = *drains != is_draining;
                    *drains = is_draining;
                    is_new
                });
                self.handle.changes.send_replace(());
                // Links and gossip share this thread: none of them may wait for a second view.
                tokio::task::yield_now().await;
            }
        }
    }

    async fn take(&mut self, now: Instant, event: Event, rng: &mut ChaCha8Rng) {
        for effect in self.engine.handle(now, event, rng) {
            self.carry_out(effect).await;
        }
    }

    /// Passes an effect to its shell. A shell that has ended takes no more orders.
    async fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Publish {
                fact,
                stamp,
                urgent,
            } => {
                let _ = self
                    .publications
                    .send(Publication::Own {
                        fact,
                        stamp,
                        urgent,
                    })
                    .await;
            }
            Effect::Relay { node, key, stamp } => {
                let _ = self
                    .publications
                    .send(Publication::Relay { node, key, stamp })
                    .await;
            }
            Effect::Probe { upstream, probe } => {
                let _ = self.probes.send(ProbeOrder { upstream, probe }).await;
            }
            Effect::ReadLoad { upstream } => {
                let _ = self.loads.send(upstream).await;
            }
            Effect::Notice(notice) => {
                let _ = self.notices.send(notice).await;
            }
        }
    }
}
