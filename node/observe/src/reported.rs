//! The load that an upstream reports, as JSON shows it.

use std::time::Duration;

use grapevine_core::reported::{EngineMetrics, ReportedLoad};
use serde_json::{Value, json};

use super::milliseconds;

/// `load`, which came `ago`, of an upstream with so many requests in flight and so many slots; null where it reports
/// nothing. What the last reading showed, of own upstreams alone.
pub fn to_json(
    load: Option<ReportedLoad>,
    engine: Option<EngineMetrics>,
    ago: Duration,
    (in_flight, slots): (u32, u32),
) -> Value {
    let Some(load) = load else {
        return Value::Null;
    };
    json!({
        "age_ms": milliseconds(load.age.saturating_add(ago)),
        "wait_ms": load.wait(in_flight, slots).map(milliseconds),
        "slot_ms": load.slot_time.map(milliseconds),
        "prefill_ms": load.prefill.map(milliseconds),
        "running": engine.map(|engine| engine.running),
        "waiting": engine.map(|engine| engine.waiting),
        "cache_usage": engine.and_then(|engine| engine.cache_usage).map(|usage| usage.get()),
    })
}
