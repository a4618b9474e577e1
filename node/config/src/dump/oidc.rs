//! The identity provider, as the file would have it.

use std::collections::BTreeSet;

use grapevine_keys::oidc::{OidcClients, WantedClaims};
use serde_json::{Map, Value, json};

use super::super::checked::OidcConfig;
use super::super::text::format_duration;

pub(super) fn shown(oidc: &OidcConfig) -> Value {
    let rules = &oidc.rules;
    json!({
        "issuer": rules.issuer,
        "audience": rules.audiences,
        "claims": claims(&rules.claims),
        "name_claim": rules.name_claim,
        "clients": rules.clients.iter().map(clients).collect::<Vec<Value>>(),
        "jwks_url": oidc.jwks_url.as_ref().map(ToString::to_string),
        "file": oidc.file.display().to_string(),
        "refresh": format_duration(oidc.refresh),
    })
}

fn clients(clients: &OidcClients) -> Value {
    let rights = &clients.rights;
    let limits = &rights.limits;
    json!({
        "claims": claims(&clients.claims),
        "models": rights.models.as_deref().map(words),
        "regions": rights.regions.as_deref().map(words),
        "scopes": words(&rights.scopes),
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "budget": limits.budget.map(|budget| budget.to_string()),
        "concurrency": limits.concurrency,
    })
}

fn words<T: ToString>(words: &BTreeSet<T>) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn claims(claims: &WantedClaims) -> Map<String, Value> {
    let claims = claims.iter();
    claims
        .map(|(name, values)| (name.clone(), json!(values)))
        .collect()
}
