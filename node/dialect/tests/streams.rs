//! Streams between chat completions and messages.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::hub::error::ErrorKind;
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{Dialect, StreamTranslator, Translation};
use serde_json::{Value, json};

fn translator(client: Dialect, upstream: Dialect, usage: bool) -> StreamTranslator {
    let terms = AnswerTerms {
        stream: true,
        usage,
        created: 9,
        ..AnswerTerms::default()
    };
    Translation::new(client, upstream).stream(&terms)
}

/// What a client of messages gets of chunks, and how it ends.
fn to_messages(chunks: &[Value], is_done: bool) -> (Vec<Value>, Completeness) {
    let mut text: String = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    if is_done {
        text.push_str("data: [DONE]\n\n");
    }
    run(translator(Dialect::Messages, Dialect::Chat, true), &text)
}

/// What a client of chat completions gets of events, and how it ends.
fn to_chat(events: &[Value], usage: bool) -> (Vec<Value>, Completeness) {
    let event = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    let text: String = events.iter().map(event).collect();
    run(translator(Dialect::Chat, Dialect::Messages, usage), &text)
}

fn run(mut translator: StreamTranslator, text: &str) -> (Vec<Value>, Completeness) {
    let mut out = Vec::new();
    translator.push(text.as_bytes(), &mut out).unwrap();
    let ending = translator.finish(&mut out);
    let out = String::from_utf8(out).unwrap();
    let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
    let data = data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data)));
    (data.collect(), ending)
}

fn chunk(delta: Value, finish_reason: Option<&str>) -> Value {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
}

fn call(entry: Value) -> Value {
    chunk(json!({"tool_calls": [entry]}), None)
}

fn finish(reason: &str) -> Value {
    chunk(json!({}), Some(reason))
}

fn start() -> Value {
    let usage = json!({"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1});
    json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage,
    }})
}

fn block(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ]
}

/// The blocks that events of messages add up to: type, id, name and everything said.
fn blocks(events: &[Value]) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut open = None;
    for event in events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(open, None, "one block at a time");
                assert_eq!(event["index"], blocks.len());
                open = event["index"].as_u64();
                let block = &event["content_block"];
                let named = block["id"]
                    .as_str()
                    .map(|id| format!(" {id} {}", block["name"].as_str().unwrap()));
                blocks.push((
                    format!(
                        "{}{}",
                        block["type"].as_str().unwrap(),
                        named.unwrap_or_default()
                    ),
                    String::new(),
                ));
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open);
                let delta = event["delta"].as_object().unwrap();
                let said = delta.iter().filter(|(key, _)| *key != "type");
                for (_, text) in said {
                    blocks
                        .last_mut()
                        .unwrap()
                        .1
                        .push_str(text.as_str().unwrap());
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"].as_u64(), open.take());
            }
            _ => {}
        }
    }
    blocks
}

fn expected(blocks: &[(&str, &str)]) -> Vec<(String, String)> {
    blocks
        .iter()
        .map(|(kind, said)| (kind.to_string(), said.to_string()))
        .collect()
}

#[test]
fn text_of_chat_becomes_one_block_and_the_usage_after_the_finish_is_kept() {
    let usage = json!({"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}});
    let chunks = [
        chunk(json!({"role": "assistant", "content": ""}), None),
        chunk(json!({"content": "he"}), None),
        chunk(json!({"content": "llo"}), None),
        finish("stop"),
        usage,
    ];
    let (events, ending) = to_messages(&chunks, true);
    assert_eq!(blocks(&events), expected(&[("text", "hello")]));
    assert_eq!(events[0]["type"], "message_start");
    let [.., last_delta, last] = events.as_slice() else {
        panic!("there is an end")
    };
    assert_eq!(last_delta["delta"]["stop_reason"], "end_turn");
    assert_eq!(
        last_delta["usage"],
        json!({"input_tokens": 5, "output_tokens": 2})
    );
    assert_eq!(last["type"], "message_stop");
    assert_eq!(ending, Completeness::Complete);
}

#[test]
fn finish_without_done_is_complete() {
    let (events, ending) = to_messages(
        &[chunk(json!({"content": "a"}), None), finish("length")],
        false,
    );
    assert_eq!(
        events[events.len() - 2]["delta"]["stop_reason"],
        "max_tokens"
    );
    assert_eq!(ending, Completeness::Complete);
}

#[test]
fn stream_that_was_cut_is_given_no_end() {
    let (events, ending) = to_messages(&[chunk(json!({"content": "a"}), None)], false);
    assert_eq!(events.last().unwrap()["type"], "content_block_delta");
    assert_eq!(ending, Completeness::Truncated);
    let text = block(0, json!({"type": "text", "text": ""}));
    let said = delta(0, json!({"type": "text_delta", "text": "a"}));
    let (chunks, ending) = to_chat(
        &[start(), text, said, stop(0), end("end_turn")[0].clone()],
        true,
    );
    assert_ne!(chunks.last().unwrap(), "[DONE]");
    assert_eq!(ending, Completeness::Truncated);
    assert_eq!(to_messages(&[], false).1, Completeness::Truncated);
}

#[test]
fn first_chunk_may_be_a_tool_call_and_arguments_come_in_pieces() {
    let first = json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}});
    let (events, _) = to_messages(
        &[
            call(first),
            call(json!({"index": 0, "function": {"arguments": "{\"x\""}})),
            call(json!({"index": 0, "function": {"arguments": ": 1}"}})),
            finish("tool_calls"),
        ],
        true,
    );
    assert_eq!(blocks(&events), expected(&[("tool_use a f", "{\"x\": 1}")]));
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn arguments_before_id_and_name_wait_for_them() {
    let (events, _) = to_messages(
        &[
            call(json!({"index": 0, "function": {"arguments": "{\"x\""}})),
            call(json!({"index": 0, "id": "a"})),
            call(json!({"index": 0, "function": {"name": "f"}})),
            call(json!({"index": 0, "function": {"arguments": ":1}"}})),
            finish("tool_calls"),
        ],
        true,
    );
    assert_eq!(blocks(&events), expected(&[("tool_use a f", "{\"x\":1}")]));
}

