//! Converse beside chat completions and messages.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::event_stream::EventMessage;
use grapevine_dialect::framing::{EventReader, Framing};
use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::hub::error::ErrorKind;
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{Dialect, StreamTranslator, TranslateError, Translation};
use serde_json::{Value, json};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const LATE_CLAUDE: &str = "global.anthropic.claude-opus-4-8";

/// The body that a request becomes, and the paths of what is lost.
fn translate(from: Dialect, to: Dialect, body: &Value) -> (Value, Vec<String>) {
    let translation = Translation::new(from, to);
    let translated = translation.request(body.to_string().as_bytes()).unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    let body = serde_json::from_slice(&translated.body).unwrap();
    (body, losses.collect())
}

fn extended(mut body: Value, with: Value) -> Value {
    let with = with.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(with);
    body
}

/// What a chat request with these fields becomes.
fn of_chat(with: Value) -> (Value, Vec<String>) {
    let body = json!({"model": CLAUDE, "messages": [{"role": "user", "content": "hi"}]});
    translate(Dialect::Chat, Dialect::Converse, &extended(body, with))
}

/// What a request for a message with these fields becomes.
fn of_messages(with: Value) -> (Value, Vec<String>) {
    let message = json!({"role": "user", "content": "hi"});
    let body = json!({"model": CLAUDE, "max_tokens": 100, "messages": [message]});
    translate(Dialect::Messages, Dialect::Converse, &extended(body, with))
}

/// What a Converse request with these fields becomes.
fn into(to: Dialect, with: Value) -> (Value, Vec<String>) {
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
    translate(Dialect::Converse, to, &extended(body, with))
}

fn none() -> Vec<String> {
    Vec::new()
}

fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

#[test]
fn model_and_stream_stand_beside_the_body() {
    let translation = Translation::new(Dialect::Chat, Dialect::Converse);
    let body = json!({"model": "m", "stream": true, "messages": []});
    let translated = translation.request(body.to_string().as_bytes()).unwrap();
    assert_eq!(translated.body, br#"{"messages":[]}"#);
    assert_eq!(translated.terms.model.as_deref(), Some("m"));
    assert!(translated.terms.stream);

    let translation = Translation::new(Dialect::Converse, Dialect::Chat);
    let body = br#"{"messages":[]}"#;
    let translated = translation
        .request_with(Some("m"), Some(true), body)
        .unwrap();
    let body: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(
        (&body["model"], &body["stream"]),
        (&json!("m"), &json!(true))
    );
    assert_eq!(body["stream_options"]["include_usage"], true);
}

#[test]
fn sampling_and_limits_are_the_inference_config() {
    let (body, losses) = of_chat(json!({
        "max_completion_tokens": 9, "temperature": 1.5, "top_p": 0.5, "stop": ["a", "b"], "seed": 1,
    }));
    let config = json!({"maxTokens": 9, "temperature": 1.0, "stopSequences": ["a", "b"]});
    assert_eq!(body["inferenceConfig"], config);
    assert_eq!(
        body["additionalModelResponseFieldPaths"],
        json!(["/stop_sequence"])
    );
    assert_eq!(losses, ["temperature", "top_p", "seed"]);

    let config = json!({"maxTokens": 9, "temperature": 0.5, "stopSequences": ["a"]});
    let (body, losses) = into(Dialect::Messages, json!({"inferenceConfig": config}));
    assert_eq!(body["max_tokens"], 9);
    assert_eq!(body["stop_sequences"], json!(["a"]));
    assert_eq!(losses, none());
}

#[test]
fn fields_of_the_model_go_to_claude_alone() {
    let thinking = json!({"type": "enabled", "budget_tokens": 2_000});
    let (body, losses) =
        of_messages(json!({"thinking": thinking, "top_k": 5, "max_tokens": 9_000}));
    let fields = json!({"thinking": thinking, "top_k": 5});
    assert_eq!(body["additionalModelRequestFields"], fields);
    assert_eq!(losses, none());

    let (body, losses) =
        of_messages(json!({"model": "meta.llama3", "thinking": thinking, "top_k": 5}));
    assert_eq!(body.get("additionalModelRequestFields"), None);
    assert_eq!(losses, ["top_k", "output_config.effort"]);
}

#[test]
fn effort_is_a_budget_or_an_effort_by_the_model() {
    let (body, losses) =
        of_chat(json!({"reasoning_effort": "low", "max_completion_tokens": 9_000}));
    let thinking = json!({"type": "enabled", "budget_tokens": 4_096});
    assert_eq!(
        body["additionalModelRequestFields"],
        json!({"thinking": thinking})
    );
    assert_eq!(losses, none());

    let (body, _) = of_chat(json!({"model": LATE_CLAUDE, "reasoning_effort": "max"}));
    let fields = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}});
    assert_eq!(body["additionalModelRequestFields"], fields);

    let (body, _) =
        of_chat(json!({"model": "openai.gpt-oss-120b-1:0", "reasoning_effort": "xhigh"}));
    let fields = json!({"reasoning_effort": "high"});
    assert_eq!(body["additionalModelRequestFields"], fields);
}

