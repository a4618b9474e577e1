//! Issuers over real sockets: what is asked for, what is understood, and what a bad endpoint can do.

mod calls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use grapevine_config::Sources;
use grapevine_config::checked::UpstreamConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::connect::{Connector, tls_without_roots};
use super::super::target::UpstreamTargets;
use super::*;

/// An answer to a request with this head and body.
type Answering = dyn Fn(&str) -> String + Send + Sync;

/// An endpoint on loopback, and what it was asked.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    pub(super) async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (requests, answer): (_, Arc<Answering>) = (Arc::clone(&seen), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                        let Some(length) = whole(&bytes) else {
                            continue;
                        };
                        let rest = bytes.split_off(length);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let answer = answer(&text);
                        requests.lock().expect("no panic").push(text);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        bytes = rest;
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// The requests since the last call.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

/// The length of the request that `bytes` begin with, once it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let head = text.find("\r\n\r\n")? + 4;
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a length"));
    (bytes.len() >= head + length).then_some(head + length)
}

pub(super) fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

/// The upstream that `about` says.
pub(super) fn upstream(about: &str) -> UpstreamConfig {
    let yaml = format!("upstreams: [{{name: a, models: [m], {about}}}]\n");
    let loaded = grapevine_config::load_text(&yaml, &Sources::default());
    let config = loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    config.upstreams[0].clone()
}

/// What the issuer of the upstream that `about` says issues.
async fn issued(about: &str) -> Result<Issue, CredentialFailure> {
    let client = EndpointClient::new(Connector::new(
        UpstreamTargets::default(),
        tls_without_roots(),
    ));
    let auth = TargetAuth::new(upstream(about).auth, None).expect("usable");
    match auth {
        TargetAuth::Issued(credential) => credential.obtaining(&client).obtain().await,
        _ => panic!("nothing is issued"),
    }
}

fn failure(issued: Result<Issue, CredentialFailure>) -> Option<CredentialFailure> {
    issued.err()
}

/// A token as it is sent, and for how many seconds it is issued.
fn token(issued: Result<Issue, CredentialFailure>) -> (String, u64) {
    let issue = issued.unwrap_or_else(|failure| panic!("{failure}"));
    let seconds = issue.lifetime.map_or(0, |lifetime| lifetime.as_secs());
    match issue.issued {
        Issued::Bearer(value) => (value.to_str().expect("text").to_owned(), seconds),
        Issued::Aws(keys) => (keys.id, seconds),
    }
}

/// A file of the test's own.
fn file(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("grapevine-http-{}-{name}", std::process::id()));
    std::fs::write(&path, content).expect("a file can be written");
    path
}

fn entra(address: SocketAddr, further: &str) -> String {
    format!(
        "provider: azure, base_url: 'http://h', auth: {{entra: {{client_id: c, token_url: \
         'http://{address}/t/oauth2/v2.0/token', {further}}}}}"
    )
}

const TOKEN: &str = r#"{"token_type":"Bearer","expires_in":3600,"access_token":"abc"}"#;

#[tokio::test]
async fn application_asks_entra_with_its_secret_or_with_another_issuers_token() {
    let endpoint = Endpoint::start(|_| answer(200, "", TOKEN)).await;
    let with_secret = issued(&entra(endpoint.address, "client_secret: 's/+'")).await;
    assert_eq!(token(with_secret), ("Bearer abc".to_owned(), 3_600));
    let path = file("federated", "other-issuer\n");
    let further = format!("federated_token_file: '{}', scope: x", path.display());
    assert_eq!(
        token(issued(&entra(endpoint.address, &further)).await).0,
        "Bearer abc"
    );
    let seen = endpoint.seen();
    assert!(
        seen[0].starts_with("POST /t/oauth2/v2.0/token HTTP/1.1\r\n"),
        "{}",
        seen[0]
    );
    assert!(seen[0].ends_with(
        "grant_type=client_credentials&client_id=c&client_secret=s%2F%2B&\
         scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
    ));
    assert!(seen[1].ends_with(
        "grant_type=client_credentials&client_id=c&client_assertion_type=\
         urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=other-issuer&scope=x"
    ));
}

