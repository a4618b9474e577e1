//! Responses toward chat completions and messages, and back.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::Dialect::{Chat, Messages, Responses};
use grapevine_dialect::grammar::AnswerTerms;
use grapevine_dialect::hub::error::ErrorKind;
use grapevine_dialect::stream::Completeness;
use grapevine_dialect::{Dialect, TranslateError, Translation};
use serde_json::{Value, json};

/// The body that a request becomes, the paths of what is lost, and what is settled about the answer.
fn request(from: Dialect, to: Dialect, body: &Value) -> (Value, Vec<String>, AnswerTerms) {
    let translation = Translation::new(from, to);
    let translated = translation.request(body.to_string().as_bytes()).unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    let body = serde_json::from_slice(&translated.body).unwrap();
    (body, losses.collect(), translated.terms)
}

fn responses(input: Value, with: Value) -> Value {
    let mut body = json!({"model": "m", "input": input});
    let with = with.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(with);
    body
}

fn answer(from: Dialect, to: Dialect, body: &Value, terms: &AnswerTerms) -> (Value, Vec<String>) {
    let translation = Translation::new(to, from);
    let translated = translation.response(body.to_string().as_bytes(), terms);
    let translated = translated.unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    (
        serde_json::from_slice(&translated.body).unwrap(),
        losses.collect(),
    )
}

/// The events that a stream becomes, and how it ends.
fn stream(
    from: Dialect,
    to: Dialect,
    events: &[Value],
    terms: &AnswerTerms,
) -> (Vec<Value>, Completeness) {
    let mut stream = Translation::new(to, from).stream(terms);
    let mut out = Vec::new();
    for event in events {
        let name = event["type"].as_str();
        stream
            .push_event(name, &event.to_string(), &mut out)
            .unwrap();
    }
    let ending = stream.finish(&mut out);
    let out = String::from_utf8(out).unwrap();
    let data = out.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.filter_map(|data| serde_json::from_str(data).ok());
    (events.collect(), ending)
}

fn chunk(delta: Value, reason: Option<&str>) -> Value {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
    json!({"id": "c", "created": 5, "model": "m", "choices": [choice]})
}

fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    let function = json!({"name": name, "arguments": arguments});
    json!({"index": index, "id": id, "type": "function", "function": function})
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect()
}

fn last(events: &[Value]) -> &Value {
    &events.last().unwrap()["response"]
}

fn patch() -> Value {
    json!({"tools": [{"type": "custom", "name": "apply_patch", "description": "Patches."}]})
}

