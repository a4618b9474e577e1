//! Every official SDK at upstreams of every dialect, one hop away: what works, and what is refused by design.
//!
//! The result is a table, compared with `tests/clients/matrix.md`, which the guide shows. After a change on purpose,
//! the file is written anew with `GRAPEVINE_BLESS=1`.

use std::path::PathBuf;

use grapevine_tests::program::workspace;
use grapevine_tests::script::{Upstream, run_client};
use grapevine_tests::{Mesh, Mock};
use serde_json::{Value, json};

/// An upstream of each dialect. To have another one, add a line: what serves its texts and faults is either
/// `grapevine mock` or the script, and the script serves what calls tools.
const KINDS: [Kind; 5] = [
    Kind {
        dialect: "chat",
        model: "chat",
        version: "/v1",
        provider: "openai",
        server: Server::Mock,
    },
    Kind {
        dialect: "responses",
        model: "responses",
        version: "/v1",
        provider: "openai",
        server: Server::Mock,
    },
    Kind {
        dialect: "messages",
        model: "messages",
        version: "/v1",
        provider: "anthropic",
        server: Server::Mock,
    },
    Kind {
        dialect: "gemini",
        model: "gemini",
        version: "/v1beta",
        provider: "gemini",
        server: Server::Script,
    },
    // Thought is asked for by the name of the model's maker.
    Kind {
        dialect: "converse",
        model: "claude-converse",
        version: "",
        provider: "bedrock",
        server: Server::Script,
    },
];

struct Kind {
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

#[tokio::test(flavor = "multi_thread")]
async fn every_sdk_works_at_every_dialect_as_the_matrix_says() {
    let script = Upstream::dialects().await;
    let mut mocks = Vec::new();
    let mut upstreams = Vec::new();
    let mut arguments = Vec::new();
    for kind in &KINDS {
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
        arguments.push(format!("{},{},{skilled},{root}", kind.dialect, kind.model));
    }
    let mesh = Mesh::builder()
        .node("near", |node| node)
        .node("far", |node| {
            upstreams
                .into_iter()
                .fold(node, |node, upstream| node.raw_upstream(upstream))
        })
        .start()
        .await;
    arguments.insert(0, mesh["near"].public_url());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let printed = run_client("sdk_matrix.py", &arguments).await;
    let expected_at = matrix_path();
    if std::env::var_os("GRAPEVINE_BLESS").is_some() {
        std::fs::write(&expected_at, &printed).expect("the folder of the clients can be written");
    }
    let expected = std::fs::read_to_string(&expected_at).expect("tests/clients/matrix.md exists");
    assert_eq!(printed, expected, "not as {} says", expected_at.display());
}

#[test]
fn the_guide_shows_the_matrix_as_it_is_tested() {
    let guide = workspace().join("deploy/guide/src/sdk-matrix.md");
    let guide = std::fs::read_to_string(guide).expect("the guide has this page");
    let matrix = std::fs::read_to_string(matrix_path()).expect("tests/clients/matrix.md exists");
    assert!(
        guide.contains(&matrix),
        "copy tests/clients/matrix.md to the guide"
    );
}

impl Kind {
    fn upstream(&self, name: &str, root: &str) -> Value {
        json!({
            "name": name,
            "provider": self.provider,
            "dialects": [self.dialect],
            "base_url": format!("{root}{}", self.version),
            "aws_region": if self.provider == "bedrock" { json!("us-east-1") } else { Value::Null },
            "api_key": "sk-any",
            "models": [name],
            // Faults on purpose must not eject it.
            "health": {"probe": "off", "failure_threshold": 1_000},
        })
    }
}

fn matrix_path() -> PathBuf {
    workspace().join("tests/clients/matrix.md")
}
