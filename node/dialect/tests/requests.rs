//! Requests between chat completions and messages.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::{Dialect, Translation};
use serde_json::{Value, json};

/// The body that a request becomes, and the paths of what is lost.
fn translate(from: Dialect, to: Dialect, body: &Value) -> (Value, Vec<String>) {
    let translation = Translation::new(from, to);
    let translated = translation.request(body.to_string().as_bytes()).unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    (
        serde_json::from_slice(&translated.body).unwrap(),
        losses.collect(),
    )
}

fn to_messages(body: Value) -> (Value, Vec<String>) {
    translate(Dialect::Chat, Dialect::Messages, &body)
}

fn to_chat(body: Value) -> (Value, Vec<String>) {
    translate(Dialect::Messages, Dialect::Chat, &body)
}

fn chat(messages: Value) -> Value {
    json!({"model": "m", "messages": messages})
}

fn messages(messages: Value) -> Value {
    json!({"model": "m", "max_tokens": 100, "messages": messages})
}

/// A chat request with one user turn and the fields of `with`.
fn chat_with(with: Value) -> Value {
    extended(chat(json!([{"role": "user", "content": "hi"}])), with)
}

fn messages_with(with: Value) -> Value {
    extended(messages(json!([{"role": "user", "content": "hi"}])), with)
}

fn extended(mut body: Value, with: Value) -> Value {
    let with = with.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(with);
    body
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn max_tokens_has_a_default_since_messages_demands_it() {
    for (model, max_tokens) in [
        ("claude-sonnet-4-6", 32_000),
        ("claude-3-5-haiku-20241022", 8_192),
        ("claude-3-opus-20240229", 4_096),
        ("deepseek-chat", 8_192),
    ] {
        let (body, losses) = to_messages(chat_with(json!({"model": model})));
        assert_eq!((&body["max_tokens"], losses), (&json!(max_tokens), none()));
    }
    let (body, _) = to_messages(chat_with(json!({"max_tokens": 7})));
    assert_eq!(body["max_tokens"], 7);
    let (body, _) = to_chat(messages_with(json!({})));
    assert_eq!(body["max_completion_tokens"], 100);
}

#[test]
fn instructions_at_the_front_become_system_and_those_in_the_middle_stay() {
    let (body, losses) = to_messages(chat(json!([
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "c"},
        {"role": "user", "content": "go"},
    ])));
    assert_eq!(
        body["system"],
        json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    );
    let roles: Vec<&str> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| turn["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "system", "user"]);
    assert_eq!(losses, none());
}

#[test]
fn system_becomes_the_first_message() {
    let (body, losses) = to_chat(messages_with(json!({"system": "be kind"})));
    assert_eq!(
        body["messages"][0],
        json!({"role": "system", "content": "be kind"})
    );
    assert_eq!(losses, none());
}

#[test]
fn turns_of_one_side_become_one_message() {
    let (body, _) = to_messages(chat(json!([
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": "d"},
    ])));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
        ])
    );
}

#[test]
fn what_says_nothing_is_left_out() {
    let (body, losses) = to_messages(chat(json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
    ])));
    let blocks = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(
        body["messages"],
        json!([{"role": "user", "content": blocks}])
    );
    assert_eq!(losses, none());
}

#[test]
fn parallel_tool_answers_become_one_message_before_what_the_user_says() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}});
    let (body, losses) = to_messages(chat(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [call("a"), call("b")]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "user", "content": "and?"},
    ])));
    assert_eq!(
        body["messages"][1]["content"][0],
        json!({"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}})
    );
    let kinds: Vec<&str> = body["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "text"]);
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
    assert_eq!(losses, none());
}

#[test]
fn tool_answers_become_messages_of_their_own_before_the_users() {
    let (body, losses) = to_chat(messages(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "I look"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "1"},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "2"}]},
            {"type": "text", "text": "and?"},
        ]},
    ])));
    let turns = body["messages"].as_array().unwrap();
    assert_eq!(turns[1]["content"], "I look");
    assert_eq!(
        turns[1]["tool_calls"][0]["function"]["arguments"],
        "{\"x\":1}"
    );
    assert_eq!(
        turns[2],
        json!({"role": "tool", "tool_call_id": "a", "content": "1"})
    );
    assert_eq!(
        turns[3],
        json!({"role": "tool", "tool_call_id": "b", "content": "2"})
    );
    assert_eq!(turns[4], json!({"role": "user", "content": "and?"}));
    assert_eq!(losses, none());
}

