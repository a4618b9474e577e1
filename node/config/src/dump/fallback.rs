//! Models that stand in for others, as the file says them.

use grapevine_core::ids::ModelName;
use grapevine_core::request::FallbackModels;
use serde_json::{Value, json};

use super::texts;

pub(super) fn shown((model, fallback): (&ModelName, &FallbackModels)) -> (String, Value) {
    let on = fallback.on.iter().map(|cause| cause.as_str());
    let shown = json!({"models": texts(&fallback.models), "on": on.collect::<Vec<_>>()});
    (model.to_string(), shown)
}
