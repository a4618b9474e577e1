//! What holds for any bytes.

use grapevine_dialect::event_stream::EventMessage;
use grapevine_dialect::framing::{EventReader, Framing};
use grapevine_dialect::grammar::{AnswerTerms, Object};
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{Dialect, Translation};
use proptest::prelude::*;
use serde_json::{Value, json};

const SPOKEN: [Dialect; 5] = Dialect::ALL;

fn translations() -> Vec<Translation> {
    let pairs = SPOKEN
        .into_iter()
        .flat_map(|from| SPOKEN.map(|to| (from, to)));
    pairs.map(|(from, to)| Translation::new(from, to)).collect()
}

fn terms() -> AnswerTerms {
    AnswerTerms {
        stream: true,
        usage: true,
        created: 1,
        ..AnswerTerms::default()
    }
}

/// JSON that is likely to be nearly a body: the dialects' own words at random places.
fn body() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "",
        "user",
        "assistant",
        "tool",
        "system",
        "text",
        "image_url",
        "tool_use",
        "tool_result",
        "thinking",
        "function",
        "auto",
        "base64",
        "url",
        "a",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "input_json_delta",
        "text_delta",
        "stop",
        "end_turn",
        "json_schema",
        "enabled",
        "ephemeral",
        "{}",
        "data:x;base64,AA",
        "default",
        "success",
        "png",
        "contentBlockDelta",
        "throttlingException",
        "gvid__61",
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "input_text",
        "input_image",
        "input_file",
        "output_text",
        "refusal",
        "summary_text",
        "completed",
        "incomplete",
        "custom",
        "model",
        "STOP",
        "HIGH",
        "VALIDATED",
        "ANY",
        "application/json",
        "image/png",
        "Z3ZzaWcubWVzc2FnZXMuYWJj",
    ]);
    let key = prop::sample::select(vec![
        "messages",
        "role",
        "content",
        "type",
        "text",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "tool_call_id",
        "tool_use_id",
        "input",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "signature",
        "source",
        "data",
        "choices",
        "delta",
        "message",
        "usage",
        "prompt_tokens",
        "prompt_tokens_details",
        "input_tokens",
        "finish_reason",
        "stop_reason",
        "content_block",
        "partial_json",
        "error",
        "code",
        "max_tokens",
        "stop",
        "response_format",
        "json_schema",
        "schema",
        "output_config",
        "format",
        "metadata",
        "cache_control",
        "ttl",
        "image_url",
        "url",
        "file",
        "reasoning_content",
        "refusal",
        "logprobs",
        "service_tier",
        "stream_options",
        "unknown",
        "toolUse",
        "toolUseId",
        "toolResult",
        "status",
        "json",
        "image",
        "document",
        "format",
        "bytes",
        "s3Location",
        "uri",
        "reasoningContent",
        "reasoningText",
        "redactedContent",
        "cachePoint",
        "guardContent",
        "citationsContent",
        "citations",
        "inferenceConfig",
        "maxTokens",
        "stopSequences",
        "toolConfig",
        "toolSpec",
        "inputSchema",
        "toolChoice",
        "tool",
        "any",
        "additionalModelRequestFields",
        "reasoning_config",
        "budget_tokens",
        "reasoning_effort",
        "effort",
        "top_k",
        "outputConfig",
        "textFormat",
        "structure",
        "jsonSchema",
        "requestMetadata",
        "promptVariables",
        "serviceTier",
        "output",
        "stopReason",
        "additionalModelResponseFields",
        "stop_sequence",
        "inputTokens",
        "cacheReadInputTokens",
        "totalTokens",
        "contentBlockIndex",
        "start",
        "modelId",
        "input",
        "output",
        "call_id",
        "status",
        "summary",
        "encrypted_content",
        "incomplete_details",
        "annotations",
        "file_data",
        "file_url",
        "instructions",
        "reasoning",
        "effort",
        "include",
        "top_logprobs",
        "item",
        "part",
        "response",
        "output_index",
        "content_index",
        "sequence_number",
        "contents",
        "parts",
        "thought",
        "thoughtSignature",
        "thought_signature",
        "functionCall",
        "function_call",
        "functionResponse",
        "response",
        "args",
        "inlineData",
        "inline_data",
        "mimeType",
        "fileData",
        "fileUri",
        "systemInstruction",
        "system_instruction",
        "functionDeclarations",
        "function_declarations",
        "parameters",
        "parametersJsonSchema",
        "googleSearch",
        "toolConfig",
        "tool_config",
        "functionCallingConfig",
        "allowedFunctionNames",
        "mode",
        "generationConfig",
        "generation_config",
        "topP",
        "maxOutputTokens",
        "max_output_tokens",
        "stopSequences",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "propertyOrdering",
        "thinkingConfig",
        "thinkingBudget",
        "thinkingLevel",
        "includeThoughts",
        "candidates",
        "finishReason",
        "promptFeedback",
        "blockReason",
        "usageMetadata",
        "promptTokenCount",
        "logprobsResult",
        "responseId",
        "modelVersion",
        "serviceTier",
        "labels",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        prop::sample::select(vec![
            json!(0),
            json!(1),
            json!(-1),
            json!(0.5),
            json!(u64::MAX)
        ]),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|fields| Value::Object(
                fields
                    .into_iter()
                    .map(|(key, value)| (key.to_string(), value))
                    .collect()
            )),
        ]
    })
}