#[test]
fn image_that_a_tool_shows_moves_to_a_user_message_and_is_named() {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AA=="});
    let (body, losses) = to_chat(messages(json!([{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image", "source": source}]},
    ]}])));
    assert_eq!(
        body["messages"][0],
        json!({"role": "tool", "tool_call_id": "a", "content": ""})
    );
    let shown = &body["messages"][1]["content"];
    assert_eq!(shown[0]["text"], "From the answer of a:");
    assert_eq!(shown[1]["image_url"]["url"], "data:image/png;base64,AA==");
    assert_eq!(losses, none());
}

#[test]
fn tool_that_failed_says_so_in_words() {
    let said = |is_error: bool, content: Value| {
        let result = json!({"type": "tool_result", "tool_use_id": "a", "content": content, "is_error": is_error});
        let turns = json!([{"role": "user", "content": [result]}]);
        let (body, losses) = to_chat(messages(turns));
        assert_eq!(losses, none());
        body["messages"][0]["content"].clone()
    };
    assert_eq!(said(true, json!("no")), "Error: no");
    assert_eq!(said(true, json!([])), "Error: ");
    assert_eq!(said(true, json!("error: no")), "error: no");
    assert_eq!(
        said(true, json!("<tool_use_error>no")),
        "<tool_use_error>no"
    );
    assert_eq!(said(false, json!("no")), "no");
}

#[test]
fn images_go_both_ways_by_address_and_by_data() {
    for (url, source) in [
        (
            "https://a.example/b.png",
            json!({"type": "url", "url": "https://a.example/b.png"}),
        ),
        (
            "data:image/gif;base64,R0==",
            json!({"type": "base64", "media_type": "image/gif", "data": "R0=="}),
        ),
    ] {
        let part = json!({"type": "image_url", "image_url": {"url": url}});
        let (body, losses) = to_messages(chat(json!([{"role": "user", "content": [part]}])));
        let block = body["messages"][0]["content"][0].clone();
        assert_eq!(block, json!({"type": "image", "source": source}));
        assert_eq!(losses, none());
        let (body, losses) = to_chat(messages(json!([{"role": "user", "content": [block]}])));
        assert_eq!(body["messages"][0]["content"][0], part);
        assert_eq!(losses, none());
    }
}

#[test]
fn detail_of_an_image_is_named_unless_it_is_the_default() {
    let image = |detail: &str| {
        let part = json!({"type": "image_url", "image_url": {"url": "https://a.example/b", "detail": detail}});
        to_messages(chat(json!([{"role": "user", "content": [part]}]))).1
    };
    assert_eq!(image("low"), ["messages[0].content[0].image_url.detail"]);
    assert_eq!(image("auto"), none());
}

#[test]
fn pdf_goes_both_ways_and_a_foreign_file_is_named() {
    let part = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}});
    let (body, losses) = to_messages(chat(json!([{"role": "user", "content": [part]}])));
    let block = body["messages"][0]["content"][0].clone();
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": "AA=="});
    assert_eq!(
        block,
        json!({"type": "document", "title": "a.pdf", "source": source})
    );
    assert_eq!(losses, none());
    let (body, _) = to_chat(messages(json!([{"role": "user", "content": [block]}])));
    assert_eq!(body["messages"][0]["content"][0], part);
    let part = json!({"type": "file", "file": {"file_id": "file-1"}});
    let (_, losses) = to_messages(chat(json!([{"role": "user", "content": [part]}])));
    assert_eq!(losses, ["messages[0].content[0]"]);
}

