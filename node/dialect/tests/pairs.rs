//! What holds between any client and any upstream.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::Dialect::{Chat, Converse, Gemini, Messages, Responses};
use grapevine_dialect::framing::Framing;
use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::hub::fold::fold;
use grapevine_dialect::hub::part::{PartKind, ToolCall};
use grapevine_dialect::hub::stream::StreamFrame;
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::translate::grammar_of;
use grapevine_dialect::{Dialect, LossList, Translation};
use serde_json::{Value, json};

/// The upstreams whose tools take JSON alone.
const WITHOUT_FREE_TEXT: [Dialect; 4] = [Chat, Messages, Gemini, Converse];

const PATCH: &str = "*** Begin Patch\n+ \"a\"\n";

/// A request of a client of responses with a tool that takes free text, which was called before.
fn patching() -> Value {
    let format = json!({"type": "grammar", "syntax": "lark", "definition": "start: /.+/"});
    let tool = json!({"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": format});
    let call = json!({"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": PATCH});
    let output = json!({"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done"});
    json!({
        "model": "m", "max_output_tokens": 999, "tools": [tool], "input": [{"role": "user", "content": "hi"}, call, output],
        "tool_choice": {"type": "custom", "name": "apply_patch"},
    })
}

/// The one call in an answer.
fn call_of(dialect: Dialect, body: &Value) -> ToolCall {
    let answer = grammar_of(dialect)
        .read_answer(body.as_object().unwrap().clone())
        .unwrap();
    let parts = answer.choices.iter().flat_map(|choice| &choice.turn.parts);
    let mut calls = parts.filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call.clone()),
        _ => None,
    });
    calls.next().unwrap()
}

/// The events of a stream of chat completions in another dialect, in its framing.
fn upstream_stream(dialect: Dialect, chunks: &[Value]) -> Vec<u8> {
    let mut reader = grammar_of(Chat).stream_reader();
    let mut frames: Vec<StreamFrame> = Vec::new();
    for chunk in chunks {
        frames.push(reader.read(None, &chunk.to_string()).unwrap());
    }
    frames.push(reader.read(None, "[DONE]").unwrap());
    let mut writer = grammar_of(dialect).stream_writer(&AnswerTerms::default());
    let (mut events, mut losses) = (Vec::new(), LossList::default());
    for frame in frames {
        writer.write(frame, &mut events, &mut losses);
    }
    let mut bytes = Vec::new();
    for event in &events {
        Framing::of(dialect).write(event, &mut bytes).unwrap();
    }
    bytes
}

/// A stream of chat completions with one call of a function, in pieces.
fn calling(pieces: &[&str]) -> Vec<Value> {
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        json!({"id": "c", "model": "m", "choices": [choice]})
    };
    let function = json!({"name": "apply_patch", "arguments": ""});
    let call = json!({"index": 0, "id": "call_2", "type": "function", "function": function});
    let mut chunks = vec![chunk(json!({"tool_calls": [call]}), None)];
    chunks.extend(pieces.iter().map(|piece| {
        let call = json!({"index": 0, "function": {"arguments": piece}});
        chunk(json!({"tool_calls": [call]}), None)
    }));
    chunks.push(chunk(json!({}), Some("tool_calls")));
    chunks
}

#[test]
fn tool_that_takes_free_text_is_a_function_in_every_dialect_without_such_tools() {
    for upstream in WITHOUT_FREE_TEXT {
        let translation = Translation::new(Responses, upstream);
        let translated = translation
            .request(patching().to_string().as_bytes())
            .unwrap();
        let losses: Vec<String> = translated
            .losses
            .into_iter()
            .map(|loss| loss.path)
            .collect();
        assert_eq!(losses, ["tools[0].format"], "{upstream}");
        let body: Value = serde_json::from_slice(&translated.body).unwrap();
        let request = grammar_of(upstream)
            .read_request(body.as_object().unwrap().clone())
            .unwrap();
        let parts = request.turns.iter().flat_map(|turn| &turn.parts);
        let inputs = parts.filter_map(|part| match &part.kind {
            PartKind::ToolCall(call) => call.input.to_object(),
            _ => None,
        });
        let inputs: Vec<Value> = inputs.collect();
        assert_eq!(inputs, [json!({"input": PATCH})], "{upstream}");
        assert!(body.to_string().contains("apply_patch"), "{upstream}");
        assert!(body.to_string().contains("start: /.+/"), "{upstream}");
    }
}

#[test]
fn call_of_the_function_comes_back_as_free_text_from_every_dialect() {
    let home = fold(Chat, frames_of(&calling(&[r#"{"input":"*** x"}"#])));
    for upstream in WITHOUT_FREE_TEXT {
        let translation = Translation::new(Responses, upstream);
        let terms = translation
            .request(patching().to_string().as_bytes())
            .unwrap()
            .terms;
        let mut losses = LossList::default();
        let body = grammar_of(upstream).write_answer(&home, &AnswerTerms::default(), &mut losses);
        let body = Value::Object(body).to_string();
        let translated = translation.response(body.as_bytes(), &terms).unwrap();
        let body: Value = serde_json::from_slice(&translated.body).unwrap();
        let item = &body["output"][0];
        assert_eq!(item["type"], "custom_tool_call", "{upstream}");
        assert_eq!(item["input"], "*** x", "{upstream}");
    }
}

#[test]
fn streamed_call_of_the_function_comes_back_as_free_text_from_every_dialect() {
    let pieces = [r#"{"in"#, r#"put": "*** \n"#, r#"\"x\"" }"#];
    for upstream in WITHOUT_FREE_TEXT {
        let translation = Translation::new(Responses, upstream);
        let terms = translation
            .request(patching().to_string().as_bytes())
            .unwrap()
            .terms;
        let mut stream = translation.stream(&terms);
        let mut out = Vec::new();
        stream
            .push(&upstream_stream(upstream, &calling(&pieces)), &mut out)
            .unwrap();
        assert_eq!(stream.finish(&mut out), Completeness::Complete);
        let out = String::from_utf8(out).unwrap();
        let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
        let mut events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let last = events.next_back().unwrap();
        let call = call_of(Responses, &last["response"]);
        assert_eq!(call.input.to_text(), "*** \n\"x\"", "{upstream}");
        assert!(!out.contains("function_call_arguments"), "{upstream}");
    }
}

fn frames_of(chunks: &[Value]) -> Vec<StreamFrame> {
    let mut reader = grammar_of(Chat).stream_reader();
    let frames = chunks
        .iter()
        .map(|chunk| reader.read(None, &chunk.to_string()).unwrap());
    frames.collect()
}
