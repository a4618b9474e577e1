//! Clients of one API on upstreams of another: bodies, streams and errors are translated by the node that serves the
//! request, one hop away from where the client enters.

use grapevine_tests::client::{Answer, EventStream, Next, http, try_post, whole};
use grapevine_tests::scripted::{
    ScriptedReading, ScriptedRule, ScriptedUpstream, chat_event, ends, refuses, streams,
};
use grapevine_tests::{Mesh, Mock, Node};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o";

/// Where each API is asked, whole and streamed, below the node's own address.
const CHAT: (&str, &str) = ("/v1/chat/completions", "/v1/chat/completions");
const RESPONSES: (&str, &str) = ("/v1/responses", "/v1/responses");
const MESSAGES: (&str, &str) = ("/v1/messages", "/v1/messages");
const GEMINI: (&str, &str) = (
    "/v1beta/models/gpt-4o:generateContent",
    "/v1beta/models/gpt-4o:streamGenerateContent?alt=sse",
);
const CONVERSE: (&str, &str) = ("/model/gpt-4o/converse", "/model/gpt-4o/converse-stream");

fn root(node: &Node) -> String {
    node.base_url().trim_end_matches("/v1").to_owned()
}

/// What a client of the API at `path` asks for.
fn question(path: &str) -> Value {
    let turn = json!([{"role": "user", "content": "hello"}]);
    match path {
        "/v1/responses" => json!({"model": MODEL, "input": "hello"}),
        "/v1/messages" => json!({"model": MODEL, "max_tokens": 64, "messages": turn}),
        path if path.starts_with("/v1beta") => {
            json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]})
        }
        path if path.starts_with("/model") => {
            json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]})
        }
        _ => json!({"model": MODEL, "messages": turn}),
    }
}

async fn ask(node: &Node, path: &str, body: &Value) -> Answer {
    let url = format!("{}{path}", root(node));
    try_post(&http(), &url, body).await.expect("an answer")
}

/// The text of a whole answer, wherever its API has it.
fn text(answer: &Value) -> String {
    let places = [
        "/choices/0/message/content",
        "/output/0/content/0/text",
        "/content/0/text",
        "/candidates/0/content/parts/0/text",
        "/output/message/content/0/text",
    ];
    let found = places
        .iter()
        .find_map(|place| answer.pointer(place)?.as_str());
    found
        .unwrap_or_else(|| panic!("no text in {answer}"))
        .to_owned()
}