#[test]
fn sound_is_named_as_lost() {
    let part = json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}});
    let (_, losses) = to_messages(chat(json!([{"role": "user", "content": [part]}])));
    assert_eq!(losses, ["messages[0].content[0]"]);
}

#[test]
fn cache_mark_in_chat_becomes_one_of_messages() {
    let part =
        json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}});
    let (body, losses) = to_messages(chat(json!([{"role": "user", "content": [part]}])));
    assert_eq!(body["messages"][0]["content"][0], part);
    assert_eq!(losses, none());
    let part =
        json!({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}});
    let (body, losses) = to_messages(chat(json!([{"role": "user", "content": [part]}])));
    assert_eq!(
        body["messages"][0]["content"][0]["cache_control"],
        json!({"type": "ephemeral"})
    );
    assert_eq!(losses, none());
}

#[test]
fn cache_mark_of_messages_is_named_as_lost_wherever_it_stands() {
    let mark = json!({"type": "ephemeral"});
    let (_, losses) = to_chat(json!({
        "model": "m", "max_tokens": 1, "cache_control": mark,
        "system": [{"type": "text", "text": "s", "cache_control": mark}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": mark}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x", "cache_control": mark}]},
        ],
    }));
    for path in [
        "cache_control",
        "system[0].cache_control",
        "tools[0].cache_control",
        "messages[0].content[0].cache_control",
        "messages[1].content[0].cache_control",
    ] {
        assert!(
            losses.iter().any(|loss| loss == path),
            "{path} in {losses:?}"
        );
    }
}

#[test]
fn ids_fit_the_other_side() {
    let call = json!({"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let (body, _) = to_messages(chat(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "1"},
    ])));
    let id = body["messages"][1]["content"][0]["id"].as_str().unwrap();
    assert!(
        id.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)),
        "{id}"
    );
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], id);
    let long = "toolu_".repeat(20);
    let (body, _) = to_chat(messages(json!([
        {"role": "assistant", "content": [{"type": "tool_use", "id": long, "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": long, "content": "1"}]},
    ])));
    let id = body["messages"][0]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.len() <= 40, "{id}");
    assert_eq!(body["messages"][1]["tool_call_id"], id);
}

#[test]
fn tools_and_their_schemas_go_both_ways() {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": true}});
    let (body, losses) = to_messages(chat_with(json!({"tools": [tool]})));
    let written = json!({"name": "f", "description": "d", "input_schema": schema, "strict": true});
    assert_eq!(body["tools"], json!([written]));
    assert_eq!(losses, none());
    let (body, losses) = to_chat(messages_with(json!({"tools": [written]})));
    assert_eq!(body["tools"], json!([tool]));
    assert_eq!(losses, none());
}

#[test]
fn tool_without_parameters_takes_an_empty_object() {
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let (body, _) = to_messages(chat_with(json!({"tools": [tool]})));
    assert_eq!(
        body["tools"][0]["input_schema"],
        json!({"type": "object", "properties": {}})
    );
}

#[test]
fn tools_that_a_provider_brings_along_are_named() {
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    assert_eq!(
        to_chat(messages_with(json!({"tools": [search]}))).1,
        ["tools[0]"]
    );
}

#[test]
fn tool_that_takes_free_text_becomes_a_function_with_one_text() {
    let format =
        json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}});
    let custom = json!({"type": "custom", "custom": {"name": "f", "description": "Says.", "format": format}});
    let (body, losses) = to_messages(chat_with(json!({"tools": [custom]})));
    let tool = &body["tools"][0];
    assert_eq!(tool["input_schema"]["required"], json!(["input"]));
    let description = tool["description"].as_str().unwrap();
    assert!(description.starts_with("Says.") && description.ends_with("start: WORD"));
    assert_eq!(losses, ["tools[0].format"]);
}