#[test]
fn items_of_the_model_in_a_row_are_one_message_of_chat() {
    let input = json!([
        {"role": "user", "content": "hi"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ]);
    let (body, losses, _) = request(Responses, Chat, &responses(input, json!({})));
    let turns = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = turns
        .iter()
        .filter_map(|turn| turn["role"].as_str())
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
    assert_eq!(turns[1]["reasoning_content"], "hm");
    assert_eq!(turns[1]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(losses, Vec::<String>::new());
}

#[test]
fn image_in_a_tools_answer_does_not_come_between_answers() {
    let image = json!([{"type": "input_image", "image_url": "https://a.example/b.png"}]);
    let input = json!([
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": image},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ]);
    let (body, losses, _) = request(Responses, Chat, &responses(input, json!({})));
    let turns = body["messages"].as_array().unwrap();
    let roles: Vec<&str> = turns
        .iter()
        .filter_map(|turn| turn["role"].as_str())
        .collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user"]);
    let heading = json!({"type": "text", "text": "From the answer of a:"});
    assert_eq!(turns[3]["content"][0], heading);
    assert_eq!(losses, Vec::<String>::new());
}

#[test]
fn what_the_provider_keeps_is_named() {
    let with = json!({
        "previous_response_id": "resp_1", "conversation": "conv_1", "background": true, "prompt": {"id": "p"},
        "store": true, "truncation": "auto", "include": ["file_search_call.results"],
    });
    let body = responses(json!([{"type": "item_reference", "id": "msg_1"}]), with);
    for upstream in [Chat, Messages] {
        let (body, mut losses, _) = request(Responses, upstream, &body);
        losses.sort();
        let named = [
            "background",
            "conversation",
            "include",
            "input[0]",
            "previous_response_id",
            "prompt",
            "truncation",
        ];
        assert_eq!(losses, named);
        assert_eq!(body["store"], Value::Null);
    }
}

#[test]
fn store_and_defaults_promise_nothing() {
    let with = json!({
        "store": true, "background": false, "truncation": "disabled", "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"}, "previous_response_id": null, "top_logprobs": 0,
        "stream": true, "stream_options": {"include_obfuscation": false},
    });
    let (body, losses, _) = request(Responses, Chat, &responses(json!("hi"), with));
    assert_eq!(losses, Vec::<String>::new());
    assert_eq!(body["reasoning_effort"], "low");
    assert_eq!(body["top_logprobs"], Value::Null);
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
}

#[test]
fn input_must_be_there_unless_the_provider_keeps_one() {
    let translation = Translation::new(Responses, Chat);
    assert!(translation.request(br#"{"model": "m"}"#).is_err());
    assert!(
        translation
            .request(br#"{"model": "m", "input": 1}"#)
            .is_err()
    );
    assert!(translation.request(br#"{"prompt": {"id": "p"}}"#).is_ok());
}

#[test]
fn providers_own_tools_are_named() {
    let tools = json!({"tools": [{"type": "local_shell"}, {"type": "web_search"}]});
    for upstream in [Chat, Messages] {
        let (body, losses, _) =
            request(Responses, upstream, &responses(json!("hi"), tools.clone()));
        assert_eq!(losses, ["tools[0]", "tools[1]"]);
        assert_eq!(body["tools"], Value::Null);
    }
}

#[test]
fn free_text_goes_out_as_a_function_and_comes_back_as_free_text() {
    let (body, losses, terms) = request(Responses, Chat, &responses(json!("hi"), patch()));
    assert_eq!(losses, Vec::<String>::new());
    let function = &body["tools"][0]["function"];
    assert_eq!(function["parameters"]["required"], json!(["input"]));
    let message = json!({"role": "assistant", "tool_calls": [call(0, "a", "apply_patch", r#"{"input":"*** \"x\""}"#)]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let (body, _) = answer(
        Chat,
        Responses,
        &json!({"id": "c", "choices": [choice]}),
        &terms,
    );
    let item = &body["output"][0];
    assert_eq!(item["type"], "custom_tool_call");
    assert_eq!(
        (&item["input"], &item["call_id"]),
        (&json!("*** \"x\""), &json!("a"))
    );
    assert_eq!(
        (&body["status"], &body["store"]),
        (&json!("completed"), &json!(false))
    );
}

#[test]
fn free_text_in_pieces_of_json_comes_back_whole() {
    let (_, _, terms) = request(Responses, Chat, &responses(json!("hi"), patch()));
    let piece = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
    let events = [
        chunk(
            json!({"tool_calls": [call(0, "a", "apply_patch", "")]}),
            None,
        ),
        chunk(piece(r#"{"inp"#), None),
        chunk(piece(r#"ut":"a\n"#), None),
        chunk(piece(r#"b"}"#), None),
        chunk(json!({}), Some("tool_calls")),
    ];
    let (events, ending) = stream(Chat, Responses, &events, &terms);
    assert_eq!(ending, Completeness::Complete);
    assert!(kinds(&events).contains(&"response.custom_tool_call_input.done"));
    let item = &last(&events)["output"][0];
    assert_eq!(
        (&item["type"], &item["input"]),
        (&json!("custom_tool_call"), &json!("a\nb"))
    );
}

#[test]
fn free_text_that_a_model_does_not_wrap_is_taken_as_it_is() {
    let (_, _, terms) = request(Responses, Messages, &responses(json!("hi"), patch()));
    let block =
        json!({"type": "tool_use", "id": "a", "name": "apply_patch", "input": {"patch": "x"}});
    let message = json!({"id": "m", "content": [block], "stop_reason": "tool_use"});
    let (body, _) = answer(Messages, Responses, &message, &terms);
    assert_eq!(body["output"][0]["input"], r#"{"patch":"x"}"#);
}

#[test]
fn parallel_calls_of_chat_are_items_with_ids_of_their_own() {
    let events = [
        chunk(json!({"role": "assistant", "content": "So"}), None),
        chunk(
            json!({"tool_calls": [call(0, "a", "f", ""), call(1, "b", "g", "")]}),
            None,
        ),
        chunk(
            json!({"tool_calls": [{"index": 1, "function": {"arguments": "{\"y\":2}"}}]}),
            None,
        ),
        chunk(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\":1}"}}]}),
            None,
        ),
        chunk(json!({}), Some("tool_calls")),
        json!({"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
    ];
    let (events, ending) = stream(Chat, Responses, &events, &AnswerTerms::default());
    assert_eq!(ending, Completeness::Complete);
    let response = last(&events);
    let output = response["output"].as_array().unwrap();
    let said: Vec<_> = output
        .iter()
        .map(|item| (&item["type"], &item["arguments"]))
        .collect();
    assert_eq!(said[1], (&json!("function_call"), &json!("{\"x\":1}")));
    assert_eq!(said[2], (&json!("function_call"), &json!("{\"y\":2}")));
    let ids: Vec<&str> = output
        .iter()
        .filter_map(|item| item["id"].as_str())
        .collect();
    assert_eq!(ids, ["msg_c_0", "fc_c_1", "fc_c_2"]);
    // The usage comes after the end of the choices.
    let usage = &response["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["total_tokens"]),
        (&json!(3), &json!(5))
    );
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 0);
    let numbers: Vec<u64> = events
        .iter()
        .filter_map(|event| event["sequence_number"].as_u64())
        .collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
}

#[test]
fn text_of_chat_is_said_piece_by_piece_and_again_at_each_end() {
    let events = [
        chunk(json!({"content": "a"}), None),
        chunk(json!({"content": "b"}), None),
        chunk(json!({}), Some("stop")),
    ];
    let (events, _) = stream(Chat, Responses, &events, &AnswerTerms::default());
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(kinds(&events), expected);
    assert_eq!(last(&events)["output"][0]["content"][0]["text"], "ab");
}

#[test]
fn limit_and_filter_make_a_response_incomplete() {
    for (reason, said) in [
        ("length", "max_output_tokens"),
        ("content_filter", "content_filter"),
    ] {
        let events = [
            chunk(json!({"content": "a"}), None),
            chunk(json!({}), Some(reason)),
        ];
        let (events, ending) = stream(Chat, Responses, &events, &AnswerTerms::default());
        assert_eq!(ending, Completeness::Complete);
        assert_eq!(events.last().unwrap()["type"], "response.incomplete");
        assert_eq!(last(&events)["incomplete_details"]["reason"], said);
        let body = json!({"id": "r", "status": "incomplete", "incomplete_details": {"reason": said}, "output": []});
        let (body, _) = answer(Responses, Chat, &body, &AnswerTerms::default());
        assert_eq!(body["choices"][0]["finish_reason"], reason);
    }
}

#[test]
fn refusal_is_one_on_both_sides() {
    let part = json!({"type": "refusal", "refusal": "no"});
    let item = json!({"type": "message", "id": "i", "role": "assistant", "content": [part]});
    let body = json!({"id": "r", "status": "completed", "output": [item]});
    let (body, _) = answer(Responses, Chat, &body, &AnswerTerms::default());
    assert_eq!(body["choices"][0]["message"]["refusal"], "no");
    let (body, _) = answer(Chat, Responses, &body, &AnswerTerms::default());
    assert_eq!(body["output"][0]["content"][0], part);
}

#[test]
fn error_of_an_upstream_makes_the_response_fail() {
    let events = [
        chunk(json!({"content": "a"}), None),
        json!({"error": {"message": "slow", "code": "rate_limit_exceeded"}}),
    ];
    let (events, ending) = stream(Chat, Responses, &events, &AnswerTerms::default());
    assert_eq!(ending, Completeness::Failed);
    assert_eq!(events.last().unwrap()["type"], "response.failed");
    let error = json!({"code": "rate_limit_exceeded", "message": "slow"});
    assert_eq!(last(&events)["error"], error);
}

#[test]
fn failed_response_and_error_event_are_errors_elsewhere() {
    let failed = json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}});
    let event = json!({"type": "error", "code": "server_error", "message": "x", "param": null});
    for event in [failed, event] {
        let (events, ending) = stream(Responses, Messages, &[event], &AnswerTerms::default());
        assert_eq!(ending, Completeness::Failed);
        assert_eq!(
            events[0]["error"],
            json!({"type": "api_error", "message": "x"})
        );
    }
}

#[test]
fn callers_error_follows_the_events_of_home() {
    let mut stream = Translation::new(Responses, Responses).stream(&AnswerTerms::default());
    let mut out = Vec::new();
    stream
        .push_event(
            None,
            r#"{"type": "keepalive", "sequence_number": 4}"#,
            &mut out,
        )
        .unwrap();
    out.clear();
    stream.fail(ErrorKind::Overloaded, "gone", &mut out);
    let out = String::from_utf8(out).unwrap();
    let data = out
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    let expected = json!({
        "type": "error", "sequence_number": 5, "code": "server_is_overloaded", "message": "gone", "param": null,
    });
    assert_eq!(event, expected);
}

#[test]
fn stream_without_pieces_is_taken_from_its_ends() {
    let item = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ab"}]});
    let call = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"});
    let response = json!({"id": "r", "status": "completed", "output": [item, call]});
    let events = [json!({"type": "response.completed", "response": response})];
    let terms = AnswerTerms {
        usage: true,
        ..AnswerTerms::default()
    };
    let (events, ending) = stream(Responses, Chat, &events, &terms);
    assert_eq!(ending, Completeness::Complete);
    let deltas: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"])
        .collect();
    assert!(deltas.iter().any(|delta| delta["content"] == "ab"));
    assert!(
        deltas
            .iter()
            .any(|delta| delta["tool_calls"][0]["id"] == "a")
    );
    let reasons: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["finish_reason"])
        .collect();
    assert!(reasons.contains(&&json!("tool_calls")));
}

#[test]
fn thought_comes_back_to_its_maker_through_either_side() {
    // The provider's encryption through a client of messages.
    let thought = json!({
        "type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "ENC",
    });
    let body = json!({"id": "r", "status": "completed", "output": [thought]});
    let (body, _) = answer(Responses, Messages, &body, &AnswerTerms::default());
    let turns = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": body["content"]}]);
    let (body, losses, _) = request(
        Messages,
        Responses,
        &json!({"model": "m", "max_tokens": 20, "messages": turns}),
    );
    let expected = json!({
        "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "ENC",
    });
    assert_eq!((&body["input"][1], losses), (&expected, Vec::new()));
    // A signature of messages and a hidden thought through a client of responses.
    let blocks = json!([
        {"type": "thinking", "thinking": "", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "RED"},
        {"type": "text", "text": "so"},
    ]);
    let message = json!({"id": "m", "content": blocks, "stop_reason": "end_turn"});
    let (body, losses) = answer(Messages, Responses, &message, &AnswerTerms::default());
    assert_eq!(losses, Vec::<String>::new());
    let input = responses(body["output"].clone(), json!({}));
    let (body, losses, _) = request(Responses, Messages, &input);
    assert_eq!(
        (&body["messages"][0]["content"], losses),
        (&blocks, Vec::new())
    );
}

#[test]
fn empty_thought_is_none() {
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": []});
    let body = json!({"id": "r", "status": "completed", "output": [thought]});
    let (body, losses) = answer(Responses, Messages, &body, &AnswerTerms::default());
    assert_eq!((&body["content"], losses), (&json!([]), Vec::new()));
}

#[test]
fn images_and_files_go_both_ways() {
    let content = json!([
        {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_image", "file_id": "file-1", "detail": "auto"},
    ]);
    let input = json!([{"role": "user", "type": "message", "content": content}]);
    let body = responses(input, json!({}));
    let (chat, losses, _) = request(Responses, Chat, &body);
    assert_eq!(losses, Vec::<String>::new());
    let parts = &chat["messages"][0]["content"];
    assert_eq!(
        parts[0]["image_url"],
        json!({"url": "https://a.example/b.png", "detail": "low"})
    );
    let (back, losses, _) = request(Chat, Responses, &chat);
    assert_eq!(losses, Vec::<String>::new());
    let back = back["input"][0]["content"].as_array().unwrap();
    assert_eq!(back[..3], content.as_array().unwrap()[..3]);
    let (_, losses, _) = request(Responses, Messages, &body);
    assert_eq!(
        losses,
        ["input[0].content[0].detail", "input[0].content[3]"]
    );
}

#[test]
fn chat_asks_for_a_response_that_nobody_keeps() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let body = json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [tool], "reasoning_effort": "low",
        "seed": 1, "stop": "x", "n": 2, "logprobs": true, "top_logprobs": 2, "max_completion_tokens": 8,
    });
    let (body, losses, _) = request(Chat, Responses, &body);
    assert_eq!(body["store"], false);
    assert_eq!(body["reasoning"], json!({"effort": "low"}));
    let include = json!([
        "reasoning.encrypted_content",
        "message.output_text.logprobs"
    ]);
    assert_eq!(body["include"], include);
    // A tool is strict by default, which chat completions does not mean.
    assert_eq!(body["tools"][0]["strict"], false);
    assert_eq!(body["max_output_tokens"], 16);
    assert_eq!(losses, ["max_completion_tokens", "seed", "stop", "n"]);
}

#[test]
fn long_ids_of_calls_stay_equal() {
    let id = "x".repeat(80);
    let message = json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "f", "input": {}}]});
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "1"}]});
    let body = json!({"model": "m", "max_tokens": 20, "messages": [message, result]});
    let (body, _, _) = request(Messages, Responses, &body);
    let (call, output) = (&body["input"][0]["call_id"], &body["input"][1]["call_id"]);
    assert_eq!(call, output);
    assert!(call.as_str().unwrap().len() <= 64);
}

