//! WebSockets through real nodes: what opens them, what passes, and how they end.

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::{http, whole};
use grapevine_tests::script::run_client;
use grapevine_tests::websocket::{Read, WebSocketClient, WebSocketUpstream};
use grapevine_tests::{Mesh, Mock, wait_until};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const MODEL: &str = "gpt-realtime";
const REALTIME: &str = "/v1/realtime?model=gpt-realtime";

/// An entry without upstreams, and the owner of one.
async fn over_a_hop(upstream: &WebSocketUpstream) -> Mesh {
    let config = upstream.config("realtime", &[MODEL]);
    Mesh::builder()
        .node("entry", |node| node.config("drain.timeout", json!("10s")))
        .node("owner", |node| {
            node.config("drain.timeout", json!("10s"))
                .raw_upstream(config)
        })
        .start()
        .await
}

async fn open(mesh: &Mesh, node: &str, target: &str) -> WebSocketClient {
    let opened = WebSocketClient::open(&mesh[node], target, &[]).await;
    opened.unwrap_or_else(|refused| panic!("{refused:?}"))
}

#[tokio::test]
async fn messages_pass_both_ways_over_a_hop_and_the_close_with_its_code() {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    for node in ["owner", "entry"] {
        let mut client = open(&mesh, node, REALTIME).await;
        assert!(
            matches!(client.read().await, Read::Text(text) if text.contains("session.created"))
        );
        for length in [0, 1, 125, 126, 70_000, 1_000_000] {
            client.echo(&"a".repeat(length)).await;
        }
        client.send_message(Message::binary(vec![7; 100_000])).await;
        assert_eq!(client.read().await, Read::Binary(vec![7; 100_000]));
        client.ping().await;
        client.close().await;
    }
    let seen = upstream
        .wait_for("both to end", |seen| seen.ends.len() == 2)
        .await;
    assert_eq!(seen.open, 0);
    for head in &seen.heads {
        assert!(head.starts_with(REALTIME), "{head}");
        assert!(head.contains(&format!(
            "authorization: Bearer {}",
            grapevine_tests::mesh::SECRET
        )));
        assert!(!head.contains("extensions"), "{head}");
    }
}

#[tokio::test]
async fn client_that_vanishes_closes_the_upstreams_connection_over_a_hop_too() {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    for (count, node) in ["owner", "entry"].into_iter().enumerate() {
        let mut client = open(&mesh, node, REALTIME).await;
        client.read().await;
        client.echo("hello").await;
        drop(client);
        let seen = upstream
            .wait_for("the end", |seen| seen.ends.len() == count + 1)
            .await;
        assert_eq!((seen.open, seen.ends[count]), (0, None));
    }
}

#[tokio::test]
async fn upstream_that_dies_is_told_by_a_close_frame() {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    let mut clients = Vec::new();
    for node in ["owner", "entry"] {
        let mut client = open(&mesh, node, REALTIME).await;
        client.read().await;
        clients.push(client);
    }
    upstream.kill();
    for client in &mut clients {
        assert_eq!(client.read().await, Read::Close(Some(1011)));
    }
}

#[tokio::test]
async fn node_that_drains_closes_with_service_restart_whether_entry_or_owner() {
    for stopped in ["owner", "entry"] {
        let upstream = WebSocketUpstream::start().await;
        let mesh = over_a_hop(&upstream).await;
        let mut client = open(&mesh, "entry", REALTIME).await;
        client.read().await;
        client.echo("hello").await;
        mesh[stopped].terminate();
        assert_eq!(client.read().await, Read::Close(Some(1012)), "{stopped}");
        let limit = std::time::Duration::from_secs(20);
        assert!(
            mesh[stopped].wait_for_exit(limit).await.success(),
            "{stopped}"
        );
        upstream.wait_for("the end", |seen| seen.open == 0).await;
    }
}

