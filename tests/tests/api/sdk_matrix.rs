//! Every official SDK at upstreams of every dialect and of every provider, one hop away: what works, and what is
//! refused by design.
//!
//! Upstreams by dialect are scripts, which look at what arrives; those by provider are strict mocks, with the
//! credentials of the provider. The results are tables, compared with `tests/clients/matrix.md` and
//! `tests/clients/providers.md`, which the guide shows. After a change on purpose, the files and the guide's page are
//! written anew with `GRAPEVINE_BLESS=1`.

use std::path::{Path, PathBuf};

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::mesh::merge;
use grapevine_tests::program::workspace;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::script::{Upstream, run_client};
use grapevine_tests::{Mesh, Mock};
use serde_json::{Value, json};

use super::clouds::Credential;

/// The key of the SDKs, wherever each of them sends it.
const KEY: &str = "sk-any";

/// An upstream of each dialect. To have another one, add a line: what serves its texts and faults is either
/// `grapevine mock` or the script, and the script serves what calls tools.
const DIALECTS: [DialectKind; 5] = [
    DialectKind {
        dialect: "chat",
        model: "chat",
        version: "/v1",
        provider: "openai",
        server: Server::Mock,
    },
    DialectKind {
        dialect: "responses",
        model: "responses",
        version: "/v1",
        provider: "openai",
        server: Server::Mock,
    },
    DialectKind {
        dialect: "messages",
        model: "messages",
        version: "/v1",
        provider: "anthropic",
        server: Server::Mock,
    },
    DialectKind {
        dialect: "gemini",
        model: "gemini",
        version: "/v1beta",
        provider: "gemini",
        server: Server::Script,
    },
    // Thought is asked for by the name of the model's maker.
    DialectKind {
        dialect: "converse",
        model: "claude-converse",
        version: "",
        provider: "bedrock",
        server: Server::Script,
    },
];

struct DialectKind {
    dialect: &'static str,
    model: &'static str,
    /// What the API's paths begin with.
    version: &'static str,
    /// As in a node's config.
    provider: &'static str,
    server: Server,
}

enum Server {
    Mock,
    Script,
}

/// An upstream of each provider, by its strict mock. To have another one, add a line.
const PROVIDERS: [ProviderKind; 8] = [
    ProviderKind {
        column: "openai",
        provider: "openai",
        model: "gpt-mock",
        dialects: &["chat", "responses"],
        // Chat completions do not show what they ask for.
        shows_thought: Some(&["responses"]),
        credential: Credential::Key,
    },
    ProviderKind {
        column: "azure",
        provider: "azure",
        model: "azure-mock",
        dialects: &["chat", "responses", "messages"],
        shows_thought: Some(&["responses", "messages", "converse"]),
        credential: Credential::Entra,
    },
    ProviderKind {
        column: "anthropic",
        provider: "anthropic",
        model: "claude-mock",
        dialects: &["messages"],
        shows_thought: None,
        credential: Credential::Key,
    },
    ProviderKind {
        column: "bedrock (Claude)",
        provider: "bedrock",
        model: "anthropic.claude-mock-v1:0",
        dialects: &["messages", "converse"],
        shows_thought: None,
        credential: Credential::Signature,
    },
    ProviderKind {
        column: "vertex (Claude)",
        provider: "vertex",
        model: "claude-vertex-mock",
        dialects: &["messages"],
        shows_thought: None,
        credential: Credential::ServiceAccount,
    },
    ProviderKind {
        column: "vertex (Gemini)",
        provider: "vertex",
        model: "gemini-vertex-mock",
        dialects: &["chat", "gemini"],
        shows_thought: Some(&["responses", "messages", "gemini", "converse"]),
        credential: Credential::ServiceAccount,
    },
    ProviderKind {
        column: "gemini",
        provider: "gemini",
        model: "gemini-mock",
        dialects: &["chat", "gemini"],
        shows_thought: Some(&["responses", "messages", "gemini", "converse"]),
        credential: Credential::Key,
    },
    ProviderKind {
        column: "vllm",
        provider: "vllm",
        model: "mock-7b",
        dialects: &["chat", "responses", "messages"],
        shows_thought: None,
        credential: Credential::Key,
    },
];

