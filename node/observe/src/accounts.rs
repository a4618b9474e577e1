//! Accounts at providers: what their upstreams served this node's clients, and what their limits refused.
//!
//! The label is a name of some node's configuration, and bounded: beyond [`ACCOUNTS_MAX`] all others share one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_base::families::Families;
use grapevine_base::limits::LimitKind;
use grapevine_core::ids::{AccountName, ModelName};
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
            "Tokens of requests that upstreams of an account answered, as they counted them, by account and kind (input, output)",
            metrics.tokens.clone(),
        );
        families.register(
            "account_cost_usd",
            "Cost of requests that upstreams of an account answered in US dollars, by account, as far as their models have prices",
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
            "Models for which an account is limited or nearly spent at an upstream, as this node knows: others go first",
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
        let mut resting: BTreeMap<&AccountName, BTreeSet<&Option<ModelName>>> = BTreeMap::new();
        for status in view.nodes.iter().flat_map(|node| &node.upstreams) {
            let Some(account) = &status.fact.account else {
                continue;
            };
            let models = resting.entry(&account.spec.name).or_default();
            let age = view.made_at.since(status.reported_at);
            let rests = account.rests.iter().filter(|(_, left)| **left > age);
            models.extend(rests.map(|(model, _)| model));
        }
        self.resting.clear();
        for (account, models) in resting {
            let account = self.label(account);
            let gauge = self.resting.get_or_create(&AccountLabels { account });
            gauge.set(i64::try_from(models.len()).unwrap_or(i64::MAX));
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
