//! `cachePoint`: a block of its own that says to cache the prompt up to it. The hub has it as a mark of what stands
//! before.

use serde_json::{Value, json};

use super::DIALECT;
use crate::fields::{Fields, put};
use crate::grammar::Object;
use crate::hub::part::CacheMark;
use crate::loss::LossList;

const CACHE_POINT: &str = "cachePoint";

/// Whether an element of a list is a cache point and nothing else.
pub(super) fn is_one(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.len() == 1 && map.get(CACHE_POINT).is_some_and(Value::is_object))
}

/// Reads the cache point at `path`.
pub(super) fn read(mut value: Value, path: &str) -> CacheMark {
    let map = match value[CACHE_POINT].take() {
        Value::Object(map) => map,
        _ => Object::new(),
    };
    let mut fields = Fields::of(DIALECT, format!("{path}.{CACHE_POINT}"), map);
    let ttl = fields.text("ttl");
    fields.blank_if("type", &json!("default"));
    let rest = fields.finish();
    CacheMark { ttl, rest }
}

/// Writes a cache point.
pub(super) fn write(mark: &CacheMark, losses: &mut LossList) -> Value {
    let mut inside = Object::new();
    if !mark.rest.is_from(DIALECT) {
        inside.insert("type".to_string(), json!("default"));
    }
    put(&mut inside, "ttl", mark.ttl.clone());
    mark.rest.write(DIALECT, &mut inside, losses);
    json!({CACHE_POINT: inside})
}
