mod providers;

use std::net::Ipv4Addr;

use grapevine_config::checked::{AuthConfig, ProviderConfig, TimeoutConfig};
use grapevine_core::dialect::PermittedLoss;
use http::{HeaderName, Uri};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::{UpstreamClient, UpstreamSettings, UpstreamTargets, tls_without_roots};

#[test]
fn list_of_models_is_read_by_id() {
    let body = br#"{"object":"list","data":[{"id":"gpt-4o","owned_by":"x"},{"id":"two words"},{"id":"*"}]}"#;
    let names: Vec<_> = parse_models(body).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["gpt-4o", "two words"]);
}

#[test]
fn list_of_gemini_is_read_without_its_prefix() {
    let body = br#"{"models":[{"name":"models/gemini-2.5-pro","version":"1"},{"name":"tuned"}]}"#;
    let names: Vec<_> = parse_models(body).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["gemini-2.5-pro", "tuned"]);
}

#[test]
fn what_is_no_list_names_no_models() {
    assert!(parse_models(b"<html>").is_empty());
    assert!(parse_models(b"{}").is_empty());
}

fn name() -> UpstreamName {
    UpstreamName::new("primary").expect("a valid name")
}

/// The answer to a request with this head, in lower case.
type Answers = fn(&str) -> String;

/// An upstream whose answers depend on the request's head, and the heads that it saw.
struct Upstream {
    client: UpstreamClient,
    seen: Arc<Mutex<Vec<String>>>,
    failures: ProbeFailures,
}

impl Upstream {
    /// `headers` are configured beside the key `secret`.
    async fn start(headers: &[(&'static str, &'static str)], answer: Answers) -> Self {
        let auth = AuthConfig::key("secret");
        Self::start_as("/v1", ProviderConfig::default(), auth, headers, answer).await
    }

    /// The same at this path, with another API and another credential.
    async fn start_as(
        path: &str,
        provider: ProviderConfig,
        auth: AuthConfig,
        headers: &[(&'static str, &'static str)],
        answer: Answers,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heads = seen.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heads = heads.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
                        // A body, where there is one, comes in the same segment.
                        if text.contains("\r\n\r\n") {
                            let answer = answer(&text);
                            heads.lock().expect("no panic").push(text);
                            stream.write_all(answer.as_bytes()).await.expect("sent");
                            bytes.clear();
                        }
                    }
                });
            }
        });
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let settings = UpstreamSettings {
            name: name(),
            base_url: format!("http://{address}{path}")
                .parse::<Uri>()
                .expect("a URL"),
            provider,
            auth,
            headers: headers.iter().map(header).collect(),
            renames: BTreeMap::new(),
            lossy: PermittedLoss::Nothing,
            load_path: None,
            timeouts: TimeoutConfig::default(),
        };
        let targets = UpstreamTargets::new(vec![settings]).expect("usable settings");
        let tls = tls_without_roots();
        Self {
            client: UpstreamClient::new(targets, HeaderValue::from_static("grapevine"), tls),
            seen,
            failures: ProbeFailures::default(),
        }
    }

    async fn probed(&self, kind: Probe, timeout: Duration) -> ProbeReport {
        let target = ProbeTarget {
            timeout,
            chat_model: Some("m".to_owned()),
        };
        let order = ProbeOrder {
            upstream: name(),
            probe: kind,
        };
        probe(&self.client, &target, order, &self.failures).await
    }

    async fn listed(&self) -> ProbeReport {
        self.probed(Probe::Models, Duration::from_secs(5)).await
    }

    /// The heads that were seen since the last call.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }

    fn last_failure(&self) -> Option<ProbeFailureKind> {
        let last = self.failures.0.lock().expect("no panic");
        last.get(&name()).copied()
    }
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

const LIST: &str = r#"{"data":[{"id":"m"}]}"#;

fn has(head: &str, line: &str) -> bool {
    head.lines().any(|found| found == line)
}

