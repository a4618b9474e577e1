//! Upstreams with other APIs than OpenAI's, over TLS and HTTP/2, and who issues their credentials too.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use grapevine_base::exchange::CallLocal;
use grapevine_config::Sources;
use grapevine_http::upstream::{UpstreamClient, UpstreamSettings, UpstreamTargets};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::*;
use crate::upstreams::{chat_call, tls_for_localhost, trusting};

/// Issues a token at `/token`, and answers everything else with what it was asked.
async fn answered(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let text = match request.uri().path() {
        "/token" => r#"{"access_token":"abc","expires_in":3600}"#.to_owned(),
        path => format!(
            "{:?} {path} authorization={:?} api-key={:?}",
            request.version(),
            header("authorization"),
            header("api-key")
        ),
    };
    request.into_body().collect().await.expect("a body");
    Ok(Response::new(Full::new(Bytes::from(text))))
}

async fn server() -> (u16, RootCertStore) {
    let (config, roots) = tls_for_localhost();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(config.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let server = auto::Builder::new(TokioExecutor::new());
                // Ends in an error when the test is over.
                let _ = server
                    .serve_connection(TokioIo::new(stream), service_fn(answered))
                    .await;
            });
        }
    });
    (port, roots)
}

/// A client of the upstream that `about` says.
fn client(about: &str, roots: RootCertStore) -> UpstreamClient {
    let yaml = format!("upstreams: [{{name: primary, models: [m], {about}}}]\n");
    let loaded = grapevine_config::load_text(&yaml, &Sources::default());
    let config = loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    let upstream = config.upstreams[0].clone();
    let settings = UpstreamSettings {
        name: upstream.name,
        base_url: upstream.base_url.to_string().parse().expect("a URL"),
        provider: upstream.provider,
        auth: upstream.auth,
        headers: upstream.headers,
        renames: [(model("gpt-4o"), model("my:deployment"))].into(),
        lossy: upstream.lossy.clone(),
        load_path: None,
        timeouts: upstream.timeout,
    };
    let targets = UpstreamTargets::new(vec![settings]).expect("usable settings");
    UpstreamClient::new(
        targets,
        HeaderValue::from_static("grapevine"),
        trusting(roots),
    )
}

#[tokio::test]
async fn token_and_request_go_over_http2() {
    let (port, roots) = server().await;
    let about = format!(
        "provider: azure, base_url: 'https://localhost:{port}', api_version: v, auth: {{entra: {{client_id: c, \
         client_secret: s, token_url: 'https://localhost:{port}/token'}}}}"
    );
    let client = client(&about, roots);
    for _ in 0..2 {
        let answer = client
            .call(chat_call("primary", MODEL_BODY))
            .await
            .expect("an answer");
        let body = answer.body.collect().await.expect("a body").to_bytes();
        assert_eq!(
            String::from_utf8_lossy(&body),
            "HTTP/2.0 /openai/deployments/my%3Adeployment/chat/completions authorization=Some(\"Bearer abc\") \
             api-key=None"
        );
    }
}

#[tokio::test]
async fn key_of_a_provider_is_sent_over_http2() {
    let (port, roots) = server().await;
    let about = format!("provider: azure, base_url: 'https://localhost:{port}', api_key: k");
    let answer = client(&about, roots)
        .call(chat_call("primary", MODEL_BODY))
        .await;
    let body = answer
        .expect("an answer")
        .body
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert_eq!(
        String::from_utf8_lossy(&body),
        "HTTP/2.0 /openai/v1/chat/completions authorization=None api-key=Some(\"k\")"
    );
}
