//! What an upstream's requests are authenticated with: a key, or what is issued for a time and renewed.
//!
//! Reading order: [`TargetAuth`] (how one upstream is authenticated at), `issue` (what is issued), `held` (what is at hand, and its renewals),
//! `renewal` (when), then the issuers: `entra`, `google`, `aws`, over `endpoint`; `sigv4` (signatures).
//!
//! What this module does not know: who asks, and what becomes of a request without a credential.
//!
//! Invariant: nothing here logs or shows a token, a key, or what an endpoint answers; a reason is one of
//! [`CredentialFailure`].

mod aws;
mod endpoint;
mod entra;
mod google;
mod held;
mod issue;
mod renewal;
mod sigv4;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::SystemTime;

use grapevine_base::{entropy, headers};
use grapevine_config::checked::{
    ApiEndpoint, AuthConfig, AwsConfig, EntraConfig, GoogleConfig, Provider, SecretSource,
};
use http::HeaderName;
use http::header::{self, HeaderMap, HeaderValue};

pub(super) use endpoint::{EndpointClient, EndpointRequest};
pub(super) use held::Held;
use held::{HeldCredential, ObtainCredential};
use issue::Issue;
pub(super) use issue::Issued;
pub(super) use sigv4::{SignatureScope, SignedParts, signature};

/// Azure's header for a key.
const AZURE_KEY: HeaderName = HeaderName::from_static("api-key");

/// Google's header for a key.
const GOOGLE_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Why there is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFailure {
    /// No source has any.
    #[error("no source has a credential")]
    None,
    /// No connection to the endpoint, or it broke.
    #[error("its endpoint cannot be reached")]
    Unreachable,
    /// The endpoint did not answer in time.
    #[error("its endpoint did not answer in time")]
    TimedOut,
    /// The endpoint failed: 5xx or 429.
    #[error("its endpoint fails")]
    Unavailable,
    /// The endpoint answered with another 4xx: it refuses the identity.
    #[error("its endpoint refuses the identity")]
    Refused,
    /// The endpoint sends its clients elsewhere, which is not followed.
    #[error("its endpoint redirects")]
    Redirected,
    /// The answer or the file is longer than any token.
    #[error("what its endpoint answers is too long")]
    TooLarge,
    /// The answer holds no credential.
    #[error("what its endpoint answers is not understood")]
    NotUnderstood,
    /// What was issued ends at once.
    #[error("what its endpoint issues has expired")]
    Expired,
    /// A file cannot be read.
    #[error("its file cannot be read")]
    FileUnreadable,
    /// The private key cannot be used.
    #[error("its private key cannot be used")]
    Key,
    /// The request cannot be signed.
    #[error("the request cannot be signed")]
    Signing,
    /// The renewal was given up before its end.
    #[error("its renewal was interrupted")]
    Interrupted,
}

impl CredentialFailure {
    /// One word for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Redirected => "redirected",
            Self::TooLarge => "too_large",
            Self::NotUnderstood => "not_understood",
            Self::Expired => "expired",
            Self::FileUnreadable => "file_unreadable",
            Self::Key => "key",
            Self::Signing => "signing",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What an operator may know of a credential that is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialState {
    /// `entra`, `aws` or `google`.
    pub kind: &'static str,
    /// The end of the one at hand; `None` where there is none, or it lasts.
    pub expires_at: Option<SystemTime>,
    /// The last renewal that succeeded.
    pub renewed_at: Option<SystemTime>,
    /// The last one that failed, and why.
    pub last_failure: Option<(SystemTime, CredentialFailure)>,
    /// Renewals that succeeded, and that failed, since the start.
    pub renewals: (u64, u64),
}

/// Who issues a credential.
#[derive(Debug, PartialEq)]
enum Issuer {
    Entra(EntraConfig),
    Aws(AwsConfig),
    Google(GoogleConfig),
}

/// One attempt to obtain a credential.
#[derive(Clone)]
pub(super) struct Obtaining {
    issuer: Arc<Issuer>,
    client: EndpointClient,
}

impl ObtainCredential for Obtaining {
    async fn obtain(self) -> Result<Issue, CredentialFailure> {
        match &*self.issuer {
            Issuer::Entra(config) => entra::obtain(config, &self.client).await,
            Issuer::Aws(config) => aws::obtain(config, &self.client).await,
            Issuer::Google(config) => google::obtain(config, &self.client).await,
        }
    }
}

/// A credential that is issued for a time, and by whom.
#[derive(Clone)]
pub(super) struct IssuedCredential {
    issuer: Arc<Issuer>,
    held: Arc<HeldCredential>,
    /// How requests are signed with it; `None` where it is sent.
    pub(super) scope: Option<Arc<SignatureScope>>,
}

impl IssuedCredential {
    fn new(kind: &'static str, issuer: Issuer) -> Self {
        let scope = match &issuer {
            Issuer::Aws(aws) => Some(Arc::new(SignatureScope {
                region: aws.region.clone(),
                service: aws.service.clone(),
            })),
            Issuer::Entra(_) | Issuer::Google(_) => None,
        };
        Self {
            issuer: Arc::new(issuer),
            held: Arc::new(HeldCredential::new(kind, entropy::generator())),
            scope,
        }
    }

    /// The one at hand, else the next one.
    ///
    /// # Errors
    /// When there is none, and it cannot be renewed at the moment.
    pub(super) async fn get(
        &self,
        client: &EndpointClient,
    ) -> Result<Arc<Held>, CredentialFailure> {
        self.held.get(&self.obtaining(client)).await
    }

