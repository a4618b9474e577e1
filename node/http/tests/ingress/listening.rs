//! Listeners, TLS, reloads, and many clients at once.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_http::ingress::tls_config;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::support::*;

/// A certificate for `localhost`, and a client that trusts it and offers `alpn`.
pub(crate) fn certificate(alpn: &[&[u8]]) -> (Arc<rustls::ServerConfig>, ClientConfig) {
    let names = vec!["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names).expect("a certificate");
    let chain = cert.pem();
    let server = tls_config(chain.as_bytes(), signing_key.serialize_pem().as_bytes());
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    (server.expect("a server's side"), client)
}

/// The status of a chat request over TLS with HTTP/2 on `stream`.
pub(crate) async fn chat_over_http2(
    stream: TcpStream,
    client: ClientConfig,
) -> std::io::Result<u16> {
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = connector.connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::post(format!("https://localhost{CHAT}"))
        .body(Full::new(Bytes::from_static(MODEL_BODY.as_bytes())))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let status = response.status().as_u16();
    response.into_body().collect().await.expect("a body");
    Ok(status)
}

#[tokio::test]
async fn tls_is_served_and_its_certificate_can_be_replaced() {
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let (first_server, first_client) = certificate(&[b"h2", b"http/1.1"]);
    let (second_server, second_client) = certificate(&[b"h2"]);
    let handle = Arc::new(ArcSwap::new(first_server));
    let mut plan = Plan::with(&[&upstream]);
    plan.listen.tls = Some(handle.clone());
    let node = plan.start().await;
    let status = chat_over_http2(node.connect().await, first_client.clone()).await;
    assert_eq!(status.expect("the first certificate"), 200);
    handle.store(second_server);
    let status = chat_over_http2(node.connect().await, second_client).await;
    assert_eq!(status.expect("the second certificate"), 200);
    assert!(
        chat_over_http2(node.connect().await, first_client)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn port_that_is_taken_is_refused() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let upstream = Scripted::start(answer(200, "", "{}")).await;
    let node = Plan::with(&[&upstream]).start().await;
    for address in [taken.local_addr().expect("an address"), node.address] {
        let refused = grapevine_http::ingress::check_free(address);
        let error = refused.expect_err("somebody listens there");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}

#[tokio::test]
async fn targets_can_be_replaced_while_the_node_runs() {
    let first = Scripted::start(answer(200, "", "{\"first\":1}")).await;
    let second = Scripted::start(answer(200, "", "{\"second\":1}")).await;
    let node = Plan::with(&[&first]).start().await;
    assert_eq!(node.chat().await.body, "{\"first\":1}");
    let mut replacement = Plan::default();
    replacement.add("up1", second.address);
    node.targets
        .replace(replacement.targets)
        .expect("usable settings");
    assert_eq!(node.chat().await.body, "{\"second\":1}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_sees_an_error_when_an_upstream_dies_under_load() {
    let dying = Scripted::start(vec![
        Act::Pause(std::time::Duration::from_millis(20)),
        Act::Close,
    ])
    .await;
    let healthy = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&dying, &healthy]);
    plan.listen.workers = NonZeroUsize::new(2).expect("two");
    let node = Arc::new(plan.start().await);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let node = node.clone();
        clients.spawn(async move {
            for _ in 0..5 {
                let reply = node.chat().await;
                assert_eq!(reply.status, 200, "{}", reply.body);
                assert_eq!(reply.header("x-grapevine-upstream"), Some("up2"));
            }
        });
    }
    clients.join_all().await;
    assert!(!dying.seen().is_empty());
    assert!(
        dying.seen().len() < 100,
        "the dead upstream was asked on: {}",
        dying.seen().len()
    );
    until(|| node.driver.budget().requests() == 0).await;
}
