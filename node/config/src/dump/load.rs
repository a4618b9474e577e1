//! How the load of an upstream is read, and spans that may be off, as shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::checked::LoadConfig;
use super::super::text::format_duration;

pub(super) fn shown(load: Option<&LoadConfig>) -> Value {
    let Some(load) = load else {
        return "off".into();
    };
    json!({
        "path": load.path.as_ref().map(ToString::to_string),
        "interval": format_duration(load.interval),
    })
}

pub(super) fn duration_or_off(span: Option<Duration>) -> String {
    span.map_or_else(|| "off".to_owned(), format_duration)
}
