//! Requests between Gemini and the other dialects.

#![expect(
    clippy::unwrap_used,
    reason = "a test may say what it expects by unwrapping it"
)]

use grapevine_dialect::{Dialect, Translation};
use serde_json::{Value, json};

/// What does not stand in a body of Gemini.
const MODEL: &str = "gemini-3-flash";

fn translate(from: Dialect, to: Dialect, model: &str, body: &Value) -> (Value, Vec<String>) {
    let translation = Translation::new(from, to);
    let translated = translation
        .request_with(Some(model), Some(false), body.to_string().as_bytes())
        .unwrap();
    let losses = translated.losses.into_iter().map(|loss| loss.path);
    (
        serde_json::from_slice(&translated.body).unwrap(),
        losses.collect(),
    )
}

fn chat_to_gemini(messages: Value, with: Value) -> (Value, Vec<String>) {
    let body = extended(json!({"messages": messages}), with);
    translate(Dialect::Chat, Dialect::Gemini, MODEL, &body)
}

fn messages_to_gemini(messages: Value, with: Value) -> (Value, Vec<String>) {
    let body = extended(json!({"max_tokens": 9, "messages": messages}), with);
    translate(Dialect::Messages, Dialect::Gemini, MODEL, &body)
}

fn gemini_to(to: Dialect, contents: Value, with: Value) -> (Value, Vec<String>) {
    let body = extended(json!({"contents": contents}), with);
    translate(Dialect::Gemini, to, "m", &body)
}

fn extended(mut body: Value, with: Value) -> Value {
    let with = with.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(with);
    body
}

fn hi() -> Value {
    json!([{"role": "user", "content": "hi"}])
}

fn none() -> Vec<String> {
    Vec::new()
}

fn call(id: &str, name: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{\"x\":1}"}})
}

fn tool(with: Value) -> Value {
    let function = extended(
        json!({"name": "f", "parameters": {"type": "object", "properties": {"x": {"$ref": "#/a"}}}}),
        with,
    );
    json!({"type": "function", "function": function})
}

#[test]
fn model_and_stream_come_from_the_path_and_go_to_it() {
    let body = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    let translation = Translation::new(Dialect::Gemini, Dialect::Chat);
    let translated = translation
        .request_with(Some("m"), Some(true), body.to_string().as_bytes())
        .unwrap();
    let written: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(
        (&written["model"], &written["stream"]),
        (&json!("m"), &json!(true))
    );
    assert!(translated.terms.stream);
    let body = json!({"model": "g", "stream": true, "messages": hi()});
    let translation = Translation::new(Dialect::Chat, Dialect::Gemini);
    let translated = translation.request(body.to_string().as_bytes()).unwrap();
    let written: Value = serde_json::from_slice(&translated.body).unwrap();
    assert_eq!(
        written,
        json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
    );
    assert_eq!(translated.terms.model.as_deref(), Some("g"));
    assert!(translated.terms.stream);
}

#[test]
fn both_spellings_are_read_and_come_back() {
    let body = json!({
        "system_instruction": {"parts": {"text": "be kind"}},
        "contents": {"role": "user", "parts": [
            {"inline_data": {"mime_type": "image/png", "data": "AA"}},
            {"fileData": {"file_uri": "https://a/b.mp4", "mimeType": "video/mp4"}},
        ]},
        "generation_config": {"max_output_tokens": 5, "topP": 0.5, "thinking_config": {"thinking_budget": -1}},
    });
    let (written, losses) = translate(Dialect::Gemini, Dialect::Gemini, "m", &body);
    assert_eq!((&written, losses), (&body, none()));
    let (written, losses) = translate(Dialect::Gemini, Dialect::Chat, "m", &body);
    assert_eq!(
        (&written["max_completion_tokens"], &written["top_p"]),
        (&json!(5), &json!(0.5))
    );
    assert_eq!(written["messages"][0]["content"], "be kind");
    let image = &written["messages"][1]["content"][0]["image_url"]["url"];
    assert_eq!(image, "data:image/png;base64,AA==");
    assert_eq!(losses, none());
}

#[test]
fn instructions_may_be_a_string_a_part_or_parts() {
    let texts = [
        json!("a"),
        json!({"text": "a"}),
        json!({"role": "system", "parts": [{"text": "a"}]}),
        json!([{"text": "a"}]),
    ];
    for system in texts {
        let with = json!({"systemInstruction": system});
        let contents = json!(["hi"]);
        let (body, losses) = gemini_to(Dialect::Chat, contents.clone(), with.clone());
        assert_eq!(
            body["messages"][0],
            json!({"role": "system", "content": "a"})
        );
        assert_eq!(losses, none());
        let (home, _) = gemini_to(Dialect::Gemini, contents, with);
        assert_eq!(home["systemInstruction"], system);
    }
}

