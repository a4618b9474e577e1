//! Candidates that others go before, and why.

use std::time::Duration;

use super::{Candidate, UpstreamView};
use crate::account::QuotaScope;
use crate::fact::Standing;
use crate::health::EjectionReason;
use crate::ids::AccountName;
use crate::time::Instant;

impl Candidate {
    /// Whether others go first.
    pub fn is_suspect(&self) -> bool {
        let is = |standing| matches!(standing, Standing::Suspect { .. });
        is(self.upstream.standing) || self.model_standing.is_some_and(is)
    }

    /// Whether it is usable where no other is.
    pub(crate) fn goes_last(&self, now: Instant) -> bool {
        self.is_suspect() || self.account_rests_for(now).is_some()
    }

    /// Whether its owner says that it answers nobody: a request that waits for it should go elsewhere.
    pub fn answers_nobody(&self) -> bool {
        let is_silent = |standing: Standing| match standing {
            // What it has it finishes.
            Standing::Ejected { .. } => !standing.is_disabled(),
            Standing::Suspect { reason } => reason == EjectionReason::Stall,
            _ => false,
        };
        is_silent(self.upstream.standing) || self.model_standing.is_some_and(is_silent)
    }

    /// How much longer the account that it draws on rests; `None` where it does not.
    pub fn account_rests_for(&self, now: Instant) -> Option<Duration> {
        let left = now.until(self.account_rests_until?);
        (!left.is_zero()).then_some(left)
    }
}

impl UpstreamView {
    /// The account that it shares limits with.
    pub fn shared_account(&self) -> Option<&AccountName> {
        let spec = self.account.as_deref()?;
        (spec.quota == QuotaScope::Account).then_some(&spec.name)
    }
}