#[test]
fn every_choice_of_tools_goes_both_ways() {
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    for (choice, written) in [
        (json!("auto"), json!({"type": "auto"})),
        (json!("none"), json!({"type": "none"})),
        (json!("required"), json!({"type": "any"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f"}),
        ),
    ] {
        let (body, _) = to_messages(chat_with(json!({"tools": [tool], "tool_choice": choice})));
        assert_eq!(body["tool_choice"], written);
        let back = json!({"tools": body["tools"], "tool_choice": written});
        let (body, _) = to_chat(messages_with(back));
        assert_eq!(body["tool_choice"], choice);
    }
}

#[test]
fn parallel_calls_can_be_forbidden_both_ways() {
    let tool =
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    let (body, losses) = to_messages(chat_with(
        json!({"tools": [tool], "parallel_tool_calls": false}),
    ));
    assert_eq!(
        body["tool_choice"],
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
    assert_eq!(losses, none());
    let (body, _) = to_chat(messages_with(
        json!({"tools": body["tools"], "tool_choice": body["tool_choice"]}),
    ));
    assert_eq!(body["parallel_tool_calls"], false);
    let (body, _) = to_messages(chat_with(
        json!({"tools": [tool], "parallel_tool_calls": true}),
    ));
    assert_eq!(body.get("tool_choice"), None);
}

#[test]
fn choice_without_tools_is_left_out() {
    let (body, _) = to_messages(chat_with(
        json!({"tool_choice": "auto", "parallel_tool_calls": false}),
    ));
    assert_eq!(body.get("tool_choice"), None);
}

#[test]
fn arguments_that_are_no_object_are_named() {
    let call =
        json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":"}});
    let (body, losses) = to_messages(chat(json!([{"role": "assistant", "tool_calls": [call]}])));
    assert_eq!(body["messages"][0]["content"][0]["input"], json!({}));
    assert_eq!(losses, ["messages[0].tool_calls[0].function.arguments"]);
}

#[test]
fn schema_of_the_answer_goes_both_ways() {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": true}});
    let (body, losses) = to_messages(chat_with(json!({"response_format": format})));
    let written = json!({"format": {"type": "json_schema", "schema": schema}});
    assert_eq!(body["output_config"], written);
    assert_eq!(losses, none());
    let (body, losses) = to_chat(messages_with(json!({"output_config": written})));
    assert_eq!(body["response_format"]["json_schema"]["schema"], schema);
    assert_eq!(body["response_format"]["json_schema"]["strict"], true);
    assert_eq!(losses, none());
    assert_eq!(
        to_messages(chat_with(
            json!({"response_format": {"type": "json_object"}})
        ))
        .1,
        ["response_format"]
    );
    assert_eq!(
        to_messages(chat_with(json!({"response_format": {"type": "text"}}))).1,
        none()
    );
}

#[test]
fn effort_becomes_a_budget_for_models_that_take_one_and_stays_an_effort_for_others() {
    let asked = |model: &str, with: Value| {
        let body = extended(
            chat_with(json!({"model": model, "reasoning_effort": "low"})),
            with,
        );
        to_messages(body).0
    };
    let old = asked("claude-sonnet-4-5-20250929", json!({}));
    assert_eq!(
        old["thinking"],
        json!({"type": "enabled", "budget_tokens": 4096})
    );
    assert_eq!(old["max_tokens"], 4096 + 32_000);
    let small = asked(
        "claude-opus-4-1-20250805",
        json!({"reasoning_effort": "max"}),
    );
    assert_eq!(
        (&small["thinking"]["budget_tokens"], &small["max_tokens"]),
        (&json!(31_999), &json!(32_000))
    );
    let bounded = asked("claude-sonnet-4-5-20250929", json!({"max_tokens": 2000}));
    assert_eq!(bounded["thinking"]["budget_tokens"], 1999);
    let new = asked("claude-opus-4-7", json!({}));
    assert_eq!(new["thinking"], json!({"type": "adaptive"}));
    assert_eq!(new["output_config"], json!({"effort": "low"}));
}

