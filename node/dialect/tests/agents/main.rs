//! What coding agents send, as they send it, toward every dialect.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::Dialect::{Chat, Converse, Gemini, Messages, Responses};
use grapevine_dialect::hub::request::{HubRequest, ToolKind};
use grapevine_dialect::translate::grammar_of;
use grapevine_dialect::{Dialect, Loss, Translated, Translation};
use serde_json::{Value, json};

/// Where a request may go, and to which model.
const UPSTREAMS: [(Dialect, &str); 6] = [
    (Chat, "qwen3-coder"),
    (Responses, "gpt-5.2"),
    (Gemini, "gemini-3-pro-preview"),
    (Gemini, "gemini-2.5-pro"),
    (Converse, "us.anthropic.claude-sonnet-4-6"),
    (Converse, "meta.llama4-maverick-17b-instruct-v1:0"),
];

fn claude_code() -> Value {
    serde_json::from_str(include_str!("claude_code.json")).unwrap()
}

fn codex() -> Value {
    serde_json::from_str(include_str!("codex.json")).unwrap()
}

fn translate(from: Dialect, to: Dialect, model: &str, body: &Value) -> Translated {
    Translation::new(from, to)
        .request_with(Some(model), None, body.to_string().as_bytes())
        .unwrap()
}

fn body_of(translated: &Translated) -> Value {
    serde_json::from_slice(&translated.body).unwrap()
}

/// What an upstream of `dialect` understands of a body.
fn understood(dialect: Dialect, translated: &Translated) -> HubRequest {
    let body = body_of(translated).as_object().unwrap().clone();
    grammar_of(dialect).read_request(body).unwrap()
}

/// Losses that change what is asked for.
fn grave(losses: &[Loss]) -> Vec<(&str, &str)> {
    let grave = losses.iter().filter(|loss| !loss.is_advice());
    grave
        .map(|loss| (loss.path.as_str(), loss.reason.as_ref()))
        .collect()
}

/// The names and the schemas of the functions in a request of messages.
fn schemas(body: &Value) -> Vec<(Value, Value)> {
    let tools = body["tools"].as_array().unwrap().iter();
    tools
        .map(|tool| (tool["name"].clone(), tool["input_schema"].clone()))
        .collect()
}

#[test]
fn claude_code_loses_advice_alone() {
    let budget = json!({"type": "enabled", "budget_tokens": 31_999});
    for thinking in [json!({"type": "adaptive"}), budget] {
        let mut body = claude_code();
        body["thinking"] = thinking;
        for (to, model) in UPSTREAMS {
            let translated = translate(Messages, to, model, &body);
            assert_eq!(grave(&translated.losses), [], "{to} {model}");
        }
    }
}

#[test]
fn advice_of_claude_code_is_named() {
    let translated = translate(Messages, Chat, "qwen3-coder", &claude_code());
    let paths: Vec<&str> = translated
        .losses
        .iter()
        .map(|loss| loss.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "system[1].cache_control",
            "system[2].cache_control",
            "messages[0].content[1].cache_control",
            "messages[1].content[0].thinking",
            "messages[3].content[0].thinking",
            "messages[3].content[1].thinking",
            "messages[4].content[0].cache_control",
            "tools[5].eager_input_streaming",
            "tools[11].cache_control",
            "context_management",
        ]
    );
}

#[test]
fn every_schema_of_claude_code_arrives_as_it_is() {
    let body = claude_code();
    for (to, model) in UPSTREAMS {
        let request = understood(to, &translate(Messages, to, model, &body));
        let functions = request.tools.into_iter().map(|tool| match tool.kind {
            ToolKind::Function { name, schema, .. } => (json!(name), schema.unwrap_or_default()),
            _ => panic!("{to}: a tool is no function"),
        });
        assert_eq!(functions.collect::<Vec<_>>(), schemas(&body), "{to}");
    }
}

