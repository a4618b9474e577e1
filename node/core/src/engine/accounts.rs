//! Accounts that rest: what own upstreams find out, and what upstreams of one account know together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Effect, QuotaReport};
use super::judge::COOLDOWN_GROWTH_MIN;
use super::local::Local;
use super::{Engine, ViewDue};
use crate::account::{ACCOUNT_REST_MAX, ACCOUNT_REST_MIN, AccountRests, AccountSpec, QuotaScope};
use crate::ids::{AccountName, ModelName, UpstreamName};
use crate::notice::Notice;
use crate::time::Instant;
use crate::view::UpstreamView;

/// What the upstreams of each account know together, as far as its provider counts by account.
#[derive(Debug, Default)]
pub(super) struct SharedRests {
    by_account: BTreeMap<AccountName, AccountRests>,
    next_end: Option<Instant>,
}

impl SharedRests {
    /// When the first of all rests ends, those of single upstreams among them.
    pub(super) const fn next_end(&self) -> Option<Instant> {
        self.next_end
    }

    fn add(&mut self, now: Instant, account: Option<&AccountSpec>, rests: &AccountRests) {
        let Some(account) = account else { return };
        let end = rests.next_end().filter(|end| *end > now);
        self.next_end = self.next_end.into_iter().chain(end).min();
        if account.quota == QuotaScope::Account && rests.next_end().is_some() {
            let known = self.by_account.entry(account.name.clone()).or_default();
            known.join(rests);
        }
    }

    /// Adds to `rests`, of `upstream` alone, what the others of its account know.
    pub(super) fn join_to(&self, upstream: &UpstreamView, rests: &mut AccountRests) {
        let account = upstream.shared_account();
        if let Some(shared) = account.and_then(|account| self.by_account.get(account)) {
            rests.join(shared);
        }
    }
}

impl Local {
    /// It said "too much" for its account, of `model` alone or of all, and asks for a rest of `span`.
    pub(super) fn account_limited(
        &mut self,
        now: Instant,
        model: Option<&ModelName>,
        span: Duration,
    ) {
        let account = self.spec.account.as_deref();
        // Where its provider counts by region, its own rest is all there is to it.
        if account.is_some_and(|account| account.quota == QuotaScope::Account) {
            self.rest_account(now, model, span);
        }
    }

    /// The account rests for `span` at least; returns whether it did not before.
    fn rest_account(&mut self, now: Instant, model: Option<&ModelName>, span: Duration) -> bool {
        if span < ACCOUNT_REST_MIN {
            return false;
        }
        let before = self.account_rests.until(model).filter(|end| *end > now);
        let until = now + span.min(ACCOUNT_REST_MAX);
        self.account_rests.rest(now, model, until);
        self.models_changed |= before.is_none();
        self.cooldown_grew |= before.is_some_and(|before| until > before + COOLDOWN_GROWTH_MIN);
        before.is_none()
    }
}

impl Engine {
    pub(super) fn quota_reported(
        &mut self,
        now: Instant,
        report: &QuotaReport,
        effects: &mut Vec<Effect>,
    ) {
        let Some(account) = self
            .locals
            .get(&report.upstream)
            .and_then(|local| local.spec.account.clone())
        else {
            return;
        };
        let in_flight = self.in_flight_at(&report.upstream, &account);
        let (Some(rest), Some(local)) = (
            report.quota.rest(in_flight),
            self.locals.get_mut(&report.upstream),
        ) else {
            return;
        };
        if local.rest_account(now, report.model.as_ref(), rest) {
            effects.push(Effect::Notice(Notice::AccountNearlySpent {
                upstream: report.upstream.clone(),
                account: account.name.clone(),
                model: report.model.clone(),
                rest,
            }));
        }
        self.view_becomes(ViewDue::Now);
    }

    /// Requests in flight at all upstreams of `account`, or at `upstream` where its provider counts by region.
    fn in_flight_at(&self, upstream: &UpstreamName, account: &AccountSpec) -> u64 {
        let is_shared = account.quota == QuotaScope::Account;
        let of_account = |spec: Option<&AccountSpec>| is_shared && spec == Some(account);
        let own = self
            .locals
            .iter()
            .filter(|(name, local)| *name == upstream || of_account(local.spec.account.as_deref()));
        let own = own.map(|(_, local)| u64::from(local.in_flight.count()));
        let remotes = self.peers.values().flat_map(|peer| peer.upstreams.values());
        let remotes = remotes.filter(|remote| of_account(remote.account.as_deref()));
        let remotes = remotes.map(|remote| u64::from(remote.in_flight_now()));
        own.chain(remotes).sum()
    }

    pub(super) fn shared_rests(&self, now: Instant) -> SharedRests {
        let mut shared = SharedRests::default();
        for local in self.locals.values() {
            shared.add(now, local.spec.account.as_deref(), &local.account_rests);
        }
        for remote in self.peers.values().flat_map(|peer| peer.upstreams.values()) {
            shared.add(now, remote.account.as_deref(), &remote.account_rests);
        }
        shared
    }

    /// Views show candidates of a resting account behind others: one is due when the first rest ends.
    pub(super) fn end_account_rests(&mut self, now: Instant) {
        if self
            .account_rest_ends_at
            .take_if(|end| *end <= now)
            .is_some()
        {
            self.view_becomes(ViewDue::Now);
        }
    }
}