#[tokio::test]
async fn first_message_names_the_model_and_later_ones_no_other() {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    let mut client = open(&mesh, "entry", "/v1/responses").await;
    client.ping().await;
    let create =
        |model: &str| json!({"type": "response.create", "model": model, "input": "hi"}).to_string();
    for _ in 0..2 {
        client.send(&create(MODEL)).await;
        let Read::Text(text) = client.read().await else {
            panic!("no answer");
        };
        let event: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(event["type"], "response.completed");
    }
    client.send(&create("other")).await;
    assert_eq!(client.read().await, Read::Close(Some(1008)));
    let seen = upstream.wait_for("the end", |seen| seen.open == 0).await;
    assert_eq!((seen.messages, seen.heads.len()), (2, 1));
    // What two answers reported is counted as one request's.
    let limit = std::time::Duration::from_secs(20);
    let (record, _) = wait_until("the record", limit, async || {
        let shown = mesh["entry"].requests().await;
        let is_it = |request: &&Value| request["path"] == "/v1/responses";
        let requests = shown["requests"].as_array().or(shown.as_array());
        let found = requests.and_then(|requests| requests.iter().find(is_it).cloned());
        found.ok_or(shown.to_string())
    })
    .await;
    assert_eq!(record["tokens_in"], 22, "{record}");
    assert_eq!(
        (&record["method"], &record["status"]),
        (&json!("CONNECT"), &json!(101))
    );
}

