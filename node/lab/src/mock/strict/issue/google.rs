//! Google's token endpoint and the metadata server's.

use http::Method;
use serde_json::json;

use super::{IssueOutcome, field, form, issued};
use crate::mock::strict::assertion::{Assertion, public_key};
use crate::mock::strict::exchange::{Call, Outcome, text};
use crate::mock::strict::tokens::Issuer;
use crate::mock::strict::upstream::Upstream;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The longest life of an assertion, and how far its clock may be ahead.
const LIFETIME_SECONDS_MAX: u64 = 3_600;
const SKEW_SECONDS_MAX: u64 = 300;

pub(super) fn serve(upstream: &Upstream, call: &Call<'_>, path: &str) -> Option<IssueOutcome> {
    match (call.method, path) {
        (&Method::POST, "token") => Some(match check(upstream, call) {
            Ok(()) => token(upstream, call),
            Err((error, description)) => {
                let mut outcome =
                    Outcome::json(&json!({"error": error, "error_description": description}));
                outcome.status = 400;
                outcome.into()
            }
        }),
        (&Method::GET, path) => {
            let account = path
                .strip_prefix("computeMetadata/v1/instance/service-accounts/")?
                .strip_suffix("/token")?;
            if account.is_empty() {
                return None;
            }
            if call.header("metadata-flavor") != Some("Google") {
                return Some(
                    Outcome::text(
                        403,
                        "text/html; charset=UTF-8",
                        "Missing Metadata-Flavor:Google header.",
                    )
                    .into(),
                );
            }
            let mut answer = token(upstream, call);
            answer
                .outcome
                .headers
                .push(("metadata-flavor", "Google".to_owned()));
            Some(answer)
        }
        _ => None,
    }
}

fn token(upstream: &Upstream, call: &Call<'_>) -> IssueOutcome {
    let token = upstream
        .tokens
        .issue(Issuer::Google, call.now, &upstream.seal);
    issued(Outcome::json(&json!({
        "access_token": token.token,
        "expires_in": upstream.tokens.lifetime.as_secs(),
        "token_type": "Bearer",
    })))
}

/// Checks an assertion as the guide "Using OAuth 2.0 for Server to Server Applications" has it.
fn check(upstream: &Upstream, call: &Call<'_>) -> Result<(), (&'static str, &'static str)> {
    let form = form(call);
    if field(form, "grant_type").as_deref() != Some(GRANT) {
        return Err((
            "unsupported_grant_type",
            "Invalid grant_type: it must be the JWT bearer grant.",
        ));
    }
    let assertion = field(form, "assertion").unwrap_or_default();
    let read = Assertion::read(&assertion).ok_or(("invalid_grant", "Bad Request"))?;
    let claims = &read.claims;
    if text(claims, "iss").is_empty() || !text(claims, "aud").ends_with("/token") {
        return Err(("invalid_grant", "Invalid JWT: iss and aud are required."));
    }
    if text(claims, "scope").is_empty() {
        return Err(("invalid_scope", "Empty or missing scope not allowed."));
    }
    let (issued_at, expires) = (
        claims["iat"].as_u64().unwrap_or(u64::MAX),
        claims["exp"].as_u64().unwrap_or(0),
    );
    let ahead = issued_at > call.seconds() + SKEW_SECONDS_MAX;
    if ahead
        || read.is_expired(call.now)
        || expires > issued_at.saturating_add(LIFETIME_SECONDS_MAX)
    {
        return Err((
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
        ));
    }
    let key = upstream.config.google_key.as_deref().and_then(public_key);
    if !key.is_some_and(|key| read.is_signed_by(&key)) {
        return Err(("invalid_grant", "Invalid JWT Signature."));
    }
    Ok(())
}
