//! The token endpoints.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::{ask, strict, strict_with};
use crate::mock::tests::client::{Answer, send};
use crate::mock::{Knobs, MockHandle, MockProvider, StrictConfig, TokenFault};

/// A key made for this test alone.
const GOOGLE_KEY: &str = include_str!("google_key.pem");

const ENTRA: &str = "/mock/token/entra/tenant/oauth2/v2.0/token";

const SECRET: &str = "grant_type=client_credentials&client_id=mock-client&client_secret=mock-secret&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";

async fn form(mock: &MockHandle, path: &str, form: &str) -> Answer {
    let request = Request::post(path)
        .header("host", "mock")
        .body(Full::from(Bytes::from(form.to_owned())));
    send(mock.address(), request.expect("a request"))
        .await
        .expect("an answer")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("a time after 1970").as_secs()
}

/// An assertion with `claims`, signed by the test's key.
fn assertion(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "RS256", "typ": "JWT"})),
        part(claims)
    );
    let inside: String = GOOGLE_KEY
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(inside).expect("base64")).expect("a key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_token_of_entras_opens_azure_until_it_expires() {
    let config = StrictConfig {
        token_lifetime: Duration::from_millis(1_500),
        ..StrictConfig::default()
    };
    let mock = strict(MockProvider::Azure, config).await;
    let token = form(&mock, ENTRA, SECRET).await.json();
    assert_eq!(token["token_type"], "Bearer");
    let bearer = format!(
        "Bearer {}",
        token["access_token"].as_str().expect("a token")
    );
    let chat = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]});
    let headers = &[("authorization", bearer.as_str())];
    let open = ask(
        &mock,
        Method::POST,
        "/openai/v1/chat/completions",
        headers,
        &chat,
    )
    .await;
    assert_eq!(open.status, 200);
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    let closed = ask(
        &mock,
        Method::POST,
        "/openai/v1/chat/completions",
        headers,
        &chat,
    )
    .await;
    assert_eq!(
        (closed.status, closed.json()["error"]["code"].as_str()),
        (401, Some("Unauthorized"))
    );
    assert_eq!(mock.stats().tokens_issued, 1);
}

#[tokio::test]
async fn entra_refuses_in_its_own_words() {
    let mock = strict(MockProvider::Azure, StrictConfig::default()).await;
    let cases = [
        (SECRET.replace("mock-secret", "x"), 401, "invalid_client"),
        (
            SECRET.replace("mock-client", "x"),
            400,
            "unauthorized_client",
        ),
        (
            SECRET.replace("cognitiveservices", "graph"),
            400,
            "invalid_scope",
        ),
        (
            SECRET.replace("client_credentials", "password"),
            400,
            "unsupported_grant_type",
        ),
        (
            "grant_type=client_credentials".to_owned(),
            400,
            "invalid_request",
        ),
    ];
    for (body, status, error) in cases {
        let answer = form(&mock, ENTRA, &body).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (status, Some(error)),
            "{body}"
        );
    }
    let federated = |expires: u64| {
        let jwt = assertion(&json!({"sub": "pod", "exp": expires}));
        let typed = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        SECRET.replace(
            "client_secret=mock-secret",
            &format!("{typed}&client_assertion={jwt}"),
        )
    };
    assert_eq!(form(&mock, ENTRA, &federated(now() + 60)).await.status, 200);
    assert_eq!(
        form(&mock, ENTRA, &federated(now() - 60)).await.json()["error_codes"][0],
        700_024
    );
}

#[tokio::test]
async fn a_managed_identity_needs_its_header() {
    let mock = strict(MockProvider::Azure, StrictConfig::default()).await;
    let path = "/mock/token/entra/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com";
    assert_eq!(
        ask(&mock, Method::GET, path, &[], &Value::Null)
            .await
            .status,
        400
    );
    let answer = ask(
        &mock,
        Method::GET,
        path,
        &[("metadata", "true")],
        &Value::Null,
    )
    .await
    .json();
    assert_eq!(answer["resource"], "https://cognitiveservices.azure.com");
    assert!(answer["expires_on"].is_string());
}

