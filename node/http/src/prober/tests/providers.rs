//! Probes of other APIs than OpenAI's: at their paths, with their headers and every kind of credential.

use grapevine_config::Sources;

use super::*;

/// An upstream as `about` says, at a host of the test's own.
async fn start(about: &str, answer: Answers) -> Upstream {
    let yaml = format!("upstreams: [{{name: a, models: [m], {about}}}]\n");
    let loaded = grapevine_config::load_text(&yaml, &Sources::default());
    let config = loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    let (provider, auth) = (&config.upstreams[0].provider, &config.upstreams[0].auth);
    Upstream::start_as("", provider.clone(), auth.clone(), &[], answer).await
}

#[tokio::test]
async fn list_of_each_provider_is_asked_for_as_it_takes_it() {
    for (about, lines) in [
        (
            "provider: anthropic, api_key: k",
            &[
                "get /v1/models?limit=1000 http/1.1",
                "x-api-key: k",
                "anthropic-version: 2023-06-01",
            ][..],
        ),
        (
            "provider: gemini, api_key: k",
            &[
                "get /v1beta/models?pagesize=1000 http/1.1",
                "x-goog-api-key: k",
            ],
        ),
        (
            "provider: azure, base_url: 'http://h', api_key: k",
            &["get /openai/v1/models http/1.1", "api-key: k"],
        ),
        (
            "provider: azure, base_url: 'http://h', api_version: v, api_key: k, auth: bearer",
            &[
                "get /openai/models?api-version=v http/1.1",
                "authorization: bearer k",
            ],
        ),
        (
            "provider: vllm, base_url: 'http://h', api_key: k, auth: {header: x-key}",
            &["get /models http/1.1", "x-key: k"],
        ),
        (
            "provider: ollama, base_url: 'http://h'",
            &["get /models http/1.1"],
        ),
    ] {
        let upstream = start(about, |_| answer(200, "", LIST)).await;
        let report = upstream.listed().await;
        assert_eq!(report.outcome, Outcome::status(200), "{about}");
        assert_eq!(report.models.map(|models| models.len()), Some(1), "{about}");
        let seen = upstream.seen();
        assert_eq!(seen.len(), 1, "{about}");
        for line in lines {
            assert!(has(&seen[0], line), "{line}\n{}", seen[0]);
        }
    }
}

#[tokio::test]
async fn refused_key_of_a_named_provider_is_sent_in_no_other_header() {
    let upstream = start("provider: anthropic, api_key: k", |_| answer(401, "", "{}")).await;
    assert_eq!(upstream.listed().await.outcome, Outcome::status(401));
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn chat_probe_is_signed_and_has_its_model_in_the_path() {
    let keys = "auth: {aws: {access_key_id: A, secret_access_key: S}}";
    let bedrock = format!("provider: bedrock, aws_region: us-east-1, {keys}");
    let dated = "provider: azure, base_url: 'http://h', api_version: v, api_key: k".to_owned();
    for (about, line, text) in [
        (
            bedrock,
            "post /openai/v1/chat/completions http/1.1",
            "credential=a/",
        ),
        (
            dated,
            "post /openai/deployments/m/chat/completions?api-version=v http/1.1",
            "api-key: k",
        ),
    ] {
        let upstream = start(&about, |_| answer(200, "", "{}")).await;
        let report = upstream.probed(Probe::Chat, Duration::from_secs(5)).await;
        assert_eq!(report.outcome, Outcome::status(200));
        let seen = upstream.seen();
        assert!(has(&seen[0], line) && seen[0].contains(text), "{}", seen[0]);
    }
}

#[tokio::test]
async fn probe_without_a_credential_fails_and_says_why() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let about = format!(
        "provider: azure, base_url: 'http://h', auth: {{entra: {{client_id: c, client_secret: s, token_url: \
         'http://{address}'}}}}"
    );
    let upstream = start(&about, |_| answer(200, "", LIST)).await;
    let report = upstream.listed().await;
    assert_eq!(report.outcome, Outcome::ConnectFailed);
    let detail = report.detail.expect("a reason");
    assert!(
        detail.ends_with("credential_unavailable: its endpoint cannot be reached"),
        "{detail}"
    );
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn engine_is_asked_how_it_is_and_then_for_its_models() {
    let about = "provider: vllm, base_url: 'http://h', api_key: k";
    let upstream = start(about, |_| answer(200, "", LIST)).await;
    let report = upstream.probed(Probe::Health, Duration::from_secs(5)).await;
    assert_eq!(report.outcome, Outcome::status(200));
    assert_eq!(report.models.map(|models| models.len()), Some(1));
    let seen = upstream.seen();
    let lines = seen.iter().map(|head| head.lines().next());
    let lines: Vec<_> = lines.flatten().collect();
    assert_eq!(lines, ["get /health http/1.1", "get /models http/1.1"]);
}

#[tokio::test]
async fn engine_that_has_died_or_still_loads_fails_though_it_lists_models() {
    let upstream = start(
        "provider: llamacpp, base_url: 'http://h'",
        |head| match head.starts_with("get /health ") {
            true => answer(503, "", r#"{"error":{"message":"Loading model"}}"#),
            false => answer(200, "", LIST),
        },
    )
    .await;
    let report = upstream.probed(Probe::Health, Duration::from_secs(5)).await;
    assert_eq!(report.outcome, Outcome::status(503));
    let detail = report.detail.expect("a reason");
    assert!(detail.contains("/health: status 503"), "{detail}");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn engine_without_a_page_on_its_health_is_judged_by_its_list() {
    let upstream = start("provider: sglang, base_url: 'http://h'", |head| match head
        .starts_with("get /health ")
    {
        true => answer(404, "", "{}"),
        false => answer(200, "", LIST),
    })
    .await;
    let report = upstream.probed(Probe::Health, Duration::from_secs(5)).await;
    assert_eq!(report.outcome, Outcome::status(200));
    assert_eq!(upstream.seen().len(), 2);
}
