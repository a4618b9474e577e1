//! The account of an upstream, as it is gossiped.
//!
//! `"account":{"name":"openai-main"}` while nothing is short, which is 20 bytes and the name; each model for which it
//! rests adds its own name and about 12 bytes, such as `"rests":{"gpt-4o":59000000}`.

use std::collections::BTreeMap;

use grapevine_core::account::{ACCOUNT_RESTS_MAX, AccountFact, AccountSpec, QuotaScope};
use grapevine_core::ids::{AccountName, ModelName};
use serde::{Deserialize, Serialize};

use super::ValueError;
use super::figure::Figure;

/// A reader of an earlier version does without.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AccountPayload {
    name: String,
    /// Its provider counts by region, and what is said holds for this upstream alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    alone: bool,
    /// How much longer it rests, by model; the empty name is every model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rests: BTreeMap<String, Figure>,
}

impl AccountPayload {
    pub(super) fn of(fact: &AccountFact) -> Self {
        let rests = fact.rests.iter().map(|(model, left)| {
            let model = model.as_ref().map_or("", ModelName::as_str);
            (model.to_owned(), Figure::of_span(*left))
        });
        Self {
            name: fact.spec.name.as_str().to_owned(),
            alone: fact.spec.quota == QuotaScope::Upstream,
            rests: rests.collect(),
        }
    }

    /// The rests are the first to go where a value is too long: the upstream itself is then left later, no more.
    pub(super) fn leave_rests_out(&mut self) {
        self.rests.clear();
    }

    /// What is beyond the limit is left out.
    pub(super) fn into_fact(self) -> Result<AccountFact, ValueError> {
        let mut rests = BTreeMap::new();
        for (model, left) in self.rests.into_iter().take(ACCOUNT_RESTS_MAX) {
            let model = match model.as_str() {
                "" => None,
                name => Some(ModelName::new(name)?),
            };
            rests.insert(model, left.span("account.rests")?);
        }
        Ok(AccountFact {
            spec: AccountSpec {
                name: AccountName::new(&self.name)?,
                quota: match self.alone {
                    true => QuotaScope::Upstream,
                    false => QuotaScope::Account,
                },
            },
            rests,
        })
    }
}
