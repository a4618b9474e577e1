//! Reads `generationConfig`.

use serde_json::{Value, json};

use super::names::{
    CANDIDATE_COUNT, FREQUENCY_PENALTY, GENERATION_CONFIG, INCLUDE_THOUGHTS, MAX_TOKENS,
    PRESENCE_PENALTY, RESPONSE_JSON_SCHEMA, RESPONSE_LOGPROBS, RESPONSE_MIME_TYPE, RESPONSE_SCHEMA,
    STOP_SEQUENCES, SpelledName, THINKING_BUDGET, THINKING_CONFIG, THINKING_LEVEL, TOP_K, TOP_P,
};
use super::{DIALECT, schema};
use crate::fields::Fields;
use crate::hub::request::{
    HubRequest, OutputFormat, OutputKind, Reasoning, ReasoningMode, Sampling,
};
use crate::rest::Rest;

/// The media type of an answer in JSON.
pub(super) const JSON: &str = "application/json";

/// The media type of an answer in words.
pub(super) const TEXT: &str = "text/plain";

/// Where the hub's fields stand, by the spelling of the object that they stand in.
const PLACES: [(&str, &str, &str); 14] = [
    (
        "max_tokens",
        "generationConfig.maxOutputTokens",
        "generation_config.max_output_tokens",
    ),
    (
        "stop",
        "generationConfig.stopSequences",
        "generation_config.stop_sequences",
    ),
    (
        "temperature",
        "generationConfig.temperature",
        "generation_config.temperature",
    ),
    ("top_p", "generationConfig.topP", "generation_config.top_p"),
    ("top_k", "generationConfig.topK", "generation_config.top_k"),
    (
        "frequency_penalty",
        "generationConfig.frequencyPenalty",
        "generation_config.frequency_penalty",
    ),
    (
        "presence_penalty",
        "generationConfig.presencePenalty",
        "generation_config.presence_penalty",
    ),
    ("seed", "generationConfig.seed", "generation_config.seed"),
    (
        "answers",
        "generationConfig.candidateCount",
        "generation_config.candidate_count",
    ),
    (
        "logprobs",
        "generationConfig.responseLogprobs",
        "generation_config.response_logprobs",
    ),
    (
        "top_logprobs",
        "generationConfig.logprobs",
        "generation_config.logprobs",
    ),
    (
        "effort",
        "generationConfig.thinkingConfig.thinkingLevel",
        "generation_config.thinking_config.thinking_level",
    ),
    (
        "budget",
        "generationConfig.thinkingConfig.thinkingBudget",
        "generation_config.thinking_config.thinking_budget",
    ),
    (
        "summary",
        "generationConfig.thinkingConfig.includeThoughts",
        "generation_config.thinking_config.include_thoughts",
    ),
];

pub(super) fn read(fields: &mut Fields, request: &mut HubRequest) {
    let field = GENERATION_CONFIG.in_fields(fields);
    let Some(mut config) = fields.enter(field) else {
        return;
    };
    request.max_tokens = count(&mut config, MAX_TOKENS);
    request.answers = count(&mut config, CANDIDATE_COUNT);
    request.top_logprobs = config.count("logprobs");
    let logprobs = RESPONSE_LOGPROBS.in_fields(&mut config);
    request.logprobs = config.flag(logprobs);
    let stop = STOP_SEQUENCES.in_fields(&mut config);
    config.blank_if(stop, &json!([]));
    request.stop = config.texts(stop).unwrap_or_default();
    request.sampling = read_sampling(&mut config);
    request.output = read_output(&mut config);
    request.reasoning = read_reasoning(&mut config);
    fields.leave(field, config);
    for (name, camel, snake) in PLACES {
        let is_snake = field == GENERATION_CONFIG.snake();
        fields.set_name(name, if is_snake { snake } else { camel });
    }
}

fn count(config: &mut Fields, name: SpelledName) -> Option<u64> {
    let field = name.in_fields(config);
    config.count(field)
}

