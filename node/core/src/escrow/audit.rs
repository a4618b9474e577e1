//! What checkers ask of an escrow.

use crate::Instant;

use super::Escrow;
use super::spec::LimitId;

impl Escrow {
    /// Units of a limit that requests could take of this node at this moment.
    pub fn takeable(&self, now: Instant, limit: LimitId) -> u64 {
        let known = self.accounts.get(&limit);
        known.map_or(0, |known| known.account.purse.takeable(now))
    }

    /// Units of a limit that requests could take of this node while its leases and its clock hold: never less than
    /// [`Self::takeable`].
    pub fn balance(&self, limit: LimitId) -> u64 {
        let known = self.accounts.get(&limit);
        known.map_or(0, |known| known.account.purse.balance())
    }

    /// What this node was assigned of a limit, and what became of it: equal, or rights were made or lost.
    pub fn audit(&self, limit: LimitId) -> Option<(u64, u64)> {
        let account = &self.accounts.get(&limit)?.account;
        Some((account.share(), account.accounted()))
    }
}
