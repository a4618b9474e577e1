//! How the load of an upstream is read, as shown.

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
