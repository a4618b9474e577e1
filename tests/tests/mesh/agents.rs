//! Agents whose conversations go on while nodes come and go: OpenAI's and Anthropic's SDKs, openai-agents and LangGraph, over
//! two regions whose mocks know nothing of each other.

use std::time::Duration;

use grapevine_tests::Node;
use grapevine_tests::dice::Dice;
use grapevine_tests::script::run_client;

use super::conversations::{KEY, Strict, World};

/// How long a node may take to drain.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

const STRATEGIES: [&str; 5] = ["latency", "weighted", "least-busy", "geo", "priority"];

const fn openai(name: &'static str) -> Strict {
    Strict {
        name,
        provider: "openai",
        model: "gpt-5",
    }
}

const fn anthropic(name: &'static str) -> Strict {
    Strict {
        name,
        provider: "anthropic",
        model: "claude-opus-4-8",
    }
}

/// Ends one node after another, in order or at once, and starts it again; until dropped.
async fn restart_throughout(world: &World) {
    let (nodes, mut dice) = (world.nodes(), Dice::of_environment());
    loop {
        let node = nodes[dice.below(nodes.len())];
        if dice.below(2) == 0 {
            node.terminate();
            assert!(node.wait_for_exit(DRAIN_LIMIT).await.success());
            node.start_again();
            node.wait_until_ready().await;
        } else {
            node.restart().await;
        }
        world.mesh.wait_until_converged().await;
    }
}

async fn hold(strategy: &str, conversations: usize, turns: usize) {
    let east = [openai("openai-eur"), anthropic("anthropic-eur")];
    let west = [openai("openai-usa"), anthropic("anthropic-usa")];
    let world = World::start_with(strategy, &east, &west).await;
    let (count, turns) = (conversations.to_string(), turns.to_string());
    let urls = world.nodes().map(Node::base_url);
    let mut arguments = vec![KEY, &count, &turns];
    arguments.extend(urls.iter().map(String::as_str));
    let printed = tokio::select! {
        printed = run_client("long_conversations.py", &arguments) => printed,
        () = restart_throughout(&world) => unreachable!("it restarts nodes until it is dropped"),
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
