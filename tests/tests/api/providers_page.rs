//! The guide's configuration of one node with all providers, as it stands there, at strict mocks of them.

use std::path::Path;

use grapevine_tests::client::{Answer, http, try_post};
use grapevine_tests::mesh::merge;
use grapevine_tests::program::workspace;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::{Mesh, Mock, Node};
use serde_json::{Value, json};

use super::clouds::{Credential, PROVIDER_KEY};

/// The model that vLLM's mock has, and the node finds out about.
const OWN_MODEL: &str = "mock-7b";

/// An upstream of the page, and the mock in the place of its provider.
struct Placed {
    mock: Mock,
    upstream: Value,
}

/// The upstreams of the page's configuration.
fn of_the_page() -> Vec<Value> {
    let page = workspace().join("deploy/guide/src/providers.md");
    let page = std::fs::read_to_string(page).expect("the page exists");
    let (_, section) = page
        .split_once("## One node with all of them")
        .expect("the section");
    let (_, block) = section.split_once("```yaml\n").expect("a configuration");
    let (block, _) = block.split_once("```").expect("the end of the block");
    let config: Value = serde_saphyr::from_str(block).expect("YAML");
    config["upstreams"].as_array().expect("upstreams").clone()
}

/// `upstream` with what a reader has and a test has not: the provider's address, and the identity of the machine.
async fn placed(mut upstream: Value, folder: &Path) -> Placed {
    let provider = upstream["provider"].as_str().expect("named").to_owned();
    let credential = match provider.as_str() {
        "azure" => Some(Credential::Entra),
        "bedrock" => Some(Credential::Signature),
        "vertex" => Some(Credential::ServiceAccount),
        "vllm" => None,
        _ => Some(Credential::Key),
    };
    let models: Vec<&str> = match upstream["models"].as_array() {
        None => vec![OWN_MODEL],
        Some(models) => models.iter().map(upstream_name).collect(),
    };
    let account = folder.join(format!("{provider}.json"));
    let mut arguments = vec!["--provider".to_owned(), provider.clone()];
    arguments.extend(
        credential
            .map(|it| it.of_mock(&account))
            .unwrap_or_default(),
    );
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mock = Mock::start_with(&provider, &models, &arguments).await;
    let root = format!("http://{}", mock.address());
    let version = match provider.as_str() {
        "openai" | "vllm" => "/v1",
        _ => "",
    };
    let here = json!({"base_url": format!("{root}{version}")});
    match (credential, upstream["api_key"]["file"].as_str()) {
        (_, Some(file)) => {
            let file = folder.join(file);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("writable");
            std::fs::write(&file, PROVIDER_KEY).expect("writable");
            merge(&mut upstream, json!({"api_key": {"file": file}}));
        }
        (Some(credential), None) => {
            merge(&mut upstream, credential.settings(&root, &account));
            merge(&mut upstream, credential.location());
        }
        (None, None) => {}
    }
    merge(&mut upstream, here);
    Placed { mock, upstream }
}

/// What an entry of `models` is called at the provider.
fn upstream_name(model: &Value) -> &str {
    let name = model["upstream_name"].as_str().or(model["name"].as_str());
    name.or(model.as_str()).expect("a model has a name")
}

async fn ask(node: &Node, path: &str, model: &str) -> Answer {
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
    });
    if path == "/v1/messages" {
        body["max_tokens"] = json!(64);
    }
    let url = format!("{}{path}", node.public_url());
    try_post(&http(), &url, &body).await.expect("an answer")
}

/// Asks for `model` in both of the most common dialects, and expects the answer of `upstream`.
async fn expect_from(node: &Node, model: &str, upstream: &str) {
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let answer = ask(node, path, model).await;
        let shown = format!("{model} at {path}: {}", answer.text());
        assert_eq!(answer.status, 200, "{shown}");
        assert_eq!(answer.header("x-grapevine-upstream"), upstream, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_of_the_guide_serves_all_providers_and_moves_from_cloud_to_cloud() {
    let scratch = Scratch::new("providers-page");
    let mut all = Vec::new();
    for upstream in of_the_page() {
        all.push(placed(upstream, scratch.path()).await);
    }
    assert_eq!(all.len(), 7, "the page names each provider once");
    let mesh = Mesh::builder()
        .node("all", |node| {
            let upstreams = all.iter().map(|placed| placed.upstream.clone());
            upstreams.fold(node, |node, upstream| node.raw_upstream(upstream))
        })
        .start()
        .await;
    let node = &mesh["all"];
    for (model, upstream) in [
        ("gpt-5", "openai"),
        ("fast", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-pro", "gemini"),
        (OWN_MODEL, "vllm"),
    ] {
        expect_from(node, model, upstream).await;
    }
    for gone in ["openai", "anthropic", "gemini"] {
        let mut mocks = all.iter().map(|placed| &placed.mock);
        mocks
            .find(|mock| mock.name() == gone)
            .expect("there")
            .kill();
    }
    for (model, upstream) in [
        ("gpt-5", "azure"),
        ("claude-sonnet-4-5", "bedrock"),
        ("gemini-2.5-pro", "vertex"),
    ] {
        expect_from(node, model, upstream).await;
    }
}