#[test]
fn turns_of_claude_code_stay_in_order_for_chat_completions() {
    let body = body_of(&translate(Messages, Chat, "qwen3-coder", &claude_code()));
    let turns = body["messages"].as_array().unwrap();
    let said: Vec<(&str, &str)> = turns
        .iter()
        .map(|turn| {
            let id = turn["tool_call_id"].as_str();
            (turn["role"].as_str().unwrap(), id.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        said,
        [
            ("system", ""),
            ("user", ""),
            ("assistant", ""),
            ("tool", "toolu_01A"),
            ("tool", "toolu_01B"),
            ("user", ""),
            ("assistant", ""),
            ("tool", "toolu_01C"),
            ("user", ""),
        ]
    );
    assert_eq!(turns[2]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(turns[4]["content"], "Error: Exit code 101");
    let shown = &turns[8]["content"];
    assert_eq!(shown[0]["text"], "From the answer of toolu_01C:");
    assert_eq!(shown[1]["type"], "image_url");
    assert_eq!(body["reasoning_effort"], "high");
    assert_eq!(body["max_completion_tokens"], 32_000);
    assert_eq!(body["stream_options"]["include_usage"], true);
}

#[test]
fn claude_code_asks_openai_for_what_it_takes() {
    for (to, model) in [(Chat, "gpt-5.2"), (Responses, "gpt-5.2")] {
        let body = body_of(&translate(Messages, to, model, &claude_code()));
        // Longer ids are refused.
        assert!(body["user"].as_str().unwrap().len() <= 64, "{to}");
    }
    let body = body_of(&translate(Messages, Responses, "gpt-5.2", &claude_code()));
    assert_eq!(body.get("temperature"), None);
    let reasoning = json!({"effort": "high", "summary": "auto"});
    assert_eq!(body["reasoning"], reasoning);
    assert_eq!(body["store"], false);
}

#[test]
fn claude_of_bedrock_gets_thoughts_marks_and_efforts_of_claude_code() {
    let (to, model) = (Converse, "us.anthropic.claude-sonnet-4-6");
    let body = body_of(&translate(Messages, to, model, &claude_code()));
    let thought = &body["messages"][1]["content"][0]["reasoningContent"]["reasoningText"];
    assert_eq!(thought["signature"], "EqQBCkYIBxgCKkD=");
    assert_eq!(
        body["system"][2],
        json!({"cachePoint": {"type": "default", "ttl": "1h"}})
    );
    let fields = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}});
    assert_eq!(body["additionalModelRequestFields"], fields);
    let failed = &body["messages"][2]["content"][1]["toolResult"];
    assert_eq!(failed["status"], "error");
}

#[test]
fn codex_loses_its_grammar_and_its_providers_search_beside_advice() {
    let upstreams = UPSTREAMS.into_iter().filter(|(to, _)| *to != Responses);
    let upstreams = upstreams.chain([(Messages, "claude-sonnet-4-6")]);
    for (to, model) in upstreams {
        let translated = translate(Responses, to, model, &codex());
        let grave = grave(&translated.losses);
        let paths: Vec<&str> = grave.iter().map(|(path, _)| *path).collect();
        // A search that the provider made before, the grammar of a patch, which the model reads as words, and the
        // provider's search, which no other provider makes so.
        let expected = ["input[12]", "tools[2].format", "tools[3]"];
        assert_eq!(paths, expected, "{to} {model}");
        assert_eq!(
            grave[1].1,
            "the grammar becomes words that the model may ignore"
        );
        assert_eq!(grave[2].1, "the tool is one of another provider's own");
    }
}

#[test]
fn advice_of_codex_is_named() {
    let translated = translate(Responses, Messages, "claude-sonnet-4-6", &codex());
    let advice = translated.losses.iter().filter(|loss| loss.is_advice());
    let paths: Vec<&str> = advice.map(|loss| loss.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "input[3].encrypted_content",
            "input[4].phase",
            "input[9].encrypted_content",
            "text.verbosity",
            "prompt_cache_key",
            "client_metadata",
        ]
    );
}

#[test]
fn claude_answers_codex_at_length_and_thinks_as_it_asks() {
    let translated = translate(Responses, Messages, "claude-sonnet-4-6", &codex());
    let body = body_of(&translated);
    assert_eq!(body["max_tokens"], 32_000);
    let thinking = json!({"type": "adaptive", "display": "summarized"});
    assert_eq!(body["thinking"], thinking);
    assert_eq!(body["output_config"], json!({"effort": "high"}));
    let names: Vec<&str> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    let expected = ["shell_command", "update_plan", "apply_patch", "view_image"];
    assert_eq!(names, expected);
    assert_eq!(body["system"][1]["text"], "<permissions>All.</permissions>");
    assert!(translated.terms.stream);
    assert!(translated.terms.free_text_tools.contains("apply_patch"));
}

#[test]
fn servers_of_chat_completions_get_no_developer_from_codex() {
    let body = body_of(&translate(Responses, Chat, "qwen3-coder", &codex()));
    let turns = body["messages"].as_array().unwrap();
    assert!(turns.iter().all(|turn| turn["role"] != "developer"));
    assert_eq!(turns[1]["content"], "<permissions>All.</permissions>");
    assert_eq!(body["verbosity"], "low");
}
