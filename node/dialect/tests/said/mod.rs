//! Answers by chance, as each dialect streams them.

use grapevine_dialect::Dialect;
use proptest::prelude::*;
use serde_json::{Value, json};

/// One part of an answer, in the pieces in which it comes.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Words(Vec<String>),
    Thought(Vec<String>),
    /// A call: its name, and the JSON of its input.
    Call(String, Vec<String>),
}

/// An answer: its parts, and whether the limit of tokens cuts it short.
pub(crate) fn answers() -> impl Strategy<Value = (Vec<Said>, bool)> {
    let piece = "[ab ü\n\"\\\\]{0,5}";
    let pieces = || prop::collection::vec(piece.prop_map(String::from), 1..4);
    let call = ("[a-z_]{1,8}", piece, 0..12_usize).prop_map(|(name, value, cut)| {
        let input = json!({"x": value}).to_string();
        let cut = input
            .char_indices()
            .map(|(at, _)| at)
            .nth(cut)
            .unwrap_or(input.len());
        let (one, other) = input.split_at(cut);
        Said::Call(name, vec![one.to_string(), other.to_string()])
    });
    let part = prop_oneof![
        3 => pieces().prop_map(Said::Words),
        1 => pieces().prop_map(Said::Thought),
        2 => call,
    ];
    (prop::collection::vec(part, 0..5), any::<bool>())
}

/// The events in which a dialect streams the answer, a Converse event by its name.
pub(crate) fn events(dialect: Dialect, parts: &[Said], is_cut_short: bool) -> Vec<Value> {
    match dialect {
        Dialect::Chat => chat(parts, is_cut_short),
        Dialect::Responses => responses(parts, is_cut_short),
        Dialect::Messages => messages(parts, is_cut_short),
        Dialect::Gemini => gemini(parts, is_cut_short),
        Dialect::Converse => converse(parts, is_cut_short),
    }
}

fn has_call(parts: &[Said]) -> bool {
    parts.iter().any(|part| matches!(part, Said::Call(..)))
}

fn reason<'a>(parts: &[Said], is_cut_short: bool, words: [&'a str; 3]) -> &'a str {
    match (is_cut_short, has_call(parts)) {
        (true, _) => words[0],
        (false, true) => words[1],
        (false, false) => words[2],
    }
}

fn chat(parts: &[Said], is_cut_short: bool) -> Vec<Value> {
    let chunk = |choices: Value| json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices});
    let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]));
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}))];
    let mut calls = 0;
    // A whole message of chat completions has no order among them.
    let mut parts = parts.to_vec();
    parts.sort_by_key(|part| match part {
        Said::Thought(_) => 0,
        Said::Words(_) => 1,
        Said::Call(..) => 2,
    });
    for part in &parts {
        match part {
            Said::Words(pieces) => {
                events.extend(pieces.iter().map(|piece| delta(json!({"content": piece}))));
            }
            Said::Thought(pieces) => {
                let pieces = pieces.iter();
                events.extend(pieces.map(|piece| delta(json!({"reasoning_content": piece}))));
            }
            Said::Call(name, pieces) => {
                let begin = json!({
                    "index": calls, "id": format!("call_{calls}"), "type": "function",
                    "function": {"name": name, "arguments": ""},
                });
                events.push(delta(json!({"tool_calls": [begin]})));
                let more = pieces.iter().map(|piece| {
                    let call = json!({"index": calls, "function": {"arguments": piece}});
                    delta(json!({"tool_calls": [call]}))
                });
                events.extend(more);
                calls += 1;
            }
        }
    }
    let reason = reason(&parts, is_cut_short, ["length", "tool_calls", "stop"]);
    events.push(chunk(
        json!([{"index": 0, "delta": {}, "finish_reason": reason}]),
    ));
    let mut last = chunk(json!([]));
    last["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13});
    events.push(last);
    events
}