#[tokio::test]
async fn redirect_is_an_answer_and_not_followed() {
    let answers: [(Probe, u16, Answers); 3] = [
        (Probe::Models, 301, |_| {
            answer(301, "location: /v2/models\r\n", "")
        }),
        (Probe::Models, 307, |_| {
            answer(307, "location: http://h/v1?key=k\r\n", "")
        }),
        (Probe::Chat, 308, |_| {
            answer(308, "location: /v2/chat\r\n", "")
        }),
    ];
    for (kind, status, answer) in answers {
        let upstream = Upstream::start(&[], answer).await;
        let report = upstream.probed(kind, Duration::from_secs(5)).await;
        assert_eq!(report.outcome, Outcome::status(status));
        assert_eq!(report.models, None);
        assert_eq!(upstream.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn redirect_is_described_without_a_secret() {
    let upstream = Upstream::start(&[], |_| answer(307, "location: http://h/v1?key=k\r\n", ""));
    let upstream = upstream.await;
    let call = UpstreamProber {
        client: &upstream.client,
        target: &ProbeTarget {
            timeout: Duration::from_secs(5),
            chat_model: None,
        },
        upstream: &name(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(5),
    };
    let detail = call.list_models().await.expect("an answer").detail;
    assert_eq!(
        detail.as_deref(),
        Some("status 307 Temporary Redirect, to http://h/v1; base_url must name the final address")
    );
}

#[tokio::test]
async fn probe_has_the_headers_of_a_request() {
    let headers = [("x-team", "blue"), ("anthropic-beta", "b")];
    let upstream = Upstream::start(&headers, |_| answer(200, "", LIST)).await;
    assert_eq!(upstream.listed().await.models.expect("a list").len(), 1);
    let seen = upstream.seen();
    let head = &seen[0];
    for line in [
        "get /v1/models http/1.1",
        "authorization: bearer secret",
        "x-team: blue",
        "anthropic-beta: b",
        "accept-encoding: identity",
        "cdn-loop: grapevine",
    ] {
        assert!(has(head, line), "{line}\n{head}");
    }
    assert!(!head.contains("x-api-key"), "{head}");
}

#[tokio::test]
async fn upstream_that_takes_the_key_in_another_header_is_found_out_once() {
    for status in [401, 403] {
        let refuses: Answers = match status {
            401 => |head| match has(head, "x-api-key: secret") {
                true => answer(200, "", LIST),
                false => answer(401, "", "{}"),
            },
            _ => |head| match has(head, "x-api-key: secret") {
                true => answer(200, "", LIST),
                false => answer(403, "", "{}"),
            },
        };
        let upstream = Upstream::start(&[], refuses).await;
        assert_eq!(upstream.listed().await.outcome, Outcome::status(200));
        let seen = upstream.seen();
        assert_eq!(seen.len(), 2);
        assert!(
            has(&seen[1], "anthropic-version: 2023-06-01"),
            "{}",
            seen[1]
        );
        assert!(!seen[1].contains("authorization:"), "{}", seen[1]);
        assert_eq!(upstream.listed().await.outcome, Outcome::status(200));
        assert_eq!(upstream.seen().len(), 1, "what worked is remembered");
    }
}

#[tokio::test]
async fn anthropics_headers_lead_to_its_key() {
    let headers = [("anthropic-version", "2024-01-01")];
    let upstream = Upstream::start(&headers, |_| answer(200, "", LIST)).await;
    upstream.listed().await;
    let seen = upstream.seen();
    assert!(has(&seen[0], "x-api-key: secret"), "{}", seen[0]);
    assert!(
        has(&seen[0], "anthropic-version: 2024-01-01"),
        "{}",
        seen[0]
    );
}

#[tokio::test]
async fn refused_key_is_reported_and_a_configured_one_is_sent_alone() {
    let refused: Answers = |_| answer(401, "", "{}");
    for (headers, calls) in [
        (&[][..], 2),
        (&[("authorization", "Basic x")], 1),
        (&[("x-api-key", "x")], 1),
    ] {
        let upstream = Upstream::start(headers, refused).await;
        assert_eq!(upstream.listed().await.outcome, Outcome::status(401));
        assert_eq!(upstream.seen().len(), calls, "{headers:?}");
    }
}

#[tokio::test]
async fn failure_of_a_kind_is_a_warning_once() {
    let upstream = Upstream::start(&[], |_| answer(404, "", "{}")).await;
    let kind = Some(("client_error", Some(404)));
    upstream.listed().await;
    assert_eq!(upstream.last_failure(), kind);
    let is_new = |status| upstream.failures.is_new(&name(), &Outcome::status(status));
    assert!(!is_new(404));
    assert!(is_new(405), "another status");
    assert!(upstream.failures.is_new(&name(), &Outcome::Reset));
    upstream.failures.keep(|_| false);
    assert_eq!(upstream.last_failure(), None);
}

#[tokio::test]
async fn success_ends_a_series_of_failures() {
    let upstream = Upstream::start(&[], |_| answer(200, "", LIST)).await;
    assert!(upstream.failures.is_new(&name(), &Outcome::Reset));
    upstream.listed().await;
    assert_eq!(upstream.last_failure(), None);
}

#[tokio::test]
async fn probe_that_takes_too_long_has_timed_out() {
    let head = |_: &str| "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned();
    let answers: [Answers; 2] = [|_| String::new(), head];
    for answer in answers {
        let upstream = Upstream::start(&[], answer).await;
        let report = upstream
            .probed(Probe::Models, Duration::from_millis(100))
            .await;
        assert_eq!(report.outcome, Outcome::TimedOut(Stage::FirstByte));
    }
}

#[tokio::test]
async fn url_of_an_upstream_is_shown_with_its_port() {
    let upstream = Upstream::start(&[], |_| answer(200, "", LIST)).await;
    let path = PathAndQuery::from_static("/v1/models?key=k");
    let url = upstream.client.shown_url(&name(), &path).expect("a URL");
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert!(url.ends_with("/v1/models"), "{url}");
}

#[test]
fn url_is_shown_without_user_and_query() {
    assert_eq!(without_secrets("http://h/v1?key=k#f"), "http://h/v1");
    assert_eq!(without_secrets("http://user:password@h/v1"), "");
}

/// The models of a list that comes with this coding.
async fn read(coding: &'static str, list: Vec<u8>) -> Vec<ModelName> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    let body = http_body_util::Full::new(Bytes::from(list)).map_err(|never| match never {});
    let answer = Answer {
        status: StatusCode::OK,
        headers: headers.into(),
        body: grapevine_base::exchange::AnswerBody::new(body),
        load: None,
        upload: None,
    };
    read_models(answer).await.expect("a whole body")
}

#[tokio::test]
async fn list_that_is_encoded_without_being_asked_is_read_within_its_limit() {
    let encoded = zstd::stream::encode_all(LIST.as_bytes(), 3).expect("encoded");
    assert_eq!(read("zstd", encoded.clone()).await.len(), 1);
    assert_eq!(read("identity", LIST.into()).await.len(), 1);
    let blanks = [LIST.as_bytes(), &b" ".repeat(LIST_BYTES_MAX)[..]].concat();
    let bomb = zstd::stream::encode_all(&blanks[..], 3).expect("encoded");
    for (coding, list) in [
        ("zstd", bomb),
        ("gzip", encoded.clone()),
        ("compress", encoded),
    ] {
        assert!(read(coding, list).await.is_empty(), "{coding}");
    }
}
