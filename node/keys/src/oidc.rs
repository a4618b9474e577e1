//! Tokens of the operator's identity provider (OpenID Connect): JWTs that it signs, which this node verifies with the
//! keys that the provider publishes.
//!
//! A holder is somebody or something that the provider knows. What it may do stands in this node's rules and not in
//! the token, whose claims choose among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key_set::SigningKeySet;
use super::refusal::KeyRefusal;
use super::rights::{ClientKey, KeyRights};
use super::signatures::{install, signature_by};
use super::token::{CLOCK_SKEW, KeyId, hex};

/// The longest token that is read, in bytes. Those of people in many groups have a few kilobytes.
pub const OIDC_TOKEN_BYTES_MAX: usize = 8_192;

/// The longest claim that names a holder, in bytes. OpenID Connect allows 255 for `sub`.
const HOLDER_BYTES_MAX: usize = 255;

/// What the names of holders begin with, so that none is a static key's.
const NAME_PREFIX: &str = "oidc.";

/// The longest name of a holder in records, as of every key's.
const NAME_BYTES_MAX: usize = 63;

/// Digits of the hash that ends a name which is not the claim itself.
const NAME_HASH_DIGITS: usize = 12;

/// The claims that a token must have: each of these with one of these values, or a list that holds one.
pub type WantedClaims = BTreeMap<String, BTreeSet<String>>;

/// Which tokens are taken, and what their holders may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcRules {
    /// The provider, as in its tokens' `iss`.
    pub issuer: String,
    /// One of these must be in a token's `aud`.
    pub audiences: BTreeSet<String>,
    /// The claim that names the holder.
    pub name_claim: String,
    /// What every token must say.
    pub claims: WantedClaims,
    /// What holders may do: the first whose claims a token has. Nobody else is let in.
    pub clients: Vec<OidcClients>,
}

/// Holders with the same rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcClients {
    /// What their tokens say.
    pub claims: WantedClaims,
    /// What each of them may do.
    pub rights: KeyRights,
}

/// Called for a token signed by a key that is not known: the provider may have a new one.
pub type AskForKeys = Arc<dyn Fn() + Send + Sync>;

/// An identity provider as the key ring knows it.
#[derive(Clone)]
pub(super) struct Oidc {
    pub(super) rules: OidcRules,
    /// `None` until they were fetched.
    pub(super) keys: Option<ProviderKeys>,
    pub(super) ask_for_keys: AskForKeys,
}

/// What the provider has published.
#[derive(Clone)]
pub(super) struct ProviderKeys {
    pub(super) set: SigningKeySet,
    /// Since the Unix epoch.
    pub(super) fetched_at: Duration,
}

/// The claims (RFC 7519) that are looked at here; the others are looked up by rules.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: OneOrMany,
    exp: f64,
    nbf: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Oidc {
    /// The key that `token` is.
    ///
    /// # Errors
    /// Why it is none. Its times are not checked.
    pub(super) fn open(&self, token: &[u8]) -> Result<ClientKey, KeyRefusal> {
        install();
        if token.len() > OIDC_TOKEN_BYTES_MAX {
            return Err(KeyRefusal::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| KeyRefusal::Malformed)?;
        let keys = self.keys.as_ref().ok_or(KeyRefusal::NoProviderKeys)?;
        let Some(key) = keys.set.find(&header) else {
            (self.ask_for_keys)();
            return Err(KeyRefusal::UnknownIssuer);
        };
        let read = jsonwebtoken::decode::<Claims>(token, key, &signature_by(header.alg));
        let claims = read.map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => KeyRefusal::Signature,
            ErrorKind::Json(_) => KeyRefusal::NotUnderstood,
            _ => KeyRefusal::Malformed,
        })?;
        self.rules.client(claims.claims)
    }
}

impl OidcRules {
    fn client(&self, claims: Claims) -> Result<ClientKey, KeyRefusal> {
        if claims.iss != self.issuer {
            return Err(KeyRefusal::UnknownIssuer);
        }
        let is_for_us = match &claims.aud {
            OneOrMany::One(one) => self.audiences.contains(one),
            OneOrMany::Many(many) => many.iter().any(|one| self.audiences.contains(one)),
        };
        if !is_for_us {
            return Err(KeyRefusal::OtherAudience);
        }
        let holder = found(&claims.others, &self.name_claim).and_then(Value::as_str);
        let holder = holder.filter(|holder| (1..=HOLDER_BYTES_MAX).contains(&holder.len()));
        let holder = holder.ok_or(KeyRefusal::Unnamed)?;
        let has = |wanted| has_claims(&claims.others, wanted);
        let mut fitting = self.clients.iter().filter(|clients| has(&clients.claims));
        let clients = fitting.next().filter(|_| has(&self.claims));
        let clients = clients.ok_or(KeyRefusal::NotAClient)?;
        Ok(ClientKey {
            name: name(holder).into(),
            id: Some(KeyId::of_holder(&self.issuer, holder)),
            not_before: seconds(claims.nbf.unwrap_or_default()).saturating_sub(CLOCK_SKEW),
            expires_at: Some(seconds(claims.exp)),
            rights: clients.rights.clone(),
        })
    }
}

/// Whether each of `wanted` is said.
fn has_claims(claims: &Map<String, Value>, wanted: &WantedClaims) -> bool {
    wanted.iter().all(|(name, values)| {
        let is_wanted = |value: &Value| match value {
            Value::String(text) => values.contains(text.as_str()),
            Value::Bool(_) | Value::Number(_) => values.contains(&value.to_string()),
            _ => false,
        };
        match found(claims, name) {
            Some(Value::Array(many)) => many.iter().any(is_wanted),
            Some(one) => is_wanted(one),
            None => false,
        }
    })
}

/// The claim called `name`; where there is none, `a.b` is `b` within `a`, as in `realm_access.roles`.
fn found<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// The name of a holder in records: the claim, or where that has no form of a name, a like one with a hash, which tells
/// it from others that are like it.
fn name(holder: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends_plain = holder.ends_with(|last: char| last.is_ascii_alphanumeric());
    // A holder who can choose the claim must not have another's name.
    let ends_as_hashed = holder.rsplit_once('.').is_some_and(|(_, end)| {
        end.len() == NAME_HASH_DIGITS && end.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    let room = NAME_BYTES_MAX - NAME_PREFIX.len();
    if ends_plain && !ends_as_hashed && holder.len() <= room && holder.bytes().all(is_plain) {
        return format!("{NAME_PREFIX}{holder}");
    }
    let room = room - NAME_HASH_DIGITS - 1;
    let like = holder.chars().take(room);
    let like: String = like
        .map(|shown| match u8::try_from(shown) {
            Ok(byte) if is_plain(byte) => shown,
            _ => '-',
        })
        .collect();
    let hash = digest(&SHA256, holder.as_bytes());
    let hash = &hash.as_ref()[..NAME_HASH_DIGITS / 2];
    format!("{NAME_PREFIX}{like}.{}", hex(hash))
}

/// A time of JSON, which may be fractional (RFC 7519, 2). One that is none is the beginning of all time.
fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time).unwrap_or_default()
}

#[cfg(test)]
mod tests;
