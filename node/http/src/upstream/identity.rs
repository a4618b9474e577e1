//! Fetches the keys that an identity provider signs its tokens with (OpenID Connect Discovery 1.0, 4).

use bytes::Bytes;
use grapevine_config::address::BaseUrl;
use http::Uri;
use http::uri::Scheme;
use rustls::ClientConfig;
use serde::Deserialize;

use super::connect::Connector;
use super::credential::{CredentialFailure, EndpointClient, EndpointRequest};
use super::target::UpstreamTargets;

/// Where a provider says what it is, below its issuer URL.
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFailure {
    /// An endpoint of the provider gave no answer of use.
    #[error(transparent)]
    Endpoint(#[from] CredentialFailure),
    /// The discovery document is none.
    #[error("its discovery document is not understood")]
    Discovery,
    /// The discovery document is another issuer's: whoever wrote it must not be believed.
    #[error(
        "its discovery document names another issuer than oidc.issuer, which must be written exactly like it"
    )]
    OtherIssuer,
    /// Anybody on the way could replace the keys.
    #[error("its discovery document says that its keys are at an address that is not https")]
    Insecure,
}

/// What a discovery document says, as far as it matters here.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Asks identity providers for their keys, over new connections.
#[derive(Clone)]
pub struct IdentityClient(EndpointClient);

impl IdentityClient {
    /// `tls` without ALPN protocols, as for upstreams.
    pub fn new(tls: ClientConfig) -> Self {
        let connector = Connector::new(UpstreamTargets::default(), tls);
        Self(EndpointClient::new(connector))
    }

    /// The JWK set of the provider called `issuer`, at `keys`, or where its discovery document at `url` says.
    ///
    /// # Errors
    /// Why there is none. Bounded in size; its caller bounds it in time.
    pub async fn key_set(
        &self,
        issuer: &str,
        url: &BaseUrl,
        keys: Option<&BaseUrl>,
    ) -> Result<Bytes, IdentityFailure> {
        let keys = match keys {
            Some(keys) => keys.to_string(),
            None => self.discover(issuer, url).await?,
        };
        Ok(self.0.call(EndpointRequest::at(&keys)).await?)
    }

    async fn discover(&self, issuer: &str, url: &BaseUrl) -> Result<String, IdentityFailure> {
        let asked = EndpointRequest::get(url, DISCOVERY_PATH);
        let document = self.0.call(asked).await?;
        let found: Discovery =
            serde_json::from_slice(&document).map_err(|_| IdentityFailure::Discovery)?;
        if found.issuer != issuer {
            return Err(IdentityFailure::OtherIssuer);
        }
        let keys: Uri = found
            .jwks_uri
            .parse()
            .map_err(|_| IdentityFailure::Discovery)?;
        // Without TLS only where the issuer, which the operator wrote, is without.
        if keys.scheme() != Some(&Scheme::HTTPS) && url.is_tls() {
            return Err(IdentityFailure::Insecure);
        }
        Ok(found.jwks_uri)
    }
}
