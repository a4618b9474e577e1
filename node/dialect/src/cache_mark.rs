//! `cache_control`, which Anthropic's messages have and some servers of chat completions took over.

use serde_json::{Map, Value, json};

use crate::dialect::Dialect;
use crate::fields::{Fields, put};
use crate::hub::part::CacheMark;
use crate::loss::LossList;
use crate::rest::Rest;

/// The field's name.
pub(crate) const CACHE_CONTROL: &str = "cache_control";

/// Takes the cache mark of an object.
pub(crate) fn read(fields: &mut Fields) -> Option<CacheMark> {
    let mut inside = fields.enter(CACHE_CONTROL)?;
    let ttl = inside.text("ttl");
    inside.blank_if("type", &json!("ephemeral"));
    let rest = inside.finish();
    Some(CacheMark { ttl, rest })
}

/// Writes a cache mark into the object that it belongs to.
pub(crate) fn write(
    mark: Option<&CacheMark>,
    dialect: Dialect,
    object: &mut Map<String, Value>,
    losses: &mut LossList,
) {
    let Some(mark) = mark else { return };
    let mut inside = Map::new();
    if !mark.rest.is_from(dialect) {
        inside.insert("type".to_string(), json!("ephemeral"));
    }
    put(&mut inside, "ttl", mark.ttl.clone());
    mark.rest.write(dialect, &mut inside, losses);
    object.insert(CACHE_CONTROL.to_string(), Value::Object(inside));
}

/// Names a cache mark as lost.
pub(crate) fn lose(mark: Option<&CacheMark>, losses: &mut LossList) {
    if let Some(mark) = mark {
        losses.add(mark.rest.path(), "the other dialect has no cache marks");
    }
}

/// A mark with nothing but its place.
pub(crate) fn plain(from: Dialect, path: String) -> CacheMark {
    CacheMark {
        ttl: None,
        rest: Rest::new(from, path),
    }
}
