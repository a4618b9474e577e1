//! Limits, as the file would have them.

use serde_json::{Value, json};

use super::super::checked::LimitsConfig;
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
        "polls": limits.polls,
        "nodes": (!limits.nodes.is_empty()).then(|| texts(&limits.nodes)),
        "file": limits.file.display().to_string(),
        "max_tokens": limits.max_tokens,
    })
}