#[tokio::test]
async fn google_verifies_the_assertion() {
    let config = StrictConfig {
        google_key: Some(GOOGLE_KEY.to_owned()),
        ..StrictConfig::default()
    };
    let mock = strict(MockProvider::Vertex, config).await;
    let claims = json!({"iss": "a@b", "scope": "https://www.googleapis.com/auth/cloud-platform", "aud": "https://oauth2.googleapis.com/token", "iat": now(), "exp": now() + 3_600});
    let grant = |jwt: &str| {
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={jwt}")
    };
    let good = assertion(&claims);
    let answer = form(&mock, "/mock/token/google/token", &grant(&good))
        .await
        .json();
    assert!(answer["access_token"].is_string(), "{answer}");
    let mut expired = claims.clone();
    expired["exp"] = json!(now() - 1);
    let forged = format!("{}AA", &good[..good.len() - 2]);
    for (jwt, words) in [
        (forged, "Invalid JWT Signature."),
        (assertion(&expired), "short-lived"),
        ("x".to_owned(), "Bad Request"),
    ] {
        let answer = form(&mock, "/mock/token/google/token", &grant(&jwt)).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (400, Some("invalid_grant"))
        );
        assert!(
            answer.json()["error_description"]
                .to_string()
                .contains(words)
        );
    }
    let metadata = "/mock/token/google/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(
        ask(&mock, Method::GET, metadata, &[], &Value::Null)
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn aws_issues_credentials_in_three_ways() {
    let mock = strict(MockProvider::Bedrock, StrictConfig::default()).await;
    let jwt = assertion(&json!({"sub": "pod", "exp": now() + 60}));
    let request = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=s&WebIdentityToken={jwt}"
    );
    let text = |answer: Answer| String::from_utf8(answer.body).expect("text");
    let issued = form(&mock, "/mock/token/aws/sts", &request).await;
    assert_eq!(issued.header("content-type"), "text/xml");
    assert!(text(issued).contains("<SessionToken>mock-"));
    let refused = form(&mock, "/mock/token/aws/sts", &request.replace(&jwt, "x")).await;
    assert_eq!(refused.status, 400);
    assert!(text(refused).contains("<Code>InvalidIdentityToken</Code>"));

    let role = "/mock/token/aws/latest/meta-data/iam/security-credentials/";
    assert_eq!(
        ask(&mock, Method::GET, role, &[], &Value::Null)
            .await
            .status,
        401
    );
    let lifetime = &[("x-aws-ec2-metadata-token-ttl-seconds", "60")];
    let session = text(
        ask(
            &mock,
            Method::PUT,
            "/mock/token/aws/latest/api/token",
            lifetime,
            &Value::Null,
        )
        .await,
    );
    let headers = &[("x-aws-ec2-metadata-token", session.as_str())];
    let name = text(ask(&mock, Method::GET, role, headers, &Value::Null).await);
    let credentials = ask(
        &mock,
        Method::GET,
        &format!("{role}{name}"),
        headers,
        &Value::Null,
    )
    .await
    .json();
    assert_eq!(credentials["Code"], "Success");
    assert_eq!(
        ask(
            &mock,
            Method::GET,
            "/mock/token/aws/credentials",
            &[],
            &Value::Null
        )
        .await
        .status,
        401
    );
    assert_eq!(mock.stats().tokens_issued, 2);
}

#[tokio::test]
async fn token_endpoints_fail_as_the_knobs_say() {
    let fault = |token_fault| Knobs {
        token_fault,
        ..Knobs::default()
    };
    let mock = strict_with(
        MockProvider::Azure,
        StrictConfig::default(),
        fault(TokenFault::Error),
    )
    .await;
    assert_eq!(form(&mock, ENTRA, SECRET).await.status, 503);
    mock.set_knobs(fault(TokenFault::Nonsense))
        .expect("valid knobs");
    assert!(serde_json::from_slice::<Value>(&form(&mock, ENTRA, SECRET).await.body).is_err());
    mock.set_knobs(fault(TokenFault::Huge))
        .expect("valid knobs");
    assert!(form(&mock, ENTRA, SECRET).await.body.len() > 8 * 1024 * 1024);
    mock.set_knobs(fault(TokenFault::Down))
        .expect("valid knobs");
    let request = Request::post(ENTRA)
        .header("host", "mock")
        .body(Full::from(Bytes::from_static(SECRET.as_bytes())));
    assert!(
        send(mock.address(), request.expect("a request"))
            .await
            .is_err()
    );
    let slow = Knobs {
        token_latency: Duration::from_millis(200),
        ..Knobs::default()
    };
    mock.set_knobs(slow).expect("valid knobs");
    let begun = std::time::Instant::now();
    assert_eq!(form(&mock, ENTRA, SECRET).await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}