#[tokio::test]
async fn what_the_first_message_asks_for_in_vain_is_told_as_an_error() {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    let mut client = open(&mesh, "entry", "/v1/responses").await;
    client
        .send(r#"{"type":"response.create","model":"nobodys"}"#)
        .await;
    let Read::Text(text) = client.read().await else {
        panic!("no error");
    };
    let event: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&event["type"], &event["status"]),
        (&json!("error"), &json!(404))
    );
    assert_eq!(event["error"]["code"], "model_not_found");
    assert_eq!(client.read().await, Read::Close(Some(1008)));
    let seen = upstream.wait_for("nothing", |_| true).await;
    assert!(seen.heads.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn where_no_upstream_can_the_answer_is_426_at_once() {
    let upstream = WebSocketUpstream::start().await;
    let mut config = upstream.config("plain", &[MODEL]);
    config["websocket"] = json!(false);
    let mesh = Mesh::builder()
        .node("entry", |node| node)
        .node("owner", |node| node.raw_upstream(config))
        .start()
        .await;
    for target in [
        "/v1/responses",
        REALTIME,
        "/v1/responses?model=gpt-realtime",
    ] {
        let refused = WebSocketClient::open(&mesh["entry"], target, &[]).await;
        let refused = refused.expect_err("no upstream can");
        assert_eq!(refused.status, 426, "{target}: {refused:?}");
        assert!(
            refused.head.contains("sec-websocket-version: 13"),
            "{refused:?}"
        );
        assert!(
            refused.head.contains("x-should-retry: false"),
            "{refused:?}"
        );
        let body: Value = serde_json::from_str(&refused.body).expect("JSON");
        assert_eq!(body["error"]["code"], "websocket_unsupported");
    }
    let seen = upstream.wait_for("nothing", |_| true).await;
    assert!(seen.heads.is_empty(), "nothing went upstream: {seen:?}");
}

/// As Codex does it: a WebSocket first, and HTTP from then on where that is answered with 426.
#[tokio::test]
async fn codex_goes_on_over_http_after_one_handshake() {
    let mock = Mock::start("plain", &["gpt-5"]).await;
    let mesh = Mesh::builder()
        .node("entry", |node| node)
        .node("owner", |node| node.upstream(&mock))
        .start()
        .await;
    let beta = ("openai-beta", "responses_websockets=2026-02-06");
    let refused = WebSocketClient::open(&mesh["entry"], "/v1/responses", &[beta]).await;
    assert_eq!(refused.expect_err("no upstream can").status, 426);
    let url = format!("{}/responses", mesh["entry"].base_url());
    let body = json!({"model": "gpt-5", "input": "hi"});
    let answer = whole(http().post(url).json(&body))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn keys_are_needed_come_as_a_subprotocol_too_and_go_no_further() {
    let upstream = WebSocketUpstream::start().await;
    let key = "sk-client-8f2d";
    let config = upstream.config("realtime", &[MODEL, "other"]);
    let mesh = Mesh::builder()
        .node("alone", |node| {
            node.raw_upstream(config).config(
                "keys",
                json!([{"name": "app", "hash": KeyHash::of(key).to_string(), "models": [MODEL]}]),
            )
        })
        .start()
        .await;
    let refused = |target: &'static str, headers: Vec<(&'static str, &'static str)>| {
        let node = &mesh["alone"];
        async move {
            let opened = WebSocketClient::open(node, target, &headers).await;
            opened.expect_err("it is refused").status
        }
    };
    assert_eq!(refused(REALTIME, vec![]).await, 401);
    assert_eq!(
        refused(REALTIME, vec![("authorization", "Bearer wrong")]).await,
        401
    );
    let mine = ("authorization", "Bearer sk-client-8f2d");
    assert_eq!(refused("/v1/realtime?model=other", vec![mine]).await, 403);
    assert_eq!(refused("/v1/realtime", vec![mine]).await, 403);
    assert_eq!(
        refused("/v1/realtime?model=a&model=b", vec![mine]).await,
        400
    );
    assert_eq!(refused("/v1/chat/completions", vec![mine]).await, 400);
    assert_eq!(
        refused(REALTIME, vec![mine, ("origin", "https://evil.example")]).await,
        403
    );
    let protocols = format!("realtime, openai-insecure-api-key.{key}");
    let headers = [("sec-websocket-protocol", &*protocols)];
    let opened = WebSocketClient::open(&mesh["alone"], REALTIME, &headers).await;
    let client = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
    client.close().await;
    let seen = upstream
        .wait_for("the end", |seen| seen.ends.len() == 1)
        .await;
    assert_eq!(seen.heads.len(), 1);
    assert!(
        seen.heads[0].contains("sec-websocket-protocol: realtime"),
        "{}",
        seen.heads[0]
    );
    assert!(!seen.heads[0].contains(key), "{}", seen.heads[0]);
}

#[tokio::test]
async fn http2_opens_websockets_by_connect_and_the_same_passes() {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    let mut client = WebSocketClient::open_http2(&mesh["entry"], REALTIME).await;
    assert!(matches!(client.read().await, Read::Text(text) if text.contains("session.created")));
    for length in [0, 126, 70_000, 1_000_000] {
        client.echo(&"a".repeat(length)).await;
    }
    client.ping().await;
    client.close().await;
    upstream
        .wait_for("the end", |seen| seen.ends.len() == 1)
        .await;
    let mut client = WebSocketClient::open_http2(&mesh["entry"], "/v1/responses").await;
    client.ping().await;
    let create = json!({"type": "response.create", "model": MODEL, "input": "hi"});
    client.send(&create.to_string()).await;
    assert!(matches!(client.read().await, Read::Text(text) if text.contains("completed")));
    drop(client);
    let seen = upstream
        .wait_for("the end", |seen| seen.ends.len() == 2)
        .await;
    assert_eq!((seen.open, seen.ends[1]), (0, None), "it vanished");
    let mut client = WebSocketClient::open_http2(&mesh["entry"], REALTIME).await;
    client.read().await;
    mesh["entry"].terminate();
    assert_eq!(client.read().await, Read::Close(Some(1012)));
}

/// Opens `count` connections over a hop, and has each send once a second for `seconds`.
async fn hold(count: usize, seconds: u64) {
    let upstream = WebSocketUpstream::start().await;
    let mesh = over_a_hop(&upstream).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..count {
        let mut client = open(&mesh, "entry", REALTIME).await;
        client.read().await;
        tasks.spawn(async move {
            for round in 0..seconds {
                client.echo(&format!("{number} {round}")).await;
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            client
        });
    }
    let mut clients = Vec::new();
    while let Some(client) = tasks.join_next().await {
        clients.push(client.expect("every echo came"));
    }
    let seen = upstream
        .wait_for("all to be open", |seen| seen.open == count)
        .await;
    assert_eq!(
        seen.messages,
        count * usize::try_from(seconds).expect("a small number")
    );
    let metrics = mesh["entry"].metrics().await;
    assert!(
        metrics.contains(&format!("grapevine_websockets_open {count}\n")),
        "{metrics}"
    );
    for client in clients {
        client.close().await;
    }
    upstream.wait_for("all to end", |seen| seen.open == 0).await;
}

#[tokio::test]
async fn fifty_connections_are_held_over_a_hop() {
    hold(50, 3).await;
}

#[tokio::test]
#[ignore = "it takes more than a minute: tests/run does not, and `cargo test -- --ignored` does"]
async fn a_thousand_connections_are_held_over_a_hop_for_a_minute() {
    hold(1_000, 60).await;
}

#[tokio::test]
async fn official_sdk_opens_realtime_sessions_and_websocket_responses() {
    let upstream = WebSocketUpstream::start().await;
    let config = upstream.config("realtime", &[MODEL]);
    let key = "sk-client-8f2d";
    let keys = json!([{"name": "app", "hash": KeyHash::of(key).to_string()}]);
    let mesh = Mesh::builder()
        .node("entry", |node| node.config("keys", keys.clone()))
        .node("owner", |node| {
            node.raw_upstream(config).config("keys", keys.clone())
        })
        .start()
        .await;
    run_client("openai_websockets.py", &[&mesh["entry"].base_url(), key]).await;
    upstream.wait_for("all to end", |seen| seen.open == 0).await;
}
