//! Google's `generateContent` as read, and the signatures of its calls.

use serde_json::{Value, json};

use super::exchange::{Object, count, items, object, text};
use super::google_fields::{either, known};
use super::google_turns::check_turns;
use super::refusal::Refusal;
use super::said::{Ask, Choice, Tool};
use super::seal::Seal;

/// Fields of a request.
const REQUEST: [&str; 10] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "model",
    "serviceTier",
];

/// Fields of `generationConfig`.
const GENERATION: [&str; 22] = [
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "speechConfig",
    "thinkingConfig",
    "mediaResolution",
    "imageConfig",
    "audioTimestamp",
    "routingConfig",
];

/// Fields of a part.
const PART: [&str; 13] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "mediaResolution",
    "partMetadata",
    "toolCall",
];

/// Keywords of a schema in `parameters`.
const SCHEMA: [&str; 22] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
];

/// Reads and checks a request for the URL's `model`.
pub(super) fn read(body: &[u8], model: &str, stream: bool, seal: &Seal) -> Result<Ask, Refusal> {
    let body = object(body).map_err(|_| {
        Refusal::invalid("Invalid JSON payload received. Unexpected end of string.")
    })?;
    known(&body, &REQUEST, "")?;
    let field = |name: &str| either(&body, name).unwrap_or(&Value::Null);
    let config = field("generationConfig");
    if let Some(config) = config.as_object() {
        known(config, &GENERATION, "generation_config")?;
    }
    let contents = field("contents");
    if items(contents).is_empty() {
        return Err(Refusal::invalid(
            "* GenerateContentRequest.contents: contents is not specified\n",
        ));
    }
    check_contents(items(contents))?;
    check_turns(items(contents), model, seal)?;
    let tools = tools(field("tools"))?;
    let config = config.as_object().cloned().unwrap_or_default();
    let thinking = either(&config, "thinkingConfig").is_some_and(|thinking| {
        thinking["includeThoughts"] == true || thinking["include_thoughts"] == true
    });
    let schema = ["responseJsonSchema", "responseSchema"]
        .into_iter()
        .find_map(|name| either(&config, name));
    let bytes: usize = ["contents", "systemInstruction", "tools"]
        .map(|name| field(name).to_string().len())
        .iter()
        .sum();
    let last = items(contents).last();
    Ok(Ask {
        model: model.to_owned(),
        text: last_user_text(items(contents)),
        tools,
        choice: choice(field("toolConfig")),
        results: last.map_or(Vec::new(), |content| results(items(&content["parts"]))),
        thinking,
        schema: schema.cloned(),
        words_max: count(either(&config, "maxOutputTokens")),
        stream,
        input_tokens: bytes as u64 / 4 + 1,
    })
}

fn check_contents(contents: &[Value]) -> Result<(), Refusal> {
    for (at, content) in contents.iter().enumerate() {
        let path = format!("contents[{at}]");
        known(
            content.as_object().unwrap_or(&Object::new()),
            &["role", "parts"],
            &path,
        )?;
        if !["", "user", "model", "function"].contains(&text(content, "role")) {
            return Err(Refusal::invalid("Please use a valid role: user, model."));
        }
        let parts = items(&content["parts"]);
        if parts.is_empty() {
            return Err(Refusal::invalid(format!(
                "* GenerateContentRequest.{path}.parts: contents.parts must not be empty.\n"
            )));
        }
        for (number, part) in parts.iter().enumerate() {
            let part = part.as_object().cloned().unwrap_or_default();
            known(&part, &PART, &format!("{path}.parts[{number}]"))?;
            let data = part.keys().any(|key| {
                !["thought", "thoughtSignature", "thought_signature"].contains(&key.as_str())
            });
            if !data {
                return Err(Refusal::invalid(format!(
                    "* GenerateContentRequest.{path}.parts[{number}].data: required oneof field 'data' must have one initialized field\n"
                )));
            }
        }
    }
    Ok(())
}

fn tools(tools: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut found = Vec::new();
    for (at, tool) in items(tools).iter().enumerate() {
        let tool = tool.as_object().cloned().unwrap_or_default();
        let declarations = either(&tool, "functionDeclarations").unwrap_or(&Value::Null);
        for (number, declaration) in items(declarations).iter().enumerate() {
            let path = format!("tools[{at}].function_declarations[{number}]");
            let declaration = declaration.as_object().cloned().unwrap_or_default();
            let names = [
                "name",
                "description",
                "behavior",
                "parameters",
                "parametersJsonSchema",
                "response",
                "responseJsonSchema",
            ];
            known(&declaration, &names, &path)?;
            let schema = declaration.get("parameters").unwrap_or(&Value::Null);
            check_schema(schema, &format!("{path}.parameters"))?;
            let schema = match schema {
                Value::Null => either(&declaration, "parametersJsonSchema").unwrap_or(&Value::Null),
                schema => schema,
            };
            found.push(Tool {
                name: declaration
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                schema: match schema {
                    Value::Null => json!({"type": "object"}),
                    schema => schema.clone(),
                },
            });
        }
    }
    Ok(found)
}

/// Google's schemas are a part of OpenAPI's; serde_json bounds how deep one goes.
fn check_schema(schema: &Value, path: &str) -> Result<(), Refusal> {
    let Some(object) = schema.as_object() else {
        return Ok(());
    };
    known(object, &SCHEMA, path)?;
    let properties = object.get("properties").and_then(Value::as_object);
    for (at, property) in properties
        .into_iter()
        .flat_map(|all| all.values())
        .enumerate()
    {
        check_schema(property, &format!("{path}.properties[{at}].value"))?;
    }
    check_schema(&schema["items"], &format!("{path}.items"))?;
    for (at, choice) in items(&schema["anyOf"]).iter().enumerate() {
        check_schema(choice, &format!("{path}.any_of[{at}]"))?;
    }
    Ok(())
}

fn choice(config: &Value) -> Choice {
    let config = config.as_object().cloned().unwrap_or_default();
    let calling = either(&config, "functionCallingConfig")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let allowed = either(&calling, "allowedFunctionNames")
        .and_then(|names| names.get(0))
        .and_then(Value::as_str);
    match (calling.get("mode").and_then(Value::as_str), allowed) {
        (Some("ANY"), Some(name)) => Choice::Named(name.to_owned()),
        (Some("ANY"), None) => Choice::Any,
        (Some("NONE"), _) => Choice::None,
        _ => Choice::Auto,
    }
}

fn part_text(part: &Value) -> &str {
    text(part, "text")
}

fn last_user_text(contents: &[Value]) -> String {
    let said = contents
        .iter()
        .filter(|content| text(content, "role") != "model");
    let texts: Vec<String> = said
        .map(|content| {
            let texts: Vec<&str> = items(&content["parts"])
                .iter()
                .map(part_text)
                .filter(|text| !text.is_empty())
                .collect();
            texts.join("\n")
        })
        .collect();
    texts
        .into_iter()
        .rfind(|text| !text.is_empty())
        .unwrap_or_default()
}

/// What the functions answered: the text of a response with one field, else its JSON.
fn results(parts: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for part in parts {
        let part = part.as_object().cloned().unwrap_or_default();
        let Some(response) =
            either(&part, "functionResponse").map(|response| &response["response"])
        else {
            continue;
        };
        let mut fields = response.as_object().into_iter().flatten();
        found.push(match (fields.next(), fields.next()) {
            (Some((_, Value::String(text))), None) => text.clone(),
            _ => response.to_string(),
        });
    }
    found
}