#[tokio::test]
async fn machine_asks_its_metadata_service() {
    let endpoint = Endpoint::start(|_| answer(200, "", TOKEN)).await;
    let address = endpoint.address;
    let azure = format!(
        "provider: azure, base_url: 'http://h', auth: {{entra: {{client_id: c, token_url: 'http://{address}'}}}}"
    );
    assert_eq!(token(issued(&azure).await).0, "Bearer abc");
    let google = format!(
        "provider: vertex, project: p, auth: {{google: {{metadata_url: 'http://{address}'}}}}"
    );
    assert_eq!(token(issued(&google).await).0, "Bearer abc");
    let seen = endpoint.seen();
    let resource = "resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=c";
    let path = format!("GET /metadata/identity/oauth2/token?api-version=2018-02-01&{resource} ");
    assert!(
        seen[0].starts_with(&path) && seen[0].contains("metadata: true\r\n"),
        "{}",
        seen[0]
    );
    let path = "GET /computeMetadata/v1/instance/service-accounts/default/token?scopes=";
    assert!(seen[1].starts_with(path) && seen[1].contains("metadata-flavor: Google\r\n"));
}

#[tokio::test]
async fn service_account_asks_with_an_assertion() {
    let endpoint = Endpoint::start(|_| answer(200, "", TOKEN)).await;
    let content = serde_json::json!({
        "type": "service_account",
        "client_email": "e",
        "private_key": include_str!("service-account-key.pem"),
        "token_uri": format!("http://{}/token", endpoint.address),
    });
    let path = file("service-account.json", &content.to_string());
    let about = format!(
        "provider: vertex, project: p, auth: {{google: {{credentials_file: '{}'}}}}",
        path.display()
    );
    assert_eq!(token(issued(&about).await).0, "Bearer abc");
    let seen = endpoint.seen();
    let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey";
    assert!(
        seen[0].starts_with("POST /token ") && seen[0].contains(form),
        "{}",
        seen[0]
    );
}

fn bedrock(further: &str) -> String {
    format!("provider: bedrock, aws_region: us-east-1, auth: {{aws: {{{further}}}}}")
}

const KEYS: &str = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Token":"T",
    "Expiration":"2100-01-01T00:00:00Z"}"#;