#[test]
fn limit_that_leaves_no_tokens_to_think_is_named() {
    let body = json!({"model": "claude-3-7-sonnet", "reasoning_effort": "low", "max_tokens": 500});
    let (body, losses) = to_messages(chat_with(body));
    assert_eq!(body.get("thinking"), None);
    assert_eq!(losses, ["reasoning_effort"]);
}

#[test]
fn no_effort_is_no_thinking_both_ways() {
    let (body, _) = to_messages(chat_with(json!({"reasoning_effort": "none"})));
    assert_eq!(body["thinking"], json!({"type": "disabled"}));
    let (body, _) = to_chat(messages_with(json!({"thinking": {"type": "disabled"}})));
    assert_eq!(body["reasoning_effort"], "none");
}

#[test]
fn budget_and_adaptive_effort_become_an_effort() {
    let thinking = json!({"type": "enabled", "budget_tokens": 31_999});
    let (body, losses) = to_chat(messages_with(json!({"thinking": thinking})));
    assert_eq!(body["reasoning_effort"], "high");
    assert_eq!(losses, none());
    let adaptive = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}});
    assert_eq!(
        to_chat(messages_with(adaptive)).0["reasoning_effort"],
        "xhigh"
    );
}

#[test]
fn thought_comes_back_to_its_provider_and_to_nobody_else() {
    let signed = json!([{"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "a"},
    ]}]);
    let (_, losses) = to_chat(messages(signed));
    assert_eq!(losses, ["messages[0].content[0].thinking"]);
    let sealed = json!([{"role": "assistant", "content": "a", "reasoning_content": "hm", "reasoning_signature": "gvsig.messages.c2ln"}]);
    let (body, losses) = to_messages(chat(sealed));
    assert_eq!(
        body["messages"][0]["content"][0],
        json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"})
    );
    assert_eq!(losses, none());
    let foreign = json!([{"role": "assistant", "content": "a", "reasoning_content": "hm"}]);
    let (_, losses) = to_messages(chat(foreign));
    assert_eq!(losses, ["messages[0].reasoning_content"]);
}

#[test]
fn thought_that_is_a_signature_alone_survives() {
    let sealed = json!([{"role": "assistant", "content": "a", "reasoning_signature": "gvsig.messages.c2ln"}]);
    let (body, losses) = to_messages(chat(sealed));
    assert_eq!(
        body["messages"][0]["content"][0],
        json!({"type": "thinking", "thinking": "", "signature": "c2ln"})
    );
    assert_eq!(losses, none());
}

#[test]
fn unsigned_thought_of_a_chat_server_comes_back_to_it() {
    let thought = json!([{"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "gvsig.chat."},
        {"type": "text", "text": "a"},
    ]}]);
    let (body, losses) = to_chat(messages(thought));
    assert_eq!(
        body["messages"][0],
        json!({"role": "assistant", "content": "a", "reasoning_content": "hm"})
    );
    assert_eq!(losses, none());
}

#[test]
fn encrypted_thoughts_and_parts_of_a_providers_own_tools_are_named() {
    let (_, losses) = to_chat(messages(json!([{"role": "assistant", "content": [
        {"type": "redacted_thinking", "data": "abc"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "text", "text": "a", "citations": [{"type": "x"}]},
    ]}])));
    assert_eq!(
        losses,
        [
            "messages[0].content[0].thinking",
            "messages[0].content[1]",
            "messages[0].content[2].citations"
        ]
    );
}

#[test]
fn refusal_is_text_to_messages() {
    let (body, losses) = to_messages(chat(
        json!([{"role": "assistant", "content": null, "refusal": "no"}]),
    ));
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"type": "text", "text": "no"}])
    );
    assert_eq!(losses, none());
}