fn request() -> impl Strategy<Value = Value> {
    (
        body(),
        prop::collection::vec(
            (
                prop::sample::select(vec!["user", "assistant", "tool", "system"]),
                body(),
            ),
            0..4,
        ),
    )
        .prop_map(|(rest, turns)| {
            let mut request = rest.as_object().cloned().unwrap_or_default();
            let turns = turns.into_iter().map(|(role, content)| {
                let mut turn = content.as_object().cloned().unwrap_or_default();
                turn.insert("role".to_string(), json!(role));
                turn.entry("content").or_insert(content);
                Value::Object(turn)
            });
            let turns: Vec<Value> = turns.collect();
            let contents = turns.iter().map(|turn| {
                let mut turn = turn.clone();
                let content = turn["content"].clone();
                turn["parts"] = json!([content.clone(), part_of(content)]);
                turn
            });
            request.insert("contents".to_string(), contents.collect());
            request.insert("input".to_string(), json!(turns));
            request.insert("messages".to_string(), json!(turns));
            Value::Object(request)
        })
}

/// A part of Gemini that is as good as its value.
fn part_of(value: Value) -> Value {
    let kinds = [
        "functionCall",
        "function_response",
        "inlineData",
        "fileData",
    ];
    let mut part = Object::new();
    for (index, kind) in kinds.iter().enumerate() {
        if value.to_string().len() % kinds.len() == index {
            let whole = json!({"name": "f", "response": {}, "data": "AA", "fileUri": "a"});
            part.insert((*kind).to_string(), with(value.clone(), whole));
        }
    }
    part.insert("thoughtSignature".to_string(), value["signature"].clone());
    if part["thoughtSignature"].is_null() {
        part.insert("thoughtSignature".to_string(), json!("c2ln"));
    }
    Value::Object(part)
}

fn with(mut body: Value, fields: Value) -> Value {
    let mut with = body.as_object_mut().map(std::mem::take).unwrap_or_default();
    with.extend(fields.as_object().cloned().unwrap_or_default());
    Value::Object(with)
}

/// An item of responses that is nearly one.
fn item(body: Value) -> Value {
    let kind = body["type"].as_str().unwrap_or("message").to_string();
    with(
        body,
        json!({"type": kind, "role": "assistant", "call_id": "c", "name": "f"}),
    )
}

fn answer() -> impl Strategy<Value = Value> {
    let bodies = (body(), body(), body(), body());
    (bodies, any::<bool>()).prop_map(|((rest, choice, message, part), is_converse)| {
        let choice = with(
            choice,
            json!({"message": with(message, json!({"role": "assistant"}))}),
        );
        let output = match is_converse {
            true => json!({"message": {"role": "assistant", "content": [part]}}),
            false => json!([part, item(part.clone())]),
        };
        let content =
            json!({"role": "model", "parts": [part, part_of(part.clone()), {"text": "a"}]});
        let candidate = with(choice.clone(), json!({"content": content}));
        with(
            rest,
            json!({
                "choices": [choice], "content": [part], "output": output, "candidates": [candidate],
            }),
        )
    })
}

