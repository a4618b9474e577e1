//! A stream, translated event by event and put together, says what its whole answer says.

mod crossing;

use crossing::crossed;
use grapevine_dialect::Dialect;
use serde_json::{Value, json};

fn chat(deltas: &[Value], reason: &str) -> Value {
    let head = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"});
    let chunk = |choices: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = choices;
        chunk
    };
    let said = deltas
        .iter()
        .map(|delta| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])));
    let mut chunks: Vec<Value> = said.collect();
    chunks.push(chunk(
        json!([{"index": 0, "delta": {}, "finish_reason": reason}]),
    ));
    let mut last = chunk(json!([]));
    last["usage"] = json!({
        "prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 2},
    });
    chunks.push(last);
    Value::Array(chunks)
}

fn messages(blocks: &[(Value, &[Value])], reason: &str, sequence: Option<&str>) -> Value {
    let usage = json!({"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 1, "service_tier": "standard"});
    let message = json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage,
    });
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, (block, deltas)) in blocks.iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let deltas = deltas.iter();
        events.extend(
            deltas.map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}));
    events.push(json!({"type": "message_stop"}));
    Value::Array(events)
}

fn assert_crossed(dialect: Dialect, events: &Value) {
    assert_eq!(crossed(dialect, events), Ok(()));
}

fn text(text: &str) -> (Value, [Value; 2]) {
    let (one, other) = text.split_at(1);
    let delta = |text: &str| json!({"type": "text_delta", "text": text});
    (
        json!({"type": "text", "text": ""}),
        [delta(one), delta(other)],
    )
}

fn input(text: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": text})
}

fn tool(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
}

#[test]
fn thoughts_of_messages() {
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let said = [
        json!({"type": "thinking_delta", "thinking": "h"}),
        json!({"type": "thinking_delta", "thinking": "m"}),
        json!({"type": "signature_delta", "signature": "c2ln"}),
    ];
    let (block, deltas) = text("hello");
    let answer = (block, deltas.as_slice());
    assert_crossed(
        Dialect::Messages,
        &messages(
            &[(thinking.clone(), &said), answer.clone()],
            "end_turn",
            None,
        ),
    );
    assert_crossed(
        Dialect::Messages,
        &messages(
            &[(thinking.clone(), &said[2..]), answer.clone()],
            "end_turn",
            None,
        ),
    );
    let twice = [
        (thinking.clone(), said.as_slice()),
        (thinking, said.as_slice()),
        answer.clone(),
    ];
    assert_crossed(Dialect::Messages, &messages(&twice, "end_turn", None));
    let hidden = json!({"type": "redacted_thinking", "data": "abc"});
    assert_crossed(
        Dialect::Messages,
        &messages(&[(hidden, &[]), answer], "end_turn", None),
    );
}

#[test]
fn calls_of_messages() {
    let (block, deltas) = text("look");
    let pieces = [input(""), input("{\"x\""), input(":1}")];
    let blocks = [
        (block, deltas.as_slice()),
        (tool("a"), pieces.as_slice()),
        (tool("b"), &[]),
    ];
    assert_crossed(Dialect::Messages, &messages(&blocks, "tool_use", None));
}

#[test]
fn searches_of_messages() {
    let search = json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}});
    let found = json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": []});
    let cited = json!({"type": "citations_delta", "citation": {"type": "x"}});
    let (block, deltas) = text("ab");
    let blocks = [
        (search, [input("{}")].to_vec()),
        (found, Vec::new()),
        (block.clone(), deltas.to_vec()),
        (
            json!({"type": "text", "text": "", "citations": []}),
            [&[cited], deltas.as_slice()].concat(),
        ),
    ];
    let blocks: Vec<(Value, &[Value])> = blocks
        .iter()
        .map(|(block, deltas)| (block.clone(), deltas.as_slice()))
        .collect();
    assert_crossed(Dialect::Messages, &messages(&blocks, "end_turn", None));
}

#[test]
fn reasons_of_messages_and_nothing_at_all() {
    for reason in [
        "end_turn",
        "max_tokens",
        "refusal",
        "pause_turn",
        "stop_sequence",
        "model_context_window_exceeded",
    ] {
        assert_crossed(Dialect::Messages, &messages(&[], reason, Some("x")));
    }
}

#[test]
fn thoughts_and_refusals_of_chat() {
    for field in ["reasoning_content", "reasoning"] {
        let deltas = [
            json!({"role": "assistant", "content": "", field: "h"}),
            json!({field: "m"}),
            json!({"content": "a"}),
            json!({"content": "b"}),
        ];
        assert_crossed(Dialect::Chat, &chat(&deltas, "stop"));
    }
    let sealed = [
        json!({"reasoning_content": "h"}),
        json!({"reasoning_signature": "c2ln"}),
        json!({"content": "a"}),
    ];
    assert_crossed(Dialect::Chat, &chat(&sealed, "stop"));
    let refusal = [
        json!({"role": "assistant", "refusal": "n"}),
        json!({"refusal": "o"}),
    ];
    assert_crossed(Dialect::Chat, &chat(&refusal, "stop"));
}