    /// The successor of one that the upstream did not take.
    pub(super) async fn succeed(
        &self,
        refused: &Held,
        client: &EndpointClient,
    ) -> Option<Arc<Held>> {
        self.held.succeed(refused, &self.obtaining(client)).await
    }

    fn obtaining(&self, client: &EndpointClient) -> Obtaining {
        Obtaining {
            issuer: Arc::clone(&self.issuer),
            client: client.clone(),
        }
    }

    /// Makes what is at hand older.
    #[cfg(test)]
    fn age(&self, span: std::time::Duration) {
        self.held.age(span);
    }

    /// For the operator.
    pub(super) fn state(&self) -> CredentialState {
        self.held.state()
    }
}

/// The values of a key, as headers take it.
#[derive(Clone)]
pub(super) struct KeyValues {
    bearer: HeaderValue,
    plain: HeaderValue,
}

/// How one upstream is authenticated at.
#[derive(Clone)]
pub(super) enum TargetAuth {
    /// Not at all.
    None,
    /// With a key in the header that the provider takes for an endpoint.
    Key(KeyValues),
    /// With a header that is the same for every request.
    Fixed(HeaderName, HeaderValue),
    /// With what is issued for a time.
    Issued(IssuedCredential),
}

/// A key holds characters that no header may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnfitKey;

impl TargetAuth {
    /// As configured. What `before` has at hand is kept where it is for the same.
    ///
    /// # Errors
    /// When a key cannot be sent in a header.
    pub(super) fn new(config: AuthConfig, before: Option<&Self>) -> Result<Self, UnfitKey> {
        let (kind, issuer) = match config {
            AuthConfig::None => return Ok(Self::None),
            AuthConfig::Key(key) => {
                let (bearer, plain) = (bearer(&key)?, plain(&key)?);
                return Ok(Self::Key(KeyValues { bearer, plain }));
            }
            AuthConfig::Bearer(key) => {
                return Ok(Self::Fixed(header::AUTHORIZATION, bearer(&key)?));
            }
            AuthConfig::Header(name, key) => return Ok(Self::Fixed(name, plain(&key)?)),
            AuthConfig::Entra(config) => ("entra", Issuer::Entra(config)),
            AuthConfig::Aws(config) => ("aws", Issuer::Aws(config)),
            AuthConfig::Google(config) => ("google", Issuer::Google(config)),
        };
        if let Some(Self::Issued(before)) = before
            && *before.issuer == issuer
        {
            return Ok(Self::Issued(before.clone()));
        }
        Ok(Self::Issued(IssuedCredential::new(kind, issuer)))
    }

    /// The header of a request to `endpoint`, where it is known without asking anybody.
    pub(super) fn header(
        &self,
        provider: Provider,
        endpoint: ApiEndpoint,
    ) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::None | Self::Issued(_) => None,
            Self::Fixed(name, value) => Some((name.clone(), value.clone())),
            Self::Key(values) => {
                let name = key_header(provider, endpoint);
                let value = match name {
                    header::AUTHORIZATION => &values.bearer,
                    _ => &values.plain,
                };
                Some((name, value.clone()))
            }
        }
    }
}

/// The header in which a provider takes its key.
fn key_header(provider: Provider, endpoint: ApiEndpoint) -> HeaderName {
    let is_messages = matches!(
        endpoint,
        ApiEndpoint::Messages | ApiEndpoint::MessagesStream | ApiEndpoint::CountTokens
    );
    match (provider, endpoint) {
        (Provider::Anthropic, _) => headers::API_KEY,
        (Provider::Bedrock | Provider::Vertex, _) => header::AUTHORIZATION,
        // Gemini's part that is compatible with OpenAI's API takes it as OpenAI does.
        (Provider::Gemini, ApiEndpoint::Chat | ApiEndpoint::Embeddings | ApiEndpoint::Other) => {
            header::AUTHORIZATION
        }
        (Provider::Gemini, _) => GOOGLE_KEY,
        // They check it there alone, whatever the API.
        (Provider::Vllm | Provider::Sglang, _) => header::AUTHORIZATION,
        // Foundry's models of Anthropic, and servers that speak Anthropic's API beside OpenAI's.
        _ if is_messages => headers::API_KEY,
        (Provider::Azure, _) => AZURE_KEY,
        _ => header::AUTHORIZATION,
    }
}

fn bearer(key: &SecretSource) -> Result<HeaderValue, UnfitKey> {
    sensitive(format!("Bearer {}", key.secret.expose()))
}

fn plain(key: &SecretSource) -> Result<HeaderValue, UnfitKey> {
    sensitive(key.secret.expose().to_owned())
}

fn sensitive(text: String) -> Result<HeaderValue, UnfitKey> {
    let mut value = HeaderValue::try_from(text).map_err(|_| UnfitKey)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether an answer shows that what was issued is not taken any more: 401, and AWS's 403 by the names of its errors.
pub(super) fn is_refused(status: http::StatusCode, headers: &HeaderMap) -> bool {
    /// How these errors begin (AWS's reference of common errors).
    const ERRORS: [&str; 4] = [
        "ExpiredToken",
        "UnrecognizedClient",
        "InvalidClientTokenId",
        "InvalidSignature",
    ];
    let error = headers
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok());
    let is_named = |error: &str| ERRORS.iter().any(|name| error.starts_with(name));
    status == http::StatusCode::UNAUTHORIZED
        || status == http::StatusCode::FORBIDDEN && error.is_some_and(is_named)
}
