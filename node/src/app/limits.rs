//! Drives core's `Escrow`: its ticks, its messages over the mesh, its store on disk, and the table of purses that
//! request threads read.
//!
//! A node alone begins with the first key that has a limit: one that has none touches no file. A node of a mesh begins
//! at its start, since others borrow from it.

mod store;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::clock::{self, Clock};
use grapevine_base::limits::{
    KeyPurses, KeySpecs, LimitFault, LimitHolder, LimitKind, LimitOrder, LimitsHandle, OpenLimit,
};
use grapevine_config::Config;
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::seats::Seats;
use grapevine_core::escrow::store::{StoreImage, StoreWrite};
use grapevine_core::escrow::{
    Escrow, EscrowEffect, EscrowEvent, EscrowReport, EscrowStart, TICK, TooManyLimits,
};
use grapevine_core::ids::{Generation, NodeName};
use grapevine_mesh::{RightsOutput, RightsWay};
use grapevine_proto::frame::{decode_rights, encode_rights};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, warn};

use super::NodeStartError;

/// A key that no request used for this long leaves the table; core forgets its limits later.
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// How often the table is searched for such keys.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How long a write that failed waits to be repeated.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// The task that owns the node's rights; to be run once.
pub(super) struct LimitDriver {
    handle: LimitsHandle,
    orders: mpsc::Receiver<LimitOrder>,
    clock: Clock,
    generation: Generation,
    seats: Seats,
    file: PathBuf,
    /// `None` until the node needs rights.
    escrow: Option<Escrow>,
    image: StoreImage,
    writing: JoinSet<Result<u64, std::io::Error>>,
    /// To be answered when all is on the disk.
    stop: Option<oneshot::Sender<()>>,
}

/// The handle of limits, and the task behind it; `None` where this node holds no rights.
///
/// # Errors
/// When the store exists and cannot be read.
pub(super) fn prepare(
    config: &Config,
    clock: Clock,
    generation: Generation,
) -> Result<(LimitsHandle, Option<LimitDriver>), NodeStartError> {
    let own = &config.node.name;
    let nodes = match (&config.mesh, &config.limits.nodes) {
        (None, _) => vec![own.clone()],
        (Some(_), nodes) => nodes.clone(),
    };
    let Ok(seats) = Seats::new(nodes, own) else {
        return Ok((LimitsHandle::out_of_use(), None));
    };
    let file = config.limits.file.clone();
    let image = store::load(&file).map_err(|source| NodeStartError::File {
        key: "limits.file",
        path: file.clone(),
        source,
    })?;
    let (handle, orders) = LimitsHandle::new();
    let driver = LimitDriver {
        handle: handle.clone(),
        orders,
        clock,
        generation,
        seats,
        file,
        escrow: None,
        image,
        writing: JoinSet::new(),
        stop: None,
    };
    Ok((handle, Some(driver)))
}

