//! Claude Code and Codex, by the requests that they send, on upstreams of another provider alone, one hop away: every
//! turn streamed, tools called side by side, their results and the thought before them sent back as the client does.
//!
//! Upstreams are strict mocks, which refuse what the provider refuses: a call without its result, a thought whose
//! signature is not theirs, a schema that they do not take.

use grapevine_tests::client::{Answer, EventStream, Next, http, whole};
use grapevine_tests::{Mesh, Mock};
use serde_json::{Value, json};

const MODEL: &str = "mock-coder";
const KEY: &str = "sk-upstream";

/// The last words of the user, by which a mock calls both tools at once.
const TWO_CALLS: &str = r#"call Bash {"command": "ls"} and call Read {"file_path": "/a.rs"}"#;
const CODEX_CALLS: &str =
    r#"call shell_command {"command": "ls"} and call view_image {"path": "/a.png"}"#;

/// What the tools answered, as a mock says it back.
const SAID: &str = r#"The tools answered "a.rs" and "fn main() {}"."#;

fn claude_code(messages: &Value) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../../node/dialect/tests/agents/claude_code.json"
    ))
    .expect("JSON");
    body["model"] = json!(MODEL);
    body["messages"] = messages.clone();
    body
}

fn codex(input: &Value) -> Value {
    let mut body: Value = serde_json::from_str(include_str!(
        "../../../node/dialect/tests/agents/codex.json"
    ))
    .expect("JSON");
    body["model"] = json!(MODEL);
    body["input"] = input.clone();
    body
}

/// A node without upstreams, and one with a mock of `provider` that reads `dialect` alone.
async fn mesh(provider: &str, dialect: &str) -> (Mesh, Mock) {
    let arguments = ["--provider", provider, "--api-key", KEY];
    let mock = Mock::start_with("coder", &[MODEL], &arguments).await;
    let version = if provider == "anthropic" { "" } else { "/v1" };
    let upstream = json!({
        "name": "coder",
        "provider": provider,
        "dialects": [dialect],
        "base_url": format!("http://{}{version}", mock.address()),
        "api_key": KEY,
        "models": [MODEL],
        "health": {"probe": "off"},
    });
    let mesh = Mesh::builder()
        .node("entry", |node| node)
        .node("owner", |node| node.raw_upstream(upstream))
        .start()
        .await;
    (mesh, mock)
}

fn request(mesh: &Mesh, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let url = format!("{}{path}", mesh["entry"].public_url());
    http().post(url).json(body)
}

/// A turn of Claude Code's, with its headers.
async fn claude_code_says(mesh: &Mesh, messages: &Value) -> Vec<Value> {
    let betas =
        "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27";
    let request = request(mesh, "/v1/messages?beta=true", &claude_code(messages))
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", betas)
        .header("x-app", "cli")
        .header(
            "x-claude-code-session-id",
            "5f0c9a1e-0000-4000-8000-000000000000",
        );
    streamed(request).await
}

/// A turn of Codex's, with its headers; the permission to go without what is Codex's own.
async fn codex_says(mesh: &Mesh, input: &Value) -> Vec<Value> {
    streamed(codex_request(mesh, input).header("x-grapevine-lossy", "allow")).await
}

fn codex_request(mesh: &Mesh, input: &Value) -> reqwest::RequestBuilder {
    request(mesh, "/v1/responses", &codex(input))
        .header("originator", "codex_cli_rs")
        .header("session_id", "0199a213-81c0-7800-8aa1-bbab2a035a53")
        .header("accept", "text/event-stream")
}