#[test]
fn calls_of_chat() {
    let call = |entry: Value| json!({"tool_calls": [entry]});
    let begin = |index: u64, id: &str| {
        call(
            json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}}),
        )
    };
    let more =
        |index: u64, text: &str| call(json!({"index": index, "function": {"arguments": text}}));
    let deltas = [
        json!({"content": "look"}),
        begin(0, "a"),
        more(0, "{\"x\""),
        begin(1, "b.c"),
        more(1, "{}"),
        more(0, ":1}"),
    ];
    assert_crossed(Dialect::Chat, &chat(&deltas, "tool_calls"));
    assert_crossed(Dialect::Chat, &chat(&[begin(0, "a")], "stop"));
    assert_crossed(
        Dialect::Chat,
        &chat(&[begin(0, ""), more(0, "{}")], "tool_calls"),
    );
}

#[test]
fn free_text_for_a_tool_of_chat() {
    let call = |entry: Value| json!({"tool_calls": [entry]});
    let deltas = [
        call(
            json!({"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": ""}}),
        ),
        call(json!({"index": 0, "custom": {"input": "a \"b\""}})),
    ];
    assert_crossed(Dialect::Chat, &chat(&deltas, "tool_calls"));
}

#[test]
fn several_answers_and_log_probabilities_of_chat() {
    let chunk = |index: u64, delta: Value, reason: Option<&str>| {
        json!({"id": "c", "model": "m", "choices": [{
            "index": index, "delta": delta, "finish_reason": reason, "logprobs": {"content": [{"token": "a"}]},
        }]})
    };
    let chunks = json!([
        chunk(0, json!({"content": "a"}), None),
        chunk(1, json!({"content": "b"}), None),
        chunk(1, json!({}), Some("stop")),
        chunk(0, json!({}), Some("length")),
    ]);
    assert_crossed(Dialect::Chat, &chunks);
}

