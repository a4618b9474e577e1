//! What a node's own memory is worth after a start: is this its first, and is its disk the latest?
//!
//! A budget is spent from what was written down before. A disk can be an old one (a restored snapshot) or a new one (a
//! container without a volume), and neither can be told from the disk itself. So other nodes are witnesses: each write
//! is reported to them, they put its version into their own stores, and a chunk is spent when enough have. After a
//! start, a node asks so many of them that one at least is among those that saw its last write: with `n` nodes, `n / 2`
//! others witness, and `n - n / 2` others testify. Who testifies a later version than the disk has shows that the disk
//! is an old one, and this node's share of the windows that run is forfeited.
//!
//! The same testimonies say whether the node ever ran before: if not, nothing of its share can have been used, and it
//! need not wait a window until it uses it.
//!
//! Not covered: two disks that are rolled back at once, and the loss of all disks together.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Instant;
use crate::ids::Generation;

use super::calendar::{CLOCK_AGREES, WallTime};
use super::message::{StartTestimony, StoreVersion};
use super::seats::Seat;

/// Questions and reports without an answer are repeated after this.
pub(super) const REPEAT: Duration = Duration::from_millis(500);

/// A node whose disk was an old one goes on with a version that is higher by this.
const LOST_WRITES: u64 = 1 << 32;

/// How a start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Too few others have testified.
    Asking,
    /// The first write of this process is not yet witnessed.
    Writing,
    /// What is on disk is the latest.
    Settled,
}

/// A witness's word.
#[derive(Clone, Copy, Debug)]
struct Testified {
    version: StoreVersion,
    agrees: bool,
    is_whole: bool,
}

/// What a node's memory is worth.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) generation: Generation,
    pub(super) started: Instant,
    others: usize,
    phase: Phase,
    /// Of the store as this node means it to be.
    version: StoreVersion,
    /// As the disk has it for certain.
    stored: StoreVersion,
    /// What each other node has witnessed.
    witnesses: BTreeMap<Seat, StoreVersion>,
    testimonies: BTreeMap<Seat, Testified>,
    /// No store, and nobody knows of one.
    is_first: bool,
    /// Whether the disk says that this node has started: the next start then knows that it is not the first.
    is_noted: bool,
    repeated_at: Option<Instant>,
}

impl Standing {
    pub(super) fn new(
        now: Instant,
        generation: Generation,
        (version, is_first): (StoreVersion, bool),
        others: usize,
    ) -> Self {
        Self {
            generation,
            started: now,
            others,
            phase: Phase::Asking,
            version,
            stored: version,
            witnesses: BTreeMap::new(),
            testimonies: BTreeMap::new(),
            is_first,
            is_noted: false,
            repeated_at: None,
        }
    }

    /// Other nodes that must have witnessed a write.
    const fn witnesses_min(&self) -> usize {
        self.others.div_ceil(2)
    }

    /// Other nodes that must testify: one more than can have missed a write.
    const fn testimonies_min(&self) -> usize {
        match self.others {
            0 => 0,
            others => others - self.witnesses_min() + 1,
        }
    }

    /// Whether the disk is known to be the latest.
    pub(super) fn is_settled(&self) -> bool {
        self.phase == Phase::Settled
    }

    /// Whether this node has never run before.
    pub(super) fn is_first(&self) -> bool {
        self.is_settled() && self.is_first
    }

    /// Whether the disk says that this node has started.
    pub(super) const fn is_noted(&self) -> bool {
        self.is_noted
    }

    /// Whether all others have said what they still hold of an earlier process.
    pub(super) fn is_all_known(&self) -> bool {
        let whole = self.testimonies.values().filter(|it| it.is_whole);
        whole.count() == self.others
    }

    /// Whether most nodes, this one among them, have the same time.
    pub(super) fn is_clock_agreed(&self) -> bool {
        let agreeing = self.testimonies.values().filter(|it| it.agrees).count();
        (agreeing + 1) * 2 > self.others + 1
    }

    /// Whether half of the others or more have another time.
    pub(super) fn is_contradicted(&self) -> bool {
        let differing = self.testimonies.values().filter(|it| !it.agrees).count();
        differing * 2 >= self.others && differing > 0
    }

    /// Whether there is no other node.
    pub(super) const fn is_alone(&self) -> bool {
        self.others == 0
    }

    /// Whether a testimony of this one is of use.
    pub(super) fn asks(&self, seat: Seat) -> bool {
        let testified = self.testimonies.get(&seat);
        testified.is_none_or(|it| !it.agrees || !it.is_whole)
    }

