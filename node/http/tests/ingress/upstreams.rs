//! Upstreams over TLS, and certificates without a trusted CA.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::exchange::{Answer, Call, CallFailure, CallLocal, Caller};
use grapevine_config::checked::{AuthConfig, ProviderConfig, TimeoutConfig};
use grapevine_core::ids::UpstreamName;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_http::ingress::tls_config;
use grapevine_http::upstream::{UpstreamClient, UpstreamSettings, UpstreamTargets};
use http::{HeaderValue, Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::support::*;

pub(crate) fn trusting(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The server's side of TLS for localhost, and what a client trusts.
pub(crate) fn tls_for_localhost() -> (Arc<rustls::ServerConfig>, RootCertStore) {
    let names = vec!["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names).expect("a certificate");
    let key = signing_key.serialize_pem();
    let config = tls_config(cert.pem().as_bytes(), key.as_bytes()).expect("a server's side");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    (config, roots)
}

/// An upstream over TLS that answers with the HTTP version it was spoken to in.
async fn tls_upstream() -> (SocketAddr, RootCertStore) {
    let (config, roots) = tls_for_localhost();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(config.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service =
                    service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                        let version = format!("{:?}", request.version());
                        request.into_body().collect().await.expect("a body");
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(version))))
                    });
                let server = auto::Builder::new(TokioExecutor::new());
                // Ends in an error when the test is over.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, roots)
}

pub(crate) fn client(base_url: &str, tls: ClientConfig) -> UpstreamClient {
    let targets = UpstreamTargets::new(vec![UpstreamSettings {
        name: UpstreamName::new("primary").expect("a valid name"),
        base_url: base_url.parse().expect("a URL"),
        provider: ProviderConfig::default(),
        auth: AuthConfig::None,
        headers: vec![],
        renames: BTreeMap::new(),
        lossy: grapevine_core::dialect::PermittedLoss::Nothing,
        load_path: None,
        timeouts: TimeoutConfig::default(),
    }]);
    let passed = HeaderValue::from_static("grapevine");
    UpstreamClient::new(targets.expect("usable settings"), passed, tls)
}

async fn call(client: &UpstreamClient, upstream: &str) -> Result<Answer, CallFailure> {
    client.call(chat_call(upstream, MODEL_BODY)).await
}

/// A chat request with `body`.
pub(crate) fn chat_call(upstream: &str, body: impl Into<Bytes>) -> Box<Call> {
    Box::new(Call {
        request_id: "r".into(),
        upstream: UpstreamName::new(upstream).expect("a valid name"),
        model: Some(model("gpt-4o")),
        method: Method::POST,
        path: CHAT.parse().expect("a path"),
        headers: Arc::default(),
        body: body.into().into(),
        stream: false,
        deadline: Instant::now() + Duration::from_secs(5),
        last_resort: false,
        allow_regions: [].into(),
        caller: Caller::default(),
    })
}

#[tokio::test]
async fn upstream_over_tls_is_spoken_to_in_http2() {
    let (address, roots) = tls_upstream().await;
    let base_url = format!("https://localhost:{}/v1", address.port());
    let client = client(&base_url, trusting(roots));
    for _ in 0..2 {
        let answer = call(&client, "primary").await.expect("an answer");
        let body = answer.body.collect().await.expect("a body").to_bytes();
        assert_eq!(&body[..], b"HTTP/2.0");
    }
}

#[tokio::test]
async fn certificate_without_a_trusted_ca_is_a_failed_connection() {
    let (address, _) = tls_upstream().await;
    let base_url = format!("https://localhost:{}/v1", address.port());
    let client = client(&base_url, trusting(RootCertStore::empty()));
    let failure = call(&client, "primary").await.expect_err("no trust");
    assert_eq!(failure.outcome, Outcome::ConnectFailed);
    assert!(failure.detail.contains("certificate"), "{}", failure.detail);
}

#[tokio::test]
async fn upstream_that_is_not_configured_is_refused() {
    let client = client("http://127.0.0.1:1/v1", trusting(RootCertStore::empty()));
    let failure = call(&client, "other").await.expect_err("unknown");
    assert_eq!(failure.outcome, Outcome::Refused(Refusal::UnknownUpstream));
}

/// A future is moved as a whole, and what opens a connection is many times as large as what uses one.
#[tokio::test]
async fn call_carries_no_room_for_opening_a_connection() {
    let client = client("http://127.0.0.1:1/v1", trusting(RootCertStore::empty()));
    let calling = client.call(chat_call("primary", MODEL_BODY.to_owned()));
    let size = size_of_val(&calling);
    assert!(size <= 4_096, "{size} bytes");
}