fn messages(parts: &[Said], is_cut_short: bool) -> Vec<Value> {
    let message = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1},
    });
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, part) in parts.iter().enumerate() {
        let (block, kind, field, pieces) = match part {
            Said::Words(pieces) => (
                json!({"type": "text", "text": ""}),
                "text_delta",
                "text",
                pieces,
            ),
            Said::Thought(pieces) => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                "thinking_delta",
                "thinking",
                pieces,
            ),
            Said::Call(name, pieces) => (
                json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": {}}),
                "input_json_delta",
                "partial_json",
                pieces,
            ),
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let delta =
            |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        let pieces = pieces.iter();
        events.extend(pieces.map(|piece| delta(json!({"type": kind, field: piece}))));
        if matches!(part, Said::Thought(_)) {
            events.push(delta(
                json!({"type": "signature_delta", "signature": "c2ln"}),
            ));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let reason = reason(parts, is_cut_short, ["max_tokens", "tool_use", "end_turn"]);
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn gemini(parts: &[Said], is_cut_short: bool) -> Vec<Value> {
    let usage = json!({"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7});
    let chunk = |part: Value| {
        let candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
        json!({"responseId": "r", "modelVersion": "m", "candidates": [candidate], "usageMetadata": usage})
    };
    let mut events = Vec::new();
    for part in parts {
        match part {
            Said::Words(pieces) => {
                events.extend(pieces.iter().map(|piece| chunk(json!({"text": piece}))));
            }
            Said::Thought(pieces) => {
                let pieces = pieces.iter();
                events.extend(pieces.map(|piece| chunk(json!({"text": piece, "thought": true}))));
            }
            Said::Call(name, pieces) => {
                let args: Value = serde_json::from_str(&pieces.concat()).unwrap();
                events.push(chunk(json!({"functionCall": {"name": name, "args": args}})));
            }
        }
    }
    let mut last = chunk(json!({"text": ""}));
    let reason = if is_cut_short { "MAX_TOKENS" } else { "STOP" };
    last["candidates"][0]["finishReason"] = json!(reason);
    events.push(last);
    events
}

fn converse(parts: &[Said], is_cut_short: bool) -> Vec<Value> {
    let mut events = vec![json!({"messageStart": {"role": "assistant"}})];
    for (index, part) in parts.iter().enumerate() {
        let delta = |delta: Value| json!({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}});
        match part {
            Said::Words(pieces) => {
                events.extend(pieces.iter().map(|piece| delta(json!({"text": piece}))));
            }
            Said::Thought(pieces) => {
                let pieces = pieces.iter();
                events.extend(
                    pieces.map(|piece| delta(json!({"reasoningContent": {"text": piece}}))),
                );
                events.push(delta(json!({"reasoningContent": {"signature": "c2ln"}})));
            }
            Said::Call(name, pieces) => {
                let call = json!({"toolUse": {"toolUseId": format!("t{index}"), "name": name}});
                events.push(
                    json!({"contentBlockStart": {"contentBlockIndex": index, "start": call}}),
                );
                let pieces = pieces.iter();
                events.extend(pieces.map(|piece| delta(json!({"toolUse": {"input": piece}}))));
            }
        }
        events.push(json!({"contentBlockStop": {"contentBlockIndex": index}}));
    }
    let reason = reason(parts, is_cut_short, ["max_tokens", "tool_use", "end_turn"]);
    events.push(json!({"messageStop": {"stopReason": reason}}));
    let usage = json!({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7});
    events.push(json!({"metadata": {"usage": usage, "metrics": {"latencyMs": 5}}}));
    events
}

fn responses(parts: &[Said], is_cut_short: bool) -> Vec<Value> {
    let response = |status: &str, output: &[Value]| {
        json!({
            "id": "r", "object": "response", "created_at": 1, "model": "m", "status": status, "output": output,
        })
    };
    let mut events =
        vec![json!({"type": "response.created", "response": response("in_progress", &[])})];
    let mut output = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let id = format!("item_{index}");
        let at = |kind: &str, more: Value| {
            let mut event = json!({"type": kind, "output_index": index, "item_id": id});
            event
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            event
        };
        let (begun, whole) = item(&id, index, part);
        events.push(at("response.output_item.added", json!({"item": begun})));
        let (kind, more, pieces) = match part {
            Said::Words(pieces) => {
                let part = json!({"type": "output_text", "text": "", "annotations": []});
                events.push(at(
                    "response.content_part.added",
                    json!({"content_index": 0, "part": part}),
                ));
                ("response.output_text", json!({"content_index": 0}), pieces)
            }
            Said::Thought(pieces) => {
                let part = json!({"type": "summary_text", "text": ""});
                events.push(at(
                    "response.reasoning_summary_part.added",
                    json!({"summary_index": 0, "part": part}),
                ));
                (
                    "response.reasoning_summary_text",
                    json!({"summary_index": 0}),
                    pieces,
                )
            }
            Said::Call(_, pieces) => ("response.function_call_arguments", json!({}), pieces),
        };
        for piece in pieces {
            let mut event = at(&format!("{kind}.delta"), more.clone());
            event["delta"] = json!(piece);
            events.push(event);
        }
        events.push(at("response.output_item.done", json!({"item": whole})));
        output.push(whole);
    }
    let (kind, status) = match is_cut_short {
        true => ("response.incomplete", "incomplete"),
        false => ("response.completed", "completed"),
    };
    let mut last = response(status, &output);
    if is_cut_short {
        last["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    last["usage"] = json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7});
    events.push(json!({"type": kind, "response": last}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    events
}

/// An item as it begins, and whole.
fn item(id: &str, index: usize, part: &Said) -> (Value, Value) {
    match part {
        Said::Words(pieces) => {
            let item = |content: Value, status: &str| json!({"type": "message", "id": id, "role": "assistant", "status": status, "content": content});
            let text = json!({"type": "output_text", "text": pieces.concat(), "annotations": []});
            (
                item(json!([]), "in_progress"),
                item(json!([text]), "completed"),
            )
        }
        Said::Thought(pieces) => {
            let item = |summary: Value| json!({"type": "reasoning", "id": id, "summary": summary});
            let text = json!({"type": "summary_text", "text": pieces.concat()});
            (item(json!([])), item(json!([text])))
        }
        Said::Call(name, pieces) => {
            let item = |arguments: String, status: &str| {
                json!({
                    "type": "function_call", "id": id, "call_id": format!("call_{index}"), "name": name,
                    "arguments": arguments, "status": status,
                })
            };
            (
                item(String::new(), "in_progress"),
                item(pieces.concat(), "completed"),
            )
        }
    }
}
