//! Second attempts, as the file says them.

use grapevine_core::units::Share;
use serde_json::{Value, json};

pub(super) fn shown(hedge: Option<Share>) -> Value {
    match hedge {
        None => json!("off"),
        Some(share) => json!({"after": "p95", "budget": format!("{}%", share.get() * 100.0)}),
    }
}

pub(super) const fn of_key(hedge: bool) -> &'static str {
    match hedge {
        true => "on",
        false => "off",
    }
}