#[test]
fn fields_that_the_other_side_lacks_are_named_as_the_client_wrote_them() {
    let (_, losses) = to_messages(chat_with(json!({
        "n": 2, "seed": 1, "logprobs": true, "top_logprobs": 2, "logit_bias": {"1": 2}, "frequency_penalty": 0.5,
        "presence_penalty": 0, "temperature": 1.5, "metadata": {"a": "b"}, "store": true, "prediction": {"x": 1},
        "prompt_cache_key": "k", "verbosity": "low", "n_unknown": null,
    })));
    let mut losses = losses;
    losses.sort();
    assert_eq!(
        losses,
        [
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "metadata",
            "n",
            "prediction",
            "prompt_cache_key",
            "seed",
            "store",
            "temperature",
            "top_logprobs",
            "verbosity",
        ]
    );
    let (_, losses) = to_chat(messages_with(
        json!({"top_k": 5, "container": "c", "mcp_servers": [{}]}),
    ));
    assert_eq!(losses, ["top_k", "container", "mcp_servers"]);
}

#[test]
fn stop_sequences_users_and_tiers_go_both_ways() {
    let (body, losses) = to_messages(chat_with(
        json!({"stop": "x", "user": "u", "service_tier": "default"}),
    ));
    assert_eq!(body["stop_sequences"], json!(["x"]));
    assert_eq!(body["metadata"], json!({"user_id": "u"}));
    assert_eq!(body["service_tier"], "standard_only");
    assert_eq!(losses, none());
    let (body, losses) = to_chat(messages_with(json!({
        "stop_sequences": ["a", "b"], "metadata": {"user_id": "u"}, "service_tier": "standard_only",
    })));
    assert_eq!(body["stop"], json!(["a", "b"]));
    assert_eq!(body["user"], "u");
    assert_eq!(body["service_tier"], "default");
    assert_eq!(losses, none());
    let (body, losses) = to_chat(messages_with(
        json!({"stop_sequences": ["a", "b", "c", "d", "e"]}),
    ));
    assert_eq!(body["stop"].as_array().unwrap().len(), 4);
    assert_eq!(losses, ["stop_sequences"]);
}

#[test]
fn upstream_is_asked_for_the_usage_that_the_client_always_gets() {
    let (body, _) = to_chat(messages_with(json!({"stream": true})));
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    let (body, _) = to_messages(chat_with(
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    ));
    assert_eq!(
        (&body["stream"], body.get("stream_options")),
        (&json!(true), None)
    );
}

#[test]
fn request_settles_what_its_answer_has() {
    let translation = Translation::new(Dialect::Chat, Dialect::Messages);
    let body = chat_with(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let terms = translation
        .request(body.to_string().as_bytes())
        .unwrap()
        .terms;
    assert!(terms.stream && terms.usage);
}

#[test]
fn body_that_is_none_of_its_dialect_is_refused_with_the_place() {
    let translation = Translation::new(Dialect::Chat, Dialect::Messages);
    for (body, problem) in [
        ("[]", "the body is no JSON object"),
        ("{}", "messages: must be a list"),
        (r#"{"messages": [1]}"#, "messages[0]: must be an object"),
        (
            r#"{"messages": [{"role": 1}]}"#,
            "messages[0].role: must be a string",
        ),
    ] {
        assert_eq!(
            translation
                .request(body.as_bytes())
                .unwrap_err()
                .to_string(),
            problem
        );
    }
}

#[test]
fn model_with_a_budget_does_not_think_on_without_its_thought_before_a_call() {
    let asked = |with: Value| {
        let call =
            json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let turn = extended(json!({"role": "assistant", "tool_calls": [call]}), with);
        let answer = json!({"role": "tool", "tool_call_id": "a", "content": "1"});
        let body = chat(json!([{"role": "user", "content": "go"}, turn, answer]));
        let model = json!({"model": "claude-sonnet-4-5", "reasoning_effort": "low"});
        to_messages(extended(body, model))
    };
    let (body, losses) = asked(json!({}));
    assert_eq!(body.get("thinking"), None);
    assert_eq!(losses, ["reasoning_effort"]);
    let (body, losses) =
        asked(json!({"reasoning_content": "hm", "reasoning_signature": "gvsig.messages.c2ln"}));
    assert_eq!(body["thinking"]["type"], "enabled");
    assert_eq!(losses, none());
}
