//! Accounts at providers: what their upstreams served this node's clients, and what their limits refused.
//!
//! The label is a name of some node's configuration, and bounded: beyond [`ACCOUNTS_MAX`] all others share one.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_base::families::Families;
use grapevine_base::limits::LimitKind;
use grapevine_core::ids::AccountName;
use grapevine_core::view::View;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::record::RequestRecord;

/// Accounts with labels of their own.
const ACCOUNTS_MAX: usize = 256;

/// The label of all others.
const OTHER: &str = "other";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AccountLabels {
    account: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AccountKindLabels {
    account: String,
    kind: &'static str,
}

/// The metrics. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AccountMetrics {
    names: Arc<Mutex<BTreeSet<AccountName>>>,
    requests: Family<AccountLabels, Counter>,
    tokens: Family<AccountKindLabels, Counter>,
    cost: Family<AccountLabels, Counter<f64, AtomicU64>>,
    refusals: Family<AccountKindLabels, Counter>,
    resting: Family<AccountLabels, Gauge>,
}

impl AccountMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self::default();
        families.register(
            "account_requests",
            "Requests of this node's clients that upstreams of an account answered well, by account",
            metrics.requests.clone(),
        );
        families.register(
            "account_tokens",
            "Tokens of those requests as upstreams counted them, by account and kind (input, output)",
            metrics.tokens.clone(),
        );
        families.register(
            "account_cost_usd",
            "Cost of those requests in US dollars, by account, as far as their models have prices",
            metrics.cost.clone(),
        );
        families.register(
            "account_limit_refusals",
            "Calls of this node's upstreams that a limit of their account kept from being made, by account and what the \
             limit counts",
            metrics.refusals.clone(),
        );
        families.register(
            "account_resting",
            "Models at this node's upstreams of an account for which others go first, since the account is limited or \
             nearly spent",
            metrics.resting.clone(),
        );
        metrics
    }

    /// Counts a call that was not made.
    pub fn refused(&self, account: &AccountName, kind: LimitKind) {
        let labels = AccountKindLabels {
            account: self.label(account),
            kind: kind.as_str(),
        };
        self.refusals.get_or_create(&labels).inc();
    }

    pub(super) fn request(&self, record: &RequestRecord) {
        let served = record.served.as_ref().filter(|_| record.status < 400);
        let Some(name) = served.and_then(|served| served.account.as_ref()) else {
            return;
        };
        let account = self.label(name);
        for (kind, count) in [
            ("input", record.tokens.input),
            ("output", record.tokens.output),
        ] {
            let labels = AccountKindLabels {
                account: account.clone(),
                kind,
            };
            let counter = self.tokens.get_or_create(&labels);
            counter.inc_by(count.unwrap_or_default());
        }
        let labels = AccountLabels { account };
        self.requests.get_or_create(&labels).inc();
        let cost = record.cost.map_or(0.0, |cost| cost.as_dollars());
        self.cost.get_or_create(&labels).inc_by(cost);
    }

    pub(super) fn read(&self, view: &View) {
        self.resting.clear();
        let tiers = view.models.values().flat_map(|routes| &routes.tiers);
        let all = tiers.flat_map(|tier| {
            let behind = tier.suspect.iter().chain(&tier.unusable);
            tier.usable.iter().chain(behind)
        });
        let own = all.filter(|candidate| candidate.upstream.node == view.node);
        for candidate in own {
            let Some(account) = &candidate.upstream.account else {
                continue;
            };
            let account = self.label(&account.name);
            let resting = candidate.account_rests_for(view.made_at).is_some();
            let gauge = self.resting.get_or_create(&AccountLabels { account });
            gauge.inc_by(i64::from(resting));
        }
    }

    fn label(&self, account: &AccountName) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.contains(account) && names.len() >= ACCOUNTS_MAX {
            return OTHER.to_owned();
        }
        names.insert(account.clone());
        account.to_string()
    }
}