impl LimitDriver {
    /// Runs until the future is dropped.
    pub(super) async fn run(mut self, way: Option<RightsWay>) {
        let (output, mut input) = match way {
            Some(way) => (Some(way.output), way.input),
            // No message comes: the channel is open, and nobody sends.
            None => (None, mpsc::channel(1).1),
        };
        if output.is_some() {
            self.escrow();
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = interval(SWEEP_INTERVAL);
        loop {
            let event = tokio::select! {
                order = self.orders.recv() => match order {
                    None => return,
                    Some(LimitOrder::Empty(limit)) => Some(EscrowEvent::Empty(limit)),
                    Some(LimitOrder::Open { holder, specs, done }) => {
                        if let Ok(purses) = self.open(holder, specs, output.as_ref()) {
                            // A request that has gone needs no answer.
                            let _ = done.send(purses);
                        }
                        None
                    }
                    Some(LimitOrder::Stop(done)) => {
                        self.stop = Some(done);
                        Some(EscrowEvent::Stop)
                    }
                },
                Some((peer, message)) = input.recv() => self.received(&peer, &message),
                Some(written) = self.writing.join_next() => self.stored(written),
                _ = ticks.tick(), if self.escrow.is_some() => {
                    Some(EscrowEvent::Tick { wall: wall() })
                }
                _ = sweeps.tick() => {
                    self.sweep();
                    None
                }
            };
            if let Some(event) = event {
                self.handle(event, output.as_ref());
            }
            // A node that needed no rights has nothing to write.
            if self.escrow.as_ref().is_none_or(Escrow::is_stopped)
                && let Some(stop) = self.stop.take()
            {
                // Who waited may have given up.
                let _ = stop.send(());
            }
        }
    }

    fn escrow(&mut self) -> &mut Escrow {
        let (now, seats) = (self.clock.now(), &self.seats);
        let (image, generation) = (&self.image, self.generation);
        self.escrow.get_or_insert_with(|| {
            let start = EscrowStart {
                generation,
                store: image.clone(),
                wall: wall(),
            };
            Escrow::new(now, seats.clone(), start)
        })
    }

    fn open(
        &mut self,
        holder: LimitHolder,
        specs: KeySpecs,
        output: Option<&RightsOutput>,
    ) -> Result<Arc<KeyPurses>, TooManyLimits> {
        if self.escrow.is_none() {
            self.escrow();
            self.handle(EscrowEvent::Tick { wall: wall() }, output);
        }
        let now = self.clock.now();
        let escrow = self.escrow();
        let mut limits = [const { None }; LimitKind::ALL.len()];
        for kind in LimitKind::ALL {
            let Some(spec) = specs[kind as usize] else {
                continue;
            };
            let id = holder.limit(kind, spec);
            let purse = escrow.open(now, id, spec).inspect_err(|error| {
                warn!(%error, "limits of a key cannot be opened: its requests are refused");
            })?;
            limits[kind as usize] = Some(OpenLimit {
                kind,
                id,
                purse,
                opened_at: now,
                refusals: Arc::default(),
            });
        }
        // A new purse is filled at a tick, or at once where it is said to be empty.
        for limit in limits.iter().flatten() {
            self.handle(EscrowEvent::Empty(limit.id), output);
        }
        let purses = Arc::new(KeyPurses::new(now, specs, limits));
        let mut table = HashMap::clone(&self.handle.table());
        table.insert(holder, Arc::clone(&purses));
        self.handle.publish(table);
        Ok(purses)
    }

    fn received(&mut self, peer: &NodeName, message: &Bytes) -> Option<EscrowEvent> {
        let seat = self.seats.seat_of(peer)?;
        match decode_rights(message) {
            Ok(message) => Some(EscrowEvent::Received(seat, message)),
            Err(error) => {
                debug!(peer.name = %peer, %error, "message about rights cannot be read");
                None
            }
        }
    }

    fn handle(&mut self, event: EscrowEvent, output: Option<&RightsOutput>) {
        let now = self.clock.now();
        let Some(escrow) = &mut self.escrow else {
            return;
        };
        let effects = escrow.handle(now, event);
        self.handle.wake();
        for effect in effects {
            match effect {
                EscrowEffect::Send(seat, message) => {
                    if let (Some(name), Some(output)) = (self.seats.name(seat), output) {
                        // What is lost is repaired by the next message.
                        output.send(name, &encode_rights(&message).into());
                    }
                }
                EscrowEffect::Store(write) => self.store(write),
                EscrowEffect::Report(report) => self.report(report),
            }
        }
    }

    /// Writes the store with a change. One write is in flight at a time, core sees to that; one that is repeated while
    /// it is in flight is left to the first.
    fn store(&mut self, write: StoreWrite) {
        if !self.writing.is_empty() {
            return;
        }
        self.image.apply(&write, wall());
        let (image, file, number) = (self.image.clone(), self.file.clone(), write.number);
        self.writing.spawn(async move {
            let saving = tokio::task::spawn_blocking(move || store::save(&file, &image));
            let saved = saving.await.map_err(std::io::Error::other).flatten();
            if saved.is_err() {
                tokio::time::sleep(WRITE_AGAIN).await;
            }
            saved.map(|()| number)
        });
    }

    /// The event of a write that has ended. One that failed is repeated by core.
    fn stored(
        &self,
        written: Result<Result<u64, std::io::Error>, tokio::task::JoinError>,
    ) -> Option<EscrowEvent> {
        let failure = match written {
            Ok(Ok(number)) => return Some(EscrowEvent::Stored(number)),
            Ok(Err(error)) => error,
            Err(error) => std::io::Error::other(error),
        };
        self.handle.count_fault(LimitFault::Unsaved);
        let path = self.file.display();
        error!(error = %failure, %path, "what is opened of budgets cannot be kept: they are closed at this node");
        None
    }

    fn report(&self, report: EscrowReport) {
        let fault = match report {
            EscrowReport::StoreIsOld => {
                error!(
                    "limits.file is older than what peers know of it: this node spends nothing more of this day's \
                     and this month's budgets"
                );
                LimitFault::StoreIsOld
            }
            EscrowReport::ClockDiffers => {
                error!(
                    "most peers have another time: this node spends nothing of budgets until its clock is right"
                );
                LimitFault::ClockDiffers
            }
        };
        self.handle.count_fault(fault);
    }

    fn sweep(&mut self) {
        let now = self.clock.now();
        let table = self.handle.table();
        let is_idle = |purses: &KeyPurses| now.since(purses.used_at()) > IDLE_AFTER;
        if table.values().any(|purses| is_idle(purses)) {
            let mut table = HashMap::clone(&table);
            table.retain(|_, purses| !is_idle(purses));
            self.handle.publish(table);
        }
    }
}

fn wall() -> WallTime {
    WallTime(clock::wall())
}