struct ProviderKind {
    column: &'static str,
    /// Of the mock, and as in a node's config.
    provider: &'static str,
    model: &'static str,
    /// What the provider's upstream reads by itself.
    dialects: &'static [&'static str],
    /// The APIs whose clients see its thought; `None` is all of them.
    shows_thought: Option<&'static [&'static str]>,
    credential: Credential,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_works_at_every_dialect_as_the_matrix_says() {
    let script = Upstream::dialects().await;
    let mut mocks = Vec::new();
    let mut upstreams = Vec::new();
    let mut kinds = Vec::new();
    for kind in &DIALECTS {
        let scripted = format!("{}/{}", script.root_url(), kind.dialect);
        let (root, skilled) = match kind.server {
            Server::Mock => {
                let mock = Mock::start(kind.model, &[kind.model]).await;
                let root = format!("http://{}", mock.address());
                mocks.push(mock);
                let skilled = format!("{}-skilled", kind.model);
                upstreams.push(kind.upstream(&skilled, &scripted));
                (root, skilled)
            }
            Server::Script => (scripted, kind.model.to_string()),
        };
        upstreams.push(kind.upstream(kind.model, &root));
        // Chat completions ask for the effort alone, and responses show nothing that was not asked for.
        let others = ["responses", "messages", "gemini", "converse"];
        let shows_thought = (kind.dialect == "responses").then_some(others);
        kinds.push(json!({
            "column": format!("`{}`", kind.dialect),
            "dialects": [kind.dialect],
            "control": root,
            "model": kind.model,
            "skills": skilled,
            "shows_thought": shows_thought,
        }));
    }
    expect_matrix("matrix.md", upstreams, &kinds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_works_at_every_provider_as_the_matrix_says() {
    let scratch = Scratch::new("sdk-matrix");
    let mut mocks = Vec::new();
    let mut upstreams = Vec::new();
    let mut kinds = Vec::new();
    for kind in &PROVIDERS {
        let (mock, upstream) = kind.start(scratch.path()).await;
        kinds.push(json!({
            "column": kind.column,
            "dialects": kind.dialects,
            "control": format!("http://{}", mock.address()),
            "model": kind.model,
            "skills": kind.model,
            "name": mock.name(),
            "shows_thought": kind.shows_thought,
        }));
        mocks.push(mock);
        upstreams.push(upstream);
    }
    expect_matrix("providers.md", upstreams, &kinds).await;
}

/// Runs all SDKs against a node without upstreams, which demands a key, beside one with `upstreams`.
async fn expect_matrix(file: &str, upstreams: Vec<Value>, kinds: &[Value]) {
    let keys = json!([{"name": "sdk", "hash": KeyHash::of(KEY).to_string()}]);
    let mesh = Mesh::builder()
        .node("near", |node| node.config("keys", keys))
        .node("far", |node| {
            upstreams
                .into_iter()
                .fold(node, |node, upstream| node.raw_upstream(upstream))
        })
        .start()
        .await;
    let kinds = kinds.iter().map(Value::to_string);
    let arguments: Vec<String> = [mesh["near"].public_url()]
        .into_iter()
        .chain(kinds)
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let printed = run_client("sdk_matrix.py", &arguments).await;
    let expected_at = matrix_path(file);
    if std::env::var_os("GRAPEVINE_BLESS").is_some() {
        std::fs::write(&expected_at, &printed).expect("the folder of the clients can be written");
    }
    let expected = std::fs::read_to_string(&expected_at).expect("the file exists");
    assert_eq!(printed, expected, "not as {} says", expected_at.display());
}

#[test]
fn the_guide_shows_the_matrices_as_they_are_tested() {
    let page = workspace().join("deploy/guide/src/sdk-matrix.md");
    let read = |path: &Path| std::fs::read_to_string(path).expect("the file exists");
    let mut shown = read(&page);
    for file in ["matrix.md", "providers.md"] {
        let matrix = read(&matrix_path(file));
        if std::env::var_os("GRAPEVINE_BLESS").is_some() {
            shown = with_table(&shown, file, &matrix);
            std::fs::write(&page, &shown).expect("the guide can be written");
        }
        assert!(
            shown.contains(&matrix),
            "copy tests/clients/{file} to the guide, or run this test with GRAPEVINE_BLESS=1"
        );
    }
}

/// The page with `matrix` between the comments that name its file.
fn with_table(page: &str, file: &str, matrix: &str) -> String {
    let (begin, end) = (
        format!("<!-- {file} -->\n"),
        format!("<!-- end of {file} -->"),
    );
    let (before, rest) = page
        .split_once(&begin)
        .expect("the comment before the table");
    let (_, after) = rest.split_once(&end).expect("the comment after the table");
    format!("{before}{begin}\n{matrix}\n{end}{after}")
}

impl DialectKind {
    fn upstream(&self, name: &str, root: &str) -> Value {
        json!({
            "name": name,
            "provider": self.provider,
            "dialects": [self.dialect],
            "base_url": format!("{root}{}", self.version),
            "aws_region": if self.provider == "bedrock" { json!("us-east-1") } else { Value::Null },
            "api_key": "sk-upstream",
            "models": [name],
            "health": tolerant(),
        })
    }
}

impl ProviderKind {
    /// The model's name at the provider. Vertex AI's has its publisher before it, but for those of Anthropic.
    fn upstream_name(&self) -> String {
        match self.dialects {
            ["chat", "gemini"] if self.provider == "vertex" => format!("google/{}", self.model),
            _ => self.model.to_owned(),
        }
    }

    /// The mock, and the upstream as a node's config has it.
    async fn start(&self, scratch: &Path) -> (Mock, Value) {
        let account = scratch.join(format!("{}.json", self.model));
        let mut arguments = vec!["--provider".to_owned(), self.provider.to_owned()];
        arguments.extend(self.credential.of_mock(&account));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        // Names hold fewer characters than those of models.
        let name = self.model.replace(':', "-");
        let mock = Mock::start_with(&name, &[self.model], &arguments).await;
        let root = format!("http://{}", mock.address());
        let version = match self.provider {
            "openai" | "vllm" => "/v1",
            _ => "",
        };
        let mut upstream = json!({
            "name": name,
            "provider": self.provider,
            "base_url": format!("{root}{version}"),
            "models": [{"name": self.model, "upstream_name": self.upstream_name()}],
            "health": tolerant(),
        });
        merge(&mut upstream, self.credential.settings(&root, &account));
        merge(&mut upstream, self.credential.location());
        (mock, upstream)
    }
}

/// Faults on purpose must not eject an upstream.
fn tolerant() -> Value {
    json!({"probe": "off", "failure_threshold": 1_000})
}

fn matrix_path(file: &str) -> PathBuf {
    workspace().join("tests/clients").join(file)
}