#[test]
fn thinking_of_converse_goes_to_messages_under_either_name() {
    for field in ["thinking", "reasoning_config"] {
        let thinking = json!({"type": "enabled", "budget_tokens": 2_000});
        let config = json!({"maxTokens": 9_000});
        let with = json!({"modelId": CLAUDE, "inferenceConfig": config, "additionalModelRequestFields": {field: thinking}});
        let (body, losses) = into(Dialect::Messages, with);
        assert_eq!(body["thinking"], thinking);
        assert_eq!(losses, none());
    }
}

#[test]
fn instructions_at_the_front_become_system_and_those_in_the_middle_are_named() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let turns = [turn("system", "a"), turn("user", "b"), turn("system", "c")];
    let (body, losses) = of_chat(json!({"messages": turns}));
    assert_eq!(body["system"], json!([{"text": "a"}]));
    let content = json!([{"text": "b"}, {"text": "c"}]);
    assert_eq!(
        body["messages"],
        json!([{"role": "user", "content": content}])
    );
    assert_eq!(losses, ["messages[2].role"]);
}

#[test]
fn calls_and_answers_of_tools_go_both_ways() {
    let call = json!({"id": "f:1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
    let turns = json!([
        {"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "f:1", "content": "b"}, {"role": "user", "content": "c"},
    ]);
    let (body, losses) = of_chat(json!({"messages": turns, "tools": [function("f")]}));
    let id = "gvid_f_3a1";
    let call = json!({"toolUse": {"toolUseId": id, "name": "f", "input": {"x": 1}}});
    let answer = json!({"toolResult": {"toolUseId": id, "content": [{"text": "b"}]}});
    assert_eq!(body["messages"][1]["content"], json!([call]));
    assert_eq!(
        body["messages"][2]["content"],
        json!([answer, {"text": "c"}])
    );
    assert_eq!(losses, none());
    let (again, losses) = translate(Dialect::Converse, Dialect::Chat, &body);
    assert_eq!(again["messages"][2]["tool_call_id"], "f:1");
    assert_eq!(losses, none());
}

#[test]
fn tool_that_failed_and_json_go_to_messages() {
    let result = json!({"toolUseId": "a", "status": "error", "content": [{"json": {"x": 1}}]});
    let turns = json!([{"role": "user", "content": [{"toolResult": result}]}]);
    let (body, losses) = into(Dialect::Messages, json!({"messages": turns}));
    let content = json!([{"type": "text", "text": "{\"x\":1}"}]);
    let expected =
        json!({"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": content});
    assert_eq!(body["messages"][0]["content"], json!([expected]));
    assert_eq!(losses, none());
    let (again, _) = translate(Dialect::Messages, Dialect::Converse, &body);
    assert_eq!(
        again["messages"][0]["content"][0]["toolResult"]["status"],
        "error"
    );
}

#[test]
fn choices_of_tools_go_both_ways() {
    for (chat, converse) in [
        (json!("auto"), json!({"auto": {}})),
        (json!("required"), json!({"any": {}})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"tool": {"name": "f"}}),
        ),
    ] {
        let with = json!({"tools": [function("f")], "tool_choice": chat});
        let (body, losses) = of_chat(with);
        assert_eq!(body["toolConfig"]["toolChoice"], converse);
        assert_eq!(losses, none());
        let (again, losses) = translate(Dialect::Converse, Dialect::Chat, &body);
        assert_eq!(again["tool_choice"], chat);
        assert_eq!(losses, none());
    }
}

#[test]
fn forbidden_tools_are_left_out_unless_they_were_called() {
    let with = json!({"tools": [function("f")], "tool_choice": "none"});
    let (body, losses) = of_chat(with.clone());
    assert_eq!(body.get("toolConfig"), None);
    assert_eq!(losses, none());

    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let turns =
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]);
    let (body, losses) = of_chat(extended(with, json!({"messages": turns})));
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
    assert_eq!(losses, ["tool_choice"]);
    let (body, losses) = of_chat(json!({"messages": turns}));
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
    assert_eq!(losses, ["tools"]);
}