#[tokio::test]
async fn instance_opens_a_session_and_asks_for_its_role() {
    let endpoint = Endpoint::start(|request| match request {
        request if request.starts_with("PUT ") => answer(200, "", "session"),
        request if request.starts_with("GET /latest/meta-data/iam/security-credentials/ ") => {
            answer(200, "", "role-1\n")
        }
        _ => answer(200, "", KEYS),
    });
    let endpoint = endpoint.await;
    let about = bedrock(&format!("imds_url: 'http://{}'", endpoint.address));
    assert_eq!(token(issued(&about).await), ("A".to_owned(), 86_400));
    let seen = endpoint.seen();
    assert!(seen[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"));
    assert!(seen[2].starts_with("GET /latest/meta-data/iam/security-credentials/role-1 "));
    assert!(seen[2].contains("x-aws-ec2-metadata-token: session\r\n"));
}

#[tokio::test]
async fn container_and_web_identity_are_asked_for_keys() {
    let sts = "<Credentials><AccessKeyId>W</AccessKeyId><SecretAccessKey>S</SecretAccessKey>\
               <SessionToken>T</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>";
    let endpoint = Endpoint::start(move |request| {
        let body = if request.starts_with("POST ") {
            sts
        } else {
            KEYS
        };
        answer(200, "", body)
    });
    let endpoint = endpoint.await;
    let address = endpoint.address;
    let container = bedrock(&format!(
        "container_url: 'http://{address}/v1', container_token: secret"
    ));
    assert_eq!(token(issued(&container).await).0, "A");
    let path = file("web-identity", "jwt\n");
    let identity = bedrock(&format!(
        "role_arn: 'arn:aws:iam::1:role/r', web_identity_token_file: '{}', sts_url: 'http://{address}'",
        path.display()
    ));
    assert_eq!(token(issued(&identity).await).0, "W");
    let seen = endpoint.seen();
    assert!(seen[0].contains("authorization: secret\r\n"));
    assert!(seen[1].ends_with(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&\
         RoleSessionName=grapevine&WebIdentityToken=jwt"
    ));
}

#[tokio::test]
async fn profile_is_read_from_its_file() {
    let path = file(
        "credentials",
        "[p]\naws_access_key_id=P\naws_secret_access_key=S\n",
    );
    let of = |profile: &str| {
        bedrock(&format!(
            "credentials_file: '{}', profile: {profile}",
            path.display()
        ))
    };
    assert_eq!(token(issued(&of("p")).await).0, "P");
    assert_eq!(
        failure(issued(&of("q")).await),
        Some(CredentialFailure::None)
    );
}

#[tokio::test]
async fn bad_answers_are_told_apart_and_never_believed() {
    let huge = "x".repeat(70_000);
    for (answered, expected) in [
        (answer(200, "", "<html>"), CredentialFailure::NotUnderstood),
        (answer(200, "", "{}"), CredentialFailure::NotUnderstood),
        (answer(200, "", &huge), CredentialFailure::TooLarge),
        (
            answer(302, "location: http://h/\r\n", ""),
            CredentialFailure::Redirected,
        ),
        (
            answer(401, "", "{\"error\":\"invalid_client\"}"),
            CredentialFailure::Refused,
        ),
        (answer(500, "", ""), CredentialFailure::Unavailable),
        (answer(429, "", ""), CredentialFailure::Unavailable),
        (
            "nonsense\r\n\r\n".to_owned(),
            CredentialFailure::Unreachable,
        ),
    ] {
        let shown = answered.lines().next().unwrap_or_default().to_owned();
        let endpoint = Endpoint::start(move |_| answered.clone()).await;
        let issued = issued(&entra(endpoint.address, "client_secret: s")).await;
        assert_eq!(failure(issued), Some(expected), "{shown}");
        assert_eq!(endpoint.seen().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn endpoint_that_is_down_is_unreachable() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let issued = issued(&entra(address, "client_secret: s")).await;
    assert_eq!(failure(issued), Some(CredentialFailure::Unreachable));
}

#[test]
fn same_issuer_keeps_what_is_at_hand_over_a_reload() {
    let auth = |secret: &str, before: Option<&TargetAuth>| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let about = entra(address, &format!("client_secret: {secret}"));
        TargetAuth::new(upstream(&about).auth, before).expect("usable")
    };
    let held = |auth: &TargetAuth| match auth {
        TargetAuth::Issued(credential) => Arc::as_ptr(&credential.held),
        _ => panic!("nothing is issued"),
    };
    let first = auth("s", None);
    assert_eq!(held(&auth("s", Some(&first))), held(&first));
    assert_ne!(held(&auth("rotated", Some(&first))), held(&first));
}

#[test]
fn key_is_sent_as_each_provider_takes_it() {
    let auth = TargetAuth::new(AuthConfig::key("k"), None).expect("usable");
    for (provider, endpoint, name, value) in [
        (
            Provider::OpenAi,
            ApiEndpoint::Chat,
            "authorization",
            "Bearer k",
        ),
        (Provider::OpenAi, ApiEndpoint::Messages, "x-api-key", "k"),
        (Provider::Azure, ApiEndpoint::Chat, "api-key", "k"),
        (
            Provider::Azure,
            ApiEndpoint::MessagesStream,
            "x-api-key",
            "k",
        ),
        (Provider::Anthropic, ApiEndpoint::Models, "x-api-key", "k"),
        (
            Provider::Bedrock,
            ApiEndpoint::Messages,
            "authorization",
            "Bearer k",
        ),
        (
            Provider::Gemini,
            ApiEndpoint::Chat,
            "authorization",
            "Bearer k",
        ),
        (Provider::Gemini, ApiEndpoint::Models, "x-goog-api-key", "k"),
        (
            Provider::Vllm,
            ApiEndpoint::Other,
            "authorization",
            "Bearer k",
        ),
    ] {
        let header = auth.header(provider, endpoint).expect("a header");
        assert_eq!(
            (header.0.as_str(), header.1.to_str().expect("text")),
            (name, value)
        );
        assert!(header.1.is_sensitive());
    }
}

#[test]
fn only_an_answer_about_the_credential_asks_for_a_new_one() {
    let refused = |status, error: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        if let Some(error) = error {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(error));
        }
        is_refused(
            http::StatusCode::from_u16(status).expect("a status"),
            &headers,
        )
    };
    assert!(refused(401, None) && refused(403, Some("ExpiredTokenException:http://x")));
    assert!(
        !refused(403, None) && !refused(403, Some("AccessDeniedException")) && !refused(200, None)
    );
}
