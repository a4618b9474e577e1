//! What a key may still do, for the operator.

use grapevine_base::limits::{KeyPurses, KeySpecs, LimitHolder, LimitKind, LimitsHandle};
use grapevine_core::Instant;
use grapevine_core::escrow::spec::LimitWindow;
use grapevine_observe::milliseconds;
use serde_json::{Value, json};

/// Each limit of a key: the whole, and, where requests of the key came to this node lately, what is left as far as this
/// node knows, what of that is here, and when the limit is whole again. Money is in millionths of a dollar.
pub(in super::super) fn explain(
    limits: &LimitsHandle,
    (holder, specs): &(LimitHolder, KeySpecs),
    now: Instant,
) -> Value {
    let table = limits.table();
    let purses = table.get(holder);
    let shown = LimitKind::ALL.into_iter().filter_map(|kind| {
        let spec = specs[kind as usize]?;
        let window = match spec.window {
            LimitWindow::Minute => "minute",
            LimitWindow::Day => "day",
            LimitWindow::Month => "month",
            LimitWindow::Held => "at once",
        };
        let open = purses.and_then(|purses| left(purses, kind, now));
        let mut limit = json!({"of": kind.as_str(), "limit": spec.amount, "window": window});
        limit["left"] = open.unwrap_or_default();
        Some(limit)
    });
    shown.collect()
}

fn left(purses: &KeyPurses, kind: LimitKind, now: Instant) -> Option<Value> {
    let limit = purses.limit(kind)?;
    let figures = limit.purse.figures(now);
    Some(json!({
        "all": figures.remaining,
        "here": figures.here,
        "whole_again_in_ms": milliseconds(figures.reset),
    }))
}