    /// Whether it is time to repeat what has no answer.
    pub(super) fn should_repeat(&mut self, now: Instant) -> bool {
        let is_due = self.repeated_at.is_none_or(|at| now.since(at) >= REPEAT);
        if is_due {
            self.repeated_at = Some(now);
        }
        is_due
    }

    /// Takes a testimony. `own` is this node's time at present.
    pub(super) fn testify(
        &mut self,
        now: Instant,
        from: Seat,
        testimony: &StartTestimony,
        own: WallTime,
    ) {
        // The witness read its clock at some moment of the round trip.
        let trip = now.since(Instant::from_start(testimony.echo));
        let agrees = own.differs(testimony.wall) <= CLOCK_AGREES + trip && trip <= CLOCK_AGREES;
        let testified = Testified {
            version: testimony.version,
            agrees,
            is_whole: testimony.is_whole,
        };
        self.testimonies.insert(from, testified);
    }

    /// Whether this is the first testimony of a node about what it holds.
    pub(super) fn is_news(&self, from: Seat) -> bool {
        self.testimonies.get(&from).is_none_or(|it| !it.is_whole)
    }

    /// The wall clock was set, and nobody has confirmed it yet: who agreed must be asked again.
    pub(super) fn forget_agreement(&mut self) {
        for testified in self.testimonies.values_mut() {
            testified.agrees = false;
        }
    }

    /// Ends the asking where enough have testified: true where the disk is an old one. The first write is due then.
    ///
    /// What an old disk costs is the windows that run, so that waits until it is known which these are.
    pub(super) fn conclude(&mut self, is_clock_proven: bool) -> Option<bool> {
        let latest = self.testimonies.values().map(|it| it.version).max();
        let latest = latest.unwrap_or_default();
        let is_old = latest > self.version;
        if self.phase != Phase::Asking
            || self.testimonies.len() < self.testimonies_min()
            || is_old && !is_clock_proven
        {
            return None;
        }
        self.phase = Phase::Writing;
        if is_old {
            self.is_first = false;
            // Beyond whatever the lost history wrote that nobody witnessed.
            self.version = StoreVersion(latest.0 + LOST_WRITES);
            self.stored = self.version;
        }
        Some(is_old)
    }

    /// Others know a later process of this name: this one is to count as later still.
    pub(super) fn rename(&mut self, generation: Generation) {
        self.generation = generation;
        self.testimonies.clear();
    }

    /// Whether the asking goes on.
    pub(super) fn is_asking(&self) -> bool {
        self.phase == Phase::Asking
    }

    /// The version of the next write; a write for others' sake keeps it.
    pub(super) fn next_version(&mut self, is_own: bool) -> StoreVersion {
        self.version.0 += u64::from(is_own);
        self.version
    }

    /// The disk has this version.
    pub(super) fn stored(&mut self, version: StoreVersion) {
        self.stored = self.stored.max(version);
        self.is_noted = true;
    }

    /// What is to be reported to `seat`, where it has not witnessed it.
    pub(super) fn report_to(&self, seat: Seat) -> Option<StoreVersion> {
        let known = self.witnesses.get(&seat).copied().unwrap_or_default();
        (self.phase != Phase::Asking && known < self.stored).then_some(self.stored)
    }

    /// `from` has started anew, perhaps with an old disk: what it witnessed is to be reported to it again.
    pub(super) fn forget_witness(&mut self, from: Seat) {
        self.witnesses.remove(&from);
    }

    /// `from` has put this version into its own store.
    pub(super) fn witnessed(&mut self, from: Seat, version: StoreVersion) {
        let known = self.witnesses.entry(from).or_default();
        *known = (*known).max(version.min(self.stored));
    }

    /// The version that enough others have witnessed. Settles the start when that is the first write.
    pub(super) fn proven(&mut self, first: Option<StoreVersion>) -> StoreVersion {
        let mut versions: Vec<StoreVersion> = self.witnesses.values().copied().collect();
        versions.sort_unstable_by(|one, other| other.cmp(one));
        let proven = match self.witnesses_min().checked_sub(1) {
            Some(index) => versions.get(index).copied().unwrap_or_default(),
            None => self.stored,
        };
        if self.phase == Phase::Writing && first.is_some_and(|first| proven >= first) {
            self.phase = Phase::Settled;
        }
        proven
    }
}
