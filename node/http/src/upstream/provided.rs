//! A call at an upstream with another API than OpenAI's, or with a credential that is issued for a time.
//!
//! A request without a credential goes elsewhere at once: it counts as one that found no connection. One whose credential
//! is not taken any more is sent once more with the next one, before anybody is blamed.

use std::time::SystemTime;

use grapevine_base::exchange::{Call, CallFailure};
use grapevine_base::headers;
use grapevine_core::outcome::{Outcome, Refusal};
use http::header::{self, HeaderMap, HeaderName};

use super::client::{Sent, UpstreamClient};
use super::credential::{
    CredentialFailure, Held, Issued, IssuedCredential, SignedParts, TargetAuth, is_refused,
    signature,
};
use super::outbound::{AuthorizedRequest, Outbound};
use super::provider::{NotProvided, ProvidedRequest};
use super::target::{KeyHeader, ProvidedTarget, UpstreamTarget};

impl UpstreamClient {
    /// Sends `call` as the provider of `target` takes it.
    pub(super) async fn ask_provided(
        &self,
        target: &UpstreamTarget,
        provided: &ProvidedTarget,
        call: &Call,
    ) -> Result<Sent, CallFailure> {
        let renamed = target.rename(call.model.as_ref());
        let appended = || target.path(&call.path);
        let request = provided.route.provide(call, renamed, appended)?;
        let mut added = HeaderMap::new();
        added.extend(
            provided
                .auth
                .header(provided.route.provider(), request.endpoint),
        );
        let mut request = AuthorizedRequest { request, added };
        let TargetAuth::Issued(credential) = &provided.auth else {
            return self.send_authorized(target, call, &mut request).await;
        };
        let held = credential.get(&self.endpoints).await?;
        request.added = authorized(target, provided, credential, &held, call, &request.request)?;
        let sent = self.send_authorized(target, call, &mut request).await?;
        if !is_refused(sent.status, &sent.headers) {
            return Ok(sent);
        }
        let Some(next) = credential.succeed(&held, &self.endpoints).await else {
            return Ok(sent);
        };
        drop(sent);
        request.added = authorized(target, provided, credential, &next, call, &request.request)?;
        self.send_authorized(target, call, &mut request).await
    }

    async fn send_authorized(
        &self,
        target: &UpstreamTarget,
        call: &Call,
        request: &mut AuthorizedRequest,
    ) -> Result<Sent, CallFailure> {
        // What the operator configured goes before it, and it before what the client sent.
        let dress = target.dress(KeyHeader::Bearer);
        headers::remove_all(&mut request.added, |name| dress.has(name));
        let is_added = |name: &HeaderName| request.added.contains_key(name);
        if request.request.headers.keys().any(is_added) {
            let client = std::sync::Arc::make_mut(&mut request.request.headers);
            headers::remove_all(client, is_added);
        }
        let request = Outbound {
            target,
            call,
            key: KeyHeader::Bearer,
            provided: Some(request),
        };
        self.send(&request).await
    }
}

/// The headers by which a request is authenticated with `held`.
fn authorized(
    target: &UpstreamTarget,
    provided: &ProvidedTarget,
    credential: &IssuedCredential,
    held: &Held,
    call: &Call,
    request: &ProvidedRequest,
) -> Result<HeaderMap, CredentialFailure> {
    let keys = match (&held.issued, &credential.scope) {
        (Issued::Bearer(value), _) => {
            return Ok(HeaderMap::from_iter([(
                header::AUTHORIZATION,
                value.clone(),
            )]));
        }
        (Issued::Aws(_), None) => return Err(CredentialFailure::Signing),
        (Issued::Aws(keys), Some(scope)) => (keys, scope),
    };
    let (keys, scope) = keys;
    let url = target.absolute(request.path.clone());
    let url = url.ok_or(CredentialFailure::Signing)?.to_string();
    let parts = SignedParts {
        method: call.method.as_str(),
        url: &url,
        host: &provided.host,
        body: request.body.pieces(),
    };
    signature(&parts, keys, scope, SystemTime::now())
}

/// Nobody's fault, and another upstream may take the request.
impl From<NotProvided> for CallFailure {
    fn from(error: NotProvided) -> Self {
        let refused = Outcome::Refused(Refusal::UnknownUpstream);
        Self::new(refused, error.to_string())
    }
}

/// The upstream cannot be used, as when no connection to it can be opened.
impl From<CredentialFailure> for CallFailure {
    fn from(failure: CredentialFailure) -> Self {
        Self::new(
            Outcome::ConnectFailed,
            format!("credential_unavailable: {failure}"),
        )
    }
}
