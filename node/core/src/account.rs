//! Accounts at providers: what upstreams that draw on the same one share.
//!
//! An upstream that is limited for its account, or whose answers say that little is left, has the account *rest*: its
//! owner publishes for which model and for how long, and every node lets other candidates go before all upstreams of
//! the account. It does not close them. That the limit is the account's is concluded from the answer of one upstream,
//! so another one is still tried where nothing else is left, and then speaks for itself.
//!
//! Bound: [`ACCOUNT_RESTS_MAX`] rests of each upstream, those that end soonest first to be given up.

mod remaining;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use remaining::{ProviderQuota, RemainingQuota, reset_span};

use crate::ids::{AccountName, ModelName};
use crate::outcome::COOLDOWN_MAX;
use crate::time::Instant;

/// Models of one upstream at most for which its account rests at once; one more entry is for all of them.
pub const ACCOUNT_RESTS_MAX: usize = 8;

/// A shorter rest is over before the mesh knows of it.
pub const ACCOUNT_REST_MIN: Duration = Duration::from_millis(250);

/// No account rests for longer, whatever its provider asks for.
pub const ACCOUNT_REST_MAX: Duration = COOLDOWN_MAX;

/// The account that an upstream draws on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSpec {
    /// Its name, the same at all nodes.
    pub name: AccountName,
    /// What its provider counts by.
    pub quota: QuotaScope,
}

/// What a provider counts by, and so of whom its limits speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuotaScope {
    /// The account, whatever region is asked: OpenAI, Anthropic, Gemini and most others.
    #[default]
    Account,
    /// A region or a deployment of the account: Azure OpenAI, Bedrock, Vertex AI.
    Upstream,
}

/// What a node publishes of the account of one of its upstreams.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountFact {
    /// Which.
    pub spec: AccountSpec,
    /// How much longer it rests, by model; `None` is every model. At most [`ACCOUNT_RESTS_MAX`].
    pub rests: BTreeMap<Option<ModelName>, Duration>,
}

/// Until when an account rests, by model; `None` is every model. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRests(Arc<BTreeMap<Option<ModelName>, Instant>>);

impl AccountRests {
    /// Until when it rests for `model`, or for requests without one.
    pub fn until(&self, model: Option<&ModelName>) -> Option<Instant> {
        let all = self.0.get(&None).copied();
        let own = model.and_then(|model| self.0.get(&Some(model.clone())).copied());
        all.max(own)
    }

    /// The models for which alone it rests.
    pub fn models(&self) -> impl Iterator<Item = &ModelName> {
        self.0.keys().flatten()
    }

    /// The earliest end of one.
    pub fn next_end(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }

    /// It rests for `model` until then at least. What has ended at `now`, and what is beyond the limit, is given up.
    pub fn rest(&mut self, now: Instant, model: Option<&ModelName>, until: Instant) {
        let rests = Arc::make_mut(&mut self.0);
        rests.retain(|_, until| *until > now);
        if until <= now {
            return;
        }
        let rest = rests.entry(model.cloned()).or_insert(until);
        *rest = until.max(*rest);
        if rests.len() > ACCOUNT_RESTS_MAX {
            let soonest = rests.iter().min_by_key(|(_, until)| **until);
            if let Some(soonest) = soonest.map(|(model, _)| model.clone()) {
                rests.remove(&soonest);
            }
        }
    }

    /// Gives up what has ended at `now`; true where something has.
    pub fn end(&mut self, now: Instant) -> bool {
        let has_ended = self.next_end().is_some_and(|end| end <= now);
        if has_ended {
            Arc::make_mut(&mut self.0).retain(|_, until| *until > now);
        }
        has_ended
    }

    /// How much longer, as published.
    pub fn remaining(&self, now: Instant) -> BTreeMap<Option<ModelName>, Duration> {
        let left = self
            .0
            .iter()
            .map(|(model, until)| (model, now.until(*until)));
        let left = left.filter(|(_, left)| !left.is_zero());
        left.map(|(model, left)| (model.clone(), left)).collect()
    }

    /// What a fact that was received at `reported_at` says.
    pub fn of_fact(fact: &AccountFact, reported_at: Instant) -> Self {
        let until = |left: &Duration| reported_at + (*left).min(ACCOUNT_REST_MAX);
        let rests = fact.rests.iter().take(ACCOUNT_RESTS_MAX);
        Self(Arc::new(
            rests
                .map(|(model, left)| (model.clone(), until(left)))
                .collect(),
        ))
    }

    /// Takes over what `other` has, without a limit: the sum of what the upstreams of one account know.
    pub fn join(&mut self, other: &Self) {
        if other.0.is_empty() {
            return;
        }
        let rests = Arc::make_mut(&mut self.0);
        for (model, until) in &*other.0 {
            let rest = rests.entry(model.clone()).or_insert(*until);
            *rest = (*rest).max(*until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::START;
    const SECOND: Duration = Duration::from_secs(1);

    fn model(name: &str) -> ModelName {
        ModelName::new(name).expect("a name")
    }

    #[test]
    fn rest_of_all_models_and_of_one_hold_both() {
        let (gpt, o3) = (model("gpt"), model("o3"));
        let mut rests = AccountRests::default();
        rests.rest(NOW, Some(&gpt), NOW + SECOND * 5);
        assert_eq!(rests.until(Some(&gpt)), Some(NOW + SECOND * 5));
        assert_eq!((rests.until(Some(&o3)), rests.until(None)), (None, None));
        rests.rest(NOW, None, NOW + SECOND * 2);
        assert_eq!(rests.until(Some(&o3)), Some(NOW + SECOND * 2));
        assert_eq!(rests.until(Some(&gpt)), Some(NOW + SECOND * 5));
        // A shorter one shortens none.
        rests.rest(NOW, Some(&gpt), NOW + SECOND);
        assert_eq!(rests.until(Some(&gpt)), Some(NOW + SECOND * 5));
        assert!(rests.end(NOW + SECOND * 2) && !rests.end(NOW + SECOND * 2));
        assert_eq!(rests.until(Some(&o3)), None);
    }

    #[test]
    fn rests_have_a_limit_and_those_that_end_soonest_are_given_up() {
        let mut rests = AccountRests::default();
        for number in 0..20 {
            let name = model(&format!("m{number}"));
            rests.rest(NOW, Some(&name), NOW + SECOND * (number + 1));
        }
        assert_eq!(rests.models().count(), ACCOUNT_RESTS_MAX);
        assert_eq!(rests.until(Some(&model("m11"))), None);
        assert!(rests.until(Some(&model("m19"))).is_some());
    }

    #[test]
    fn what_a_peer_says_is_cut_to_the_limits() {
        let spec = AccountSpec {
            name: AccountName::new("main").expect("a name"),
            quota: QuotaScope::Account,
        };
        let forever = (0..20).map(|number| (Some(model(&format!("m{number}"))), SECOND * 86_400));
        let fact = AccountFact {
            spec,
            rests: forever.collect(),
        };
        let rests = AccountRests::of_fact(&fact, NOW);
        assert_eq!(rests.models().count(), ACCOUNT_RESTS_MAX);
        assert_eq!(rests.next_end(), Some(NOW + ACCOUNT_REST_MAX));
    }
}
