//! What a key may still do, for the operator.

use grapevine_base::limits::{HolderLimits, KeyPurses, LimitKind, LimitTable, LimitsHandle};
use grapevine_core::Instant;
use grapevine_core::ids::ModelName;
use grapevine_keys::rights::ClientKey;
use grapevine_observe::milliseconds;
use serde_json::{Value, json};

/// Each limit of a key: the whole, and, where requests of the key came to this node lately, what is left as far as this
/// node knows, what of that is here, and when the limit is whole again. Money is in millionths of a dollar.
///
/// Those for a model are shown where that model is asked for, and all of them where none is.
pub(in super::super) fn explain(
    limits: &LimitsHandle,
    key: &ClientKey,
    model: Option<&ModelName>,
    now: Instant,
) -> Option<Value> {
    let all = match model {
        Some(_) => super::of_key(Some(key), model),
        None => super::all_of_key(key),
    };
    let table = limits.table();
    let shown = all.iter().flat_map(|limits| shown(limits, &table, now));
    let shown: Vec<Value> = shown.collect();
    (!shown.is_empty()).then(|| shown.into())
}

fn shown(
    (holder, specs): &HolderLimits,
    table: &LimitTable,
    now: Instant,
) -> impl Iterator<Item = Value> {
    let purses = table.get(holder);
    LimitKind::ALL.into_iter().filter_map(move |kind| {
        let spec = specs[kind as usize]?;
        let window = spec.window.as_str();
        let open = purses.and_then(|purses| left(purses, kind, now));
        let mut limit = json!({"of": kind.as_str(), "limit": spec.amount, "window": window});
        limit["left"] = open.unwrap_or_default();
        if let Some(model) = holder.model() {
            limit["model"] = model.as_str().into();
        }
        Some(limit)
    })
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
