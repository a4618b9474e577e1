//! Requests as each provider takes them: a table of public paths, and what becomes of bodies and headers.

use bytes::Bytes;
use grapevine_base::exchange::Caller;
use grapevine_config::Sources;
use grapevine_core::ids::UpstreamName;
use http::Method;
use http_body::Body;

use super::*;

/// The route of the upstream that `about` says.
fn route(about: &str) -> ProviderRoute {
    let yaml = format!("upstreams: [{{name: a, models: [m], auth: none, {about}}}]\n");
    let loaded = grapevine_config::load_text(&yaml, &Sources::default());
    let config = loaded
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    ProviderRoute::new(config.upstreams[0].provider.clone())
}

fn call(path: &'static str, is_stream: bool, body: &'static str) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    Call {
        request_id: "r".into(),
        upstream: UpstreamName::new("a").expect("a name"),
        model: ModelName::new("m:1/x").ok(),
        method: Method::POST,
        path: PathAndQuery::from_static(path),
        headers: Arc::new(headers),
        body: Bytes::from_static(body.as_bytes()).into(),
        stream: is_stream,
        deadline: tokio::time::Instant::now(),
        last_resort: false,
        allow_regions: Arc::default(),
        caller: Caller::default(),
    }
}

fn provided(route: &ProviderRoute, call: &Call) -> Result<ProvidedRequest, NotProvided> {
    let appended = || Some(PathAndQuery::from_static("/appended"));
    route.provide(call, None, appended)
}

const BODY: &str = r#"{"model":"m:1/x","max_tokens":1}"#;

#[test]
fn each_provider_takes_requests_at_its_own_path() {
    let azure = "provider: azure, base_url: 'https://h/openai/v1'";
    let rows = [
        (azure, "/v1/chat/completions", "/openai/v1/chat/completions"),
        (
            azure,
            "/v1/responses/r_1?stream=true",
            "/openai/v1/responses/r_1?stream=true",
        ),
        (
            azure,
            "/v1/messages?beta=true",
            "/anthropic/v1/messages?beta=true",
        ),
        (
            azure,
            "/v1/images/generations",
            "/openai/v1/images/generations",
        ),
        (
            "provider: azure, base_url: 'https://h', api_version: v",
            "/v1/chat/completions",
            "/openai/deployments/m%3A1%2Fx/chat/completions?api-version=v",
        ),
        (
            "provider: azure, base_url: 'https://h', api_version: v",
            "/v1/audio/speech",
            "/openai/deployments/m%3A1%2Fx/audio/speech?api-version=v",
        ),
        (
            "provider: azure, base_url: 'https://h', api_version: v",
            "/v1/messages",
            "",
        ),
        ("provider: anthropic", "/v1/messages", "/v1/messages"),
        ("provider: anthropic", "/v1/chat/completions", ""),
        ("provider: anthropic", "/v1/images/generations", ""),
        (
            "provider: bedrock, aws_region: r",
            "/v1/messages?beta=true",
            "/model/m%3A1%2Fx/invoke-with-response-stream",
        ),
        (
            "provider: bedrock, aws_region: r",
            "/model/ignored/converse-stream",
            "/model/m%3A1%2Fx/converse-stream",
        ),
        (
            "provider: bedrock, aws_region: r",
            "/v1/messages/count_tokens",
            "",
        ),
        (
            "provider: bedrock, aws_region: r",
            "/v1/messages/batches",
            "",
        ),
        ("provider: bedrock, aws_region: r", "/v1/embeddings", ""),
        (
            "provider: vertex, project: p, location: l",
            "/v1/messages",
            "/v1/projects/p/locations/l/publishers/anthropic/models/m%3A1%2Fx:streamRawPredict",
        ),
        (
            "provider: gemini",
            "/v1/chat/completions",
            "/v1beta/openai/chat/completions",
        ),
        (
            "provider: gemini",
            "/v1beta/models/g:streamGenerateContent?alt=sse",
            "/v1beta/models/m%3A1%2Fx:streamGenerateContent?alt=sse",
        ),
        (
            "provider: gemini",
            "/v1beta/models/g:countTokens",
            "/v1beta/models/m%3A1%2Fx:countTokens",
        ),
        ("provider: gemini", "/v1/responses", ""),
        (
            "provider: bedrock, aws_region: r",
            "/model/x/invoke-with-response-stream",
            "/model/m%3A1%2Fx/invoke-with-response-stream",
        ),
        (
            "provider: vertex, project: p, location: l",
            "/v1/projects/x/locations/y/publishers/anthropic/models/c:streamRawPredict",
            "/v1/projects/p/locations/l/publishers/anthropic/models/m%3A1%2Fx:streamRawPredict",
        ),
        (
            "provider: vllm, base_url: 'http://h/v1', paths: {chat: /c}",
            "/v1/chat/completions",
            "/v1/c",
        ),
        (
            "provider: vllm, base_url: 'http://h/v1', paths: {chat: /c}",
            "/v1/rerank",
            "/appended",
        ),
    ];
    for (about, path, expected) in rows {
        let found = provided(&route(about), &call(path, true, BODY));
        let found = found.map(|request| request.path.to_string());
        let expected = match expected {
            "" => Err(NotProvided::Path),
            path => Ok(path.to_owned()),
        };
        assert_eq!(found, expected, "{about} {path}");
    }
}

