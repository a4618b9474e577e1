//! Self-hosted engines: their own figures steer, and conversations find their caches.

use std::time::Duration;

use grapevine_tests::client::{EventStream, Next, chat_body, http, whole};
use grapevine_tests::engines::{
    Chooser, Conversations, EngineFigures, EngineMesh, EngineSettings, MODEL,
};
use grapevine_tests::quiet::beside_others;
use grapevine_tests::view::MeshView;
use grapevine_tests::wait::must;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);

/// Slots of an engine that strangers fill.
const SLOTS: u32 = 4;

fn quick(slots: u32) -> EngineSettings {
    EngineSettings {
        slots,
        prefill: Duration::from_millis(1),
        words: 4,
        pause: Duration::ZERO,
        cache_blocks: 12_000,
    }
}

fn load(view: &MeshView, node: &str) -> (u64, u64) {
    let upstream = view.upstream(node, &format!("engine-{node}"));
    let number = |key: &str| upstream.and_then(|it| it[key].as_u64()).unwrap_or_default();
    (number("in_flight"), number("in_flight_max"))
}

/// Nobody in the mesh sent what fills the engine: only its own figures show it.
#[tokio::test]
async fn engine_that_strangers_fill_is_left_by_all_nodes_and_comes_back() {
    let _room = beside_others().await;
    let engines = EngineMesh::start(quick(SLOTS), true).await;
    let (mesh, full) = (&engines.mesh, &engines.mocks[0]);
    full.set(json!({"chunks": 10_000, "chunk_interval": "1s"}))
        .await;
    let mut strangers = Vec::new();
    for number in 0..SLOTS + 2 {
        let mut body = chat_body(MODEL, &format!("stranger {number}"));
        body["stream"] = json!(true);
        let url = format!("{}/chat/completions", full.base_url());
        // Those that wait get no head before others end.
        strangers.push(tokio::spawn(async move {
            let mut events = EventStream::post(&url, &body).await;
            while let Next::Event { .. } = events.next().await {}
        }));
    }
    for node in mesh.nodes() {
        let is_full = |view: &MeshView| load(view, "usa") == (6, u64::from(SLOTS));
        node.wait_for_view("an engine that is full", LIMIT, is_full)
            .await;
    }
    let asked = full.chats().await;
    for number in 0..24 {
        let node = &mesh.nodes()[number % 3];
        let url = format!("{}/chat/completions", node.base_url());
        let body = chat_body(MODEL, &format!("request {number}"));
        let answer = must("a chat", whole(http().post(url).json(&body)).await);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_ne!(answer.header("x-grapevine-upstream"), full.name());
    }
    assert_eq!(full.chats().await, asked, "strangers alone");

    for stranger in strangers {
        stranger.abort();
    }
    for node in mesh.nodes() {
        let is_idle = |view: &MeshView| load(view, "usa").0 == 0;
        node.wait_for_view("an engine without requests", LIMIT, is_idle)
            .await;
    }
}

#[tokio::test]
async fn conversation_finds_its_cache_from_every_node() {
    let _room = beside_others().await;
    let engines = EngineMesh::start(quick(64), true).await;
    let mut messages = vec![json!({"role": "system", "content": "be brief. ".repeat(400)})];
    let (mut upstreams, mut before) = (Vec::new(), 0);
    for turn in 0..6 {
        messages.push(json!({"role": "user", "content": format!("turn {turn}. ").repeat(100)}));
        let body = json!({"model": MODEL, "messages": messages, "user": "one conversation"});
        let node = &engines.mesh.nodes()[turn % 3];
        let url = format!("{}/chat/completions", node.base_url());
        let answer = must("a chat", whole(http().post(url).json(&body)).await);
        assert_eq!(answer.status, 200, "{}", answer.text());
        upstreams.push(answer.header("x-grapevine-upstream").to_owned());
        let usage: Value = answer.json()["usage"].clone();
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]);
        // All but the last block of what was said before, and its framing.
        assert!(cached + 48 >= before, "turn {turn}: {usage}");
        before = number(&usage["prompt_tokens"]);
        messages.push(json!({"role": "assistant", "content": answer.content()}));
    }
    upstreams.dedup();
    assert_eq!(upstreams.len(), 1, "{upstreams:?}");
}

/// The comparison of `tests/bench/engines`, without its load: by counts alone.
#[tokio::test]
async fn more_of_the_prompts_is_cached_than_in_turn() {
    let _room = beside_others().await;
    let conversations = Conversations {
        rate: 30.0,
        requests: 90,
        seed: 1,
    };
    let mut cached = Vec::new();
    for chooser in [Chooser::Grapevine, Chooser::RoundRobin] {
        let engines = EngineMesh::start(quick(64), true).await;
        let turns = engines.hold(chooser, conversations).await;
        let figures = EngineFigures::of(&turns);
        assert_eq!((turns.len(), figures.failed), (90, 0), "{turns:?}");
        cached.push(figures.cached);
    }
    assert!(cached[0] > cached[1], "{cached:?}");
}