fn event() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "ping",
        "error",
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
        "throttlingException",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
        "response.failed",
    ]);
    (kind, body(), body(), body(), body()).prop_map(|(kind, rest, choice, delta, block)| {
        let block = with(block, json!({}));
        let message = with(delta.clone(), json!({"content": []}));
        let response = with(delta.clone(), json!({"output": [item(block.clone())]}));
        let parts = json!([{"text": "h", "thought": true}, part_of(delta.clone()), block, {"text": ""}]);
        let candidate = with(choice.clone(), json!({"content": {"parts": parts, "role": "model"}}));
        let choice = with(choice, json!({"index": 0, "delta": with(delta.clone(), json!({}))}));
        with(rest, json!({
            "type": kind, "index": 0, "content_block": block, "delta": with(delta, json!({})), "message": message,
            "choices": [choice], "contentBlockIndex": 0, "start": block, "candidates": [candidate],
            "response": response, "item": item(block.clone()), "part": block,
        }))
    })
}

/// Entries of `tool_calls` in a chunk, each with some of its fields, no two of one number.
fn calls() -> impl Strategy<Value = Value> {
    let maybe = |words: Vec<&'static str>| prop::option::of(prop::sample::select(words));
    let entry = (
        maybe(vec!["a", "b", ""]),
        maybe(vec!["f", "g", ""]),
        maybe(vec!["{", "}", "{}", "\"x\":1", ""]),
        maybe(vec!["function"]),
    );
    prop::collection::btree_map(0..3_u64, entry, 1..3).prop_map(|entries| {
        let entries = entries.into_iter().map(|(index, (id, name, arguments, kind))| {
            let fields = |pairs: [(&str, Option<&str>); 2]| {
                let said = pairs.into_iter().filter_map(|(key, value)| Some((key.to_string(), json!(value?))));
                Value::Object(said.collect())
            };
            let outer = fields([("id", id), ("type", kind)]);
            with(outer, json!({"index": index, "function": fields([("name", name), ("arguments", arguments)])}))
        });
        Value::Array(entries.collect())
    })
}

/// A content block of Converse, or nearly one.
fn block() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "text",
        "json",
        "toolUse",
        "toolResult",
        "reasoningContent",
        "image",
        "document",
        "guardContent",
        "citationsContent",
        "cachePoint",
    ]);
    let said = prop_oneof![
        Just(json!("a")),
        Just(
            json!({"toolUseId": "gvid__61", "name": "f", "input": {"x": 0.1}, "type": "tool_use"})
        ),
        Just(json!({"toolUseId": "a", "content": [{"json": 1}, {"text": ""}], "status": "error"})),
        Just(json!({"toolUseId": "a", "content": []})),
        Just(json!({"reasoningText": {"text": "", "signature": "gvsig.messages.x"}})),
        Just(json!({"redactedContent": "Z3ZzaWcubWVzc2FnZXMueA=="})),
        Just(json!({"format": "png", "source": {"bytes": "AA=="}, "name": "n"})),
        Just(
            json!({"format": "odt", "source": {"s3Location": {"uri": "s3://a", "bucketOwner": "b"}}})
        ),
        Just(json!({"source": {"content": [{"text": "a"}]}, "context": "c"})),
        Just(json!({"text": {"text": "a", "qualifiers": ["query"]}})),
        Just(json!({"content": [{"text": "a"}, {"text": "b"}], "citations": [{}]})),
        Just(json!({"type": "default", "ttl": "1h"})),
        body(),
    ];
    prop::collection::vec((kind, said), 1..3).prop_map(|fields| {
        Value::Object(
            fields
                .into_iter()
                .map(|(kind, said)| (kind.to_string(), said))
                .collect(),
        )
    })
}

/// What a stream of bytes holds, in the framing of its dialect.
fn events_of(dialect: Dialect, bytes: &[u8]) -> Vec<Value> {
    let mut events = Vec::new();
    let mut reader = EventReader::new(Framing::of(dialect));
    reader
        .push(bytes, &mut events)
        .expect("the stream is whole");
    events
        .iter()
        .map(|event| serde_json::from_str(&event.data).expect("an event is JSON"))
        .collect()
}