#[test]
fn instructions_in_the_middle_are_said_as_the_user() {
    let (body, losses) = chat_to_gemini(
        json!([
            {"role": "developer", "content": "a"},
            {"role": "user", "content": "hi"},
            {"role": "system", "content": "b"},
        ]),
        json!({}),
    );
    assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "a"}]}));
    assert_eq!(
        body["contents"],
        json!([{"role": "user", "parts": [{"text": "hi"}, {"text": "b"}]}])
    );
    assert_eq!(losses, ["messages[2].role"]);
}

#[test]
fn results_stand_together_in_the_order_of_their_calls() {
    let (body, losses) = chat_to_gemini(
        json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [call("a", "f"), call("b", "g")]},
            {"role": "tool", "tool_call_id": "b", "content": "{\"y\": 2}"},
            {"role": "tool", "tool_call_id": "a", "content": "plain"},
        ]),
        json!({}),
    );
    assert_eq!(
        body["contents"][2],
        json!({"role": "user", "parts": [
            {"functionResponse": {"id": "a", "name": "f", "response": {"output": "plain"}}},
            {"functionResponse": {"id": "b", "name": "g", "response": {"y": 2}}},
        ]})
    );
    assert_eq!(losses, none());
}

#[test]
fn failed_tool_answers_with_an_error() {
    let result =
        json!({"type": "tool_result", "tool_use_id": "a", "content": "broken", "is_error": true});
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {"role": "user", "content": [result]},
    ]);
    let (body, _) = messages_to_gemini(messages, json!({}));
    let response = &body["contents"][2]["parts"][0]["functionResponse"];
    assert_eq!(response["response"], json!({"error": "broken"}));
    let (back, losses) = translate(Dialect::Gemini, Dialect::Messages, "m", &body);
    let block = &back["messages"][2]["content"][0];
    assert_eq!(
        (&block["is_error"], &block["tool_use_id"]),
        (&json!(true), &json!("a"))
    );
    assert_eq!(block["content"][0]["text"], "broken");
    assert_eq!(losses, ["contents[1].parts[0].thoughtSignature"]);
}

#[test]
fn calls_without_ids_are_paired_by_name_and_order() {
    let response = |x: u64| json!({"functionResponse": {"name": "f", "response": {"x": x}}});
    let contents = json!([
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "g"}}, {"functionCall": {"name": "f"}}]},
        {"role": "function", "parts": [response(1), response(2), {"functionResponse": {"name": "g", "response": {}}}]},
    ]);
    let (body, losses) = gemini_to(Dialect::Chat, contents.clone(), json!({}));
    let calls = body["messages"][1]["tool_calls"].as_array().unwrap();
    let ids: Vec<&str> = calls
        .iter()
        .map(|call| call["id"].as_str().unwrap())
        .collect();
    let answers = &body["messages"].as_array().unwrap()[2..];
    let answered: Vec<&str> = answers
        .iter()
        .map(|turn| turn["tool_call_id"].as_str().unwrap())
        .collect();
    assert_eq!(answered, [ids[0], ids[2], ids[1]]);
    assert_eq!(losses, none());
    let (back, _) = translate(Dialect::Chat, Dialect::Gemini, "gemini-2.5-pro", &body);
    assert_eq!(
        back["contents"][1]["parts"][0],
        json!({"functionCall": {"name": "f", "args": {}}})
    );
    assert_eq!(
        back["contents"][2]["parts"],
        json!([
            response(1),
            {"functionResponse": {"name": "g", "response": {}}},
            response(2),
        ])
    );
}

#[test]
fn signature_goes_back_to_the_call_that_it_came_with() {
    let assistant = json!({
        "role": "assistant", "content": "look", "reasoning_content": "hm",
        "reasoning_signature": "gvsig.gemini.c2ln", "tool_calls": [call("a", "f"), call("b", "f")],
    });
    let messages = json!([{"role": "user", "content": "hi"}, assistant]);
    let (body, losses) = chat_to_gemini(messages, json!({}));
    let parts = &body["contents"][1]["parts"];
    assert_eq!(parts[0], json!({"text": "hm", "thought": true}));
    assert_eq!(parts[1], json!({"text": "look"}));
    assert_eq!(parts[2]["thoughtSignature"], "c2ln");
    assert_eq!(parts[3].get("thoughtSignature"), None);
    assert_eq!(losses, none());
}

