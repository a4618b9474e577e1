//! Agents whose conversations go on while nodes come and go: OpenAI's and Anthropic's SDKs, openai-agents and LangGraph, over
//! two regions whose mocks know nothing of each other.

use std::time::Duration;

use grapevine_tests::dice::Dice;
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::script::run_client;
use grapevine_tests::{Mesh, Mock, Node};
use serde_json::{Value, json};

const MODEL: &str = "gpt-5";
const CLAUDE: &str = "claude-opus-4-8";
const KEY: &str = "sk-any";

const NODES: [&str; 3] = ["eur-1", "eur-2", "usa-1"];

/// How long a node may take to drain.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

const STRATEGIES: [&str; 5] = ["latency", "weighted", "least-busy", "geo", "priority"];

async fn mock(name: &str, provider: &str, model: &str) -> Mock {
    Mock::start_with(name, &[model], &["--provider", provider, "--api-key", KEY]).await
}

fn upstream(mock: &Mock, provider: &str, model: &str) -> Value {
    json!({
        "name": mock.name(),
        "provider": provider,
        "base_url": mock.base_url(),
        "api_key": KEY,
        "models": [model],
        "health": {"interval": "1s", "timeout": "500ms"},
    })
}

/// A mock of each provider in either region.
async fn start(strategy: &str) -> (Mesh, Vec<Mock>) {
    let mut mocks = Vec::new();
    let mut upstreams = Vec::new();
    for region in ["eur", "usa"] {
        for (provider, model) in [("openai", MODEL), ("anthropic", CLAUDE)] {
            let mock = mock(&format!("{provider}-{region}"), provider, model).await;
            upstreams.push((region, upstream(&mock, provider, model)));
            mocks.push(mock);
        }
    }
    let node = |region: &'static str, has_upstreams: bool| {
        let own = upstreams
            .iter()
            .filter(move |(at, _)| has_upstreams && *at == region);
        let own: Vec<Value> = own.map(|(_, upstream)| upstream.clone()).collect();
        let strategy = json!(strategy);
        move |node: NodeBuilder| {
            let node = node.region(region).config("routing.strategy", strategy);
            own.into_iter().fold(node, NodeBuilder::raw_upstream)
        }
    };
    let mesh = Mesh::builder()
        .node(NODES[0], node("eur", true))
        .node(NODES[1], node("eur", false))
        .node(NODES[2], node("usa", true))
        .start()
        .await;
    (mesh, mocks)
}

/// Ends one node after another, in order or at once, and starts it again; until dropped.
async fn restart_throughout(mesh: &Mesh) {
    let mut dice = Dice::of_environment();
    loop {
        let node: &Node = &mesh[NODES[dice.below(NODES.len())]];
        if dice.below(2) == 0 {
            node.terminate();
            assert!(node.wait_for_exit(DRAIN_LIMIT).await.success());
            node.start_again();
            node.wait_until_ready().await;
        } else {
            node.restart().await;
        }
        mesh.wait_until_converged().await;
    }
}

async fn hold(strategy: &str, conversations: usize, turns: usize) {
    let (mesh, _mocks) = start(strategy).await;
    let (count, turns) = (conversations.to_string(), turns.to_string());
    let urls = NODES.map(|name| mesh[name].base_url());
    let mut arguments = vec![KEY, &count, &turns];
    arguments.extend(urls.iter().map(String::as_str));
    let printed = tokio::select! {
        printed = run_client("long_conversations.py", &arguments) => printed,
        () = restart_throughout(&mesh) => unreachable!("it restarts nodes until it is dropped"),
    };
    eprint!("{strategy}: {printed}");
    let all = format!("{conversations} of {conversations} conversations");
    assert!(printed.starts_with(&all), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_go_on_while_nodes_restart() {
    hold("weighted", 12, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes; CONTRIBUTING.md has the command"]
async fn two_hundred_conversations_go_on_under_every_strategy() {
    for strategy in STRATEGIES {
        hold(strategy, 200, 10).await;
    }
}