#[test]
fn errors_keep_their_kind_and_come_back_as_they_were() {
    let body = json!({"error": {"message": "m", "type": "invalid_request_error", "param": "input", "code": null}});
    let home = Translation::new(Responses, Responses);
    let written = home.error(400, body.to_string().as_bytes());
    assert_eq!(
        serde_json::from_slice::<Value>(&written.body).unwrap(),
        body
    );
    let messages =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let elsewhere = Translation::new(Responses, Messages);
    let written = elsewhere.error(529, messages.to_string().as_bytes());
    let written: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(written["error"]["code"], "server_is_overloaded");
}

#[test]
fn failed_response_under_a_status_of_success_is_an_error() {
    let error = json!({"code": "rate_limit_exceeded", "message": "slow down"});
    let body = json!({"id": "r", "status": "failed", "error": error, "output": []});
    let body = body.to_string();
    let translation = Translation::new(Messages, Responses);
    let refused = translation.response(body.as_bytes(), &AnswerTerms::default());
    let TranslateError::Reported(error) = refused.unwrap_err() else {
        panic!("the error is not the upstream's");
    };
    let written = translation.reported(*error);
    assert_eq!(
        (written.status, written.error.kind),
        (429, ErrorKind::RateLimit)
    );
    let written: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(
        written["error"],
        json!({"type": "rate_limit_error", "message": "slow down"})
    );
    let home = Translation::new(Responses, Responses);
    let home = home
        .response(body.as_bytes(), &AnswerTerms::default())
        .unwrap();
    assert_eq!(String::from_utf8(home.body).unwrap(), body);
}