#[test]
fn messages_are_written_as_bedrock_takes_them() {
    let route = route("provider: bedrock, aws_region: r");
    let mut call = call(
        "/v1/messages",
        true,
        r#"{"model":"m","stream":true,"max_tokens":1}"#,
    );
    let headers = Arc::make_mut(&mut call.headers);
    headers.insert(ANTHROPIC_BETA, HeaderValue::from_static("x-1"));
    headers.insert("x-amz-date", HeaderValue::from_static("client"));
    let request = provided(&route, &call).expect("a request");
    assert_eq!(request.endpoint, ApiEndpoint::MessagesStream);
    let length = request.body.size_hint().exact();
    let sent = request.body.into_pieces().concat();
    assert_eq!(length, Some(sent.len() as u64));
    assert_eq!(
        String::from_utf8(sent).expect("text"),
        r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["x-1"],"max_tokens":1}"#
    );
    let names: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["content-type"]);
}

#[test]
fn version_of_anthropics_api_is_added_where_the_client_names_none() {
    let anthropic = route("provider: anthropic");
    let mut call = call("/v1/messages", false, BODY);
    let request = provided(&anthropic, &call).expect("a request");
    assert_eq!(request.headers[ANTHROPIC_VERSION], "2023-06-01");
    Arc::make_mut(&mut call.headers).insert(ANTHROPIC_VERSION, HeaderValue::from_static("own"));
    let request = provided(&anthropic, &call).expect("a request");
    assert_eq!(request.headers[ANTHROPIC_VERSION], "own");
}

#[test]
fn body_without_a_certain_model_is_nobodys_fault_and_not_sent() {
    let route = route("provider: bedrock, aws_region: r");
    let call = call("/v1/messages", false, r#"{"model":"a","model":"b"}"#);
    assert_eq!(provided(&route, &call).err(), Some(NotProvided::Body));
}

#[test]
fn headers_that_stand_for_the_operator_are_not_the_clients() {
    let names = |about: &str, name: &'static str| {
        let mut call = call("/v1/chat/completions", false, BODY);
        Arc::make_mut(&mut call.headers).insert(name, HeaderValue::from_static("client"));
        let request = provided(&route(about), &call).expect("a request");
        request.headers.contains_key(name)
    };
    let vertex = "provider: vertex, project: p";
    for (about, name, passes) in [
        ("provider: gemini", "x-goog-api-key", false),
        (vertex, "x-goog-user-project", false),
        (
            "provider: bedrock, aws_region: r",
            "x-amz-security-token",
            false,
        ),
        (vertex, "x-team", true),
    ] {
        assert_eq!(names(about, name), passes, "{name}");
    }
}

#[test]
fn path_of_vertex_names_the_publisher_once() {
    let mut call = call("/v1beta/models/g:generateContent", false, "{}");
    call.model = ModelName::new("google/gemini-3").ok();
    let vertex = route("provider: vertex, project: p, location: l");
    let request = vertex.provide(&call, None, || None).expect("a request");
    assert_eq!(
        request.path,
        "/v1/projects/p/locations/l/publishers/google/models/gemini-3:generateContent"
    );
}
