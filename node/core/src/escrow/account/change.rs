//! How what a node was assigned changes: a budget is opened chunk by chunk, a limit is raised or lowered, a window ends.

use crate::Instant;
use crate::escrow::seats::Seat;
use crate::escrow::spec::{LeaseClass, LimitSpec};

use super::{Account, Rights, borrow};

/// Budgets are opened in chunks of this part of a node's share: each is written down before it is spent, and a crash
/// loses what is left of one.
const CHUNKS: u64 = 16;

impl Account {
    /// Of a budget: how much should be opened beside what is ready, for this node and for those who want to borrow.
    /// Nothing while a chunk is being written. At most a chunk, and as much as one request needs, is open and not spent.
    pub(in crate::escrow) fn chunk(&self, now: Instant) -> u64 {
        let size = self.share.div_ceil(CHUNKS);
        let wanted = self.demand.within(now, borrow::AHEAD) + self.wanted(now);
        let ahead = wanted.min(size).max(self.demand.unmet_most(now));
        if self.class() != LeaseClass::Budget || self.opening_chunk > 0 || self.own.ready >= ahead {
            return 0;
        }
        self.cold.min(size)
    }

    /// Begins to open a chunk: what is opened in all when it is written down.
    pub(in crate::escrow) const fn begin_chunk(&mut self, units: u64) -> u64 {
        self.opening_chunk = units;
        self.opened + units
    }

    /// The chunk is written down and witnessed.
    pub(in crate::escrow) fn finish_chunk(&mut self) {
        let units = std::mem::take(&mut self.opening_chunk).min(self.cold);
        self.cold -= units;
        self.own.ready += units;
        self.opened += units;
    }

    /// The limit is another, and so are the shares. What was used and lent stays so.
    pub(in crate::escrow) fn resize(
        &mut self,
        spec: LimitSpec,
        homes: Vec<(Seat, u64)>,
        share: u64,
    ) {
        self.spec = spec;
        self.homes = homes;
        if share >= self.share {
            // What an earlier cut has not yet taken away stays.
            let more = share - self.share;
            let kept = self.excess.min(more);
            self.excess -= kept;
            self.cold += more - kept;
        } else {
            let less = self.share - share;
            let from_cold = self.cold.min(less);
            self.cold -= from_cold;
            self.excess += less - from_cold;
        }
        self.share = share;
    }

    /// The next window of a calendar: nothing is spent, nothing is borrowed or lent.
    pub(in crate::escrow) fn roll(&mut self, window: u32, spent: u64) {
        self.withdraw_all();
        self.purse.begin_epoch();
        let spent = spent.min(self.share);
        self.own = Rights {
            spent,
            ..Rights::default()
        };
        (self.window, self.cold, self.opened) = (window, self.share - spent, spent);
        (self.opening_chunk, self.debt, self.excess) = (0, 0, 0);
        self.loans.clear();
        self.lent.clear();
    }
}