#[test]
fn interleaved_calls_become_blocks_one_after_the_other() {
    let begin = |index: u64, id: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}});
    let more =
        |index: u64, text: &str| call(json!({"index": index, "function": {"arguments": text}}));
    let (events, _) = to_messages(
        &[
            call(begin(0, "a")),
            call(begin(1, "b")),
            more(0, "{\"x\""),
            more(1, "{\"y\""),
            more(0, ":1}"),
            more(1, ":2}"),
            finish("tool_calls"),
        ],
        true,
    );
    assert_eq!(
        blocks(&events),
        expected(&[("tool_use a f", "{\"x\":1}"), ("tool_use b f", "{\"y\":2}")])
    );
}

#[test]
fn call_after_a_whole_one_does_not_wait_for_the_end() {
    let whole = |index: u64, id: &str| json!({"index": index, "id": id, "function": {"name": "f", "arguments": "{}"}});
    let (events, ending) = to_messages(&[call(whole(0, "a")), call(whole(1, "b"))], false);
    assert_eq!(
        blocks(&events),
        expected(&[("tool_use a f", "{}"), ("tool_use b f", "{}")])
    );
    assert_eq!(ending, Completeness::Truncated);
}

#[test]
fn calls_that_share_a_number_are_told_apart_by_their_ids() {
    let whole =
        |id: &str| json!({"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}});
    let (events, _) = to_messages(
        &[call(whole("a")), call(whole("b")), finish("tool_calls")],
        true,
    );
    assert_eq!(
        blocks(&events),
        expected(&[("tool_use a f", "{}"), ("tool_use b f", "{}")])
    );
}

#[test]
fn id_and_name_that_are_repeated_are_one_call() {
    let piece = |text: &str| {
        call(json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": text}}))
    };
    let (events, _) = to_messages(&[piece("{\"x\""), piece(":1}"), finish("tool_calls")], true);
    assert_eq!(blocks(&events), expected(&[("tool_use a f", "{\"x\":1}")]));
}

#[test]
fn text_after_a_call_is_a_block_of_its_own() {
    let whole = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}});
    let (events, _) = to_messages(
        &[
            chunk(json!({"content": "a"}), None),
            call(whole),
            chunk(json!({"content": "b"}), None),
            finish("tool_calls"),
        ],
        true,
    );
    assert_eq!(
        blocks(&events),
        expected(&[("text", "a"), ("tool_use a f", "{}"), ("text", "b")])
    );
}

#[test]
fn thought_of_chat_is_a_block_with_a_sealed_signature() {
    let (events, _) = to_messages(
        &[
            chunk(json!({"reasoning_content": "h"}), None),
            chunk(json!({"reasoning_content": "m"}), None),
            chunk(json!({"content": "a"}), None),
            finish("stop"),
        ],
        true,
    );
    assert_eq!(
        blocks(&events),
        expected(&[("thinking", "hmgvsig.chat."), ("text", "a")])
    );
}

#[test]
fn refusal_in_pieces_is_text_and_a_reason_to_stop() {
    let (events, _) = to_messages(
        &[
            chunk(json!({"refusal": "n"}), None),
            chunk(json!({"refusal": "o"}), None),
            finish("stop"),
        ],
        true,
    );
    assert_eq!(blocks(&events), expected(&[("text", "no")]));
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "refusal");
}

