//! Deployments of clouds: their parameters, credentials and dialects are carried over, or it is said why not.

use grapevine_config::checked::{AuthConfig, EntraSource, Provider};
use grapevine_core::dialect::DialectSet;

use super::super::super::finding::Kind;
use super::{config, finding, imported, one};

#[test]
fn bedrock_is_signed_for_in_its_region() {
    let written = one(
        "model: bedrock/converse/eu.anthropic.claude-v1:0, aws_region_name: eu-central-1, \
         aws_access_key_id: os.environ/ID, aws_secret_access_key: literal-7f3a",
    );
    assert!(!written.config.contains("literal-7f3a"));
    let upstream = &config(&written).upstreams[0];
    assert_eq!(upstream.provider.provider, Provider::Bedrock);
    assert_eq!(
        upstream.provider.aws_region.as_deref(),
        Some("eu-central-1")
    );
    let own = "upstream_name: \"eu.anthropic.claude-v1:0\"";
    assert!(written.config.contains(own), "{}", written.config);
    let chain = one("model: bedrock/us-west-2/anthropic.claude-v1");
    assert_eq!(chain.findings, []);
    let upstream = &config(&chain).upstreams[0];
    assert_eq!(upstream.provider.aws_region.as_deref(), Some("us-west-2"));
    assert!(matches!(upstream.auth, AuthConfig::Aws(_)));
    let nowhere = one("model: bedrock/anthropic.claude-v1");
    assert_eq!(finding(&nowhere, "model_list[0]").0, Kind::Step);
    assert!(nowhere.config.contains("aws_region: ${AWS_REGION}"));
    let wrong = one("model: bedrock/x.y, aws_region_name: \"a/b\"");
    assert_eq!(finding(&wrong, "aws_region_name").0, Kind::Lost);
}

#[test]
fn keys_of_aws_are_carried_over_as_variables() {
    let keys = one(
        "model: bedrock/x.y, aws_region_name: us-east-1, aws_access_key_id: os.environ/ID, \
         aws_secret_access_key: literal-7f3a",
    );
    assert!(!keys.config.contains("literal-7f3a"));
    for line in [
        "      aws:\n",
        "        access_key_id: ${ID}\n",
        "        secret_access_key: ${BEDROCK_SECRET_ACCESS_KEY_1}\n",
    ] {
        assert!(keys.config.contains(line), "{}", keys.config);
    }
    assert!(matches!(
        config(&keys).upstreams[0].auth,
        AuthConfig::Aws(_)
    ));
    let bearer = one("model: bedrock/x.y, aws_region_name: us-east-1, api_key: os.environ/K");
    assert!(matches!(
        config(&bearer).upstreams[0].auth,
        AuthConfig::Key(_)
    ));
    let half =
        one("model: bedrock/x.y, aws_region_name: us-east-1, aws_access_key_id: os.environ/ID");
    assert_eq!(finding(&half, "aws_access_key_id").0, Kind::Lost);
    let step = one("model: bedrock/x.y, aws_region_name: us-east-1, aws_role_name: a");
    assert_eq!(finding(&step, "aws_role_name").0, Kind::Step);
}

#[test]
fn profiles_and_roles_with_a_web_identity_in_a_file_are_carried_over() {
    let with = |about: &str| {
        one(&format!(
            "model: bedrock/x.y, aws_region_name: us-east-1, {about}"
        ))
    };
    let profile = with("aws_profile_name: team");
    assert!(
        profile
            .config
            .contains("      aws:\n        profile: team\n"),
        "{}",
        profile.config
    );
    let role = with(
        "aws_role_name: \"arn:aws:iam::1:role/r\", aws_session_name: s, aws_profile_name: p, \
         aws_web_identity_token: oidc/file//var/run/token",
    );
    assert_eq!(finding(&role, "aws_session_name").0, Kind::Note);
    assert_eq!(finding(&role, "aws_profile_name").0, Kind::Lost);
    for written in [
        "role_arn: \"arn:aws:iam::1:role/r\"\n",
        "web_identity_token_file: \"/var/run/token\"\n",
    ] {
        assert!(role.config.contains(written), "{}", role.config);
    }
    let variable =
        with("aws_role_name: r, aws_web_identity_token: oidc/env_path/AWS_WEB_IDENTITY_TOKEN_FILE");
    let written = "web_identity_token_file: ${AWS_WEB_IDENTITY_TOKEN_FILE}";
    assert!(variable.config.contains(written), "{}", variable.config);
    let elsewhere = with("aws_role_name: r, aws_web_identity_token: oidc/google/audience");
    assert_eq!(finding(&elsewhere, "aws_web_identity_token").0, Kind::Step);
}

