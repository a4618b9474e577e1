//! Why keys and statements about them are refused.

use super::jws::JwsError;
use super::token::KeyId;

/// Why a key is refused. Each has a code of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// It is known in no way.
    Unknown,
    /// It looks like a token and is not a whole one.
    Malformed,
    /// A token signed by a key that is not configured here.
    UnknownIssuer,
    /// A token with a wrong signature.
    Signature,
    /// A token that says what this build does not understand.
    NotUnderstood,
    /// A token for another mesh.
    OtherMesh(KeyId),
    /// A token of the identity provider for somebody else than this mesh.
    OtherAudience,
    /// A token of the identity provider that does not name its holder.
    Unnamed,
    /// A token of the identity provider whose holder nothing is permitted to.
    NotAClient,
    /// The identity provider's keys are not known yet.
    NoProviderKeys,
    /// Not valid yet.
    NotYetValid(Option<KeyId>),
    /// Not valid any more.
    Expired(Option<KeyId>),
    /// Revoked.
    Revoked(KeyId),
    /// Too many bad tokens arrive: those that were not seen before are not read for a moment.
    Busy,
    /// This node has not exchanged revocations with a peer for too long.
    Stale,
}

impl KeyRefusal {
    /// One word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "invalid_api_key",
            Self::Malformed => "key_malformed",
            Self::UnknownIssuer => "key_issuer_unknown",
            Self::Signature => "key_signature_wrong",
            Self::NotUnderstood => "key_not_understood",
            Self::OtherMesh(_) => "key_for_another_mesh",
            Self::OtherAudience => "key_for_another_audience",
            Self::Unnamed => "key_without_a_name",
            Self::NotAClient => "client_not_allowed",
            Self::NoProviderKeys => "identity_provider_keys_unknown",
            Self::NotYetValid(_) => "key_not_yet_valid",
            Self::Expired(_) => "key_expired",
            Self::Revoked(_) => "key_revoked",
            Self::Busy => "key_checks_busy",
            Self::Stale => "revocations_stale",
        }
    }

    /// The key's id, once its signature was verified.
    pub const fn id(&self) -> Option<&KeyId> {
        match self {
            Self::OtherMesh(id) | Self::Revoked(id) => Some(id),
            Self::NotYetValid(id) | Self::Expired(id) => id.as_ref(),
            _ => None,
        }
    }
}

impl From<JwsError> for KeyRefusal {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Malformed => Self::Malformed,
            JwsError::UnknownIssuer => Self::UnknownIssuer,
            JwsError::Signature => Self::Signature,
            JwsError::NotUnderstood => Self::NotUnderstood,
        }
    }
}

/// Why a statement was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementRefusal {
    /// This node has no issuers.
    #[error("this node takes no statements about keys: issued_keys is not configured")]
    NoIssuers,
    /// Not a statement of one of its issuers.
    #[error("the statement is refused: {0}")]
    Unsigned(JwsError),
    /// For another mesh.
    #[error("the statement is for another mesh")]
    OtherMesh,
    /// Made by a clock that is ahead: it could never be replaced.
    #[error("the statement is dated in the future; set the clock of the machine that signs")]
    Future,
    /// There is no room.
    #[error("the node keeps as many statements as it may; wait until revoked keys have expired")]
    Full,
}
