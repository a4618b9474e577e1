//! The identity provider as the ring knows it.

use std::sync::Arc;
use std::time::Duration;

use super::super::key_set::SigningKeySet;
use super::super::oidc::{AskForKeys, Oidc, OidcRules, ProviderKeys};
use super::{InForce, KeyRing, Trust, new_generation};

impl KeyRing {
    /// Takes tokens by `rules` from now on, as after a reload; `ask` is called where a token is signed by a key that is
    /// not known. Keys that were fetched from the same issuer stay.
    pub fn set_provider(&self, rules: Option<OidcRules>, ask: &AskForKeys) {
        self.change_oidc(|before| {
            let rules = rules?;
            let same = before.filter(|before| before.rules.issuer == rules.issuer);
            Some(Oidc {
                keys: same.and_then(|same| same.keys.clone()),
                rules,
                ask_for_keys: Arc::clone(ask),
            })
        });
    }

    /// The provider called `issuer` has published these keys, which were fetched at `now` since the Unix epoch. Nothing
    /// happens where it is not the one whose tokens are taken.
    pub fn set_provider_keys(&self, issuer: &str, keys: SigningKeySet, now: Duration) {
        self.change_oidc(|before| {
            let mut oidc = before?.clone();
            if oidc.rules.issuer == issuer {
                oidc.keys = Some(ProviderKeys {
                    set: keys,
                    fetched_at: now,
                });
            }
            Some(oidc)
        });
    }

    /// How many keys of the identity provider are known, and when they were fetched, since the Unix epoch; `None`
    /// without a provider.
    pub fn provider_keys(&self) -> Option<(usize, Duration)> {
        let in_force = self.0.in_force.load();
        let keys = in_force.trust.oidc.as_ref()?.keys.as_ref();
        Some(keys.map_or((0, Duration::ZERO), |keys| {
            (keys.set.len(), keys.fetched_at)
        }))
    }

    fn change_oidc(&self, change: impl FnOnce(Option<&Oidc>) -> Option<Oidc>) {
        // Whoever changes what is in force holds this.
        let statements = self.statements();
        let trust = self.0.in_force.load().trust.clone();
        let trust = Trust {
            oidc: change(trust.oidc.as_deref()).map(Arc::new),
            generation: new_generation(),
            issuers: trust.issuers,
        };
        let in_force = InForce::of(trust, &statements);
        self.0.in_force.store(Arc::new(in_force));
    }
}
