//! Limits of keys as JSON: who is refused, what is left of budgets, and what keeps this node from spending rights.

use grapevine_base::limits::{
    LimitFault, LimitHolder, LimitKind, LimitStanding, LimitsHandle, overview,
};
use grapevine_core::Instant;
use grapevine_core::ids::ModelName;
use grapevine_observe::milliseconds;
use serde_json::{Map, Value, json};

/// What an operator looks at first, as of `now`; its lists are bounded.
pub(super) fn to_json(limits: &LimitsHandle, now: Instant) -> Value {
    let overview = overview(&limits.table(), now);
    let list = |standings: &[LimitStanding]| -> Value { standings.iter().map(standing).collect() };
    let faults: Map<String, Value> = LimitFault::ALL
        .into_iter()
        .map(|fault| (fault.as_str().to_owned(), json!(limits.faults(fault))))
        .collect();
    json!({
        "keys": overview.keys,
        "limited_total": overview.limited_total,
        "limited": list(&overview.limited),
        "budgets_total": overview.budgets_total,
        "budgets": list(&overview.budgets),
        "faults": faults,
    })
}

/// One limit; money is in millionths of a dollar.
fn standing(standing: &LimitStanding) -> Value {
    let figures = standing.figures;
    json!({
        "key": standing.holder.name(),
        "issued": matches!(
            standing.holder,
            LimitHolder::Issued(_) | LimitHolder::IssuedModel(..)
        ),
        "account": matches!(standing.holder, LimitHolder::Account(_)),
        "model": standing.holder.model().map(ModelName::as_str),
        "of": standing.kind.as_str(),
        "unit": match standing.kind {
            LimitKind::Money => "micro_usd",
            LimitKind::Tokens => "tokens",
            LimitKind::Requests | LimitKind::Concurrency => "requests",
        },
        "window": standing.spec.window.as_str(),
        "limit": standing.spec.amount,
        "left": figures.remaining,
        "left_here": figures.here,
        "whole_again_in_ms": milliseconds(figures.reset),
        "refused": standing.refused.map_or(0, |(count, _)| count),
        "refused_ms_ago": standing.refused.map(|(_, ago)| milliseconds(ago)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_without_limited_keys_shows_empty_lists_and_no_fault() {
        let shown = to_json(&LimitsHandle::out_of_use(), Instant::START);
        let empty = json!({
            "keys": 0, "limited_total": 0, "limited": [], "budgets_total": 0, "budgets": [],
            "faults": {"store_is_old": 0, "clock_differs": 0, "unsaved": 0},
        });
        assert_eq!(shown, empty);
    }
}