#[test]
fn second_choice_is_named() {
    let mut second = chunk(json!({"content": "b"}), None);
    second["choices"][0]["index"] = json!(1);
    let mut translator = translator(Dialect::Messages, Dialect::Chat, true);
    let text = format!(
        "data: {}\n\ndata: {second}\n\n",
        chunk(json!({"content": "a"}), None)
    );
    translator.push(text.as_bytes(), &mut Vec::new()).unwrap();
    let paths: Vec<&str> = translator
        .losses()
        .iter()
        .map(|loss| loss.path.as_str())
        .collect();
    assert_eq!(paths, ["choices[1]"]);
}

#[test]
fn text_of_messages_becomes_chunks_and_pings_nothing() {
    let mut events = vec![
        start(),
        json!({"type": "ping"}),
        block(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "hi"})),
        stop(0),
    ];
    events.extend(end("end_turn"));
    let (chunks, ending) = to_chat(&events, true);
    let deltas: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(deltas[0], &json!({"role": "assistant", "content": ""}));
    assert_eq!(deltas[1], &json!({"content": "hi"}));
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[3]["choices"], json!([]));
    assert_eq!(chunks[3]["usage"]["prompt_tokens"], 15);
    assert_eq!(chunks[3]["usage"]["completion_tokens"], 7);
    assert_eq!(chunks[4], "[DONE]");
    assert_eq!(chunks.len(), 5);
    assert!(
        chunks[..4]
            .iter()
            .all(|chunk| chunk["created"] == 9 && chunk["id"] == "msg_1")
    );
    assert_eq!(ending, Completeness::Complete);
}

#[test]
fn client_that_does_not_ask_for_usage_gets_none() {
    let mut events = vec![start()];
    events.extend(end("end_turn"));
    let (chunks, _) = to_chat(&events, false);
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(chunks.last().unwrap(), "[DONE]");
}

#[test]
fn calls_of_messages_are_numbered_from_nothing_whatever_comes_before() {
    let mut events = vec![
        start(),
        block(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "a"})),
        stop(0),
        block(
            1,
            json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        ),
        delta(1, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(
            1,
            json!({"type": "input_json_delta", "partial_json": "{\"x\":1}"}),
        ),
        stop(1),
        block(
            2,
            json!({"type": "tool_use", "id": "u", "name": "g", "input": {}}),
        ),
        stop(2),
    ];
    events.extend(end("tool_use"));
    let (chunks, _) = to_chat(&events, false);
    let calls: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0])
        .filter(|call| call.is_object())
        .collect();
    assert_eq!(
        calls[0],
        &json!({"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": ""}})
    );
    assert_eq!(
        calls[1],
        &json!({"index": 0, "function": {"arguments": "{\"x\":1}"}})
    );
    assert_eq!(calls[2]["index"], 1);
    // A call without input would be no JSON.
    assert_eq!(
        calls[3],
        &json!({"index": 1, "function": {"arguments": "{}"}})
    );
}

#[test]
fn thought_of_messages_goes_out_with_its_signature_sealed_and_one_without_words_too() {
    for (words, said) in [(Some("hm"), 1), (None, 0)] {
        let mut events = vec![
            start(),
            block(
                0,
                json!({"type": "thinking", "thinking": "", "signature": ""}),
            ),
        ];
        events.extend(
            words.map(|words| delta(0, json!({"type": "thinking_delta", "thinking": words}))),
        );
        events.push(delta(
            0,
            json!({"type": "signature_delta", "signature": "c2"}),
        ));
        events.push(delta(
            0,
            json!({"type": "signature_delta", "signature": "ln"}),
        ));
        events.push(stop(0));
        events.extend(end("end_turn"));
        let (chunks, _) = to_chat(&events, false);
        let deltas: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"])
            .collect();
        let thoughts = deltas
            .iter()
            .filter(|delta| delta["reasoning_content"] == "hm")
            .count();
        assert_eq!(thoughts, said);
        let sealed = json!({"reasoning_signature": "gvsig.messages.c2ln"});
        assert!(deltas.contains(&&sealed), "{deltas:?}");
    }
}

#[test]
fn error_within_a_stream_keeps_its_kind_both_ways() {
    let failure =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let (chunks, ending) = to_chat(&[start(), failure], true);
    assert_eq!(chunks.last().unwrap()["error"]["code"], "overloaded_error");
    assert_eq!(ending, Completeness::Failed);
    let failure = json!({"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}});
    let (events, ending) = to_messages(&[chunk(json!({"content": "a"}), None), failure], false);
    let expected =
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}});
    assert_eq!(events.last().unwrap(), &expected);
    assert_eq!(ending, Completeness::Failed);
    let failure = json!({"error": {"message": "m", "code": 429}});
    let (events, _) = to_messages(&[failure], false);
    assert_eq!(events.last().unwrap()["error"]["type"], "rate_limit_error");
}