/// The events of an answer that is streamed to its end.
async fn streamed(request: reqwest::RequestBuilder) -> Vec<Value> {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    if status != 200 {
        panic!("{status}: {}", response.text().await.unwrap_or_default());
    }
    assert_eq!(response.headers()["x-grapevine-hops"], "1");
    let (events, end) = EventStream::of(response).rest().await;
    assert!(matches!(end, Next::CleanEnd), "{end:?}: {events:?}");
    let events = events.iter().filter(|data| *data != "[DONE]");
    events
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

/// The message that a stream of messages makes, put together as the SDK does, and why it stopped.
fn message(events: &[Value]) -> (Vec<Value>, String) {
    let (mut blocks, mut stop): (Vec<Value>, String) = Default::default();
    let mut arguments = String::new();
    for event in events {
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => {
                blocks.push(event["content_block"].clone());
                arguments.clear();
            }
            "content_block_delta" => {
                let block = blocks.last_mut().expect("a block");
                for (delta, field) in [
                    ("text", "text"),
                    ("thinking", "thinking"),
                    ("signature", "signature"),
                ] {
                    if let Some(more) = event["delta"][delta].as_str() {
                        let before = block[field].as_str().unwrap_or_default();
                        block[field] = json!(format!("{before}{more}"));
                    }
                }
                arguments += event["delta"]["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !arguments.is_empty() => {
                let block = blocks.last_mut().expect("a block");
                block["input"] = serde_json::from_str(&arguments).expect("JSON");
            }
            "message_delta" => {
                let reason = event["delta"]["stop_reason"].as_str();
                stop = reason.unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }
    let last = events.last().map(|event| event["type"].clone());
    assert_eq!(last, Some(json!("message_stop")), "{events:?}");
    (blocks, stop)
}

fn of_type<'a>(items: &'a [Value], kind: &str) -> Vec<&'a Value> {
    items.iter().filter(|item| item["type"] == kind).collect()
}

/// What the last event of a stream of responses holds.
fn output(events: &[Value]) -> Vec<Value> {
    let last = events.last().expect("an event");
    assert_eq!(last["type"], "response.completed", "{last}");
    let done: Vec<Value> = of_type(events, "response.output_item.done")
        .into_iter()
        .map(|event| event["item"].clone())
        .collect();
    let whole = last["response"]["output"].as_array();
    assert_eq!(whole, Some(&done), "items one by one, and all of them");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_works_on_an_upstream_of_openai_alone() {
    for dialect in ["chat", "responses"] {
        let (mesh, _mock) = mesh("openai", dialect).await;
        let mut messages = json!([{"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>Today is Monday.</system-reminder>"},
            {"type": "text", "text": TWO_CALLS, "cache_control": {"type": "ephemeral"}},
        ]}]);
        let (blocks, stop) = message(&claude_code_says(&mesh, &messages).await);
        assert_eq!(stop, "tool_use", "{dialect}");
        let calls = of_type(&blocks, "tool_use");
        let called: Vec<_> = calls
            .iter()
            .map(|call| (call["name"].clone(), call["input"].clone()))
            .collect();
        let expected = [
            (json!("Bash"), json!({"command": "ls"})),
            (json!("Read"), json!({"file_path": "/a.rs"})),
        ];
        assert_eq!(called, expected, "{dialect}");
        let result = |at: usize, content: Value| {
            let id = calls[at]["id"].clone();
            json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": false})
        };
        let mut last = result(1, json!([{"type": "text", "text": "fn main() {}"}]));
        last["cache_control"] = json!({"type": "ephemeral"});
        let results = json!({"role": "user", "content": [result(0, json!("a.rs")), last]});
        let turns = messages.as_array_mut().expect("a list");
        turns.push(json!({"role": "assistant", "content": blocks.clone()}));
        turns.push(results);
        let (blocks, stop) = message(&claude_code_says(&mesh, &messages).await);
        assert_eq!(stop, "end_turn", "{dialect}");
        let text = of_type(&blocks, "text");
        assert_eq!(text[0]["text"], SAID, "{dialect}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_works_on_an_upstream_of_anthropic_or_of_chat_completions_alone() {
    for (provider, dialect) in [("anthropic", "messages"), ("openai", "chat")] {
        let (mesh, _mock) = mesh(provider, dialect).await;
        let said = |role: &str, text: &str| {
            let content = json!([{"type": "input_text", "text": text}]);
            json!({"type": "message", "role": role, "content": content})
        };
        let mut input = json!([
            said("developer", "<permissions>All.</permissions>"),
            said("user", "<environment_context>/repo</environment_context>"),
            said("user", CODEX_CALLS),
        ]);
        // Its search is its provider's own.
        let refused = whole(codex_request(&mesh, &input)).await;
        expect_refusal(&refused.expect("an answer"));
        let items = output(&codex_says(&mesh, &input).await);
        let calls = of_type(&items, "function_call");
        let called: Vec<_> = calls
            .iter()
            .map(|call| {
                let arguments = call["arguments"].as_str().unwrap_or_default();
                let arguments: Value = serde_json::from_str(arguments).expect("JSON");
                (call["name"].clone(), arguments)
            })
            .collect();
        let expected = [
            (json!("shell_command"), json!({"command": "ls"})),
            (json!("view_image"), json!({"path": "/a.png"})),
        ];
        assert_eq!(called, expected, "{provider}");
        let results: Vec<Value> = calls
            .iter()
            .zip(["a.rs", "fn main() {}"])
            .map(|(call, output)| {
                let id = call["call_id"].clone();
                json!({"type": "function_call_output", "call_id": id, "output": output})
            })
            .collect();
        let thoughts = of_type(&items, "reasoning");
        assert_eq!(
            thoughts.is_empty(),
            dialect == "chat",
            "{provider}: {items:?}"
        );
        for thought in thoughts {
            // Without it the thought could not go back, and nothing is stored.
            assert!(thought["encrypted_content"].is_string(), "{thought}");
        }
        let turns = input.as_array_mut().expect("a list");
        turns.extend(items.iter().map(as_codex_keeps));
        turns.extend(results);
        let items = output(&codex_says(&mesh, &input).await);
        let messages = of_type(&items, "message");
        assert_eq!(messages[0]["content"][0]["text"], SAID, "{provider}");
    }
}

fn expect_refusal(refused: &Answer) {
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(refused.header("x-grapevine-reason"), "not_translatable");
    let error = refused.json();
    assert_eq!(error["error"]["code"], "not_translatable", "{error}");
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("tools["), "{message}");
}

/// An item of an answer as Codex sends it back: without its id and status, since nothing was stored.
fn as_codex_keeps(item: &Value) -> Value {
    let mut kept = item.clone();
    if let Some(fields) = kept.as_object_mut() {
        fields.remove("id");
        fields.remove("status");
    }
    kept
}