#[test]
fn signature_without_a_call_goes_to_the_last_words() {
    let thinking =
        |signature: &str| json!({"type": "thinking", "thinking": "", "signature": signature});
    let text = |text: &str| json!({"type": "text", "text": text});
    let blocks = json!([
        thinking("gvsig.gemini.YQ=="),
        text("a"),
        text("b"),
        thinking("gvsig.gemini.Yg==")
    ]);
    let messages =
        json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": blocks}]);
    let (body, _) = messages_to_gemini(messages, json!({}));
    assert_eq!(
        body["contents"][1]["parts"],
        json!([
            {"text": "a"}, {"text": "b", "thoughtSignature": "YQ=="}, {"text": "", "thoughtSignature": "Yg=="},
        ])
    );
}

#[test]
fn call_without_a_signature_is_excused_where_the_model_demands_one() {
    let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call("a", "f")]}]);
    let body = json!({"messages": messages});
    for (model, is_excused) in [("gemini-3-pro", true), ("gemini-2.5-flash", false)] {
        let (body, _) = translate(Dialect::Chat, Dialect::Gemini, model, &body);
        let signature = body["contents"][1]["parts"][0].get("thoughtSignature");
        assert_eq!(signature.is_some(), is_excused, "{model}");
    }
}

#[test]
fn thoughts_of_others_are_named_as_lost() {
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "h", "signature": "abc"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "a"},
        ]},
    ]);
    let (body, losses) = messages_to_gemini(messages, json!({}));
    assert_eq!(body["contents"][1]["parts"], json!([{"text": "a"}]));
    assert_eq!(
        losses,
        [
            "messages[1].content[0].thinking",
            "messages[1].content[1].thinking"
        ]
    );
}

