//! Errors about the client's key. The text repeats nothing of the key.

use std::time::Duration;

use grapevine_keys::rights::KeyScope;
use grapevine_keys::ring::KeyRefusal;
use http::StatusCode;

use super::Problem;

impl Problem {
    /// The key is refused; each reason has a code of its own.
    pub(in super::super) fn key_refused(refusal: &KeyRefusal) -> Self {
        let message = match refusal {
            KeyRefusal::Unknown => {
                "the API key is not known here; check it with whoever gave it to you"
            }
            KeyRefusal::Malformed => {
                "the API key is not whole: it was cut or changed; copy it again"
            }
            KeyRefusal::UnknownIssuer => {
                "the API key was issued by somebody whom this node does not know; it may be for another mesh, \
                 or its issuer was replaced: ask for a new one"
            }
            KeyRefusal::Signature => {
                "the API key was changed: its signature is wrong; copy it again"
            }
            KeyRefusal::NotUnderstood => {
                "the API key says something that this node's version does not understand; ask another node, or \
                 its operator to update it"
            }
            KeyRefusal::OtherMesh(_) => "the API key was issued for another mesh",
            KeyRefusal::OtherAudience => {
                "the token is not for this service: its audience (aud) is not among oidc.audience"
            }
            KeyRefusal::Unnamed => {
                "the token does not name its holder: the claim in oidc.name_claim is missing or no text"
            }
            KeyRefusal::NotAClient => {
                "the token's holder may do nothing here: its claims fit none of oidc.clients; ask the operator"
            }
            KeyRefusal::NoProviderKeys => {
                "this node has not received the keys of the identity provider yet; try again"
            }
            KeyRefusal::NotYetValid(_) => "the API key is not valid yet; check the clock",
            KeyRefusal::Expired(_) => "the API key has expired; ask for a new one",
            KeyRefusal::Revoked(_) => "the API key was revoked; ask for a new one",
            KeyRefusal::Busy => {
                "too many wrong API keys arrive at this node, and it has not seen this one before; try again"
            }
            KeyRefusal::Stale => {
                "this node has been cut off from its peers for too long to know which API keys were revoked; \
                 ask another node"
            }
        };
        match refusal {
            KeyRefusal::Busy | KeyRefusal::Stale | KeyRefusal::NoProviderKeys => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, refusal.code(), message)
            },
            KeyRefusal::NotAClient => Self::new(StatusCode::FORBIDDEN, refusal.code(), message),
            _ => Self::new(StatusCode::UNAUTHORIZED, refusal.code(), message),
        }
    }

    /// The key is not for requests of this kind.
    pub(in super::super) fn scope_not_allowed(needed: KeyScope) -> Self {
        let message = format!("this API key has not the scope '{needed}', which this path needs");
        Self::new(StatusCode::FORBIDDEN, "scope_not_allowed", message)
    }

    /// The key's regions and those that the client allows have none in common.
    pub(in super::super) fn region_not_allowed() -> Self {
        let message =
            "none of the regions in 'x-grapevine-allow-regions' is one that this API key may use";
        Self {
            param: Some("x-grapevine-allow-regions"),
            ..Self::new(StatusCode::FORBIDDEN, "region_not_allowed", message)
        }
    }
}