#[test]
fn cache_marks_are_cache_points_and_come_back() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let text = json!({"type": "text", "text": "a", "cache_control": mark});
    let tool = json!({"name": "f", "input_schema": {"type": "object"}, "cache_control": mark});
    let turns = json!([{"role": "user", "content": [text, {"type": "text", "text": "b"}]}]);
    let (body, losses) = of_messages(json!({"system": [text], "tools": [tool], "messages": turns}));
    let point = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    assert_eq!(body["system"], json!([{"text": "a"}, point]));
    assert_eq!(body["toolConfig"]["tools"][1], point);
    let content = json!([{"text": "a"}, point, {"text": "b"}]);
    assert_eq!(body["messages"][0]["content"], content);
    assert_eq!(losses, none());
    let (again, losses) = translate(Dialect::Converse, Dialect::Messages, &body);
    assert_eq!(again["system"], json!([text]));
    assert_eq!(again["tools"], json!([tool]));
    assert_eq!(again["messages"], turns);
    assert_eq!(losses, none());
}

#[test]
fn mark_of_the_whole_prompt_and_of_a_tools_answer_stand_behind_their_block() {
    let mark = json!({"type": "ephemeral"});
    let point = json!({"cachePoint": {"type": "default"}});
    let (body, losses) = of_messages(json!({"cache_control": mark}));
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"text": "hi"}, point])
    );
    assert_eq!(losses, none());
    let inside = json!([{"type": "text", "text": "a", "cache_control": mark}]);
    let result = json!({"type": "tool_result", "tool_use_id": "a", "content": inside});
    let turns = json!([{"role": "user", "content": [{"type": "text", "text": "b"}, result]}]);
    let (body, _) = of_messages(json!({"messages": turns}));
    let result = json!({"toolResult": {"toolUseId": "a", "content": [{"text": "a"}]}});
    assert_eq!(
        body["messages"][0]["content"],
        json!([result, point, {"text": "b"}])
    );
}