/// A stream of responses: each item with the events between its beginning and its end.
fn responses(items: &[(Value, Vec<Value>, Value)], status: &str, reason: Option<&str>) -> Value {
    let response = |status: &str, output: Value| {
        json!({
            "id": "r", "object": "response", "created_at": 1, "model": "m", "status": status, "output": output,
            "incomplete_details": reason.map(|reason| json!({"reason": reason})),
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        })
    };
    let mut events =
        vec![json!({"type": "response.created", "response": response("in_progress", json!([]))})];
    for (index, (begun, pieces, whole)) in items.iter().enumerate() {
        events.push(
            json!({"type": "response.output_item.added", "output_index": index, "item": begun}),
        );
        for piece in pieces {
            let mut piece = piece.clone();
            piece["output_index"] = json!(index);
            events.push(piece);
        }
        events.push(
            json!({"type": "response.output_item.done", "output_index": index, "item": whole}),
        );
    }
    let output: Vec<&Value> = items.iter().map(|(_, _, whole)| whole).collect();
    let kind = format!("response.{status}");
    events.push(json!({"type": kind, "response": response(status, json!(output))}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    Value::Array(events)
}

#[test]
fn thought_of_responses_in_several_parts() {
    let begun =
        json!({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "EARLY"});
    let part = |text: &str| json!({"type": "summary_text", "text": text});
    let mut pieces = Vec::new();
    for (index, text) in ["one", "two"].into_iter().enumerate() {
        pieces.push(json!({"type": "response.reasoning_summary_part.added", "summary_index": index, "part": part("")}));
        pieces.push(
            json!({"type": "response.reasoning_summary_text.delta", "summary_index": index, "delta": text}),
        );
        pieces.push(json!({"type": "response.reasoning_summary_text.done", "summary_index": index, "text": text}));
    }
    let whole = json!({"type": "reasoning", "id": "rs", "summary": [part("one"), part("two")], "encrypted_content": "ENC"});
    let events = responses(
        &[(begun, pieces, whole)],
        "incomplete",
        Some("max_output_tokens"),
    );
    assert_crossed(Dialect::Responses, &events);
}

#[test]
fn open_thought_of_responses() {
    let begun = json!({"type": "reasoning", "id": "rs", "summary": [], "content": []});
    let pieces = vec![
        json!({"type": "response.content_part.added", "content_index": 0, "part": {"type": "reasoning_text", "text": ""}}),
        json!({"type": "response.reasoning_text.delta", "content_index": 0, "delta": "hm"}),
    ];
    let content = json!([{"type": "reasoning_text", "text": "hm, so"}]);
    let whole = json!({"type": "reasoning", "id": "rs", "summary": [], "content": content});
    let events = responses(&[(begun, pieces, whole)], "completed", None);
    assert_crossed(Dialect::Responses, &events);
}

#[test]
fn refusal_and_quoted_text_of_responses() {
    let begun = json!({"type": "message", "id": "a", "role": "assistant", "status": "in_progress", "content": []});
    let annotation = json!({"type": "url_citation", "url": "https://a.example"});
    let pieces = vec![
        json!({"type": "response.output_text.delta", "content_index": 0, "delta": "a"}),
        json!({"type": "response.output_text.annotation.added", "content_index": 0, "annotation": annotation}),
        json!({"type": "response.refusal.delta", "content_index": 1, "delta": "n"}),
        json!({"type": "response.refusal.done", "content_index": 1, "refusal": "no"}),
    ];
    let content = json!([
        {"type": "output_text", "text": "a", "annotations": [annotation]}, {"type": "refusal", "refusal": "no"},
    ]);
    let whole = json!({"type": "message", "id": "a", "role": "assistant", "status": "completed", "content": content});
    let events = responses(&[(begun, pieces, whole)], "completed", None);
    assert_crossed(Dialect::Responses, &events);
}

#[test]
fn search_and_free_text_of_responses() {
    let search = json!({"type": "web_search_call", "id": "ws", "status": "completed"});
    let searching = vec![json!({"type": "response.web_search_call.searching", "item_id": "ws"})];
    let call = |input: &str| json!({"type": "custom_tool_call", "id": "ctc", "call_id": "c", "name": "f", "input": input});
    let pieces = vec![
        json!({"type": "response.custom_tool_call_input.delta", "item_id": "ctc", "delta": "a \"b"}),
        json!({"type": "response.custom_tool_call_input.done", "item_id": "ctc", "input": "a \"b\""}),
    ];
    let items = [
        (search.clone(), searching, search),
        (call(""), pieces, call("a \"b\"")),
    ];
    assert_crossed(Dialect::Responses, &responses(&items, "completed", None));
}

/// A stream of Gemini with one chunk for each list of parts.
fn gemini(chunks: &[Value], reason: &str) -> Value {
    let last = chunks.len() - 1;
    let chunks = chunks.iter().enumerate().map(|(index, parts)| {
        let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
        if index == last {
            candidate["finishReason"] = json!(reason);
        }
        let usage = json!({"promptTokenCount": 3, "candidatesTokenCount": index, "thoughtsTokenCount": 2});
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"})
    });
    Value::Array(chunks.collect())
}

#[test]
fn thoughts_of_gemini() {
    let thought = |text: &str| json!({"text": text, "thought": true});
    let call = json!({"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"});
    let mut signed = thought("b");
    signed["thoughtSignature"] = json!("b3du");
    let signed_text = json!({"text": "a", "thoughtSignature": "c2ln"});
    let empty = json!({"text": "", "thoughtSignature": "bGF0ZQ=="});
    for chunks in [
        vec![json!([thought("h")]), json!([thought("m")]), json!([call])],
        vec![json!([thought("h"), signed_text]), json!([{"text": "b"}])],
        vec![
            json!([thought("h")]),
            json!([signed]),
            json!([thought("c"), call]),
        ],
        vec![
            json!([thought("h")]),
            json!([{"text": "a"}]),
            json!([empty]),
        ],
        vec![json!([signed_text]), json!([{"text": "b"}]), json!([empty])],
        vec![
            json!([{"thoughtSignature": "YWxvbmU="}]),
            json!([{"text": "b"}]),
        ],
    ] {
        assert_crossed(Dialect::Gemini, &gemini(&chunks, "STOP"));
    }
}

#[test]
fn calls_and_other_parts_of_gemini() {
    let call = |id: &str| json!({"functionCall": {"id": id, "name": "f", "args": {}}});
    let nameless = json!({"functionCall": {"name": "g"}});
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "AA"}});
    let code = json!({"executableCode": {"language": "PYTHON", "code": "1"}});
    for chunks in [
        vec![
            json!([{"text": "a"}]),
            json!([call("a"), call("b")]),
            json!([{"text": ""}]),
        ],
        vec![json!([nameless, nameless]), json!([nameless])],
        vec![json!([{"text": "a"}, image]), json!([{"text": "b"}])],
        vec![json!([code]), json!([{"text": "b"}])],
        vec![json!([])],
    ] {
        assert_crossed(Dialect::Gemini, &gemini(&chunks, "STOP"));
    }
    assert_crossed(
        Dialect::Gemini,
        &gemini(&[json!([{"text": "a"}])], "SAFETY"),
    );
}

#[test]
fn several_answers_and_a_blocked_prompt_of_gemini() {
    let candidate = |index: u64, reason: Option<&str>| {
        let token = json!({"token": "a", "logProbability": -1});
        json!({
            "index": index, "content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": reason,
            "logprobsResult": {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]},
        })
    };
    let chunk =
        |field: &str, value: Value| json!({field: value, "modelVersion": "m", "responseId": "r"});
    let chunks = json!([
        chunk(
            "candidates",
            json!([candidate(0, None), candidate(1, None)])
        ),
        chunk("candidates", json!([candidate(1, Some("MAX_TOKENS"))])),
        chunk("candidates", json!([candidate(0, Some("STOP"))])),
    ]);
    assert_crossed(Dialect::Gemini, &chunks);
    let blocked = json!([chunk("promptFeedback", json!({"blockReason": "SAFETY"}))]);
    assert_crossed(Dialect::Gemini, &blocked);
}