#[test]
fn vertex_is_asked_in_the_dialect_of_the_models_maker() {
    let with = |model: &str| {
        one(&format!(
            "model: {model}, vertex_project: os.environ/MY_PROJECT, vertex_location: europe-west1"
        ))
    };
    for (model, dialects) in [
        ("vertex_ai/gemini-2.5-pro", DialectSet::GEMINI),
        ("gemini-2.5-pro", DialectSet::GEMINI),
        ("vertex_ai/claude-sonnet-4-5@20250929", DialectSet::MESSAGES),
        ("vertex_ai/meta/llama-4-maas", DialectSet::CHAT),
    ] {
        let imported = with(model);
        assert_eq!(imported.findings, [], "{model}");
        let upstream = &config(&imported).upstreams[0];
        assert_eq!(upstream.provider.provider, Provider::Vertex);
        assert_eq!(upstream.provider.dialects, dialects, "{model}");
        assert_eq!(upstream.provider.project.as_deref(), Some("MY-PROJECT"));
        assert_eq!(upstream.provider.location.as_deref(), Some("europe-west1"));
        assert!(matches!(upstream.auth, AuthConfig::Google(_)));
    }
    for model in ["vertex_ai/mistral-large", "vertex_ai/1234567"] {
        let imported = with(model);
        assert!(imported.config.contains("upstreams: []"), "{model}");
        let (kind, text) = finding(&imported, "model_list[0]");
        assert!(
            kind == Kind::Lost && text.contains("is not served"),
            "{text}"
        );
    }
    let secret = "{\\\"private_key\\\": \\\"hunter2\\\"}";
    let file = one(&format!(
        "model: vertex_ai/gemini-3, vertex_project: p, vertex_location: global, vertex_credentials: \"{secret}\""
    ));
    assert_eq!(finding(&file, "vertex_credentials").0, Kind::Step);
    assert!(!file.config.contains("hunter2"), "{}", file.config);
    let written = one(
        "model: vertex_ai/gemini-3, vertex_project: p, vertex_location: global, vertex_credentials: /etc/key.json",
    );
    let file = "      google:\n        credentials_file: \"/etc/key.json\"\n";
    assert!(written.config.contains(file), "{}", written.config);
    let nowhere = one("model: vertex_ai/gemini-3");
    assert!(nowhere.config.contains("project: ${VERTEXAI_PROJECT}"));
    assert!(nowhere.config.contains("location: us-central1"));
}

#[test]
fn application_of_entra_is_carried_over() {
    let base = "api_base: https://r.openai.azure.com";
    let whole =
        "tenant_id: contoso.example, client_id: os.environ/APP, client_secret: os.environ/SECRET";
    let imported_whole = one(&format!(
        "model: azure/d, {base}, api_version: os.environ/MY_VERSION, {whole}"
    ));
    let upstream = &config(&imported_whole).upstreams[0];
    let AuthConfig::Entra(entra) = &upstream.auth else {
        panic!("{:?}", upstream.auth)
    };
    assert!(matches!(entra.source, EntraSource::ClientSecret { .. }));
    assert_eq!(upstream.provider.api_version.as_deref(), Some("MY-VERSION"));
    let half = one(&format!("model: azure/d, {base}, client_id: a"));
    assert_eq!(finding(&half, "client_id").0, Kind::Lost);
    assert!(half.config.contains("api_key: ${AZURE_API_KEY}"));
    let beside = one(&format!(
        "model: azure/d, {base}, api_key: os.environ/K, {whole}"
    ));
    assert_eq!(finding(&beside, "client_secret").0, Kind::Lost);
    let preview = one(&format!("model: azure/d, {base}, api_version: preview"));
    assert_eq!(config(&preview).upstreams[0].provider.api_version, None);
}

#[test]
fn providers_with_keys_are_named_without_a_word() {
    let all = imported(
        "model_list:\n\
         - {model_name: c, litellm_params: {model: anthropic/claude-4}}\n\
         - {model_name: g, litellm_params: {model: gemini/gemini-3, api_key: os.environ/K}}\n",
    );
    assert_eq!(all.findings, []);
    let upstreams = config(&all).upstreams;
    let named: Vec<_> = upstreams.iter().map(|one| one.provider.provider).collect();
    assert_eq!(named, [Provider::Anthropic, Provider::Gemini]);
    assert!(all.config.contains("api_key: ${ANTHROPIC_API_KEY}"));
}
