//! Tokens of Microsoft Entra ID.
//!
//! Client credentials with a secret or with another issuer's token (Microsoft identity platform, OAuth 2.0 client
//! credentials flow), and managed identities: of virtual machines (IMDS, API version 2018-02-01) and of App Service
//! (2019-08-01).

use grapevine_config::checked::{EntraConfig, EntraSource, IdentityEndpoint};
use http::HeaderName;

use super::CredentialFailure;
use super::endpoint::{EndpointClient, EndpointRequest, pairs};
use super::issue::Issue;
use super::token::{self, TokenAnswer};

/// How another issuer's token is called in a request.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What managed identities have in the place of a scope ends without this.
const SCOPE_END: &str = "/.default";

/// A new token.
pub(super) async fn obtain(
    config: &EntraConfig,
    client: &EndpointClient,
) -> Result<Issue, CredentialFailure> {
    let request = match &config.source {
        EntraSource::ClientSecret {
            token_url,
            client_id,
            secret,
        } => EndpointRequest::form(
            token_url,
            &[
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_secret", secret.secret.expose()),
                ("scope", &config.scope),
            ],
        ),
        EntraSource::FederatedToken {
            token_url,
            client_id,
            file,
        } => {
            let assertion = token::of_file(file).await?;
            EndpointRequest::form(
                token_url,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_id", client_id),
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", &assertion),
                    ("scope", &config.scope),
                ],
            )
        }
        EntraSource::ManagedIdentity {
            endpoint,
            client_id,
        } => managed(endpoint, client_id.as_deref(), &config.scope),
    };
    client.json::<TokenAnswer>(request).await?.issue()
}

fn managed(endpoint: &IdentityEndpoint, client_id: Option<&str>, scope: &str) -> EndpointRequest {
    let resource = scope.strip_suffix(SCOPE_END).unwrap_or(scope);
    let version = match endpoint {
        IdentityEndpoint::Imds(_) => "2018-02-01",
        IdentityEndpoint::AppService { .. } => "2019-08-01",
    };
    let mut fields = vec![("api-version", version), ("resource", resource)];
    fields.extend(client_id.map(|id| ("client_id", id)));
    let query = pairs(&fields);
    match endpoint {
        IdentityEndpoint::Imds(url) => {
            let path = format!("/metadata/identity/oauth2/token?{query}");
            EndpointRequest::get(url, &path).with(HeaderName::from_static("metadata"), "true")
        }
        IdentityEndpoint::AppService { url, secret } => {
            let name = HeaderName::from_static("x-identity-header");
            EndpointRequest::get(url, &format!("?{query}")).with(name, secret.expose())
        }
    }
}
