//! Checks of accounts: that upstreams name known ones, and that their limits can be applied here.

use std::collections::BTreeMap;

use grapevine_core::ids::AccountName;

use super::super::checked::{
    AccountConfig, LimitsConfig, NodeConfig, UpstreamConfig, UpstreamModels,
};
use super::super::file::{AccountFile, ConfigFile, Item};
use super::super::nearest;
use super::super::prices::PriceTable;
use super::node::NAME_FORM;
use super::{Checker, items};

/// Accounts of one file.
const ACCOUNTS_MAX: usize = 256;

impl Checker<'_> {
    /// The prices and the accounts of the file, which must fit the `upstreams`, given with their keys; `node` is this one,
    /// where it has a mesh.
    pub(super) fn prices_and_accounts(
        &mut self,
        file: &ConfigFile,
        upstreams: &[(String, UpstreamConfig)],
        limits: &LimitsConfig,
        node: Option<&NodeConfig>,
    ) -> (PriceTable, Vec<AccountConfig>) {
        let prices = self.prices(&file.prices);
        let accounts = self.accounts(&file.accounts);
        self.accounts_are_known(upstreams, &accounts);
        self.account_limits_hold(upstreams, &accounts, limits, &prices, node);
        (prices, accounts)
    }

    fn accounts(&mut self, list: &Option<Vec<Item<AccountFile>>>) -> Vec<AccountConfig> {
        let written = list.as_ref().map_or(0, Vec::len);
        if written > ACCOUNTS_MAX {
            let problem = format!("names {written} accounts, more than {ACCOUNTS_MAX}");
            self.problem("accounts", problem, "name those that upstreams draw on");
        }
        let mut names = BTreeMap::new();
        let mut accounts = Vec::new();
        for (key, file) in items("accounts", list).take(ACCOUNTS_MAX) {
            let at = |name: &str| format!("{key}.{name}");
            let name: Option<AccountName> =
                self.parse(&at("name"), file.name.as_deref(), NAME_FORM);
            let rates = (file.rpm.as_ref(), file.tpm.as_ref());
            let limits = self.limits_at(&key, rates, file.budget.as_deref(), None);
            let Some(name) = name else { continue };
            if let Some(first) = names.get(&name) {
                let problem = format!("{name} is the name of {first} too");
                self.problem(&at("name"), problem, "give each account a name of its own");
            }
            names.entry(name.clone()).or_insert_with(|| key.clone());
            accounts.push(AccountConfig { name, limits });
        }
        accounts
    }

    /// Checks that the accounts of `upstreams` are there.
    fn accounts_are_known(
        &mut self,
        upstreams: &[(String, UpstreamConfig)],
        accounts: &[AccountConfig],
    ) {
        if self.source_map.was_refused("accounts") {
            return;
        }
        for (key, upstream) in upstreams {
            let Some(name) = &upstream.account else {
                continue;
            };
            if accounts.iter().any(|account| account.name == *name) {
                continue;
            }
            let known = accounts.iter().map(|account| account.name.as_str());
            let remedy = match nearest::nearest(name.as_str(), known) {
                Some(nearest) => format!("write {nearest}, or add {name} to accounts"),
                None => format!("add it: accounts: [{{name: {name}}}]"),
            };
            let problem = format!("{name} is not the name of an account");
            self.problem(&format!("{key}.account"), problem, remedy);
        }
    }

    /// Checks that the limits of accounts can be applied to `upstreams`.
    fn account_limits_hold(
        &mut self,
        upstreams: &[(String, UpstreamConfig)],
        accounts: &[AccountConfig],
        limits: &LimitsConfig,
        prices: &PriceTable,
        node: Option<&NodeConfig>,
    ) {
        let limited = |upstream: &UpstreamConfig| {
            let name = upstream.account.as_ref()?;
            let account = accounts.iter().find(|account| account.name == *name)?;
            account.has_limits().then_some(account)
        };
        let is_refused = self.source_map.was_refused("limits.nodes");
        let without_rights = node.filter(|node| !is_refused && !limits.nodes.contains(&node.name));
        for (key, upstream) in upstreams {
            let Some(account) = limited(upstream) else {
                continue;
            };
            let name = &account.name;
            if let Some(node) = without_rights {
                let problem = match limits.nodes.is_empty() {
                    true => format!(
                        "{name} has limits over the whole mesh, and limits.nodes is missing"
                    ),
                    false => format!(
                        "{name} has limits, and limits.nodes does not list this node, {}",
                        node.name
                    ),
                };
                let remedy = "list all nodes that have upstreams of it in limits.nodes, the same list at each of them";
                self.problem(&format!("{key}.account"), problem, remedy);
            }
            if account.limits.budget.is_some() {
                self.models_have_prices(key, upstream, name, prices);
            }
        }
    }

    fn models_have_prices(
        &mut self,
        key: &str,
        upstream: &UpstreamConfig,
        account: &AccountName,
        prices: &PriceTable,
    ) {
        let UpstreamModels::Listed(models) = &upstream.models else {
            return;
        };
        let named = models.iter().filter(|model| !model.name.is_any());
        for model in named.filter(|model| prices.of(&model.name).is_none()) {
            let name = &model.name;
            let problem =
                format!("{account} has a budget, and {name} has no price: it is not served");
            let remedy = format!("add it: prices: [{{model: {name}, input: ..., output: ...}}]");
            self.warning(&format!("{key}.account"), problem, remedy);
        }
    }
}
