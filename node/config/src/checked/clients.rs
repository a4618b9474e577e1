//! Clients' keys and the ledger, as checked.

use std::path::PathBuf;
use std::time::Duration;

use grapevine_core::ids::{AccountName, ModelName, RegionName, ServiceKey, UpstreamName};
use grapevine_keys::hash::KeyHash;
use grapevine_keys::oidc::OidcRules;
use grapevine_keys::rights::{KeyLimits, KeyWeight, ModelLimits};
use grapevine_keys::ring::Issuers;

use super::super::address::BaseUrl;
use super::super::text::ByteSize;

/// A client's key for the public address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConfig {
    /// Its holder's name in logs and metrics; unique.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// The models it may use; `None` is every model.
    pub models: Option<Vec<ModelName>>,
    /// The regions that may serve it; `None` is every region.
    pub regions: Option<Vec<RegionName>>,
    /// The only services that it may use; `None` is a client's key.
    pub services: Option<Vec<ServiceKey>>,
    /// The upstreams that it may choose by name, the first for its files; `None` is no choice.
    pub upstreams: Option<Vec<UpstreamName>>,
    /// Its limits.
    pub limits: KeyLimits,
    /// Its limits by model, beside those.
    pub model_limits: ModelLimits,
    /// Its turns beside others'; `None` is one.
    pub weight: Option<KeyWeight>,
    /// Whether its requests may be sent a second time beside an attempt that is late.
    pub hedge: bool,
    /// It is refused from this time since the Unix epoch on; `None` is never.
    pub expires_at: Option<Duration>,
}

impl KeyConfig {
    /// Whether it has any limit.
    pub fn is_limited(&self) -> bool {
        self.limits != KeyLimits::default() || !self.model_limits.is_empty()
    }
}

/// An account at a provider, which upstreams of several nodes may draw on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountConfig {
    /// Its name, unique, and the same at all nodes.
    pub name: AccountName,
    /// What may be used of it over the whole mesh; requests at once are not limited.
    pub limits: KeyLimits,
}

impl AccountConfig {
    /// Whether it has a limit of one's own.
    pub fn has_limits(&self) -> bool {
        self.limits != KeyLimits::default()
    }
}

/// Keys that the operator issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedKeysConfig {
    /// Who signs them, and for which mesh.
    pub issuers: Issuers,
    /// Where statements about keys are kept.
    pub file: PathBuf,
}

/// The identity provider whose tokens clients may bring.
#[derive(Clone, Debug, PartialEq)]
pub struct OidcConfig {
    /// Which tokens are taken, and what their holders may do.
    pub rules: OidcRules,
    /// Where the provider's discovery document is.
    pub issuer_url: BaseUrl,
    /// Where its keys are; `None` asks the discovery document.
    pub jwks_url: Option<BaseUrl>,
    /// Where its keys are kept.
    pub file: PathBuf,
    /// How often they are fetched.
    pub refresh: Duration,
}

/// The ledger of finished requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The file that lines are appended to.
    pub file: PathBuf,
    /// When it is full.
    pub size: ByteSize,
    /// When it counts as full.
    pub age: Duration,
    /// How long full files are kept.
    pub retention: Duration,
}
