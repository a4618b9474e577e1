//! Whole answers and errors between chat completions and messages.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::hub::error::ErrorKind;
use grapevine_dialect::{Dialect, TranslateError, Translation};
use serde_json::{Value, json};

/// An answer of `upstream` as a client of `client` gets it, and the paths of what is lost.
fn translate(client: Dialect, upstream: Dialect, body: &Value) -> (Value, Vec<String>) {
    let terms = AnswerTerms {
        created: 9,
        ..AnswerTerms::default()
    };
    let translation = Translation::new(client, upstream);
    let translated = translation
        .response(body.to_string().as_bytes(), &terms)
        .unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    (
        serde_json::from_slice(&translated.body).unwrap(),
        losses.collect(),
    )
}

fn to_chat(content: Value, stop_reason: &str) -> (Value, Vec<String>) {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 7},
    });
    translate(Dialect::Chat, Dialect::Messages, &body)
}

fn to_messages(message: Value, finish_reason: &str) -> (Value, Vec<String>) {
    let body = json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": null}],
        "usage": {
            "prompt_tokens": 18, "completion_tokens": 7, "total_tokens": 25,
            "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    });
    translate(Dialect::Messages, Dialect::Chat, &body)
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

#[test]
fn answer_of_messages_is_a_chat_completion() {
    let (body, losses) = to_chat(text("hi"), "end_turn");
    let message = json!({"role": "assistant", "content": "hi", "refusal": null});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop", "logprobs": null});
    assert_eq!(body["choices"], json!([choice]));
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["created"], 9);
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn answer_of_chat_is_a_message() {
    let message = json!({"role": "assistant", "content": "hi", "refusal": null, "annotations": []});
    let (body, losses) = to_messages(message, "stop");
    assert_eq!(body["content"], text("hi"));
    assert_eq!(
        (&body["type"], &body["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert_eq!(
        (&body["stop_reason"], &body["stop_sequence"]),
        (&json!("end_turn"), &Value::Null)
    );
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn prompt_tokens_include_cached_ones_and_input_tokens_do_not() {
    let (body, _) = to_chat(text("hi"), "end_turn");
    assert_eq!(body["usage"]["prompt_tokens"], 18);
    assert_eq!(body["usage"]["total_tokens"], 25);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 5);
    let (body, _) = to_messages(json!({"role": "assistant", "content": "hi"}), "stop");
    assert_eq!(body["usage"]["input_tokens"], 13);
    assert_eq!(body["usage"]["cache_read_input_tokens"], 5);
    assert_eq!(body["usage"]["output_tokens_details"]["thinking_tokens"], 2);
}

#[test]
fn pieces_of_a_text_become_one() {
    let content = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(
        to_chat(content, "end_turn").0["choices"][0]["message"]["content"],
        "ab"
    );
}

#[test]
fn every_reason_to_stop_has_its_word() {
    for (reason, word) in [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        assert_eq!(
            to_chat(text("a"), reason).0["choices"][0]["finish_reason"],
            word
        );
    }
    for (word, reason) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
    ] {
        let message = json!({"role": "assistant", "content": "a"});
        assert_eq!(to_messages(message, word).0["stop_reason"], reason);
    }
}

#[test]
fn pause_of_a_turn_is_named() {
    let (body, losses) = to_chat(text("a"), "pause_turn");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(losses, ["stop_reason"]);
}

#[test]
fn refusal_is_text_and_a_reason_to_stop() {
    let message = json!({"role": "assistant", "content": null, "refusal": "no"});
    let (body, _) = to_messages(message, "stop");
    assert_eq!(body["content"], text("no"));
    assert_eq!(body["stop_reason"], "refusal");
}

#[test]
fn thought_goes_out_sealed() {
    let content = json!([
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "a"},
    ]);
    let (body, losses) = to_chat(content, "end_turn");
    let message = &body["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "hm");
    assert_eq!(message["reasoning_signature"], "gvsig.messages.c2ln");
    assert!(losses.is_empty(), "{losses:?}");
    let message = json!({"role": "assistant", "reasoning_content": "hm", "content": "a"});
    let (body, _) = to_messages(message, "stop");
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "gvsig.chat."});
    assert_eq!(body["content"][0], thought);
}

#[test]
fn tool_calls_go_both_ways_and_those_without_id_get_one_each() {
    let content = json!([{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}]);
    let (body, _) = to_chat(content, "tool_use");
    let call = json!({"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
    assert_eq!(body["choices"][0]["message"]["tool_calls"], json!([call]));
    let call = json!({"type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "tool_calls": [call, call]});
    let (body, _) = to_messages(message, "tool_calls");
    let ids = [&body["content"][0]["id"], &body["content"][1]["id"]];
    assert_eq!(ids, [&json!("call_0_c"), &json!("call_1_c")]);
}

#[test]
fn second_answer_and_log_probabilities_are_named() {
    let choice = |index: u64| {
        let message = json!({"role": "assistant", "content": "a"});
        json!({"index": index, "message": message, "finish_reason": "stop", "logprobs": {"content": []}})
    };
    let body = json!({"id": "c", "model": "m", "choices": [choice(0), choice(1)]});
    let (_, losses) = translate(Dialect::Messages, Dialect::Chat, &body);
    assert_eq!(losses, ["choices[1]", "choices[0].logprobs"]);
}

fn error(client: Dialect, upstream: Dialect, status: u16, body: &str) -> (Value, ErrorKind) {
    let translation = Translation::new(client, upstream);
    let translated = translation.error(status, body.as_bytes());
    assert_eq!(translated.status, status);
    (
        serde_json::from_slice(&translated.body).unwrap(),
        translated.error.kind,
    )
}

#[test]
fn error_of_messages_has_the_shape_of_chat_and_keeps_its_kind() {
    let body = r#"{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}, "request_id": "req_1"}"#;
    let (written, kind) = error(Dialect::Chat, Dialect::Messages, 529, body);
    let inside = json!({"message": "busy", "type": "server_error", "param": null, "code": "overloaded_error"});
    assert_eq!(written, json!({"error": inside, "request_id": "req_1"}));
    assert_eq!(kind, ErrorKind::Overloaded);
}

#[test]
fn error_of_chat_has_the_shape_of_messages_and_keeps_its_kind() {
    for (status, body, word) in [
        (
            400,
            r#"{"error": {"message": "m", "type": "invalid_request_error", "param": "x", "code": null}}"#,
            "invalid_request_error",
        ),
        (
            401,
            r#"{"error": {"message": "m", "type": "invalid_request_error", "code": "invalid_api_key"}}"#,
            "authentication_error",
        ),
        (
            404,
            r#"{"error": {"message": "m", "type": "invalid_request_error", "code": "model_not_found"}}"#,
            "not_found_error",
        ),
        (
            429,
            r#"{"error": {"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}}"#,
            "rate_limit_error",
        ),
        (
            429,
            r#"{"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}"#,
            "rate_limit_error",
        ),
        (
            500,
            r#"{"error": {"message": "m", "type": "server_error", "code": null}}"#,
            "api_error",
        ),
        (503, r#"{"error": "m"}"#, "overloaded_error"),
    ] {
        let (written, _) = error(Dialect::Messages, Dialect::Chat, status, body);
        assert_eq!(
            written,
            json!({"type": "error", "error": {"type": word, "message": "m"}})
        );
    }
}

#[test]
fn kinds_survive_the_way_there_and_back() {
    for (word, status) in [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
    ] {
        let body = json!({"type": "error", "error": {"type": word, "message": "m"}}).to_string();
        let (chat, _) = error(Dialect::Chat, Dialect::Messages, status, &body);
        let (back, kind) = error(Dialect::Messages, Dialect::Chat, status, &chat.to_string());
        assert_eq!(back["error"]["type"], word);
        assert_eq!(kind.status(), status);
    }
}

#[test]
fn body_that_is_no_error_becomes_one_of_its_status() {
    let (written, kind) = error(
        Dialect::Chat,
        Dialect::Messages,
        502,
        "<html>bad gateway</html>",
    );
    assert_eq!(kind, ErrorKind::Internal);
    let message = written["error"]["message"].as_str().unwrap();
    assert!(message.contains("502"), "{message}");
}

#[test]
fn error_in_its_own_dialect_stays_as_it_was() {
    let body = json!({"error": {"message": "m", "type": "t", "param": null, "code": "c", "more": 1}, "other": [1]});
    assert_eq!(
        error(Dialect::Chat, Dialect::Chat, 400, &body.to_string()).0,
        body
    );
    let body = json!({"type": "error", "error": {"type": "new_error", "message": "m", "details": {"a": 1}}, "request_id": null});
    assert_eq!(
        error(Dialect::Messages, Dialect::Messages, 400, &body.to_string()).0,
        body
    );
}

#[test]
fn stop_of_an_answer_that_calls_tools_is_a_tool_call() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    assert_eq!(to_messages(message, "stop").0["stop_reason"], "tool_use");
}

#[test]
fn error_under_a_status_of_success_is_the_upstreams() {
    let body = br#"{"error": {"code": 429, "message": "slow down"}, "user_id": "u"}"#;
    let translation = Translation::new(Dialect::Messages, Dialect::Chat);
    let refused = translation.response(body, &AnswerTerms::default());
    let TranslateError::Reported(error) = refused.unwrap_err() else {
        panic!("the error is not the upstream's");
    };
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::RateLimit, "slow down")
    );
}
