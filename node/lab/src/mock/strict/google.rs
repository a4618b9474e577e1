//! Google's `generateContent` as read, and the signatures of its calls.

use serde_json::{Value, json};

use super::exchange::{Object, count, items, object, text};
use super::refusal::Refusal;
use super::said::{Ask, Choice, Tool};
use super::seal::Seal;

/// What [`Seal`] signs calls for.
const CALL: &str = "call";

/// Signatures that the documentation names for calls of other models.
const BYPASSES: [&str; 2] = [
    "skip_thought_signature_validator",
    "context_engineering_is_the_way_to_go",
];

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
    super::google_turns::check_turns(items(contents), model, seal)?;
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

/// A field by its name in camel case, or in snake case, which Google takes as well.
pub(super) fn either<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| object.get(&snake(name)))
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The refusal of a field that Google does not know; `path` is empty for the outermost object.
pub(super) fn unknown_name(name: &str, path: &str) -> Refusal {
    let place = if path.is_empty() {
        String::new()
    } else {
        format!(" at '{path}'")
    };
    let message = format!(
        "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
    );
    let mut violation = json!({"description": message});
    if !path.is_empty() {
        violation["field"] = json!(path);
    }
    Refusal::invalid(message).details(json!([
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    ]))
}

fn known(object: &Object, names: &[&str], path: &str) -> Result<(), Refusal> {
    let fits = |key: &&String| {
        names
            .iter()
            .any(|name| *name == key.as_str() || snake(name) == key.as_str())
    };
    match object.keys().find(|key| !fits(key)) {
        Some(key) => Err(unknown_name(key, path)),
        None => Ok(()),
    }
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

/// The signature of a call, as the mock issues it.
pub(super) fn sign(seal: &Seal, name: &str, arguments: &Value) -> String {
    seal.sign(CALL, &format!("{name} {arguments}"))
}

/// Checks what came back with a call; `position` is that of its turn, for the message. Models before Gemini 3 demand
/// no signature, but take none that is wrong.
pub(super) fn check_signature(
    seal: &Seal,
    model: &str,
    name: &str,
    arguments: &Value,
    signature: Option<&str>,
    position: usize,
) -> Result<(), Refusal> {
    let lax = model.contains("gemini-1") || model.contains("gemini-2");
    match signature {
        None if lax => Ok(()),
        None => Err(Refusal::invalid(format!(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:{name}` , position {position}. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
        ))),
        Some(given) if BYPASSES.contains(&given) => Ok(()),
        Some(given) if seal.verify(CALL, &format!("{name} {arguments}"), given) => Ok(()),
        Some(_) => Err(Refusal::invalid("Thought signature is not valid.")),
    }
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
