//! Entra's token endpoint and the managed identity's.

use http::Method;
use serde_json::json;

use super::{IssueOutcome, field, form, issued};
use crate::mock::strict::assertion::Assertion;
use crate::mock::strict::exchange::{Call, Outcome, seconds, text};
use crate::mock::strict::tokens::Issuer;
use crate::mock::strict::upstream::Upstream;

/// The resources that Azure's models are part of.
const RESOURCES: [&str; 2] = [
    "https://cognitiveservices.azure.com",
    "https://ai.azure.com",
];

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(super) fn serve(upstream: &Upstream, call: &Call<'_>, path: &str) -> Option<IssueOutcome> {
    match (call.method, path) {
        (&Method::GET, "metadata/identity/oauth2/token") => Some(managed(upstream, call)),
        (&Method::POST, path) => {
            let tenant = path.strip_suffix("/oauth2/v2.0/token")?;
            (!tenant.is_empty() && !tenant.contains('/')).then(|| token(upstream, call))
        }
        _ => None,
    }
}

fn refused(status: u16, error: &str, code: u32, message: &str) -> IssueOutcome {
    let mut outcome = Outcome::json(&json!({
        "error": error,
        "error_description": format!("AADSTS{code}: {message}"),
        "error_codes": [code],
    }));
    outcome.status = status;
    outcome.into()
}

fn token(upstream: &Upstream, call: &Call<'_>) -> IssueOutcome {
    let form = form(call);
    for name in ["grant_type", "client_id", "scope"] {
        if field(form, name).is_none() {
            let message =
                format!("The request body must contain the following parameter: '{name}'.");
            return refused(400, "invalid_request", 900_144, &message);
        }
    }
    if field(form, "grant_type").as_deref() != Some("client_credentials") {
        return refused(
            400,
            "unsupported_grant_type",
            70_003,
            "The app requested an unsupported grant type.",
        );
    }
    let scope = field(form, "scope").unwrap_or_default();
    let known = scope
        .strip_suffix("/.default")
        .is_some_and(|resource| RESOURCES.contains(&resource));
    if !known {
        return refused(
            400,
            "invalid_scope",
            70_011,
            "The provided value for the input parameter 'scope' is not valid.",
        );
    }
    if let Some(refusal) = check_client(upstream, call, form) {
        return refusal;
    }
    let token = upstream
        .tokens
        .issue(Issuer::Entra, call.now, &upstream.seal);
    let lifetime = upstream.tokens.lifetime.as_secs();
    issued(Outcome::json(&json!({
        "token_type": "Bearer",
        "expires_in": lifetime,
        "ext_expires_in": lifetime,
        "access_token": token.token,
    })))
}

/// The refusal of a client that does not prove who it is.
fn check_client(upstream: &Upstream, call: &Call<'_>, form: &str) -> Option<IssueOutcome> {
    let client = &upstream.config.token_client;
    if field(form, "client_id").as_deref() != Some(client.id.as_str()) {
        return Some(refused(
            400,
            "unauthorized_client",
            700_016,
            "Application with this identifier was not found in the directory.",
        ));
    }
    match (
        field(form, "client_secret"),
        field(form, "client_assertion"),
    ) {
        (Some(secret), _) if secret == client.secret => {}
        (Some(_), _) => {
            return Some(refused(
                401,
                "invalid_client",
                7_000_215,
                "Invalid client secret provided.",
            ));
        }
        (None, Some(assertion)) => {
            let typed = field(form, "client_assertion_type").as_deref() == Some(ASSERTION);
            let read = Assertion::read(&assertion)
                .filter(|read| typed && !text(&read.claims, "sub").is_empty());
            match read {
                None => {
                    return Some(refused(
                        401,
                        "invalid_client",
                        50_027,
                        "JWT token is invalid or malformed.",
                    ));
                }
                Some(read) if read.is_expired(call.now) => {
                    return Some(refused(
                        401,
                        "invalid_client",
                        700_024,
                        "Client assertion is not within its valid time range.",
                    ));
                }
                Some(_) => {}
            }
        }
        (None, None) => {
            let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
            return Some(refused(401, "invalid_client", 7_000_218, message));
        }
    }
    None
}

fn managed(upstream: &Upstream, call: &Call<'_>) -> IssueOutcome {
    let missing = |message: &str| {
        let mut outcome =
            Outcome::json(&json!({"error": "invalid_request", "error_description": message}));
        outcome.status = 400;
        IssueOutcome::from(outcome)
    };
    if call.header("metadata") != Some("true") {
        return missing("Required metadata header not specified");
    }
    if call.parameter("api-version").is_none() {
        return missing("Required query variable 'api-version' is missing");
    }
    let Some(resource) = call.parameter("resource") else {
        return missing("Required query variable 'resource' is missing");
    };
    let token = upstream
        .tokens
        .issue(Issuer::Entra, call.now, &upstream.seal);
    issued(Outcome::json(&json!({
        "access_token": token.token,
        "client_id": upstream.config.token_client.id,
        "expires_in": upstream.tokens.lifetime.as_secs().to_string(),
        "expires_on": seconds(token.expires_at).to_string(),
        "not_before": call.seconds().to_string(),
        "resource": crate::mock::strict::exchange::percent_decoded(resource),
        "token_type": "Bearer",
    })))
}