fn read_sampling(config: &mut Fields) -> Sampling {
    let mut number = |name: SpelledName| {
        let field = name.in_fields(config);
        config.number(field)
    };
    let (top_p, top_k) = (number(TOP_P), number(TOP_K));
    let (frequency_penalty, presence_penalty) =
        (number(FREQUENCY_PENALTY), number(PRESENCE_PENALTY));
    Sampling {
        temperature: config.number("temperature"),
        top_p,
        top_k,
        frequency_penalty,
        presence_penalty,
        seed: config.number("seed"),
    }
}

// An answer in a form that the hub does not know, such as one word of a list, remains in the rest.
fn read_output(config: &mut Fields) -> Option<OutputFormat> {
    let at_media_type = RESPONSE_MIME_TYPE.in_fields(config);
    let media_type = config.peek_text(at_media_type).map(ToString::to_string);
    let has_media_type = match media_type.as_deref() {
        Some(JSON) => true,
        Some(TEXT) => {
            let rest = Rest::new(DIALECT, config.at(at_media_type));
            config.take(at_media_type);
            let kind = OutputKind::Text;
            return Some(OutputFormat { kind, rest });
        }
        None if config.peek(at_media_type).is_none() => false,
        _ => return None,
    };
    let json_schema = RESPONSE_JSON_SCHEMA.in_fields(config);
    let subset = RESPONSE_SCHEMA.in_fields(config);
    let (field, is_json) = match config.object(json_schema) {
        Some(map) => ((json_schema, Some(map)), true),
        None => ((subset, config.object(subset)), false),
    };
    let (field, schema) = field;
    let Some(schema) = schema.map(Value::Object) else {
        let rest = Rest::new(DIALECT, config.at(at_media_type));
        config.take(at_media_type).filter(|_| has_media_type)?;
        let kind = OutputKind::Json;
        return Some(OutputFormat { kind, rest });
    };
    let mut rest = Rest::new(DIALECT, config.at(field));
    if config.take(at_media_type).is_none() {
        rest.set_form("media_type", "absent");
    }
    let schema = if is_json {
        schema
    } else {
        // Named as lost elsewhere; at home the schema is written as it was.
        if let Some(ordering) = schema::ordering(&schema) {
            rest.fields
                .insert(ordering.to_string(), schema[ordering].clone());
        }
        let converted = schema::to_json_schema(&schema);
        rest.set_blank("schema", schema);
        converted
    };
    let kind = OutputKind::Schema {
        name: None,
        description: None,
        strict: Some(schema::is_closed(&schema)),
        schema,
    };
    Some(OutputFormat { kind, rest })
}

// Some levels are spelled in capitals; a budget of -1 leaves it to the model.
fn read_reasoning(config: &mut Fields) -> Reasoning {
    let mut reasoning = Reasoning::default();
    let field = THINKING_CONFIG.in_fields(config);
    let Some(mut thinking) = config.enter(field) else {
        return reasoning;
    };
    let shown = INCLUDE_THOUGHTS.in_fields(&mut thinking);
    thinking.blank_if(shown, &json!(false));
    if thinking.flag(shown) == Some(true) {
        reasoning.summary = Some("auto".to_string());
        reasoning.mode = Some(ReasoningMode::Adaptive);
    }
    let budget = THINKING_BUDGET.in_fields(&mut thinking);
    if thinking.peek(budget) == Some(&json!(-1)) {
        thinking.blank(budget);
        reasoning.mode = Some(ReasoningMode::Adaptive);
    }
    reasoning.budget = thinking.count(budget);
    match reasoning.budget {
        Some(0) => reasoning.mode = Some(ReasoningMode::Disabled),
        Some(_) => reasoning.mode = Some(ReasoningMode::Enabled),
        None => {}
    }
    let level = THINKING_LEVEL.in_fields(&mut thinking);
    let word = thinking.peek_text(level).unwrap_or_default();
    let effort = word.to_ascii_lowercase();
    let form = match effort.as_str() {
        "minimal" | "low" | "medium" | "high" if effort == word => Some("lower"),
        "minimal" | "low" | "medium" | "high" if effort.to_ascii_uppercase() == word => {
            Some("upper")
        }
        _ => None,
    };
    if let Some(form) = form {
        thinking.take(level);
        thinking.set_form("level", form);
        reasoning.effort = Some(effort);
        reasoning.mode = Some(ReasoningMode::Enabled);
    }
    config.leave(field, thinking);
    reasoning
}
