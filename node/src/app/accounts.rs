//! The accounts of this node's upstreams, as the engine and the calls of upstreams take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use grapevine_base::limits::{KeySpecs, LimitKind};
use grapevine_config::Config;
use grapevine_config::checked::{AccountConfig, UpstreamConfig};
use grapevine_config::prices::PriceTable;
use grapevine_core::account::AccountSpec;
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};
use grapevine_core::ids::UpstreamName;
use grapevine_http::accounts::{AccountLimits, AccountSettings, AccountTable};
use grapevine_keys::rights::BudgetPeriod;

/// What `upstream` draws on, for the engine.
pub(super) fn spec(upstream: &UpstreamConfig) -> Option<Arc<AccountSpec>> {
    let name = upstream.account.clone()?;
    let quota = upstream.provider.provider.quota_scope();
    Some(Arc::new(AccountSpec { name, quota }))
}

/// The accounts of the upstreams of `config`.
pub(super) fn table(config: &Config) -> AccountTable {
    let table = AccountTable::default();
    table.replace(of_upstreams(config));
    table
}

/// By upstream; one without an account is not in it.
pub(super) fn of_upstreams(config: &Config) -> BTreeMap<UpstreamName, AccountSettings> {
    let prices = Arc::new(config.prices.clone());
    let upstreams = config.upstreams.iter().filter_map(|upstream| {
        let name = upstream.account.as_ref()?;
        let account = config.accounts.iter().find(|it| it.name == *name)?;
        let settings = AccountSettings {
            name: name.clone(),
            limits: limits(account, config.limits.max_tokens, &prices),
        };
        Some((upstream.name.clone(), settings))
    });
    upstreams.collect()
}

fn limits(
    account: &AccountConfig,
    output_cap: u64,
    prices: &Arc<PriceTable>,
) -> Option<AccountLimits> {
    let minute = |amount| LimitSpec {
        amount,
        window: LimitWindow::Minute,
    };
    let mut specs = KeySpecs::default();
    specs[LimitKind::Requests as usize] = account.rpm.map(minute);
    specs[LimitKind::Tokens as usize] = account.tpm.map(minute);
    specs[LimitKind::Money as usize] = account.budget.map(|budget| LimitSpec {
        amount: budget.micro_usd,
        window: match budget.per {
            BudgetPeriod::Day => LimitWindow::Day,
            BudgetPeriod::Month => LimitWindow::Month,
        },
    });
    account.has_limits().then(|| AccountLimits {
        specs,
        output_cap,
        prices: Arc::clone(prices),
    })
}
