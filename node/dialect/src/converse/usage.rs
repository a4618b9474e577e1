//! What an answer costs. `inputTokens` leaves out those that came from a cache or went into one.

use serde_json::json;

use super::DIALECT;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::answer::TokenUsage;
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn read(mut fields: Fields) -> TokenUsage {
    let mut usage = TokenUsage::new(Rest::new(DIALECT, ""));
    usage.cache_read = fields.count("cacheReadInputTokens");
    usage.cache_write = fields.count("cacheWriteInputTokens");
    let uncached = fields.count("inputTokens");
    usage.input = uncached.map(|uncached| uncached.saturating_add(usage.cached()));
    usage.output = fields.count("outputTokens");
    // A sum, and by how long they stay cached, part of those that went into the cache.
    fields.blank("totalTokens");
    fields.blank("cacheDetails");
    // Earlier names of the same counts.
    fields.blank("cacheReadInputTokenCount");
    fields.blank("cacheWriteInputTokenCount");
    fields.blank_if("serverToolUsage", &json!({}));
    usage.rest = fields.finish();
    usage
}

pub(super) fn write(usage: &TokenUsage, losses: &mut LossList) -> Object {
    let mut object = Object::new();
    let uncached = usage
        .input
        .map(|input| input.saturating_sub(usage.cached()));
    put(&mut object, "inputTokens", uncached);
    put(&mut object, "outputTokens", usage.output);
    put(&mut object, "cacheReadInputTokens", usage.cache_read);
    put(&mut object, "cacheWriteInputTokens", usage.cache_write);
    usage.rest.write(DIALECT, &mut object, losses);
    if !usage.rest.is_from(DIALECT) {
        let input = usage.input.unwrap_or(0);
        let total = input.saturating_add(usage.output.unwrap_or(0));
        object.insert("totalTokens".to_string(), json!(total));
        for field in ["inputTokens", "outputTokens"] {
            object.entry(field).or_insert_with(|| json!(0));
        }
    }
    object
}

/// The usage of an answer that has none, which Converse demands.
pub(super) fn nothing() -> Object {
    let fields = ["inputTokens", "outputTokens", "totalTokens"];
    let fields = fields
        .into_iter()
        .map(|field| (field.to_string(), json!(0)));
    fields.collect()
}
