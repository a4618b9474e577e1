use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use grapevine_config::checked::{AuthConfig, ProviderConfig, TimeoutConfig};
use grapevine_core::dialect::PermittedLoss;
use grapevine_core::reported::EngineMetrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::{UpstreamClient, UpstreamSettings, UpstreamTargets, tls_without_roots};

const FIGURES: &str = "vllm:num_requests_running 7\nvllm:num_requests_waiting 3\n";

fn name() -> UpstreamName {
    UpstreamName::new("primary").expect("a valid name")
}

fn figures() -> LoadReading {
    LoadReading::Read(EngineMetrics {
        running: 7,
        waiting: 3,
        ..EngineMetrics::default()
    })
}

/// Answers one request with `answer` as it is; what was read of it, and its head.
async fn reading(answer: Vec<u8>, load_path: Option<&'static str>) -> (LoadReading, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let engine = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a call");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut head).await.expect("a head");
        }
        // A reader that has enough hangs up.
        let _ = stream.write_all(&answer).await;
        String::from_utf8(head).expect("text").to_ascii_lowercase()
    });
    let settings = UpstreamSettings {
        name: name(),
        base_url: format!("http://{address}/v1").parse().expect("a URL"),
        provider: ProviderConfig::default(),
        auth: AuthConfig::key("secret"),
        headers: Vec::new(),
        renames: BTreeMap::new(),
        lossy: PermittedLoss::Nothing,
        load_path: load_path.map(PathAndQuery::from_static),
        timeouts: TimeoutConfig::default(),
    };
    let targets = UpstreamTargets::new(vec![settings]).expect("usable settings");
    let tls = tls_without_roots();
    let client = UpstreamClient::new(targets, HeaderValue::from_static("grapevine"), tls);
    let reading = read(&client, &name()).await;
    (reading, engine.await.expect("no panic"))
}

fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

async fn read_of(status: u16, body: &str) -> LoadReading {
    reading(answer(status, "", body.as_bytes()), None).await.0
}

#[tokio::test]
async fn load_is_read_next_to_the_api_with_the_credential() {
    let (read, head) = reading(answer(200, "", FIGURES.as_bytes()), None).await;
    assert_eq!(read, figures());
    assert!(head.starts_with("get /metrics http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer secret\r\n"), "{head}");
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
}

#[tokio::test]
async fn load_is_read_at_the_path_that_is_configured() {
    let path = Some("/prometheus/engine?format=text");
    let (read, head) = reading(answer(200, "", FIGURES.as_bytes()), path).await;
    assert_eq!(read, figures());
    assert!(
        head.starts_with("get /prometheus/engine?format=text "),
        "{head}"
    );
}

#[tokio::test]
async fn an_answer_that_will_never_have_figures_is_told_from_one_that_may() {
    for (status, body) in [
        (404, ""),
        (401, ""),
        (501, ""),
        (302, ""),
        (200, "<html>"),
        (200, ""),
    ] {
        assert_eq!(read_of(status, body).await, LoadReading::Absent, "{status}");
    }
    for status in [500, 503, 429] {
        assert_eq!(
            read_of(status, FIGURES).await,
            LoadReading::Failed,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_page_that_breaks_off_or_has_no_end_is_no_page() {
    let whole = answer(200, "", FIGURES.as_bytes());
    let cut = whole[..whole.len() - 1].to_vec();
    assert_eq!(reading(cut, None).await.0, LoadReading::Failed);
    let long = "x 1\n".repeat(PAGE_BYTES_MAX / 4 + 1);
    assert_eq!(read_of(200, &long).await, LoadReading::Failed);
}

#[tokio::test]
async fn a_page_in_a_coding_that_was_not_asked_for_is_read() {
    let body = zstd::stream::encode_all(FIGURES.as_bytes(), 3).expect("in memory");
    let coded = answer(200, "content-encoding: zstd\r\n", &body);
    assert_eq!(reading(coded, None).await.0, figures());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_fails() {
    let targets = UpstreamTargets::new(Vec::new()).expect("usable settings");
    let tls = tls_without_roots();
    let client = UpstreamClient::new(targets, HeaderValue::from_static("grapevine"), tls);
    assert_eq!(read(&client, &name()).await, LoadReading::Failed);
}
