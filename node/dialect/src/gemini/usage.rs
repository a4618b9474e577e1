//! What an answer costs. Google counts thoughts beside the answer, and what its own tools read beside the prompt.

use serde_json::json;

use super::DIALECT;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::answer::TokenUsage;
use crate::loss::LossList;
use crate::rest::Rest;

/// What others say with the hub's numbers, or what is part of one of them.
const BLANKS: [&str; 11] = [
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
    "promptTokensDetails",
    "toolUsePromptTokensDetails",
    "cacheTokensDetails",
    "candidatesTokensDetails",
    "serviceTier",
];

/// Reads `usageMetadata`, whose own numbers are kept as they came: the hub's are sums of them.
pub(super) fn read(mut fields: Fields) -> TokenUsage {
    let count = |field: &str| fields.peek(field).and_then(serde_json::Value::as_u64);
    let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
    };
    let mut usage = TokenUsage::new(Rest::new(DIALECT, ""));
    usage.reasoning = count("thoughtsTokenCount");
    usage.cache_read = count("cachedContentTokenCount");
    usage.input = sum(count("promptTokenCount"), count("toolUsePromptTokenCount"));
    usage.output = sum(count("candidatesTokenCount"), usage.reasoning);
    for field in BLANKS {
        fields.blank(field);
    }
    usage.rest = fields.finish();
    usage
}

pub(super) fn write(usage: &TokenUsage, losses: &mut LossList) -> Object {
    let mut object = Object::new();
    if !usage.rest.is_from(DIALECT) {
        let input = usage.input.unwrap_or(0);
        let output = usage.output.unwrap_or(0);
        let reasoning = usage.reasoning.unwrap_or(0);
        let said = output.saturating_sub(reasoning);
        let total = input.saturating_add(output);
        object.insert("promptTokenCount".to_string(), json!(input));
        object.insert("candidatesTokenCount".to_string(), json!(said));
        object.insert("totalTokenCount".to_string(), json!(total));
        put(&mut object, "thoughtsTokenCount", usage.reasoning);
        put(&mut object, "cachedContentTokenCount", usage.cache_read);
        let written = usage.cache_write.filter(|tokens| *tokens > 0);
        losses.add_some(
            written.as_ref(),
            usage.rest.at("cache_write"),
            "gemini does not say what goes into a cache",
        );
    }
    usage.rest.write(DIALECT, &mut object, losses);
    object
}
