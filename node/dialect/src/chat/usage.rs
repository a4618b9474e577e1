//! What a chat completion costs. `prompt_tokens` includes those that came from a cache.

use serde_json::json;

use super::DIALECT;
use crate::fields::{Fields, inside, put};
use crate::grammar::Object;
use crate::hub::answer::TokenUsage;
use crate::loss::LossList;
use crate::rest::Rest;

pub(super) fn read(mut fields: Fields) -> TokenUsage {
    let mut usage = TokenUsage::new(Rest::new(DIALECT, ""));
    usage.input = fields.count("prompt_tokens");
    usage.output = fields.count("completion_tokens");
    fields.blank("total_tokens");
    if let Some(mut details) = fields.enter("prompt_tokens_details") {
        usage.cache_read = details.count("cached_tokens");
        usage.cache_write = details.count("cache_write_tokens");
        // Tokens by kind are part of those that the hub counts.
        details.blank("audio_tokens");
        details.blank("text_tokens");
        details.blank("image_tokens");
        fields.leave("prompt_tokens_details", details);
    }
    if let Some(mut details) = fields.enter("completion_tokens_details") {
        usage.reasoning = details.count("reasoning_tokens");
        details.blank("audio_tokens");
        details.blank("text_tokens");
        details.blank_if("accepted_prediction_tokens", &json!(0));
        details.blank_if("rejected_prediction_tokens", &json!(0));
        fields.leave("completion_tokens_details", details);
    }
    usage.rest = fields.finish();
    usage
}

pub(super) fn write(usage: &TokenUsage, losses: &mut LossList) -> Object {
    let mut object = Object::new();
    put(&mut object, "prompt_tokens", usage.input);
    put(&mut object, "completion_tokens", usage.output);
    if !usage.rest.is_from(DIALECT) {
        let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
        object.insert("prompt_tokens".to_string(), json!(input));
        object.insert("completion_tokens".to_string(), json!(output));
        object.insert(
            "total_tokens".to_string(),
            json!(input.saturating_add(output)),
        );
    }
    let read = usage.cache_read.is_some() || usage.cache_write.is_some();
    if read && let Some(details) = inside(&mut object, "prompt_tokens_details") {
        put(details, "cached_tokens", usage.cache_read);
        put(details, "cache_write_tokens", usage.cache_write);
    }
    if usage.reasoning.is_some()
        && let Some(details) = inside(&mut object, "completion_tokens_details")
    {
        put(details, "reasoning_tokens", usage.reasoning);
    }
    usage.rest.write(DIALECT, &mut object, losses);
    object
}