#[test]
fn parts_that_chat_lacks_are_named_and_left_out() {
    let mut translator = translator(Dialect::Chat, Dialect::Messages, false);
    let mut out = Vec::new();
    for event in [
        start(),
        block(
            0,
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{}"})),
        stop(0),
        block(1, json!({"type": "text", "text": ""})),
        delta(
            1,
            json!({"type": "citations_delta", "citation": {"type": "x"}}),
        ),
        json!({"type": "content_block_news", "index": 1}),
    ] {
        translator
            .push_event(None, &event.to_string(), &mut out)
            .unwrap();
    }
    let paths: Vec<&str> = translator
        .losses()
        .iter()
        .map(|loss| loss.path.as_str())
        .collect();
    assert_eq!(paths, ["content_block", "delta", "content_block_news"]);
}

#[test]
fn events_of_another_framing_may_be_named_outside_their_data() {
    let mut translator = translator(Dialect::Chat, Dialect::Messages, false);
    let mut out = Vec::new();
    translator
        .push_event(None, &start().to_string(), &mut out)
        .unwrap();
    translator
        .push_event(Some("message_stop"), "{}", &mut out)
        .unwrap();
    assert!(out.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(translator.finish(&mut out), Completeness::Complete);
}

#[test]
fn event_that_cannot_be_read_ends_the_translation() {
    let mut translator = translator(Dialect::Chat, Dialect::Messages, false);
    let mut out = Vec::new();
    assert!(translator.push(b"data: {\"type\"\n\n", &mut out).is_err());
    assert!(translator.push(b"data: {}\n\n", &mut out).is_err());
    assert_eq!(translator.finish(&mut out), Completeness::Truncated);
}

#[test]
fn done_after_a_choice_that_did_not_end_is_no_end() {
    let (events, ending) = to_messages(&[chunk(json!({"content": "a"}), None)], true);
    assert_eq!(events.last().unwrap()["type"], "content_block_delta");
    assert_eq!(ending, Completeness::Truncated);
}

#[test]
fn stop_of_an_answer_that_calls_tools_is_a_tool_call() {
    let whole = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}});
    let (events, _) = to_messages(&[call(whole), finish("stop")], true);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn stream_in_its_own_dialect_gets_no_end_that_its_upstream_did_not_write() {
    let text = format!("data: {}\n\n", finish("stop"));
    let (chunks, ending) = run(translator(Dialect::Chat, Dialect::Chat, true), &text);
    assert_eq!(chunks, [finish("stop")]);
    assert_eq!(ending, Completeness::Complete);
}

#[test]
fn error_of_ones_own_has_the_clients_shape_and_nothing_follows_it() {
    for (client, expected) in [
        (
            Dialect::Chat,
            json!({"error": {"message": "broke", "type": "server_error", "param": null, "code": null}}),
        ),
        (
            Dialect::Messages,
            json!({"type": "error", "error": {"type": "api_error", "message": "broke"}}),
        ),
    ] {
        for upstream in [Dialect::Chat, Dialect::Messages] {
            let mut translator = translator(client, upstream, true);
            let mut out = Vec::new();
            translator.fail(ErrorKind::Internal, "broke", &mut out);
            let text = String::from_utf8(out.clone()).unwrap();
            let data = text
                .lines()
                .find_map(|line| line.strip_prefix("data: "))
                .unwrap();
            assert_eq!(serde_json::from_str::<Value>(data).unwrap(), expected);
            assert_eq!(
                text.starts_with("event: error\n"),
                client == Dialect::Messages
            );
            assert!(translator.push(b"data: {}\n\n", &mut out).is_err());
        }
    }
}

#[test]
fn events_that_say_next_to_nothing_are_passed_on_at_home() {
    for (dialect, event) in [
        (
            Dialect::Chat,
            json!({"choices": [{"index": 0, "delta": {"tool_calls": [{}]}}]}),
        ),
        (
            Dialect::Chat,
            json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": null}, {"index": 1, "id": "a"}]}}]}),
        ),
        (
            Dialect::Messages,
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": null}}),
        ),
    ] {
        let mut stream = Translation::new(dialect, dialect).stream(&AnswerTerms::default());
        let mut out = Vec::new();
        stream
            .push_event(None, &event.to_string(), &mut out)
            .unwrap();
        let out = String::from_utf8(out).unwrap();
        let data = out.lines().find_map(|line| line.strip_prefix("data: "));
        let passed: Value = serde_json::from_str(data.unwrap()).unwrap();
        assert_eq!(passed, event);
    }
}