/// A node without upstreams, and one with an upstream that reads `dialects` alone.
async fn mesh(mock: &Mock, dialects: &[&str]) -> Mesh {
    let upstream = json!({"dialects": dialects});
    let builder = Mesh::builder().node("entry", |node| node);
    let builder = builder.node("owner", |node| node.upstream_with(mock, upstream));
    builder.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn client_of_any_api_is_answered_by_an_upstream_of_any_other() {
    let mock = Mock::start("words", &[MODEL]).await;
    for (spoken, own) in [
        (["chat"], "/v1/chat/completions"),
        (["responses"], "/v1/responses"),
        (["messages"], "/v1/messages"),
    ] {
        let mesh = mesh(&mock, &spoken).await;
        let entry = &mesh["entry"];
        let expected = text(&ask(entry, own, &question(own)).await.json());
        for (path, streamed) in [CHAT, RESPONSES, MESSAGES, GEMINI, CONVERSE] {
            let answer = ask(entry, path, &question(path)).await;
            let shown = format!("{path} on {spoken:?}: {}", answer.text());
            assert_eq!(answer.status, 200, "{shown}");
            assert_eq!(text(&answer.json()), expected, "{shown}");
            let dialect = answer.header("x-grapevine-dialect");
            assert_eq!(dialect.is_empty(), path == own, "{shown}");
            assert!(dialect.is_empty() || dialect.ends_with(&format!(">{}", spoken[0])));
            assert_eq!(answer.header("x-grapevine-hops"), "1", "{shown}");
            if path != CONVERSE.0 {
                let events = stream(entry, streamed, path).await;
                let said: String = events.iter().map(|data| said(data)).collect();
                assert_eq!(said, expected, "{streamed} on {spoken:?}: {events:?}");
            }
        }
    }
}

/// The data of each event of a whole stream.
async fn stream(node: &Node, streamed: &str, path: &str) -> Vec<String> {
    let mut body = question(path);
    if streamed == path {
        body["stream"] = json!(true);
    }
    let stream = EventStream::post(&format!("{}{streamed}", root(node)), &body).await;
    assert_eq!(stream.status, 200, "{streamed}");
    let (events, end) = stream.rest().await;
    assert!(matches!(end, Next::CleanEnd), "{streamed}: {end:?}");
    events
}

/// The text that an event adds, wherever its API has it.
fn said(data: &str) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    let is_delta_of_responses = event["type"] == "response.output_text.delta";
    let places = [
        "/choices/0/delta/content",
        "/delta/text",
        "/candidates/0/content/parts/0/text",
    ];
    let found = places
        .iter()
        .find_map(|place| event.pointer(place)?.as_str());
    match event["delta"].as_str().filter(|_| is_delta_of_responses) {
        Some(delta) => delta.to_owned(),
        None => found.unwrap_or_default().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_said_is_refused_by_name_unless_the_client_goes_without() {
    let mock = Mock::start("chat", &[MODEL]).await;
    let mesh = mesh(&mock, &["chat"]).await;
    let mut body = question("/v1/messages");
    body["top_k"] = json!(5);
    let refused = ask(&mesh["entry"], "/v1/messages", &body).await;
    assert_eq!(refused.status, 400);
    let error = refused.json()["error"]["message"].to_string();
    assert!(
        error.contains("top_k") && error.contains("x-grapevine-lossy"),
        "{error}"
    );
    let url = format!("{}/v1/messages", root(&mesh["entry"]));
    let request = http().post(&url).json(&body);
    let answer = whole(request.header("x-grapevine-lossy", "allow")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-grapevine-lost"), "top_k");
    // Advice does not refuse, and is named.
    let mut body = question("/v1/messages");
    body["metadata"] = json!({"user_id": "u"});
    body["system"] = json!([{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]);
    let answer = ask(&mesh["entry"], "/v1/messages", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lost = answer.header("x-grapevine-lost");
    assert!(lost.contains("system[0].cache_control"), "{lost}");
}

/// What Codex asks for: a function of its own, and a search that its provider runs.
fn codex() -> Value {
    let function = json!({"type": "function", "name": "shell", "strict": false,
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}});
    json!({"model": MODEL, "input": "hello", "store": false,
        "tools": [function, {"type": "web_search", "external_web_access": true}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_permits_the_loss_of_a_tool_that_no_upstream_has() {
    let mock = Mock::start("chat", &[MODEL]).await;
    let rows = [
        (json!({}), json!("refuse"), 400),
        (json!({"lossy": ["top_k"]}), json!("allow"), 400),
        (json!({"lossy": ["tools.web_search"]}), json!("refuse"), 200),
        (json!({"lossy": "allow"}), json!("refuse"), 200),
        (json!({}), json!(["tools.web_search"]), 200),
    ];
    for (own, of_all, status) in rows {
        let shown = format!("{own} under {of_all}");
        let mut upstream = json!({"dialects": ["chat"]});
        grapevine_tests::mesh::merge(&mut upstream, own);
        let builder = Mesh::builder()
            .node("entry", |node| node)
            .node("owner", |node| {
                node.config("routing.lossy", of_all)
                    .upstream_with(&mock, upstream)
            });
        let mesh = builder.start().await;
        let answer = ask(&mesh["entry"], "/v1/responses", &codex()).await;
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        if status == 200 {
            assert_eq!(answer.header("x-grapevine-lost"), "tools[1]", "{shown}");
        } else {
            assert_eq!(
                answer.json()["error"]["code"],
                "not_translatable",
                "{shown}"
            );
        }
        // A client that refuses is refused, and one that allows is allowed.
        for (word, status) in [("refuse", 400), ("allow", 200)] {
            let url = format!("{}/v1/responses", root(&mesh["entry"]));
            let request = http()
                .post(&url)
                .json(&codex())
                .header("x-grapevine-lossy", word);
            let answer = whole(request).await.expect("an answer");
            assert_eq!(answer.status, status, "{shown}, {word}: {}", answer.text());
        }
    }
}

/// A node with an upstream that reads chat completions alone, and breaks off after a few words.
async fn with_cut_streams() -> (Mesh, ScriptedUpstream) {
    let cut = ScriptedRule {
        text: "",
        steps: [
            streams(&chat_event(
                &json!(MODEL),
                &json!({"role": "assistant", "content": "some words"}),
                None,
            )),
            vec![ends()],
        ]
        .concat(),
    };
    let upstream = ScriptedUpstream::start("cut", ScriptedReading::Whole, vec![cut]).await;
    let mut entry = upstream.upstream(&[MODEL]);
    entry["dialects"] = json!(["chat"]);
    let mesh = Mesh::builder()
        .node("sgp", |node| node.raw_upstream(entry))
        .start()
        .await;
    (mesh, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_its_upstream_cut_is_given_no_end() {
    let (mesh, _upstream) = with_cut_streams().await;
    let mut body = question("/v1/messages");
    body["stream"] = json!(true);
    let url = format!("{}/v1/messages", root(&mesh["sgp"]));
    let (events, end) = EventStream::post(&url, &body).await.rest().await;
    let all = events.concat();
    assert!(all.contains("some words"), "{all}");
    assert!(!all.contains("message_stop"), "{all}");
    assert!(all.contains("\"type\":\"error\""), "{all}");
    assert!(matches!(end, Next::Broken(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_of_frames_that_its_upstream_cut_ends_with_an_exception() {
    let (mesh, _upstream) = with_cut_streams().await;
    let url = format!("{}{}", root(&mesh["sgp"]), CONVERSE.1);
    let request = http().post(&url).json(&question(CONVERSE.1));
    let mut answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let mut stream = Vec::new();
    let end = loop {
        match answer.chunk().await {
            Ok(Some(bytes)) => stream.extend_from_slice(&bytes),
            end => break end,
        }
    };
    assert!(end.is_err(), "{end:?}");
    let all = String::from_utf8_lossy(&stream);
    assert!(all.contains("some words"), "{all}");
    assert!(!all.contains("messageStop"), "{all}");
    assert!(all.contains("modelStreamErrorException"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn error_of_the_upstream_comes_in_the_clients_shape() {
    let error = json!({"error": {"message": "too long", "type": "invalid_request_error",
        "param": "messages", "code": "context_length_exceeded"}});
    let refuses = ScriptedRule {
        text: "",
        steps: refuses(400, "", &error),
    };
    let upstream = ScriptedUpstream::start("chat", ScriptedReading::Whole, vec![refuses]).await;
    let mut entry = upstream.upstream(&[MODEL]);
    entry["dialects"] = json!(["chat"]);
    let mesh = Mesh::builder()
        .node("sgp", |node| node.raw_upstream(entry))
        .start()
        .await;
    let answer = ask(&mesh["sgp"], "/v1/messages", &question("/v1/messages")).await;
    assert_eq!(answer.status, 400);
    let shown = answer.json();
    assert_eq!(shown["type"], "error", "{shown}");
    assert_eq!(shown["error"]["type"], "invalid_request_error", "{shown}");
    assert!(
        shown["error"]["message"].to_string().contains("too long"),
        "{shown}"
    );
    let own = answer.header("x-grapevine-upstream-error");
    assert!(own.contains("context_length_exceeded"), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_nobody_named_is_asked_as_it_is_and_its_lack_is_learned() {
    let unknown = ScriptedRule {
        text: "POST /v1/messages ",
        steps: refuses(404, "", &json!({"detail": "Not Found"})),
    };
    let upstream = ScriptedUpstream::start("plain", ScriptedReading::Whole, vec![unknown]).await;
    let entry = upstream.upstream(&[MODEL]);
    let mesh = Mesh::builder()
        .node("sgp", |node| node.raw_upstream(entry))
        .start()
        .await;
    for posts in [2, 3] {
        let answer = ask(&mesh["sgp"], "/v1/messages", &question("/v1/messages")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-grapevine-dialect"), "messages>chat");
        assert_eq!(upstream.posts(), posts, "the second is translated at once");
    }
}