#[test]
fn call_that_is_named_at_its_end_has_its_name() {
    let item = |name: &str, input: &str| json!({"type": "function_call", "id": "fc", "call_id": "a", "name": name, "arguments": input});
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("", "")}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item("f", "{}")}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item("f", "{}")]}}),
    ];
    let (events, ending) = stream(Responses, Messages, &events, &AnswerTerms::default());
    assert_eq!(ending, Completeness::Complete);
    let block = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
    let mut blocks = events.iter().map(|event| &event["content_block"]);
    assert!(blocks.any(|begun| *begun == block));
}

#[test]
fn call_of_chat_that_is_named_late_begins_with_its_name() {
    let piece = |entry: Value| chunk(json!({"tool_calls": [entry]}), None);
    let events = [
        piece(json!({"index": 0, "id": "a", "function": {"arguments": "{\"in"}})),
        piece(json!({"index": 0, "function": {"arguments": "put\":\"x\"}"}})),
        piece(json!({"index": 0, "function": {"name": "apply_patch"}})),
        chunk(json!({}), Some("tool_calls")),
    ];
    let (events_of_function, _) = stream(Chat, Responses, &events, &AnswerTerms::default());
    let item = &last(&events_of_function)["output"][0];
    assert_eq!(
        (&item["name"], &item["arguments"]),
        (&json!("apply_patch"), &json!("{\"input\":\"x\"}"))
    );
    let (_, _, terms) = request(Responses, Chat, &responses(json!("hi"), patch()));
    let (events, _) = stream(Chat, Responses, &events, &terms);
    let item = &last(&events)["output"][0];
    assert_eq!(
        (&item["type"], &item["input"]),
        (&json!("custom_tool_call"), &json!("x"))
    );
}