#[test]
fn attachments_have_formats_and_what_must_be_fetched_is_named() {
    let source =
        |media_type: &str| json!({"type": "base64", "media_type": media_type, "data": "AA=="});
    let content = json!([
        {"type": "image", "source": source("image/webp")},
        {"type": "document", "title": "a_b.pdf", "source": source("application/pdf")},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "c"}},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
    ]);
    let (body, losses) = of_messages(json!({"messages": [{"role": "user", "content": content}]}));
    let expected = json!([
        {"image": {"format": "webp", "source": {"bytes": "AA=="}}},
        {"document": {"format": "pdf", "name": "a-b", "source": {"bytes": "AA=="}}},
        {"document": {"format": "txt", "name": "document", "source": {"text": "c"}}},
    ]);
    assert_eq!(body["messages"][0]["content"], expected);
    assert_eq!(
        losses,
        ["messages[0].content[1].title", "messages[0].content[3]"]
    );

    let turns = json!([{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": "AA=="}}}]}]);
    let (body, losses) = into(Dialect::Chat, json!({"messages": turns}));
    let url = &body["messages"][0]["content"][0]["image_url"]["url"];
    assert_eq!(
        (url, losses),
        (&json!("data:image/png;base64,AA=="), none())
    );
    let turns = json!([{"role": "user", "content": [{"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a"}}}}]}]);
    let (_, losses) = into(Dialect::Messages, json!({"messages": turns}));
    assert_eq!(losses, ["messages[0].content[0]"]);
}

#[test]
fn schema_of_the_answer_is_text_and_goes_both_ways() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}});
    let (body, losses) = of_chat(json!({"response_format": format}));
    let format = &body["outputConfig"]["textFormat"];
    assert_eq!(format["type"], "json_schema");
    let definition = &format["structure"]["jsonSchema"];
    assert_eq!(definition["name"], "n");
    let text = definition["schema"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), schema);
    assert_eq!(losses, none());
    let (again, losses) = translate(Dialect::Converse, Dialect::Messages, &body);
    assert_eq!(again["output_config"]["format"]["schema"], schema);
    assert_eq!(losses, none());
}

#[test]
fn what_bedrock_alone_has_is_named() {
    let (_, losses) = into(
        Dialect::Messages,
        json!({
            "guardrailConfig": {"guardrailIdentifier": "g"}, "performanceConfig": {"latency": "optimized"},
            "additionalModelRequestFields": {"anthropic_beta": ["b"]}, "requestMetadata": {"a": "b"},
        }),
    );
    let expected = [
        "requestMetadata",
        "guardrailConfig",
        "performanceConfig",
        "additionalModelRequestFields.anthropic_beta",
    ];
    assert_eq!(losses, expected);
}

#[test]
fn thoughts_come_back_to_their_maker_and_claude_takes_those_that_anthropic_signed() {
    let thought = json!({"type": "thinking", "thinking": "t", "signature": "s"});
    let turn = |thought: &Value| json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": [thought]}]);
    let (body, losses) = of_messages(json!({"messages": turn(&thought)}));
    let expected = json!({"reasoningContent": {"reasoningText": {"text": "t", "signature": "s"}}});
    assert_eq!(body["messages"][1]["content"], json!([expected]));
    assert_eq!(losses, none());
    let (_, losses) = of_messages(json!({"model": "openai.gpt-oss", "messages": turn(&thought)}));
    assert_eq!(losses, ["messages[1].content[0].thinking"]);

    let sealed = json!({"type": "thinking", "thinking": "t", "signature": "gvsig.converse.s"});
    let (body, _) = of_messages(json!({"model": "m", "messages": turn(&sealed)}));
    assert_eq!(body["messages"][1]["content"], json!([expected]));
    let sealed = json!({"type": "redacted_thinking", "data": "gvsig.converse.AA=="});
    let (body, _) = of_messages(json!({"model": "m", "messages": turn(&sealed)}));
    let expected = json!({"reasoningContent": {"redactedContent": "AA=="}});
    assert_eq!(body["messages"][1]["content"], json!([expected]));
}

/// An answer of `upstream` as a client of `client` gets it, and the paths of what is lost.
fn answered(client: Dialect, upstream: Dialect, body: &Value) -> (Value, Vec<String>) {
    let terms = AnswerTerms {
        model: Some("m".to_string()),
        id: Some("i".to_string()),
        ..AnswerTerms::default()
    };
    let translation = Translation::new(client, upstream);
    let bytes = body.to_string().into_bytes();
    let translated = translation.response(&bytes, &terms).unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    let body = serde_json::from_slice(&translated.body).unwrap();
    (body, losses.collect())
}

