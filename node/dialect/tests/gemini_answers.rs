//! Answers, errors and streams between Gemini and the other dialects.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::hub::error::ErrorKind;
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{Dialect, Translation};
use serde_json::{Value, json};

fn translate(client: Dialect, upstream: Dialect, body: &Value) -> (Value, Vec<String>) {
    let translation = Translation::new(client, upstream);
    let translated = translation
        .response(body.to_string().as_bytes(), &AnswerTerms::default())
        .unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    (
        serde_json::from_slice(&translated.body).unwrap(),
        losses.collect(),
    )
}

fn answer(parts: Value, reason: &str) -> Value {
    json!({
        "responseId": "r", "modelVersion": "m",
        "candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": reason}],
        "usageMetadata": {
            "promptTokenCount": 10, "cachedContentTokenCount": 4, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 7,
            "thoughtsTokenCount": 3, "totalTokenCount": 25,
        },
    })
}

/// What a client gets of a stream's chunks, and how it ends.
fn stream(client: Dialect, upstream: Dialect, chunks: &[Value]) -> (Vec<Value>, Completeness) {
    let terms = AnswerTerms {
        stream: true,
        usage: true,
        created: 9,
        ..AnswerTerms::default()
    };
    let mut stream = Translation::new(client, upstream).stream(&terms);
    let mut out = Vec::new();
    for chunk in chunks {
        stream
            .push_event(chunk["type"].as_str(), &chunk.to_string(), &mut out)
            .unwrap();
    }
    let ending = stream.finish(&mut out);
    let out = String::from_utf8(out).unwrap();
    let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)));
    (data.collect(), ending)
}

fn said(parts: Value) -> Value {
    json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}}], "responseId": "r"})
}

#[test]
fn thoughts_and_what_tools_read_count() {
    let (body, losses) = translate(
        Dialect::Chat,
        Dialect::Gemini,
        &answer(json!([{"text": "a"}]), "STOP"),
    );
    assert_eq!(
        body["usage"],
        json!({
            "prompt_tokens": 15, "completion_tokens": 10, "total_tokens": 25,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3},
        })
    );
    assert!(losses.is_empty());
}

#[test]
fn reasons_to_stop() {
    let call = json!([{"functionCall": {"name": "f"}}]);
    let text = json!([{"text": "a"}]);
    for (parts, reason, chat, messages) in [
        (&text, "STOP", "stop", "end_turn"),
        (&call, "STOP", "tool_calls", "tool_use"),
        (&text, "MAX_TOKENS", "length", "max_tokens"),
        (&text, "SAFETY", "content_filter", "refusal"),
        (&text, "RECITATION", "content_filter", "refusal"),
    ] {
        let answer = answer(parts.clone(), reason);
        let (body, _) = translate(Dialect::Chat, Dialect::Gemini, &answer);
        assert_eq!(body["choices"][0]["finish_reason"], chat);
        let (body, _) = translate(Dialect::Messages, Dialect::Gemini, &answer);
        assert_eq!(body["stop_reason"], messages);
    }
    let (_, losses) = translate(
        Dialect::Messages,
        Dialect::Gemini,
        &answer(text, "MALFORMED_FUNCTION_CALL"),
    );
    assert_eq!(losses, ["candidates[0].finish_reason"]);
}

#[test]
fn blocked_prompt_is_a_refusal() {
    let feedback =
        json!({"blockReason": "SAFETY", "blockReasonMessage": "no", "safetyRatings": [{"a": 1}]});
    let body = json!({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 3}});
    let (chat, losses) = translate(Dialect::Chat, Dialect::Gemini, &body);
    let choice = &chat["choices"][0];
    assert_eq!(choice["finish_reason"], "content_filter");
    assert_eq!(choice["message"]["refusal"], "no");
    assert_eq!(losses, ["promptFeedback.safetyRatings"]);
    let (home, losses) = translate(Dialect::Gemini, Dialect::Gemini, &body);
    assert_eq!((home, losses.len()), (body.clone(), 0));
    let (events, ending) = stream(Dialect::Messages, Dialect::Gemini, &[body]);
    assert_eq!(ending, Completeness::Complete);
    let delta = &events[events.len() - 2]["delta"];
    assert_eq!(delta["stop_reason"], "refusal");
}

