//! What a message costs. `input_tokens` leaves out those that came from a cache or went into one.

use serde_json::json;

use super::DIALECT;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::answer::TokenUsage;
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn read(mut fields: Fields) -> TokenUsage {
    let mut usage = TokenUsage::new(Rest::new(DIALECT, ""));
    usage.cache_read = fields.count("cache_read_input_tokens");
    usage.cache_write = fields.count("cache_creation_input_tokens");
    let uncached = fields.count("input_tokens");
    usage.input = uncached.map(|uncached| uncached.saturating_add(usage.cached()));
    usage.output = fields.count("output_tokens");
    if let Some(mut details) = fields.enter("output_tokens_details") {
        usage.reasoning = details.count("thinking_tokens");
        fields.leave("output_tokens_details", details);
    }
    // By how long they stay cached: part of those that went into the cache.
    fields.blank("cache_creation");
    usage.rest = fields.finish();
    usage
}

pub(super) fn write(usage: &TokenUsage, losses: &mut LossList) -> Object {
    let mut object = Object::new();
    let uncached = usage
        .input
        .map(|input| input.saturating_sub(usage.cached()));
    put(&mut object, "input_tokens", uncached);
    put(&mut object, "cache_read_input_tokens", usage.cache_read);
    put(
        &mut object,
        "cache_creation_input_tokens",
        usage.cache_write,
    );
    put(&mut object, "output_tokens", usage.output);
    if let Some(thought) = usage.reasoning {
        object.insert(
            "output_tokens_details".to_string(),
            json!({"thinking_tokens": thought}),
        );
    }
    usage.rest.write(DIALECT, &mut object, losses);
    if !usage.rest.is_from(DIALECT) {
        // Clients add these up without asking whether they are there.
        object.entry("input_tokens").or_insert_with(|| json!(0));
        object.entry("output_tokens").or_insert_with(|| json!(0));
    }
    object
}

/// The usage of an answer that has none, which messages demands.
pub(super) fn nothing() -> Object {
    let mut object = Object::new();
    object.insert("input_tokens".to_string(), json!(0));
    object.insert("output_tokens".to_string(), json!(0));
    object
}
