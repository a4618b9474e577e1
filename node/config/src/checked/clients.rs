//! Clients' keys and the ledger, as checked.

use std::path::PathBuf;
use std::time::Duration;

use grapevine_core::ids::{ModelName, RegionName, ServiceKey};
use grapevine_keys::hash::KeyHash;
use grapevine_keys::rights::{KeyLimits, KeyWeight, ModelLimits};
use grapevine_keys::ring::Issuers;

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
    /// Its limits.
    pub limits: KeyLimits,
    /// Its limits by model, beside those.
    pub model_limits: ModelLimits,
    /// Its turns beside others'; `None` is one.
    pub weight: Option<KeyWeight>,
    /// It is refused from this time since the Unix epoch on; `None` is never.
    pub expires_at: Option<Duration>,
}

impl KeyConfig {
    /// Whether it has any limit.
    pub fn is_limited(&self) -> bool {
        self.limits != KeyLimits::default() || !self.model_limits.is_empty()
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
