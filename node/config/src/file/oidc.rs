//! The identity provider whose tokens clients may bring, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{CountText, DurationText, Item};

/// An OpenID Connect provider whose tokens are taken as keys: JWTs that it signs, verified with the keys it publishes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["issuer", "audience"]))]
pub struct OidcFile {
    /// The provider's issuer URL, exactly as in the iss of its tokens, such as https://login.example.com/realms/team.
    pub issuer: Option<String>,
    /// What tokens must be for: one of these must be in their aud.
    pub audience: Option<WordsFile>,
    /// What every token must say: names of claims, each with a value or a list of values of which one must be there.
    /// roles.api is api within roles. Default: nothing more.
    pub claims: Option<BTreeMap<String, WordsFile>>,
    /// The claim that names the client in records and limits, unique at the provider. Default: sub.
    pub name_claim: Option<String>,
    /// What clients may do: the first entry holds whose claims a token has; without one, the client is refused.
    /// Default: everything, for every token.
    pub clients: Option<Vec<Item<OidcClientsFile>>>,
    /// Where the provider's keys are. Default: what its discovery document says
    /// (ISSUER/.well-known/openid-configuration).
    pub jwks_url: Option<String>,
    /// Where the provider's keys are kept, so that a restart does not need the provider. Default:
    /// grapevine-oidc-NAME.json with the node's name, next to the configuration file.
    pub file: Option<String>,
    /// How often the provider's keys are fetched, 1m to 1d; at a token with an unknown one sooner. Default: 1h.
    pub refresh: Option<DurationText>,
}

/// Clients with the same rights.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OidcClientsFile {
    /// What their tokens say, as in oidc.claims. Default: anything.
    pub claims: Option<BTreeMap<String, WordsFile>>,
    /// The models they may use. Default: every model.
    pub models: Option<Vec<Item<String>>>,
    /// The regions that may serve them. Default: every region.
    pub regions: Option<Vec<Item<String>>>,
    /// What they may do: api, tasks, admin:read, admin:operate. Default: api and tasks.
    pub scopes: Option<Vec<Item<String>>>,
    /// Requests per minute of each of them, at least 1. Over the whole mesh. Default: no limit.
    pub rpm: Option<CountText>,
    /// Tokens per minute of each of them, at least 1. Over the whole mesh. Default: no limit.
    pub tpm: Option<CountText>,
    /// US dollars per day or month of each of them, such as 50usd/month. Over the whole mesh. Default: no limit.
    pub budget: Option<String>,
    /// Requests at once of each of them, 1 to 100000. Over the whole mesh. Default: no limit.
    pub concurrency: Option<u64>,
}

/// A word, or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WordsFile {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl WordsFile {
    /// Each of them.
    pub fn each(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}