/// A stream of each dialect with a bit of everything.
fn streams() -> [(Dialect, Vec<u8>); 5] {
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!(
            "data: {}\r\n\r\n",
            json!({"id": "c", "created": 1, "model": "m", "choices": [choice]})
        )
    };
    let call =
        json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{\"x\":\"ü\"}"}});
    let chat = [
        ": alive\n\n".to_string(),
        chunk(json!({"role": "assistant", "content": "grüß"}), None),
        chunk(json!({"tool_calls": [call]}), None),
        chunk(json!({}), Some("tool_calls")),
        "data: [DONE]\n\n".to_string(),
    ];
    let event = |event: Value| {
        format!(
            "event: {}\rdata: {event}\r\r",
            event["type"].as_str().unwrap_or_default()
        )
    };
    let message = json!({"id": "m", "model": "m", "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}});
    let messages = [
        event(json!({"type": "message_start", "message": message})),
        event(
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        event(
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "grüß"}}),
        ),
        event(json!({"type": "content_block_stop", "index": 0})),
        event(
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        ),
        event(json!({"type": "message_stop"})),
    ];
    let mut converse = Vec::new();
    for (name, body) in [
        ("messageStart", json!({"role": "assistant", "p": "ab"})),
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": 0, "delta": {"text": "grüß"}}),
        ),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}}),
        ),
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}}),
        ),
        ("contentBlockStop", json!({"contentBlockIndex": 1})),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 2, "start": {"image": {"format": "png"}}}),
        ),
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": 2, "delta": {"image": {"source": {"bytes": "AA=="}}}}),
        ),
        ("contentBlockStop", json!({"contentBlockIndex": 2})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        (
            "metadata",
            json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}),
        ),
    ] {
        EventMessage::event(name, body.to_string())
            .write(&mut converse)
            .expect("the frame is small");
    }
    let response = |status: &str, output: Value| json!({"id": "r", "model": "m", "status": status, "output": output});
    let item = json!({"type": "message", "id": "i", "role": "assistant", "content": []});
    let call =
        json!({"type": "function_call", "id": "j", "call_id": "a", "name": "f", "arguments": ""});
    let responses = [
        event(json!({"type": "response.created", "response": response("in_progress", json!([]))})),
        event(json!({"type": "response.output_item.added", "output_index": 0, "item": item})),
        event(
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "grüß"}),
        ),
        event(json!({"type": "response.output_item.added", "output_index": 1, "item": call})),
        event(
            json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"}),
        ),
        event(json!({"type": "response.output_item.done", "output_index": 1, "item": call})),
        event(
            json!({"type": "response.completed", "response": response("completed", json!([item, call]))}),
        ),
    ];
    let answer = |parts: Value, reason: Option<&str>| {
        let candidate = json!({"index": 0, "content": {"parts": parts, "role": "model"}, "finishReason": reason});
        let answer = json!({"responseId": "r", "modelVersion": "m", "candidates": [candidate]});
        format!("data: {answer}\r\n\r\n")
    };
    let gemini = [
        answer(json!([{"text": "hm", "thought": true}]), None),
        answer(json!([{"text": "grüß", "thoughtSignature": "c2ln"}]), None),
        answer(
            json!([{"functionCall": {"name": "f", "args": {"x": "ü"}}}]),
            None,
        ),
        answer(json!([{"text": ""}]), Some("STOP")),
    ];
    [
        (Dialect::Chat, chat.concat().into_bytes()),
        (Dialect::Messages, messages.concat().into_bytes()),
        (Dialect::Responses, responses.concat().into_bytes()),
        (Dialect::Gemini, gemini.concat().into_bytes()),
        (Dialect::Converse, converse),
    ]
}

fn pushed(translation: &Translation, pieces: &[&[u8]]) -> (Vec<u8>, Completeness) {
    let mut stream = translation.stream(&terms());
    let mut out = Vec::new();
    for piece in pieces {
        let _ = stream.push(piece, &mut out);
    }
    let ending = stream.finish(&mut out);
    (out, ending)
}

