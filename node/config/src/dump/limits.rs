//! Limits, as the file would have them.

use grapevine_core::escrow::growth::OverrunRule;
use grapevine_core::ids::ModelName;
use grapevine_keys::rights::{KeyLimits, ModelLimits};
use serde_json::{Value, json};

use super::super::checked::{AccountConfig, LimitsConfig};
use super::super::text::format_duration;
use super::texts;

pub(super) fn limits(limits: &LimitsConfig) -> Value {
    json!({
        "body": limits.body.to_string(),
        "body_memory": limits.body_memory.to_string(),
        "header_count": limits.header_count,
        "header_size": limits.header_size.to_string(),
        "header_timeout": format_duration(limits.header_timeout),
        "idle_timeout": format_duration(limits.idle_timeout),
        "body_timeout": format_duration(limits.body_timeout),
        "websocket_idle": format_duration(limits.websocket_idle),
        "connections": limits.connections,
        "in_flight": limits.in_flight,
        "waiting": limits.waiting,
        "polls": limits.polls,
        "nodes": (!limits.nodes.is_empty()).then(|| texts(&limits.nodes)),
        "file": limits.file.display().to_string(),
        "max_tokens": limits.max_tokens,
        "overrun": match limits.overrun {
            OverrunRule::End => "end",
            OverrunRule::Allow => "allow",
        },
    })
}

pub(super) fn account(account: &AccountConfig) -> Value {
    let limits = &account.limits;
    json!({
        "name": account.name.as_str(),
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "budget": limits.budget.map(|budget| budget.to_string()),
    })
}

/// The limits of a key by model; null where there are none.
pub(super) fn of_models(limits: &ModelLimits) -> Value {
    let shown = |(model, limits): (&ModelName, &KeyLimits)| {
        let limits = json!({
            "rpm": limits.rpm,
            "tpm": limits.tpm,
            "budget": limits.budget.map(|budget| budget.to_string()),
            "concurrency": limits.concurrency,
        });
        (model.to_string(), limits)
    };
    match limits.is_empty() {
        true => Value::Null,
        false => Value::Object(limits.iter().map(shown).collect()),
    }
}
