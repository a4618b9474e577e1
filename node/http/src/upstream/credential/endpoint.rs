//! Calls of the endpoints that issue credentials: one connection, one request, one small answer.
//!
//! Bounded in size by [`ANSWER_BYTES_MAX`] and in time by its caller; no redirect is followed, since a request holds a
//! secret. What an answer says is never logged or shown: it may hold a token.

use bytes::Bytes;
use grapevine_config::address::BaseUrl;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::de::DeserializeOwned;

use super::super::connect::Connector;
use super::CredentialFailure;

/// The longest answer of an endpoint. Tokens have a few kilobytes.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// The media type of a form.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A request to an endpoint.
pub(in crate::upstream) struct EndpointRequest {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl EndpointRequest {
    /// A request for what is at `path` below `url`.
    pub(in crate::upstream) fn get(url: &BaseUrl, path: &str) -> Self {
        Self {
            method: Method::GET,
            url: format!("{url}{path}"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// A request for what is at `url`, which was read from an answer.
    pub(in crate::upstream) fn at(url: &str) -> Self {
        Self {
            method: Method::GET,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// The same with another method.
    pub(super) fn put(url: &BaseUrl, path: &str) -> Self {
        let method = Method::PUT;
        Self {
            method,
            ..Self::get(url, path)
        }
    }

    /// A form with these fields.
    pub(super) fn form(url: &BaseUrl, fields: &[(&str, &str)]) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, FORM);
        Self {
            method: Method::POST,
            url: url.to_string(),
            headers,
            body: pairs(fields).into(),
        }
    }

    /// With a header more. One that is no text for a header is left out, and the endpoint refuses.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(true);
            self.headers.insert(name, value);
        }
        self
    }
}

/// `fields` as a query or a form, encoded.
pub(super) fn pairs(fields: &[(&str, &str)]) -> String {
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(fields);
    encoded.finish()
}

/// Calls endpoints, over new connections.
#[derive(Clone)]
pub(in crate::upstream) struct EndpointClient(Connector);

impl EndpointClient {
    /// A client that connects as calls of upstreams do.
    pub(in crate::upstream) const fn new(connector: Connector) -> Self {
        Self(connector)
    }

    /// The body of a successful answer.
    pub(in crate::upstream) async fn call(
        &self,
        request: EndpointRequest,
    ) -> Result<Bytes, CredentialFailure> {
        let uri: Uri = request
            .url
            .parse()
            .map_err(|_| CredentialFailure::NotUnderstood)?;
        let answer = self.send(uri, request).await?;
        match answer.status() {
            status if status.is_success() => {}
            status if status.is_redirection() => return Err(CredentialFailure::Redirected),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(CredentialFailure::Unavailable);
            }
            _ => return Err(CredentialFailure::Refused),
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(
            |error| match error.is::<http_body_util::LengthLimitError>() {
                true => CredentialFailure::TooLarge,
                false => CredentialFailure::Unreachable,
            },
        )?;
        Ok(body.to_bytes())
    }

    /// The same, read as JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        request: EndpointRequest,
    ) -> Result<T, CredentialFailure> {
        let body = self.call(request).await?;
        serde_json::from_slice(&body).map_err(|_| CredentialFailure::NotUnderstood)
    }

    async fn send(
        &self,
        uri: Uri,
        request: EndpointRequest,
    ) -> Result<Response<Incoming>, CredentialFailure> {
        let connected = self.0.connect(uri.clone()).await;
        let stream = connected.map_err(|_| CredentialFailure::Unreachable)?;
        let mut sent = Request::new(Full::new(request.body));
        *sent.method_mut() = request.method;
        *sent.headers_mut() = request.headers;
        let json = HeaderValue::from_static("application/json");
        sent.headers_mut().insert(header::ACCEPT, json);
        if stream.connected().is_negotiated_h2() {
            *sent.uri_mut() = uri;
            let io = TokioIo::new(TokioIo::new(stream));
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            return Ok(sender.send_request(sent).await?);
        }
        let host = uri.authority().map_or("", http::uri::Authority::as_str);
        let host = HeaderValue::from_str(host).map_err(|_| CredentialFailure::NotUnderstood)?;
        sent.headers_mut().insert(header::HOST, host);
        let path = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        *sent.uri_mut() = path.parse().map_err(|_| CredentialFailure::NotUnderstood)?;
        let io = TokioIo::new(TokioIo::new(stream));
        let (mut sender, connection) = http1::handshake(io).await?;
        // It ends with its sender, or with what it reads.
        tokio::spawn(connection);
        Ok(sender.send_request(sent).await?)
    }
}

/// The connection broke, whatever the reason.
impl From<hyper::Error> for CredentialFailure {
    fn from(_: hyper::Error) -> Self {
        Self::Unreachable
    }
}