#[test]
fn schemas_go_in_the_fields_that_take_json_schema() {
    let schema = json!({"type": "object", "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let with = json!({"tools": [tool(json!({}))], "response_format": format});
    let (body, losses) = chat_to_gemini(hi(), with);
    let function = &body["tools"][0]["functionDeclarations"][0];
    assert_eq!(
        function["parametersJsonSchema"]["properties"]["x"]["$ref"],
        "#/a"
    );
    assert_eq!(
        body["generationConfig"],
        json!({"responseMimeType": "application/json", "responseJsonSchema": schema})
    );
    assert_eq!(losses, none());
}

#[test]
fn subset_of_schemas_is_json_schema_elsewhere() {
    let parameters = json!({"type": "OBJECT", "properties": {"x": {"type": "STRING", "nullable": true}}, "propertyOrdering": ["x"]});
    let tools = json!([{"functionDeclarations": [{"name": "f", "parameters": parameters}], "googleSearch": {}}]);
    let with = json!({"tools": tools});
    let (body, losses) = gemini_to(Dialect::Chat, json!(["hi"]), with.clone());
    assert_eq!(
        body["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {"x": {"type": ["string", "null"]}}})
    );
    assert_eq!(
        losses,
        [
            "tools[0].functionDeclarations[0].parameters.propertyOrdering",
            "tools[0]"
        ]
    );
    let (home, losses) = gemini_to(Dialect::Gemini, json!(["hi"]), with);
    assert_eq!((&home["tools"], losses), (&tools, none()));
}

#[test]
fn choice_of_functions() {
    let mode = |body: &Value| body["toolConfig"]["functionCallingConfig"].clone();
    let with = |choice: Value| json!({"tools": [tool(json!({}))], "tool_choice": choice});
    for (choice, expected) in [
        (json!("auto"), json!({"mode": "AUTO"})),
        (json!("none"), json!({"mode": "NONE"})),
        (json!("required"), json!({"mode": "ANY"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ),
    ] {
        let (body, losses) = chat_to_gemini(hi(), with(choice.clone()));
        assert_eq!((mode(&body), losses), (expected, none()));
        let (back, _) = translate(Dialect::Gemini, Dialect::Chat, "m", &body);
        assert_eq!(back["tool_choice"], choice);
    }
    let strict = json!({"tools": [tool(json!({"strict": true}))]});
    let (body, losses) = chat_to_gemini(hi(), strict);
    assert_eq!(
        (mode(&body), losses),
        (json!({"mode": "VALIDATED"}), none())
    );
    let (_, losses) = translate(Dialect::Gemini, Dialect::Chat, "m", &body);
    assert_eq!(losses, ["toolConfig.functionCallingConfig.mode"]);
}

#[test]
fn effort_is_a_level_for_later_models_and_a_budget_for_former_ones() {
    for (model, effort, expected, lost) in [
        (
            "gemini-3-flash",
            "low",
            json!({"thinkingLevel": "LOW", "includeThoughts": true}),
            0,
        ),
        (
            "gemini-3-pro",
            "medium",
            json!({"thinkingLevel": "HIGH", "includeThoughts": true}),
            0,
        ),
        ("gemini-3-pro", "none", json!({"thinkingLevel": "LOW"}), 1),
        (
            "gemini-2.5-pro",
            "medium",
            json!({"thinkingBudget": 8192, "includeThoughts": true}),
            0,
        ),
        ("gemini-2.5-flash", "none", json!({"thinkingBudget": 0}), 0),
    ] {
        let body = json!({"messages": hi(), "reasoning_effort": effort});
        let (body, losses) = translate(Dialect::Chat, Dialect::Gemini, model, &body);
        let thinking = &body["generationConfig"]["thinkingConfig"];
        assert_eq!(
            (thinking, losses.len()),
            (&expected, lost),
            "{model} {effort}"
        );
    }
    let body = json!({"max_tokens": 9, "messages": hi(), "thinking": {"type": "enabled", "budget_tokens": 50_000}});
    let (body, losses) = translate(Dialect::Messages, Dialect::Gemini, "gemini-2.5-pro", &body);
    let thinking = &body["generationConfig"]["thinkingConfig"];
    assert_eq!(thinking["thinkingBudget"], 24_576);
    assert_eq!(losses.len(), 1);
}

#[test]
fn attachments_have_a_media_type() {
    let url = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let file = json!({"type": "file", "file": {"file_data": "https://a/b.mp4?c"}});
    let content = json!([
        url("data:image/png;base64,AA"),
        url("https://a/b.webp#c"),
        url("https://a/b"),
        file
    ]);
    let (body, losses) = chat_to_gemini(json!([{"role": "user", "content": content}]), json!({}));
    assert_eq!(
        body["contents"][0]["parts"],
        json!([
            {"inlineData": {"mimeType": "image/png", "data": "AA"}},
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://a/b.webp#c"}},
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a/b"}},
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://a/b.mp4?c"}},
        ])
    );
    assert_eq!(losses, none());
    let document = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ü"}});
    let (body, _) = messages_to_gemini(json!([{"role": "user", "content": [document]}]), json!({}));
    assert_eq!(
        body["contents"][0]["parts"][0],
        json!({"inlineData": {"mimeType": "text/plain", "data": "w7w="}})
    );
}

#[test]
fn what_gemini_cannot_say_is_named() {
    let with = json!({
        "parallel_tool_calls": false, "user": "u", "metadata": {"a": "b"}, "store": true, "verbosity": "low",
        "prompt_cache_key": "k", "stop": ["1", "2", "3", "4", "5", "6"], "service_tier": "scale", "logit_bias": {"1": 2},
        "seed": 4, "n": 2, "logprobs": true, "top_logprobs": 3, "frequency_penalty": 0.5,
    });
    let (body, mut losses) = chat_to_gemini(hi(), with);
    losses.sort();
    assert_eq!(
        losses,
        [
            "logit_bias",
            "metadata",
            "parallel_tool_calls",
            "prompt_cache_key",
            "service_tier",
            "stop",
            "store",
            "user",
            "verbosity",
        ]
    );
    assert_eq!(
        body["generationConfig"],
        json!({
            "stopSequences": ["1", "2", "3", "4", "5"], "seed": 4, "candidateCount": 2, "responseLogprobs": true,
            "logprobs": 3, "frequencyPenalty": 0.5,
        })
    );
}

#[test]
fn what_gemini_alone_can_say_is_named_by_its_path() {
    let with = json!({
        "safetySettings": [{"category": "a", "threshold": "b"}], "cachedContent": "c", "labels": {"a": "b"},
        "generationConfig": {"topK": 3, "mediaResolution": "d", "responseSchema": {"type": "STRING", "enum": ["a"]}, "responseMimeType": "text/x.enum"},
    });
    let contents =
        json!([{"role": "user", "parts": [{"text": "hi"}, {"executableCode": {"code": "1"}}]}]);
    let (body, mut losses) = gemini_to(Dialect::Chat, contents, with);
    losses.sort();
    assert_eq!(
        losses,
        [
            "cachedContent",
            "contents[0].parts[1]",
            "generationConfig.mediaResolution",
            "generationConfig.responseMimeType",
            "generationConfig.responseSchema",
            "generationConfig.topK",
            "labels",
            "safetySettings",
        ]
    );
    assert_eq!(body.get("metadata"), None);
}

#[test]
fn picture_in_base64_for_urls_is_standard_elsewhere_and_comes_back() {
    let body = json!({"contents": [{"role": "user", "parts": [
        {"inlineData": {"mimeType": "image/png", "data": "-_8="}},
    ]}]});
    let (written, _) = translate(Dialect::Gemini, Dialect::Chat, "m", &body);
    let url = &written["messages"][0]["content"][0]["image_url"]["url"];
    assert_eq!(url, "data:image/png;base64,+/8=");
    let (written, losses) = translate(Dialect::Gemini, Dialect::Gemini, "m", &body);
    assert_eq!((&written, losses), (&body, none()));
}