#[test]
fn signature_of_a_call_is_sealed_for_the_client() {
    let parts = json!([{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}]);
    let (chat, _) = translate(
        Dialect::Chat,
        Dialect::Gemini,
        &answer(parts.clone(), "STOP"),
    );
    let message = &chat["choices"][0]["message"];
    assert_eq!(message["reasoning_signature"], "gvsig.gemini.c2ln");
    let id = message["tool_calls"][0]["id"].as_str().unwrap();
    assert_eq!(id, "gvcall_0_0_r");
    let messages = json!([
        {"role": "user", "content": "hi"}, message, {"role": "tool", "tool_call_id": id, "content": "a"},
    ]);
    let body = json!({"model": "gemini-3-pro", "messages": messages}).to_string();
    let translation = Translation::new(Dialect::Chat, Dialect::Gemini);
    let translated = translation.request(body.as_bytes()).unwrap();
    let written: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(written["contents"][1]["parts"], parts);
    assert_eq!(
        written["contents"][2]["parts"][0]["functionResponse"],
        json!({"name": "f", "response": {"output": "a"}})
    );
    assert!(translated.losses.is_empty());
}

#[test]
fn signature_of_another_provider_comes_back_through_a_client_of_gemini() {
    let body = json!({
        "id": "m", "content": [{"type": "thinking", "thinking": "h", "signature": "abc."}, {"type": "text", "text": "a"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 2},
    });
    let (gemini, losses) = translate(Dialect::Gemini, Dialect::Messages, &body);
    assert!(losses.is_empty());
    let content = &gemini["candidates"][0]["content"];
    let body = json!({"contents": ["hi", content, "go"]}).to_string();
    let translation = Translation::new(Dialect::Gemini, Dialect::Messages);
    let translated = translation
        .request_with(Some("claude"), Some(false), body.as_bytes())
        .unwrap();
    let written: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(
        written["messages"][1]["content"][0],
        json!({"type": "thinking", "thinking": "h", "signature": "abc."})
    );
}

#[test]
fn log_probabilities_are_said_in_both_forms() {
    let mut body = answer(json!([{"text": "a"}]), "STOP");
    let token = json!({"token": "a", "logProbability": -0.5});
    let result = json!({"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]});
    body["candidates"][0]["logprobsResult"] = result.clone();
    let (chat, losses) = translate(Dialect::Chat, Dialect::Gemini, &body);
    let token = &chat["choices"][0]["logprobs"]["content"][0];
    assert_eq!(
        (&token["logprob"], &token["top_logprobs"][0]["token"]),
        (&json!(-0.5), &json!("a"))
    );
    assert!(losses.is_empty());
    let (back, _) = translate(Dialect::Gemini, Dialect::Chat, &chat);
    assert_eq!(back["candidates"][0]["logprobsResult"], result);
}

#[test]
fn errors_keep_their_kind_both_ways() {
    let translation = Translation::new(Dialect::Chat, Dialect::Gemini);
    for (status, code, kind) in [
        ("RESOURCE_EXHAUSTED", 429, ErrorKind::RateLimit),
        ("UNAVAILABLE", 503, ErrorKind::Overloaded),
        ("INVALID_ARGUMENT", 400, ErrorKind::InvalidRequest),
        ("PERMISSION_DENIED", 403, ErrorKind::Permission),
    ] {
        let body = json!({"error": {"code": code, "message": "no", "status": status}});
        let read = translation.error(code, body.to_string().as_bytes());
        assert_eq!(read.error.kind, kind);
        let back = Translation::new(Dialect::Gemini, Dialect::Chat);
        let back = back.error(code, &read.body);
        let written: Value = serde_json::from_slice(&back.body).unwrap();
        assert_eq!(written, body);
    }
    let details =
        json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
    let body = json!({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": details}});
    let read = translation.error(400, body.to_string().as_bytes());
    assert_eq!(read.error.kind, ErrorKind::Authentication);
    let home = Translation::new(Dialect::Gemini, Dialect::Gemini);
    let home = home.error(400, body.to_string().as_bytes());
    let written: Value = serde_json::from_slice(&home.body).unwrap();
    assert_eq!(written, body);
}

#[test]
fn stream_without_a_reason_to_stop_is_truncated() {
    let chunks = [said(json!([{"text": "a"}])), said(json!([{"text": "b"}]))];
    for client in [Dialect::Chat, Dialect::Messages, Dialect::Gemini] {
        let (events, ending) = stream(client, Dialect::Gemini, &chunks);
        assert_eq!(ending, Completeness::Truncated);
        let end = events.last().unwrap().to_string();
        assert!(!end.contains("message_stop") && !end.contains("[DONE]"));
    }
    let chunk = json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}}]});
    let (chunks, ending) = stream(Dialect::Gemini, Dialect::Chat, &[chunk]);
    assert_eq!(ending, Completeness::Truncated);
    assert!(!format!("{chunks:?}").contains("finishReason"));
}

