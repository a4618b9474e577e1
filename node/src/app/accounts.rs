//! The accounts of this node's upstreams, as the engine and the calls of upstreams take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use grapevine_config::Config;
use grapevine_config::checked::UpstreamConfig;
use grapevine_core::account::AccountSpec;
use grapevine_core::ids::UpstreamName;
use grapevine_http::accounts::{AccountLimits, AccountSettings, AccountTable, specs};

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
            limits: account.has_limits().then(|| AccountLimits {
                specs: specs(&account.limits),
                output_cap: config.limits.max_tokens,
                prices: Arc::clone(&prices),
            }),
        };
        Some((upstream.name.clone(), settings))
    });
    upstreams.collect()
}
