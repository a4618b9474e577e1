//! Calls with a credential, from the request to what the upstream sees.

use bytes::Bytes;
use grapevine_base::exchange::{Answer, Call, CallFailure, CallLocal, Caller};
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::outcome::Outcome;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};

use super::super::super::client::UpstreamClient;
use super::super::super::target::{UpstreamSettings, UpstreamTargets};
use super::*;

fn targets(about: &str) -> UpstreamTargets {
    let config = upstream(about);
    let settings = UpstreamSettings {
        name: config.name,
        base_url: config.base_url.to_string().parse().expect("a URL"),
        provider: config.provider,
        auth: config.auth,
        headers: config.headers,
        renames: Default::default(),
        lossy: config.lossy.clone(),
        load_path: None,
        timeouts: config.timeout,
    };
    UpstreamTargets::new(vec![settings]).expect("usable settings")
}

fn client(targets: &UpstreamTargets) -> UpstreamClient {
    UpstreamClient::new(
        targets.clone(),
        HeaderValue::from_static("grapevine"),
        tls_without_roots(),
    )
}

async fn asked(client: &UpstreamClient, path: &'static str) -> Result<Answer, CallFailure> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("api-key", HeaderValue::from_static("of-the-client"));
    let call = Call {
        request_id: "r".into(),
        upstream: UpstreamName::new("a").expect("a name"),
        model: ModelName::new("m:0").ok(),
        method: Method::POST,
        path: PathAndQuery::from_static(path),
        headers: Arc::new(headers),
        body: Bytes::from_static(br#"{"model":"m:0","max_tokens":1}"#).into(),
        stream: false,
        deadline: tokio::time::Instant::now() + std::time::Duration::from_secs(60),
        last_resort: false,
        allow_regions: Arc::default(),
        caller: Caller::default(),
    };
    client.call(Box::new(call)).await
}

#[tokio::test]
async fn azure_gets_its_key_in_its_header_at_its_path() {
    let upstream = Endpoint::start(|_| answer(200, "", "{}")).await;
    let about = format!(
        "provider: azure, base_url: 'http://{}', api_key: own",
        upstream.address
    );
    let client = client(&targets(&about));
    asked(&client, "/v1/chat/completions")
        .await
        .expect("an answer");
    asked(&client, "/v1/messages").await.expect("an answer");
    let seen = upstream.seen();
    assert!(
        seen[0].starts_with("POST /openai/v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        seen[0]
    );
    assert!(seen[0].contains("api-key: own\r\n") && !seen[0].contains("of-the-client"));
    assert!(
        seen[1].starts_with("POST /anthropic/v1/messages ")
            && seen[1].contains("x-api-key: own\r\n")
    );
    assert!(
        seen[1].contains("anthropic-version: 2023-06-01\r\n") && !seen[1].contains("of-the-client")
    );
}

#[tokio::test]
async fn bedrock_gets_a_signed_request_with_the_model_in_its_path() {
    let upstream = Endpoint::start(|_| answer(200, "", "{}")).await;
    let about = format!(
        "provider: bedrock, aws_region: us-east-1, base_url: 'http://{}', dialects: [messages], auth: {{aws: {{access_key_id: A, \
         secret_access_key: S, session_token: T}}}}",
        upstream.address
    );
    asked(&client(&targets(&about)), "/v1/messages")
        .await
        .expect("an answer");
    let seen = upstream.seen();
    assert!(
        seen[0].starts_with("POST /model/m%3A0/invoke HTTP/1.1\r\n"),
        "{}",
        seen[0]
    );
    assert!(seen[0].contains("authorization: AWS4-HMAC-SHA256 Credential=A/"));
    assert!(seen[0].contains(
        "/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token"
    ));
    assert!(seen[0].contains("x-amz-security-token: T\r\n"));
    assert!(seen[0].ends_with(r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1}"#));
}

#[tokio::test]
async fn what_a_provider_has_no_path_for_is_nobodys_fault() {
    let client = client(&targets(
        "provider: anthropic, api_key: k, base_url: 'http://127.0.0.1:1'",
    ));
    let failure = asked(&client, "/v1/responses/r_1")
        .await
        .expect_err("no path");
    assert_eq!(failure.outcome.as_str(), "refused_unknown_upstream");
    assert!(
        failure.detail.starts_with("unsupported at provider"),
        "{}",
        failure.detail
    );
}

#[tokio::test]
async fn request_without_a_credential_goes_elsewhere_and_shows_no_secret() {
    let issuer = Endpoint::start(|_| answer(400, "", "{\"error\":\"secret-words\"}")).await;
    let targets = targets(&entra(issuer.address, "client_secret: s"));
    let client = client(&targets);
    for _ in 0..3 {
        let failure = asked(&client, "/v1/chat/completions")
            .await
            .expect_err("no token");
        assert_eq!(failure.outcome, Outcome::ConnectFailed);
        assert_eq!(
            failure.detail,
            "credential_unavailable: its endpoint refuses the identity"
        );
    }
    assert_eq!(
        issuer.seen().len(),
        1,
        "one attempt until the pause is over"
    );
    let states = targets.credentials();
    let failure = states[0].1.last_failure.map(|(_, failure)| failure);
    assert_eq!(
        (states[0].1.kind, failure),
        ("entra", Some(CredentialFailure::Refused))
    );
}

#[tokio::test]
async fn token_is_obtained_once_and_sent_with_each_request() {
    let issuer = Endpoint::start(|_| answer(200, "", TOKEN)).await;
    let upstream = Endpoint::start(|_| answer(200, "", "{}")).await;
    let about = format!(
        "provider: azure, base_url: 'http://{}', auth: {{entra: {{client_id: c, client_secret: s, token_url: \
         'http://{}'}}}}",
        upstream.address, issuer.address
    );
    let targets = targets(&about);
    let client = client(&targets);
    for _ in 0..3 {
        asked(&client, "/v1/chat/completions")
            .await
            .expect("an answer");
    }
    assert_eq!(issuer.seen().len(), 1);
    assert!(
        upstream
            .seen()
            .iter()
            .all(|head| head.contains("authorization: Bearer abc\r\n"))
    );
    let state = targets.credentials()[0].1;
    assert!(state.expires_at > state.renewed_at && state.renewed_at.is_some());
}

#[tokio::test]
async fn new_token_that_is_refused_is_an_answer_and_not_renewed_again() {
    let issuer = Endpoint::start(|_| answer(200, "", TOKEN)).await;
    let upstream = Endpoint::start(|_| answer(401, "", "{}")).await;
    let about = format!(
        "provider: azure, base_url: 'http://{}', auth: {{entra: {{client_id: c, client_secret: s, token_url: \
         'http://{}'}}}}",
        upstream.address, issuer.address
    );
    let client = client(&targets(&about));
    for _ in 0..2 {
        let answered = asked(&client, "/v1/chat/completions")
            .await
            .expect("an answer");
        assert_eq!(answered.status, http::StatusCode::UNAUTHORIZED);
    }
    assert_eq!((issuer.seen().len(), upstream.seen().len()), (1, 2));
}

#[tokio::test]
async fn old_token_that_is_refused_is_renewed_and_the_request_sent_once_more() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let issuer = Endpoint::start(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        answer(
            200,
            "",
            &format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#),
        )
    });
    let issuer = issuer.await;
    let upstream = Endpoint::start(|request| match request.contains("Bearer t0") {
        true => answer(401, "", "{}"),
        false => answer(200, "", "{}"),
    });
    let upstream = upstream.await;
    let about = format!(
        "provider: azure, base_url: 'http://{}', auth: {{entra: {{client_id: c, client_secret: s, token_url: \
         'http://{}'}}}}",
        upstream.address, issuer.address
    );
    let targets = targets(&about);
    let client = client(&targets);
    let refused = asked(&client, "/v1/chat/completions")
        .await
        .expect("an answer");
    assert_eq!(
        refused.status,
        http::StatusCode::UNAUTHORIZED,
        "a new token is not renewed"
    );
    let target = targets
        .get(&UpstreamName::new("a").expect("a name"))
        .expect("a target");
    let TargetAuth::Issued(credential) = &target.provided().expect("a provider").auth else {
        panic!("nothing is issued")
    };
    credential.age(std::time::Duration::from_secs(60));
    let answered = asked(&client, "/v1/chat/completions")
        .await
        .expect("an answer");
    assert_eq!(answered.status, http::StatusCode::OK);
    assert_eq!((issuer.seen().len(), upstream.seen().len()), (2, 3));
}