#[test]
fn error_within_a_stream_is_one_in_the_other_dialect() {
    let error = json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}});
    let chunks = [said(json!([{"text": "a"}])), error];
    let (events, ending) = stream(Dialect::Messages, Dialect::Gemini, &chunks);
    assert_eq!(ending, Completeness::Failed);
    assert_eq!(events.last().unwrap()["error"]["type"], "overloaded_error");
}

#[test]
fn last_usage_of_a_stream_counts() {
    let mut first = said(json!([{"text": "a"}]));
    first["usageMetadata"] = json!({"promptTokenCount": 5, "candidatesTokenCount": 1});
    let last = answer(json!([{"text": "b"}]), "STOP");
    let (chunks, ending) = stream(Dialect::Chat, Dialect::Gemini, &[first, last]);
    assert_eq!(ending, Completeness::Complete);
    let usage = &chunks[chunks.len() - 2]["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(15), &json!(10))
    );
}

#[test]
fn late_signature_of_a_stream_is_kept() {
    let chunks = [
        said(json!([{"text": "hm", "thought": true}])),
        said(json!([{"text": "a"}])),
        answer(json!([{"text": "", "thoughtSignature": "c2ln"}]), "STOP"),
    ];
    let (events, _) = stream(Dialect::Chat, Dialect::Gemini, &chunks);
    let signatures: Vec<&Value> = events
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"].get("reasoning_signature"))
        .collect();
    assert_eq!(signatures, ["gvsig.gemini.c2ln"]);
}

#[test]
fn call_of_a_stream_comes_whole_and_its_end_comes_last() {
    let chunk = |delta: Value, reason: Option<&str>| json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let call = |entry: Value| chunk(json!({"tool_calls": [entry]}), None);
    let chunks = [
        chunk(json!({"content": "a"}), None),
        call(json!({"index": 0, "id": "i", "function": {"name": "f", "arguments": "{\"x\""}})),
        call(json!({"index": 0, "function": {"arguments": ":1}"}})),
        chunk(json!({}), Some("tool_calls")),
        json!({"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
    ];
    let (chunks, ending) = stream(Dialect::Gemini, Dialect::Chat, &chunks);
    assert_eq!(ending, Completeness::Complete);
    let parts: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["candidates"][0]["content"]["parts"][0])
        .collect();
    assert_eq!(
        parts[1],
        &json!({"functionCall": {"id": "i", "name": "f", "args": {"x": 1}}})
    );
    let last = chunks.last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert_eq!(last["usageMetadata"]["totalTokenCount"], 7);
    let is_end = |chunk: &&Value| chunk.to_string().contains("finishReason");
    assert_eq!(chunks.iter().filter(is_end).count(), 1);
}