fn answer(content: Value, stop: &str) -> Value {
    let usage = json!({
        "inputTokens": 3, "outputTokens": 2, "totalTokens": 12, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 2,
    });
    let message = json!({"role": "assistant", "content": content});
    json!({"output": {"message": message}, "stopReason": stop, "usage": usage, "metrics": {"latencyMs": 4}})
}

#[test]
fn answer_has_the_id_and_model_of_the_terms_and_its_cached_tokens_count() {
    let body = answer(json!([{"text": "hi"}]), "end_turn");
    let (body, losses) = answered(Dialect::Chat, Dialect::Converse, &body);
    assert_eq!((&body["id"], &body["model"]), (&json!("i"), &json!("m")));
    assert_eq!(body["choices"][0]["message"]["content"], "hi");
    assert_eq!(body["usage"]["prompt_tokens"], 10);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 5);
    assert_eq!(losses, none());
}

#[test]
fn reasons_to_stop_have_their_counterparts() {
    for (stop, expected) in [
        ("end_turn", "end_turn"),
        ("tool_use", "tool_use"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("guardrail_intervened", "refusal"),
        ("content_filtered", "refusal"),
        (
            "model_context_window_exceeded",
            "model_context_window_exceeded",
        ),
    ] {
        let mut body = answer(json!([{"text": "hi"}]), stop);
        body["additionalModelResponseFields"] = json!({"stop_sequence": "x"});
        let (body, losses) = answered(Dialect::Messages, Dialect::Converse, &body);
        assert_eq!(body["stop_reason"], expected);
        assert_eq!(body["stop_sequence"], "x");
        assert_eq!(losses, none());
    }
    let body = answer(json!([{"text": "hi"}]), "malformed_tool_use");
    let (_, losses) = answered(Dialect::Messages, Dialect::Converse, &body);
    assert_eq!(losses, ["finish_reason"]);
}

#[test]
fn answer_of_messages_is_one_of_converse() {
    let content = json!([
        {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
    ]);
    let usage = json!({"input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 2});
    let body = json!({"id": "m", "type": "message", "role": "assistant", "content": content, "stop_reason": "tool_use", "usage": usage});
    let (body, losses) = answered(Dialect::Converse, Dialect::Messages, &body);
    let content = &body["output"]["message"]["content"];
    let proof = &content[0]["reasoningContent"]["reasoningText"]["signature"];
    assert_eq!(proof, "gvsig.messages.s");
    // The base64 of `gvsig.messages.d`.
    assert_eq!(
        content[1]["reasoningContent"]["redactedContent"],
        "Z3ZzaWcubWVzc2FnZXMuZA=="
    );
    assert_eq!(content[2]["toolUse"]["toolUseId"], "a");
    assert_eq!(body["stopReason"], "tool_use");
    let usage =
        json!({"inputTokens": 3, "outputTokens": 2, "totalTokens": 10, "cacheReadInputTokens": 5});
    assert_eq!(body["usage"], usage);
    assert_eq!(losses, none());
}

#[test]
fn citations_are_named_and_their_words_stay() {
    let cited = json!({"content": [{"text": "a"}, {"text": "b"}], "citations": [{"title": "t"}]});
    let body = answer(json!([{"citationsContent": cited}]), "end_turn");
    let (body, losses) = answered(Dialect::Chat, Dialect::Converse, &body);
    assert_eq!(body["choices"][0]["message"]["content"], "ab");
    assert_eq!(
        losses,
        ["output.message.content[0].citationsContent.citations"]
    );
}

#[test]
fn kind_of_an_error_stands_in_a_header() {
    let translation = Translation::new(Dialect::Messages, Dialect::Converse);
    let name = Some("ThrottlingException:http://internal.amazon.com/coral/");
    let error = translation.error_with(400, name, br#"{"message":"slow down"}"#);
    assert_eq!(error.error.kind, ErrorKind::RateLimit);
    let body: Value = serde_json::from_slice(&error.body).unwrap();
    assert_eq!(
        body["error"],
        json!({"type": "rate_limit_error", "message": "slow down"})
    );
    assert_eq!(error.name, None);
    let error = translation.error_with(403, Some("ExpiredTokenException"), b"<html>");
    assert_eq!(error.error.kind, ErrorKind::Authentication);

    let translation = Translation::new(Dialect::Converse, Dialect::Chat);
    let error = translation.error(503, br#"{"error":{"message":"busy"}}"#);
    assert_eq!(error.name.as_deref(), Some("ServiceUnavailableException"));
    assert_eq!(error.body, br#"{"message":"busy"}"#);
}

fn translator(client: Dialect, upstream: Dialect) -> StreamTranslator {
    let terms = AnswerTerms {
        stream: true,
        usage: true,
        model: Some("m".to_string()),
        ..AnswerTerms::default()
    };
    Translation::new(client, upstream).stream(&terms)
}

fn frames(events: &[(&str, Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, body) in events {
        let message = if name.ends_with("Exception") {
            EventMessage::exception(*name, body.to_string())
        } else {
            EventMessage::event(*name, body.to_string())
        };
        message.write(&mut out).unwrap();
    }
    out
}

fn read(client: Dialect, bytes: &[u8]) -> Vec<(Option<String>, Value)> {
    let mut events = Vec::new();
    let mut reader = EventReader::new(Framing::of(client));
    reader.push(bytes, &mut events).unwrap();
    let read = |data: &str| serde_json::from_str(data).unwrap_or_else(|_| json!(data));
    let events = events.into_iter();
    events
        .map(|event| (event.name, read(&event.data)))
        .collect()
}

fn piece(index: u64, delta: Value) -> (&'static str, Value) {
    (
        "contentBlockDelta",
        json!({"contentBlockIndex": index, "delta": delta}),
    )
}

#[test]
fn frames_of_converse_become_events_of_messages() {
    let events = [
        ("messageStart", json!({"role": "assistant", "p": "abc"})),
        piece(0, json!({"reasoningContent": {"text": "t"}})),
        piece(0, json!({"reasoningContent": {"signature": "s"}})),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
        piece(1, json!({"reasoningContent": {"redactedContent": "AA=="}})),
        ("contentBlockStop", json!({"contentBlockIndex": 1})),
        piece(2, json!({"text": "hi"})),
        ("contentBlockStop", json!({"contentBlockIndex": 2})),
        ("messageStop", json!({"stopReason": "end_turn"})),
        (
            "metadata",
            json!({"usage": {"inputTokens": 3, "outputTokens": 2}, "metrics": {}}),
        ),
    ];
    let mut stream = translator(Dialect::Messages, Dialect::Converse);
    let mut out = Vec::new();
    stream.push(&frames(&events), &mut out).unwrap();
    assert_eq!(stream.finish(&mut out), Completeness::Complete);
    assert!(stream.losses().is_empty(), "{:?}", stream.losses());
    let events = read(Dialect::Messages, &out);
    let (_, start) = &events[0];
    assert_eq!(start["message"]["model"], "m");
    let signature = json!({"type": "signature_delta", "signature": "gvsig.converse.s"});
    assert!(events.iter().any(|(_, event)| event["delta"] == signature));
    let redacted = json!({"type": "redacted_thinking", "data": "gvsig.converse.AA=="});
    assert!(
        events
            .iter()
            .any(|(_, event)| event["content_block"] == redacted)
    );
    let (_, delta) = &events[events.len() - 2];
    assert_eq!(
        delta["usage"],
        json!({"input_tokens": 3, "output_tokens": 2})
    );
}

#[test]
fn chunks_of_chat_become_frames_in_which_blocks_follow_one_another() {
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!("data: {}\n\n", json!({"id": "c", "choices": [choice]}))
    };
    let call = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}});
    let text = [
        chunk(json!({"content": "hi"}), None),
        chunk(json!({"tool_calls": [call]}), None),
        chunk(json!({}), Some("tool_calls")),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
            .to_string(),
        "data: [DONE]\n\n".to_string(),
    ];
    let mut stream = translator(Dialect::Converse, Dialect::Chat);
    let mut out = Vec::new();
    stream.push(text.concat().as_bytes(), &mut out).unwrap();
    assert_eq!(stream.finish(&mut out), Completeness::Complete);
    let events = read(Dialect::Converse, &out);
    let names: Vec<&str> = events
        .iter()
        .filter_map(|(name, _)| name.as_deref())
        .collect();
    let expected = [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        events[3].1["start"]["toolUse"],
        json!({"toolUseId": "a", "name": "f"})
    );
    assert_eq!(events[6].1["stopReason"], "tool_use");
    let usage = json!({"inputTokens": 3, "outputTokens": 2, "totalTokens": 5});
    assert_eq!(events[7].1["usage"], usage);
}

#[test]
fn stream_without_its_reason_to_stop_is_truncated_and_without_its_usage_is_not() {
    let events = [
        ("messageStart", json!({"role": "assistant"})),
        piece(0, json!({"text": "hi"})),
        ("messageStop", json!({"stopReason": "end_turn"})),
    ];
    for (length, expected) in [(2, Completeness::Truncated), (3, Completeness::Complete)] {
        let mut stream = translator(Dialect::Chat, Dialect::Converse);
        let mut out = Vec::new();
        stream.push(&frames(&events[..length]), &mut out).unwrap();
        assert_eq!(stream.finish(&mut out), expected);
        let is_done = read(Dialect::Chat, &out).contains(&(None, json!("[DONE]")));
        assert_eq!(is_done, expected == Completeness::Complete);
    }
}

#[test]
fn exceptions_are_errors_of_their_kind_both_ways() {
    for (name, word) in [
        ("throttlingException", "rate_limit_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("validationException", "invalid_request_error"),
        ("modelStreamErrorException", "api_error"),
        ("internalServerException", "api_error"),
        ("modelTimeoutException", "timeout_error"),
    ] {
        let mut stream = translator(Dialect::Messages, Dialect::Converse);
        let mut out = Vec::new();
        let bytes = frames(&[(name, json!({"message": "m"}))]);
        stream.push(&bytes, &mut out).unwrap();
        assert_eq!(stream.finish(&mut out), Completeness::Failed);
        let events = read(Dialect::Messages, &out);
        assert_eq!(events[0].1["error"], json!({"type": word, "message": "m"}));
    }
    let mut stream = translator(Dialect::Converse, Dialect::Messages);
    let mut out = Vec::new();
    stream.fail(ErrorKind::Overloaded, "busy", &mut out);
    let events = read(Dialect::Converse, &out);
    let name = Some("serviceUnavailableException".to_string());
    assert_eq!(events, [(name, json!({"message": "busy"}))]);
}

#[test]
fn broken_frame_ends_the_translation() {
    let mut bytes = frames(&[piece(0, json!({"text": "hi"}))]);
    *bytes.last_mut().unwrap() ^= 1;
    let mut stream = translator(Dialect::Chat, Dialect::Converse);
    let mut out = Vec::new();
    let pushed = stream.push(&bytes, &mut out);
    assert!(matches!(pushed, Err(TranslateError::Frame(_))));
    assert_eq!(
        stream.push(&bytes, &mut out),
        Err(TranslateError::StreamFailed)
    );
    assert_eq!(stream.finish(&mut out), Completeness::Truncated);
}
