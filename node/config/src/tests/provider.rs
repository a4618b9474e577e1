//! Whose API an upstream has, and how the node authenticates there.

use super::*;
use crate::checked::{
    ApiEndpoint, AuthConfig, AwsSource, EntraSource, GoogleSource, IdentityEndpoint, UpstreamConfig,
};
use grapevine_core::dialect::Dialect;

/// What `about` says of an upstream, in a configuration that has no other problem.
fn file(about: &str) -> String {
    format!("listen: 127.0.0.1:8080\nupstreams:\n  - {{name: a, {about}}}\n")
}

fn with_variables(about: &str, variables: &[(&str, &str)]) -> Result<UpstreamConfig, Vec<String>> {
    let sources = Sources {
        environment: variables.iter().copied().collect(),
        ..Sources::default()
    };
    let loaded = load_text(&file(about), &sources);
    let loaded =
        loaded.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok(loaded.config.upstreams[0].clone())
}

fn upstream(about: &str) -> UpstreamConfig {
    with_variables(about, &[]).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The only problem of `about`, without where it is.
fn problem(about: &str) -> String {
    let problems = with_variables(about, &[]).expect_err("a problem");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let (_, problem) = problems[0].split_once("upstreams[0].").expect("a key");
    problem.to_owned()
}

fn path(upstream: &UpstreamConfig, endpoint: ApiEndpoint) -> Option<String> {
    let template = upstream.provider.paths.of(endpoint)?;
    let path = template.fill(Some("m:0"), "", None)?;
    Some(path.to_string())
}

#[test]
fn provider_that_is_not_written_is_openai_and_appends_paths() {
    let upstream = upstream("base_url: 'http://h/v1', api_key: k");
    assert!(upstream.provider.paths.are_plain());
    assert_eq!(upstream.auth, AuthConfig::key("k"));
    assert_eq!(
        problem("models: [m]"),
        "base_url: is missing; write base_url: and its value"
    );
}

#[test]
fn provider_with_one_host_needs_no_base_url() {
    let host = |about: &str| upstream(about).base_url.to_string();
    assert_eq!(host("provider: openai"), "https://api.openai.com/v1");
    assert_eq!(host("provider: anthropic"), "https://api.anthropic.com");
    assert_eq!(
        host("provider: gemini"),
        "https://generativelanguage.googleapis.com"
    );
    let bedrock = |region: &str| {
        host(&format!(
            "provider: bedrock, models: [m], aws_region: {region}"
        ))
    };
    assert_eq!(
        bedrock("eu-west-1"),
        "https://bedrock-runtime.eu-west-1.amazonaws.com"
    );
    assert_eq!(
        bedrock("cn-north-1"),
        "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"
    );
    let vertex = "provider: vertex, models: [m], project: p";
    assert_eq!(host(vertex), "https://aiplatform.googleapis.com");
    for (location, expected) in [
        (
            "europe-west1",
            "https://europe-west1-aiplatform.googleapis.com",
        ),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ] {
        assert_eq!(host(&format!("{vertex}, location: {location}")), expected);
    }
    for provider in ["azure", "vllm", "sglang", "llamacpp", "ollama"] {
        let problem = problem(&format!("provider: {provider}, models: [m]"));
        assert_eq!(
            problem, "base_url: is missing; write base_url: and its value",
            "{provider}"
        );
    }
}

#[test]
fn base_url_of_a_call_loses_what_the_paths_hold() {
    for (provider, url, left) in [
        (
            "azure",
            "https://r.openai.azure.com/openai/v1/",
            "https://r.openai.azure.com",
        ),
        (
            "azure",
            "https://proxy.example/azure/openai",
            "https://proxy.example/azure",
        ),
        (
            "anthropic",
            "https://api.anthropic.com/v1",
            "https://api.anthropic.com",
        ),
        (
            "gemini",
            "https://h.example/v1beta/openai",
            "https://h.example",
        ),
    ] {
        let upstream = upstream(&format!(
            "provider: {provider}, models: [m], base_url: '{url}'"
        ));
        assert_eq!(upstream.base_url.to_string(), left);
    }
}

#[test]
fn each_provider_has_its_paths() {
    let azure = "provider: azure, models: [m], base_url: 'https://r.openai.azure.com'";
    let v1 = upstream(azure);
    let dated = upstream(&format!("{azure}, api_version: 2024-10-21"));
    let bedrock = upstream("provider: bedrock, aws_region: us-east-1, models: [m]");
    let vertex = upstream("provider: vertex, project: p, location: us-east5, models: [m]");
    let gemini = upstream("provider: gemini");
    let anthropic = upstream("provider: anthropic");
    let publishers = "/v1/projects/p/locations/us-east5/publishers";
    let claude = format!("{publishers}/anthropic/models/m%3A0");
    let rows = [
        (&v1, ApiEndpoint::Chat, "/openai/v1/chat/completions"),
        (&v1, ApiEndpoint::Responses, "/openai/v1/responses"),
        (&v1, ApiEndpoint::MessagesStream, "/anthropic/v1/messages"),
        (&v1, ApiEndpoint::Models, "/openai/v1/models"),
        (
            &dated,
            ApiEndpoint::Chat,
            "/openai/deployments/m%3A0/chat/completions?api-version=2024-10-21",
        ),
        (
            &dated,
            ApiEndpoint::Responses,
            "/openai/responses?api-version=2024-10-21",
        ),
        (&dated, ApiEndpoint::Messages, ""),
        (&anthropic, ApiEndpoint::Messages, "/v1/messages"),
        (
            &anthropic,
            ApiEndpoint::CountTokens,
            "/v1/messages/count_tokens",
        ),
        (&anthropic, ApiEndpoint::Chat, ""),
        (&bedrock, ApiEndpoint::Chat, "/openai/v1/chat/completions"),
        (&bedrock, ApiEndpoint::Messages, "/model/m%3A0/invoke"),
        (
            &bedrock,
            ApiEndpoint::MessagesStream,
            "/model/m%3A0/invoke-with-response-stream",
        ),
        (&bedrock, ApiEndpoint::Converse, "/model/m%3A0/converse"),
        (
            &bedrock,
            ApiEndpoint::ConverseStream,
            "/model/m%3A0/converse-stream",
        ),
        (&bedrock, ApiEndpoint::CountTokens, ""),
        (&bedrock, ApiEndpoint::Models, ""),
        (
            &vertex,
            ApiEndpoint::Chat,
            "/v1/projects/p/locations/us-east5/endpoints/openapi/chat/completions",
        ),
        (
            &vertex,
            ApiEndpoint::Messages,
            &format!("{claude}:rawPredict"),
        ),
        (
            &vertex,
            ApiEndpoint::MessagesStream,
            &format!("{claude}:streamRawPredict"),
        ),
        (
            &vertex,
            ApiEndpoint::CountTokens,
            &format!("{publishers}/anthropic/models/count-tokens:rawPredict"),
        ),
        (
            &vertex,
            ApiEndpoint::GenerateContentStream,
            &format!("{publishers}/google/models/m%3A0:streamGenerateContent?alt=sse"),
        ),
        (&vertex, ApiEndpoint::Responses, ""),
        (
            &gemini,
            ApiEndpoint::Chat,
            "/v1beta/openai/chat/completions",
        ),
        (
            &gemini,
            ApiEndpoint::GenerateContent,
            "/v1beta/models/m%3A0:generateContent",
        ),
        (&gemini, ApiEndpoint::Models, "/v1beta/models?pageSize=1000"),
        (&gemini, ApiEndpoint::Messages, ""),
    ];
    for (upstream, endpoint, expected) in rows {
        let expected = (!expected.is_empty()).then(|| expected.to_owned());
        let name = upstream.provider.provider;
        assert_eq!(path(upstream, endpoint), expected, "{name:?} {endpoint:?}");
    }
}

#[test]
fn written_path_replaces_the_providers() {
    let azure = "provider: azure, models: [m], base_url: 'https://h/proxy'";
    let upstream = upstream(&format!(
        "{azure}, api_version: v, paths: {{chat: '/c/{{model}}?v={{api_version}}', responses: /r}}"
    ));
    assert_eq!(
        path(&upstream, ApiEndpoint::Chat).as_deref(),
        Some("/proxy/c/m%3A0?v=v")
    );
    let responses = upstream.provider.paths.of(ApiEndpoint::Responses);
    let below = responses.and_then(|template| template.fill(None, "/resp_1", None));
    assert_eq!(
        below.map(|path| path.to_string()).as_deref(),
        Some("/proxy/r/resp_1")
    );
    assert_eq!(
        problem("base_url: 'http://h', paths: {chat: 'c'}"),
        "paths.chat: c must begin with a slash; write a path such as /v1/chat/completions"
    );
}

#[test]
fn dialects_are_the_providers_unless_written() {
    let words = |about: &str| {
        upstream(about)
            .provider
            .dialects
            .iter()
            .map(Dialect::name)
            .collect::<Vec<_>>()
    };
    assert_eq!(words("provider: gemini"), ["chat", "gemini"]);
    let bedrock = "provider: bedrock, aws_region: r, models: [m]";
    assert_eq!(
        words(bedrock),
        ["chat", "responses", "messages", "converse"]
    );
    assert_eq!(
        words("provider: openai, dialects: [messages]"),
        ["messages"]
    );
    assert!(
        upstream("provider: anthropic")
            .provider
            .dialects
            .contains(Dialect::Messages)
    );
}

#[test]
fn what_only_some_providers_have_is_refused_elsewhere() {
    let elsewhere = "has no meaning for this provider; remove it, or set provider: azure for api_version, bedrock \
                     for aws_region, vertex for project and location";
    for key in ["api_version", "aws_region", "project", "location"] {
        let about = format!("base_url: 'http://h', {key}: x");
        assert_eq!(problem(&about), format!("{key}: {elsewhere}"));
    }
    assert_eq!(
        problem("provider: bedrock, models: [m], aws_region: a.b/c"),
        "aws_region: a.b/c holds other signs than it may; write letters, digits and '-', as the provider does"
    );
}

#[test]
fn provider_without_a_list_of_models_needs_them_and_is_not_probed_by_it() {
    let bedrock = "provider: bedrock, aws_region: r";
    assert_eq!(
        problem(bedrock),
        "models: is missing, and bedrock has no list to discover them from; list the models (of azure \
         the deployments), or write [\"*\"] for any"
    );
    assert_eq!(
        problem(&format!(
            "{bedrock}, models: [m], health: {{probe: models}}"
        )),
        "health.probe: needs what bedrock does not have: list of models; use another probe or off, or set paths.models"
    );
    assert_eq!(
        problem("provider: anthropic, health: {probe: chat}"),
        "health.probe: needs what anthropic does not have: chat completions; use another probe or off, or set paths.chat"
    );
    assert_eq!(
        problem(&format!(
            "{bedrock}, models: ['*'], health: {{probe: chat}}"
        )),
        "models: names no model that a chat probe can ask for; list one beside \"*\", or set health.probe: off"
    );
    let probe = |about: &str| upstream(about).probe.kind;
    assert_eq!(
        probe(&format!("{bedrock}, models: [m]")),
        grapevine_core::engine::Probe::Off
    );
    assert_eq!(
        probe("provider: gemini"),
        grapevine_core::engine::Probe::Models
    );
}

#[test]
fn bedrock_needs_a_region_and_vertex_a_project() {
    assert_eq!(
        problem("provider: bedrock, models: [m]"),
        "aws_region: is missing for bedrock; write aws_region: us-east-1, or set AWS_REGION"
    );
    assert_eq!(
        problem("provider: vertex, models: [m]"),
        "project: is missing for vertex; write project: and its id, or set GOOGLE_CLOUD_PROJECT"
    );
    let about = "provider: bedrock, models: [m]";
    let upstream = with_variables(about, &[("AWS_REGION", "eu-west-1")]).expect("a region");
    assert_eq!(upstream.provider.aws_region.as_deref(), Some("eu-west-1"));
}

#[test]
fn one_way_to_authenticate_and_one_that_the_provider_takes() {
    let azure = "provider: azure, models: [m], base_url: 'https://h'";
    for (about, expected) in [
        (
            format!("{azure}, api_key: k, auth: entra"),
            "api_key: is a second credential beside auth; remove one of them",
        ),
        (
            format!("{azure}, auth: bearer"),
            "auth: needs api_key, which is missing; write api_key: ${NAME}, or api_key: {file: PATH}",
        ),
        (
            format!("{azure}, auth: {{}}"),
            "auth: names no way to authenticate; write one of header, entra, aws and google",
        ),
        (
            format!("{azure}, auth: {{entra: {{}}, aws: {{}}}}"),
            "auth: names several ways to authenticate; write one of header, entra, aws and google",
        ),
        (
            "provider: openai, auth: aws".to_owned(),
            "auth: is aws, which openai does not take; use api_key, or set provider: bedrock",
        ),
        (
            format!("{azure}, auth: {{entra: {{client_secret: s, federated_token_file: f}}}}"),
            "auth.entra.federated_token_file: is a second credential beside client_secret; remove one of them",
        ),
        (
            "provider: bedrock, aws_region: r, models: [m], auth: {aws: {profile: x, imds_url: 'http://h'}}".to_owned(),
            "auth.aws.imds_url: is a second credential beside profile; remove one of them",
        ),
        (
            "provider: bedrock, aws_region: r, models: [m], auth: {aws: {access_key_id: x}}".to_owned(),
            "auth.aws.secret_access_key: is missing; write access_key_id and secret_access_key, such as \
             ${AWS_SECRET_ACCESS_KEY}",
        ),
        (
            format!("{azure}, api_key: k, auth: {{header: host}}"),
            "auth.header: is set by the node itself; name another header",
        ),
    ] {
        assert_eq!(problem(&about), expected, "{about}");
    }
}

#[test]
fn entra_takes_the_first_identity_that_there_is() {
    let azure = "provider: azure, models: [m], base_url: 'https://h', auth: entra";
    let source = |variables: &[(&str, &str)]| {
        let upstream = with_variables(azure, variables).expect("an identity");
        match upstream.auth {
            AuthConfig::Entra(entra) => entra.source,
            other => panic!("{other:?}"),
        }
    };
    let (tenant, client) = (("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"));
    let federated = ("AZURE_FEDERATED_TOKEN_FILE", "/var/token");
    match source(&[tenant, client, federated]) {
        EntraSource::FederatedToken { token_url, .. } => assert_eq!(
            token_url.to_string(),
            "https://login.microsoftonline.com/t/oauth2/v2.0/token"
        ),
        other => panic!("{other:?}"),
    }
    let secret = source(&[tenant, client, federated, ("AZURE_CLIENT_SECRET", "s")]);
    assert!(matches!(secret, EntraSource::ClientSecret { .. }));
    let app = source(&[
        ("IDENTITY_ENDPOINT", "http://127.0.0.1/msi"),
        ("IDENTITY_HEADER", "h"),
    ]);
    assert!(matches!(
        app,
        EntraSource::ManagedIdentity {
            endpoint: IdentityEndpoint::AppService { .. },
            client_id: None
        }
    ));
    assert!(matches!(
        source(&[client]),
        EntraSource::ManagedIdentity {
            endpoint: IdentityEndpoint::Imds(_),
            client_id: Some(_)
        }
    ));
}

#[test]
fn chain_of_aws_is_in_the_order_of_its_sdk() {
    let about = "provider: bedrock, aws_region: r, models: [m]";
    let variables = [
        ("AWS_ACCESS_KEY_ID", "i"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("HOME", "/home/node"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/node"),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "/v2/credentials/1",
        ),
    ];
    let upstream = with_variables(about, &variables).expect("a chain");
    let AuthConfig::Aws(aws) = upstream.auth else {
        panic!("not aws")
    };
    assert_eq!((aws.service.as_str(), aws.sources.len()), ("bedrock", 5));
    assert!(matches!(aws.sources[0], AwsSource::Keys(_)));
    assert!(matches!(&aws.sources[1], AwsSource::Profile { file, name }
        if file.ends_with(".aws/credentials") && name == "default"));
    assert!(
        matches!(&aws.sources[2], AwsSource::WebIdentity { sts_url, .. }
        if sts_url.to_string() == "https://sts.r.amazonaws.com")
    );
    assert!(matches!(&aws.sources[3], AwsSource::Container { url, .. }
        if url.to_string() == "http://169.254.170.2/v2/credentials/1"));
    assert!(matches!(aws.sources[4], AwsSource::Instance(_)));
}

#[test]
fn secret_in_a_file_is_read_without_its_line_break_and_watched() {
    let folder = Folder::new("secret-file");
    let path = folder.write("key", "sk-1\n");
    let yaml = file(&format!(
        "base_url: 'http://h/v1', api_key: {{file: '{}'}}",
        path.display()
    ));
    let config = good(&yaml);
    let AuthConfig::Key(key) = &config.upstreams[0].auth else {
        panic!("no key")
    };
    assert_eq!(key.secret.expose(), "sk-1");
    assert!(files(&Sources::default(), &config).contains(&path));
    assert_eq!(
        config.dump()["upstreams"][0]["api_key"]["file"],
        path.display().to_string()
    );
    folder.write("key", "sk-2\r\n");
    assert_ne!(good(&yaml).upstreams[0].auth, config.upstreams[0].auth);
}

#[test]
fn secret_file_that_is_missing_is_a_problem_with_its_path() {
    let problem = problem("base_url: 'http://h/v1', api_key: {file: /nonexistent/key}");
    assert!(
        problem.starts_with("api_key.file: /nonexistent/key cannot be read: "),
        "{problem}"
    );
}

#[test]
fn service_account_is_read_from_its_file_and_never_shown() {
    let folder = Folder::new("service-account");
    let content = r#"{"type":"service_account","client_email":"e","private_key":"PRIVATE","token_uri":"https://t/x"}"#;
    let path = folder.write("account.json", content);
    let about = format!(
        "provider: vertex, project: p, models: [m], auth: {{google: {{credentials_file: '{}'}}}}",
        path.display()
    );
    let config = good(&file(&about));
    let AuthConfig::Google(google) = &config.upstreams[0].auth else {
        panic!("not google")
    };
    let GoogleSource::ServiceAccount(account) = &google.source else {
        panic!("no service account")
    };
    assert_eq!(account.token_url.to_string(), "https://t/x");
    assert!(!format!("{config:?}{}", config.dump_yaml()).contains("PRIVATE"));
    folder.write("account.json", r#"{"type":"authorized_user"}"#);
    let problem = problem(&about);
    assert!(
        problem.ends_with("a service account that this user may read"),
        "{problem}"
    );
}

#[test]
fn dump_shows_no_secret_and_can_be_read_again() {
    for about in [
        "base_url: 'http://h/v1', api_key: SECRET, auth: bearer, paths: {chat: /c}",
        "base_url: 'http://h/v1', api_key: SECRET, auth: {header: x-key}",
        "provider: azure, models: [m], base_url: 'https://h', api_version: v, auth: {entra: {tenant_id: t, client_id: c, \
         client_secret: SECRET}}",
        "provider: bedrock, aws_region: r, models: [m], auth: {aws: {access_key_id: SECRET, secret_access_key: \
         SECRET, session_token: SECRET}}",
        "provider: bedrock, aws_region: r, models: [m], auth: {aws: {container_url: 'http://h', container_token: \
         SECRET}}",
        "provider: vertex, project: p, models: [m], auth: google",
    ] {
        let config = good(&file(about));
        let dump = config.dump_yaml();
        assert!(
            !dump.contains("SECRET") && !format!("{config:?}").contains("SECRET"),
            "{dump}"
        );
        let again = good(&dump);
        assert_eq!(
            again.upstreams[0].provider, config.upstreams[0].provider,
            "{dump}"
        );
        assert_eq!(
            again.upstreams[0].auth.as_str(),
            config.upstreams[0].auth.as_str()
        );
    }
}

#[test]
fn endpoint_that_is_asked_without_encryption_is_warned_of() {
    let about = |url: &str| {
        let entra = format!("{{client_id: c, client_secret: s, token_url: '{url}'}}");
        let azure = "provider: azure, models: [m], base_url: 'https://h'";
        warnings(&file(&format!("{azure}, auth: {{entra: {entra}}}")))
    };
    let warned = about("http://login.example/token");
    assert!(
        warned.len() == 1
            && warned[0].ends_with(
                "upstreams[0].auth.entra.token_url: http://login.example/token is asked for credentials without \
                 encryption; write https://, unless the way there is safe"
            ),
        "{warned:?}"
    );
    for url in [
        "https://login.example/token",
        "http://127.0.0.1:1/token",
        "http://[fd00:ec2::254]",
    ] {
        assert_eq!(about(url), [""; 0], "{url}");
    }
}

#[test]
fn url_of_a_server_without_its_path_is_warned_of() {
    let about = |url: &str| warnings(&file(&format!("provider: vllm, base_url: '{url}'")));
    assert_eq!(
        about("http://10.0.0.7:8000"),
        [
            "3:41: upstreams[0].base_url: http://10.0.0.7:8000 lacks the path of this provider's API, /v1; set it to \
             http://10.0.0.7:8000/v1"
        ]
    );
    assert_eq!(about("http://10.0.0.7:8000/v1"), [""; 0]);
}

#[test]
fn url_of_a_call_is_no_host() {
    for (provider, url) in [
        ("azure", "https://h/openai/deployments/m/chat/completions"),
        ("azure", "https://h/openai/deployments/m"),
        ("anthropic", "https://api.anthropic.com/v1/messages"),
    ] {
        let problem = problem(&format!(
            "provider: {provider}, models: [m], api_key: k, base_url: '{url}'"
        ));
        let expected = format!(
            "base_url: {url} is the URL of a call; write the URL of its host, such as https://NAME.openai.azure.com"
        );
        assert_eq!(problem, expected);
    }
}

#[test]
fn losses_are_permitted_for_all_upstreams_or_for_one() {
    let text = "listen: 127.0.0.1:1\nrouting: {lossy: [top_k, tools.web_search]}\nupstreams:\n  \
                - {name: a, base_url: http://h/v1}\n  - {name: b, base_url: http://h/v1, lossy: allow}\n  \
                - {name: c, base_url: http://h/v1, lossy: refuse}\n";
    let config = good(text);
    let shown: Vec<_> = config.dump()["upstreams"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|upstream| upstream["lossy"].to_string())
        .collect();
    assert_eq!(
        shown,
        [r#"["top_k","tools.web_search"]"#, "\"allow\"", "\"refuse\""]
    );
    let form = "write the path as x-grapevine-lost names it, without indexes, such as top_k or tools.web_search";
    for (written, problem) in [
        ("[]", "is empty; write refuse, or list paths".to_owned()),
        (
            "[\"tools[0]\"]",
            format!(
                "tools[0] is not a path of names with dots between them, at most 128 bytes long; {form}"
            ),
        ),
        (
            "some",
            "some is not known here; use allow, refuse".to_owned(),
        ),
    ] {
        let found = problems(&format!("routing: {{lossy: {written}}}\n"));
        assert_eq!(found.len(), 1, "{written}: {found:?}");
        assert!(found[0].ends_with(&problem), "{written}: {}", found[0]);
    }
}

#[test]
fn engines_are_asked_how_they_are_and_others_cannot_be() {
    let probe = |about: &str| {
        let config = good(&format!(
            "listen: 127.0.0.1:1\nupstreams: [{{name: a, models: [m], {about}}}]\n"
        ));
        config.dump()["upstreams"][0]["health"]["probe"].clone()
    };
    for provider in ["vllm", "sglang", "llamacpp"] {
        assert_eq!(
            probe(&format!("provider: {provider}, base_url: http://h/v1")),
            "health"
        );
    }
    assert_eq!(probe("provider: ollama, base_url: http://h/v1"), "models");
    assert_eq!(
        probe("base_url: http://h/v1, health: {probe: health}"),
        "health"
    );
    assert_eq!(
        probe("provider: vllm, base_url: http://h/v1, health: {probe: models}"),
        "models"
    );
    let found = problems(
        "upstreams: [{name: a, provider: anthropic, models: [m], health: {probe: health}}]\n",
    );
    assert!(
        found[0].ends_with(
            "health.probe: needs a page that anthropic does not have; use models, chat or off"
        ),
        "{found:?}"
    );
}

#[test]
fn models_may_say_how_much_they_read() {
    let model = |about: &str| {
        format!(
            "listen: 127.0.0.1:1\nupstreams: [{{name: a, base_url: http://h/v1, models: [{about}]}}]\n"
        )
    };
    let config = good(&model("{name: m, context_length: 128k}, n"));
    assert_eq!(
        config.dump()["upstreams"][0]["models"],
        serde_json::json!([
            {"name": "m", "context_length": 128_000},
            "n"
        ])
    );
    let found = problems(&model("{name: m, context_length: 0}"));
    assert_eq!(found.len(), 1, "{found:?}");
    let problem = "context_length: 0 must be from 1 to 1000000000; write the model's context in tokens, such as 128k";
    assert!(found[0].ends_with(problem), "{}", found[0]);
}

#[test]
fn openais_own_host_takes_websockets_and_others_where_that_is_written() {
    let takes = |about: &str| upstream(about).websocket;
    assert!(takes("provider: openai"));
    assert!(takes("base_url: 'https://API.openai.com/v1'"));
    assert!(!takes("provider: openai, websocket: false"));
    assert!(!takes("base_url: 'http://h/v1', provider: openai"));
    assert!(takes("base_url: 'http://h/v1', websocket: true"));
    assert!(!takes("provider: anthropic"));
    assert_eq!(
        problem("base_url: 'http://h/v1', websocket: perhaps"),
        "websocket: perhaps is neither true nor false; write true or false"
    );
}

#[test]
fn load_is_read_from_engines_that_report_it_and_elsewhere_where_that_is_written() {
    let load = |about: &str| upstream(about).load;
    let interval = |about: &str| load(about).map(|load| load.interval.as_millis());
    for engine in ["vllm", "sglang", "llamacpp"] {
        let about = format!("provider: {engine}, base_url: 'http://h/v1'");
        assert_eq!(interval(&about), Some(1_000));
        assert_eq!(load(&format!("{about}, load: off")), None);
    }
    for other in ["openai", "ollama"] {
        let about = format!("provider: {other}, base_url: 'http://h/v1'");
        assert_eq!(load(&about), None);
        // TGI, say.
        assert_eq!(interval(&format!("{about}, load: {{}}")), Some(1_000));
    }
    let written = load("base_url: 'http://h/v1', load: {path: '/m?x=1', interval: 250ms}");
    let written = written.expect("it is read");
    assert_eq!(written.path.expect("a path").as_str(), "/m?x=1");
    assert_eq!(written.interval.as_millis(), 250);
}

#[test]
fn load_that_cannot_be_read_is_refused_with_its_key() {
    for (about, expected) in [
        (
            "provider: anthropic, load: {}",
            "load: is read from a page that anthropic does not have; write off, or remove the key",
        ),
        (
            "base_url: 'http://h/v1', load: {path: metrics}",
            "load.path: metrics is not the path of a page; write a path from the server's root, such as /metrics",
        ),
        (
            "base_url: 'http://h/v1', load: {interval: 10ms}",
            "load.interval: 10ms must be from 100ms to 1m",
        ),
        (
            "base_url: 'http://h/v1', load: on",
            "load: on is not known here; use off",
        ),
    ] {
        let problem = problem(about);
        assert!(problem.contains(expected), "{problem}");
    }
}
