//! Checks of the identity provider whose tokens clients may bring.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_keys::oidc::{OidcClients, OidcRules, WantedClaims};
use grapevine_keys::rights::{KeyRights, KeyScope};

use super::super::address::BaseUrl;
use super::super::checked::{NodeConfig, OidcConfig};
use super::super::file::{OidcClientsFile, OidcFile, WordsFile};
use super::{Checker, items};

/// Entries of `oidc.clients`: each token is compared with all of them, once in each request thread.
const CLIENTS_MAX: usize = 256;

/// How often the provider's keys are fetched. Providers publish a new key a day or more before they sign with it.
const REFRESH: Duration = Duration::from_secs(3_600);

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl Checker<'_> {
    pub(super) fn oidc(
        &mut self,
        file: Option<&OidcFile>,
        node: Option<&NodeConfig>,
    ) -> Option<OidcConfig> {
        let file = file?;
        let issuer_url = self.provider_url("oidc.issuer", file.issuer.as_deref());
        let jwks_url = self.provider_url("oidc.jwks_url", file.jwks_url.as_deref());
        let audiences = self.words("oidc.audience", file.audience.as_ref());
        let claims = self.wanted_claims("oidc.claims", file.claims.as_ref());
        let name_claim = file.name_claim.as_deref().unwrap_or("sub");
        if name_claim.is_empty() {
            let remedy = "name a claim that tells clients apart, such as sub or email";
            self.problem("oidc.name_claim", "is empty", remedy);
        }
        let written = file.clients.as_ref().map_or(1, Vec::len);
        if !(1..=CLIENTS_MAX).contains(&written) {
            let problem = format!("has {written} entries; 1 to {CLIENTS_MAX} are allowed");
            let remedy = "remove the key to let in every token, or list who may do what";
            self.problem("oidc.clients", problem, remedy);
        }
        let clients = match &file.clients {
            None => vec![OidcClients {
                claims: WantedClaims::new(),
                rights: KeyRights::default(),
            }],
            list => items("oidc.clients", list)
                .take(CLIENTS_MAX)
                .map(|(key, file)| self.oidc_clients(&key, file))
                .collect(),
        };
        let refresh = file.refresh.as_ref();
        let refresh = self.duration("oidc.refresh", refresh, REFRESH, MINUTE..=DAY);
        let path = match &file.file {
            Some(text) => self.kept_path("oidc.file", text),
            None => {
                let name = node.map_or("node", |node| node.name.as_str());
                self.folder.join(format!("grapevine-oidc-{name}.json"))
            }
        };
        Some(OidcConfig {
            rules: OidcRules {
                // As written: a token's has to be equal.
                issuer: file.issuer.clone()?,
                audiences,
                name_claim: name_claim.to_owned(),
                claims,
                clients,
            },
            issuer_url: issuer_url?,
            jwks_url,
            file: path,
            refresh,
        })
    }

    fn oidc_clients(&mut self, key: &str, file: &OidcClientsFile) -> OidcClients {
        let at = |name: &str| format!("{key}.{name}");
        let form = "name models as clients do";
        let models = self.names(&at("models"), &file.models, form);
        let form = "name regions by their codes, such as eur";
        let regions = self.names(&at("regions"), &file.regions, form);
        let form = "name what these clients may do";
        let scopes: Option<BTreeSet<KeyScope>> = self.names(&at("scopes"), &file.scopes, form);
        if scopes
            .as_ref()
            .is_some_and(|scopes| scopes.contains(&KeyScope::Services))
        {
            let problem = "holds services, which is for the key of an external worker";
            let remedy = "give workers a key of keys or issued_keys, which names their services";
            self.problem(&at("scopes"), problem, remedy);
        }
        let rates = (file.rpm.as_ref(), file.tpm.as_ref());
        let limits = self.limits_at(key, rates, file.budget.as_deref(), file.concurrency);
        let default = KeyRights::default();
        OidcClients {
            claims: self.wanted_claims(&at("claims"), file.claims.as_ref()),
            rights: KeyRights {
                scopes: scopes.unwrap_or(default.scopes),
                models: models.map(Arc::new),
                regions: regions.map(Arc::new),
                services: None,
                limits,
                ..default
            },
        }
    }

    fn words(&mut self, key: &str, words: Option<&WordsFile>) -> BTreeSet<String> {
        let Some(words) = words.map(WordsFile::each) else {
            return BTreeSet::new();
        };
        if words.is_empty() || words.iter().any(String::is_empty) {
            let remedy = "write a word, or a list of words of which one must be there";
            self.problem(key, "is empty, or holds an empty word", remedy);
        }
        words.iter().cloned().collect()
    }

    fn wanted_claims(
        &mut self,
        key: &str,
        claims: Option<&BTreeMap<String, WordsFile>>,
    ) -> WantedClaims {
        let claims = claims.into_iter().flatten();
        claims
            .map(|(name, words)| {
                (
                    name.clone(),
                    self.words(&format!("{key}.{name}"), Some(words)),
                )
            })
            .collect()
    }

    /// Whoever answers for the provider lets in whom it likes: only over TLS, or from this machine.
    fn provider_url(&mut self, key: &str, text: Option<&str>) -> Option<BaseUrl> {
        let form = "write the provider's URL, such as https://login.example.com/realms/team";
        let url: BaseUrl = self.parse(key, text, form)?;
        let host = url.host().trim_matches(['[', ']']);
        let is_here = host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if !url.is_tls() && !is_here {
            let problem = format!("{} is not https", self.shown(key));
            let remedy = "use https: whoever answers in the provider's place could let in anybody";
            self.problem(key, problem, remedy);
        }
        Some(url)
    }
}
