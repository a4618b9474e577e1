//! What a response costs. `input_tokens` includes those that came from a cache.

use serde_json::json;

use super::DIALECT;
use crate::fields::{Fields, inside, put};
use crate::grammar::Object;
use crate::hub::answer::TokenUsage;
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn read(mut fields: Fields) -> TokenUsage {
    let mut usage = TokenUsage::new(Rest::new(DIALECT, ""));
    usage.input = fields.count("input_tokens");
    usage.output = fields.count("output_tokens");
    fields.blank("total_tokens");
    if let Some(mut details) = fields.enter("input_tokens_details") {
        usage.cache_read = details.count("cached_tokens");
        usage.cache_write = details.count("cache_write_tokens");
        fields.leave("input_tokens_details", details);
    }
    if let Some(mut details) = fields.enter("output_tokens_details") {
        usage.reasoning = details.count("reasoning_tokens");
        fields.leave("output_tokens_details", details);
    }
    usage.rest = fields.finish();
    usage
}

pub(super) fn write(usage: &TokenUsage, losses: &mut LossList) -> Object {
    let mut object = Object::new();
    put(&mut object, "input_tokens", usage.input);
    put(&mut object, "output_tokens", usage.output);
    let is_home = usage.rest.is_from(DIALECT);
    if !is_home {
        let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
        object.insert("input_tokens".to_string(), json!(input));
        object.insert("output_tokens".to_string(), json!(output));
        let total = input.saturating_add(output);
        object.insert("total_tokens".to_string(), json!(total));
    }
    // Clients expect both details, whatever they hold.
    let is_cached = usage.cache_read.is_some() || usage.cache_write.is_some();
    if (is_cached || !is_home)
        && let Some(details) = inside(&mut object, "input_tokens_details")
    {
        let nothing = (!is_home).then_some(0);
        put(details, "cached_tokens", usage.cache_read.or(nothing));
        put(details, "cache_write_tokens", usage.cache_write.or(nothing));
    }
    if (usage.reasoning.is_some() || !is_home)
        && let Some(details) = inside(&mut object, "output_tokens_details")
    {
        let nothing = (!is_home).then_some(0);
        put(details, "reasoning_tokens", usage.reasoning.or(nothing));
    }
    usage.rest.write(DIALECT, &mut object, losses);
    object
}
