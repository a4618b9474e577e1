//! One node: a process after another, on a clock of its own, with a disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::purse::{Purse, Reservation};
use grapevine_core::escrow::seats::Seats;
use grapevine_core::escrow::spec::LimitId;
use grapevine_core::escrow::store::{StoreImage, StoreWrite};
use grapevine_core::escrow::{Escrow, EscrowStart};
use grapevine_core::ids::{Generation, NodeName};

use super::case::Counted;
use super::fault::DiskFate;

/// States of a disk that a fault may set it back to.
const HISTORY_MAX: usize = 200;

/// A request that was admitted.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) limit: usize,
    pub(super) reservation: Reservation,
}

#[derive(Debug)]
pub(super) struct Node {
    names: Vec<NodeName>,
    name: NodeName,
    pub(super) escrow: Option<Escrow>,
    purses: BTreeMap<usize, Arc<Purse>>,
    /// True time at which the process started.
    born: Instant,
    /// How fast its clock runs.
    rate: f64,
    /// How many processes there were.
    pub(super) process: u64,
    /// What its wall clock is ahead by, in seconds.
    pub(super) wall_ahead: i64,
    disk: StoreImage,
    history: Vec<StoreImage>,
    /// The driver sees nothing before.
    pub(super) asleep_until: Instant,
    pub(super) running: BTreeMap<u64, Running>,
}

/// True time as the calendar has it.
pub(super) fn true_wall(now: Instant) -> WallTime {
    // 2024-03-31 23:59:00, UTC: a day and a month end in the first minute.
    WallTime(Duration::from_secs(1_711_929_540) + now.since_start())
}

impl Node {
    pub(super) fn new(names: Vec<NodeName>, index: usize, rate: f64) -> Self {
        Self {
            name: names[index].clone(),
            names,
            escrow: None,
            purses: BTreeMap::new(),
            born: Instant::START,
            rate,
            process: 0,
            wall_ahead: 0,
            disk: StoreImage::default(),
            history: vec![StoreImage::default()],
            asleep_until: Instant::START,
            running: BTreeMap::new(),
        }
    }

    /// The time since its process started, by its own clock.
    pub(super) fn local(&self, now: Instant) -> Instant {
        Instant::from_start(now.since(self.born).mul_f64(self.rate))
    }

    /// Its wall clock.
    pub(super) fn wall(&self, now: Instant) -> WallTime {
        let ahead = Duration::from_secs(self.wall_ahead.unsigned_abs());
        let wall = true_wall(now).0;
        WallTime(if self.wall_ahead < 0 {
            wall.saturating_sub(ahead)
        } else {
            wall + ahead
        })
    }

    fn seats(&self) -> Seats {
        Seats::new(self.names.clone(), &self.name).expect("it is listed")
    }

    /// What it holds of a limit as one of its homes.
    pub(super) fn share(&self, limit: LimitId, counted: &Counted) -> u64 {
        let seats = self.seats();
        let homes = seats.homes(limit, counted.spec.amount);
        let own = homes.into_iter().find(|(seat, _)| *seat == seats.own());
        own.map_or(0, |(_, share)| share)
    }

    pub(super) fn start(&mut self, now: Instant, fate: DiskFate) {
        self.disk = match fate {
            DiskFate::Kept => self.disk.clone(),
            DiskFate::New => StoreImage::default(),
            DiskFate::SetBack(writes) => {
                self.history[self.history.len().saturating_sub(1 + writes)].clone()
            }
        };
        self.born = now;
        self.process += 1;
        self.asleep_until = now;
        let seats = self.seats();
        let wall = self.wall(now);
        let millis = u64::try_from(wall.0.as_millis()).unwrap_or(u64::MAX);
        let start = EscrowStart {
            generation: Generation(millis),
            store: self.disk.clone(),
            wall,
        };
        self.escrow = Some(Escrow::new(self.local(now), seats, start));
    }

    /// Its process ends, and its requests with it.
    pub(super) fn crash(&mut self) -> Vec<u64> {
        self.escrow = None;
        self.purses.clear();
        std::mem::take(&mut self.running).into_keys().collect()
    }

    pub(super) fn write(&mut self, now: Instant, write: &StoreWrite) {
        self.disk.apply(write, true_wall(now));
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push(self.disk.clone());
    }

    /// The purse of a limit, if the node runs.
    pub(super) fn purse(
        &mut self,
        now: Instant,
        index: usize,
        limit: LimitId,
        counted: &Counted,
    ) -> Option<Arc<Purse>> {
        let local = self.local(now);
        let escrow = self.escrow.as_mut()?;
        if let Some(purse) = self.purses.get(&index) {
            return Some(Arc::clone(purse));
        }
        // A case has fewer limits than a node may know.
        let purse = escrow.open(local, limit, counted.spec).ok()?;
        self.purses.insert(index, Arc::clone(&purse));
        Some(purse)
    }
}