proptest! {
    #[test]
    fn stream_cut_anywhere_becomes_the_same(cuts in prop::collection::vec(0.0..1.0_f64, 0..12)) {
        for (upstream, bytes) in streams() {
            let bytes = bytes.as_slice();
            let mut places: Vec<usize> = cuts.iter().map(|cut| (cut * bytes.len() as f64) as usize).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            for client in SPOKEN {
                let translation = Translation::new(client, upstream);
                let whole = pushed(&translation, &[bytes]);
                prop_assert_eq!(whole.1, Completeness::Complete);
                prop_assert_eq!(pushed(&translation, &pieces), whole);
            }
        }
    }

    #[test]
    fn stream_that_ends_early_is_never_complete(length in 0.0..1.0_f64) {
        for (upstream, bytes) in streams() {
            // The last event of a chat or Converse stream only repeats that it is complete, or what it costs.
            let last = match upstream {
                Dialect::Converse => "metadata",
                _ => "data: [DONE]",
            };
            let position = bytes.windows(last.len()).position(|found| found == last.as_bytes());
            let end = match upstream {
                // The name stands behind the frame's lengths and their checksum.
                Dialect::Converse => position.unwrap() - 27,
                _ => bytes[..position.unwrap_or(bytes.len())].trim_ascii_end().len() - 1,
            };
            let cut = (length * end as f64) as usize;
            for client in SPOKEN {
                let translation = Translation::new(client, upstream);
                let (out, ending) = pushed(&translation, &[&bytes[..cut]]);
                prop_assert_eq!(ending, Completeness::Truncated);
                let out = String::from_utf8_lossy(&out);
                let ends = ["[DONE]", "message_stop", "messageStop", "response.completed", "\"STOP\""];
                prop_assert!(!ends.iter().any(|end| out.contains(end)));
            }
        }
    }

    #[test]
    fn any_bytes_are_translated_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for translation in translations() {
            let _ = translation.request(&bytes);
            let _ = translation.response(&bytes, &terms());
            let _ = translation.error(500, &bytes);
            let _ = pushed(&translation, &[&bytes]);
        }
    }

    #[test]
    fn anything_like_a_body_is_translated_or_refused(body in body(), events in prop::collection::vec(body(), 0..5)) {
        let bytes = body.to_string().into_bytes();
        for translation in translations() {
            let _ = translation.request(&bytes);
            let _ = translation.response(&bytes, &terms());
            let _ = translation.error(400, &bytes);
            let mut stream = translation.stream(&terms());
            let mut out = Vec::new();
            for event in &events {
                let name = event["type"].as_str();
                let _ = stream.push_event(name, &event.to_string(), &mut out);
            }
            stream.finish(&mut out);
        }
    }

    #[test]
    fn request_in_its_own_dialect_loses_nothing(body in request()) {
        for dialect in SPOKEN {
            let translation = Translation::new(dialect, dialect);
            if let Ok(translated) = translation.request(body.to_string().as_bytes()) {
                let written: Value = serde_json::from_slice(&translated.body).unwrap();
                prop_assert_eq!(&written, &body);
                prop_assert!(translated.losses.is_empty());
            }
        }
    }

    #[test]
    fn answer_in_its_own_dialect_loses_nothing(body in answer()) {
        for dialect in SPOKEN {
            let translation = Translation::new(dialect, dialect);
            if let Ok(translated) = translation.response(body.to_string().as_bytes(), &terms()) {
                let written: Value = serde_json::from_slice(&translated.body).unwrap();
                prop_assert_eq!(&written, &body);
                prop_assert!(translated.losses.is_empty());
            }
        }
    }

    #[test]
    fn event_in_its_own_dialect_loses_nothing(events in prop::collection::vec(event(), 1..4)) {
        for dialect in SPOKEN {
            let translation = Translation::new(dialect, dialect);
            let mut stream = translation.stream(&terms());
            for event in &events {
                let mut out = Vec::new();
                let name = event["type"].as_str();
                if stream.push_event(name, &event.to_string(), &mut out).is_err() {
                    break;
                }
                prop_assert_eq!(&events_of(dialect, &out), std::slice::from_ref(event));
                prop_assert!(stream.losses().is_empty());
            }
        }
    }

    #[test]
    fn block_of_converse_in_its_own_dialect_loses_nothing(
        blocks in prop::collection::vec(block(), 0..4), system in prop::collection::vec(block(), 0..3), rest in body(),
    ) {
        let translation = Translation::new(Dialect::Converse, Dialect::Converse);
        let turn = json!({"role": "user", "content": blocks});
        let request = with(rest.clone(), json!({"messages": [turn], "system": system}));
        let translated = translation.request(request.to_string().as_bytes()).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Value>(&translated.body).unwrap(), &request);
        prop_assert!(translated.losses.is_empty());
        let answer = with(rest, json!({"output": {"message": {"content": blocks}}}));
        let translated = translation.response(answer.to_string().as_bytes(), &terms()).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Value>(&translated.body).unwrap(), &answer);
        for client in [Dialect::Chat, Dialect::Messages] {
            let there = Translation::new(Dialect::Converse, client);
            prop_assert!(there.request(request.to_string().as_bytes()).is_ok());
        }
    }

    #[test]
    fn pieces_of_converse_in_their_own_dialect_lose_nothing(blocks in prop::collection::vec(block(), 1..4)) {
        let translation = Translation::new(Dialect::Converse, Dialect::Converse);
        let mut stream = translation.stream(&terms());
        for block in blocks {
            for (name, field) in [("contentBlockStart", "start"), ("contentBlockDelta", "delta")] {
                let event = json!({"contentBlockIndex": 1, field: block});
                for (name, event) in [(Some(name), event.clone()), (None, json!({name: event}))] {
                    let mut out = Vec::new();
                    stream.push_event(name, &event.to_string(), &mut out).unwrap();
                    prop_assert_eq!(&events_of(Dialect::Converse, &out), std::slice::from_ref(&event));
                }
            }
        }
    }

    #[test]
    fn pieces_of_calls_in_chat_lose_nothing(chunks in prop::collection::vec(calls(), 1..6)) {
        let translation = Translation::new(Dialect::Chat, Dialect::Chat);
        let mut stream = translation.stream(&terms());
        for calls in chunks {
            let delta = json!({"tool_calls": calls});
            let event = json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
            let mut out = Vec::new();
            stream.push_event(None, &event.to_string(), &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            let data = out.strip_prefix("data: ").unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(data).unwrap(), &event);
        }
    }

    #[test]
    fn items_of_calls_begin_once_and_end_once(chunks in prop::collection::vec(calls(), 1..8)) {
        let translation = Translation::new(Dialect::Responses, Dialect::Chat);
        let mut stream = translation.stream(&terms());
        let mut out = Vec::new();
        for calls in chunks {
            let event = json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "a", "tool_calls": calls}}]});
            stream.push_event(None, &event.to_string(), &mut out).unwrap();
        }
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
        stream.push_event(None, &end.to_string(), &mut out).unwrap();
        stream.push_event(None, "[DONE]", &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let events = out.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = events.map(|data| serde_json::from_str(data).unwrap()).collect();
        let (mut ids, mut whole) = (Vec::new(), Vec::new());
        for (sequence, event) in events.iter().enumerate() {
            prop_assert_eq!(&event["sequence_number"], sequence);
            let index = event["output_index"].as_u64().map(|index| index as usize);
            match event["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    prop_assert_eq!(index, Some(ids.len()));
                    ids.push(event["item"]["id"].clone());
                    whole.push(Value::Null);
                }
                "response.output_item.done" => {
                    let index = index.unwrap();
                    prop_assert_eq!(&event["item"]["id"], &ids[index]);
                    prop_assert!(whole[index].is_null());
                    whole[index] = event["item"].clone();
                }
                "response.completed" => prop_assert_eq!(&event["response"]["output"], &json!(whole)),
                _ => if let Some(index) = index {
                    prop_assert_eq!(&event["item_id"], &ids[index]);
                    prop_assert!(whole[index].is_null());
                }
            }
        }
    }

    #[test]
    fn blocks_of_calls_come_one_after_the_other(chunks in prop::collection::vec(calls(), 1..8)) {
        let translation = Translation::new(Dialect::Messages, Dialect::Chat);
        let mut stream = translation.stream(&terms());
        let mut out = Vec::new();
        for calls in chunks {
            let event = json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]});
            stream.push_event(None, &event.to_string(), &mut out).unwrap();
        }
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
        stream.push_event(None, &end.to_string(), &mut out).unwrap();
        stream.push_event(None, "[DONE]", &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let (mut open, mut next) = (None, 0);
        for data in out.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let event: Value = serde_json::from_str(data).unwrap();
            let index = event["index"].as_u64();
            match event["type"].as_str().unwrap() {
                "content_block_start" => {
                    prop_assert_eq!((open, index), (None, Some(next)));
                    prop_assert!(!event["content_block"]["id"].as_str().unwrap().is_empty());
                    (open, next) = (index, next + 1);
                }
                "content_block_delta" => prop_assert_eq!(index, open),
                "content_block_stop" => prop_assert_eq!(index, open.take()),
                _ => {}
            }
        }
        prop_assert_eq!(open, None);
    }
}
