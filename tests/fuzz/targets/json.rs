//! The scan of a body's top level, beside a full parser.

use grapevine_node::scan::{ScanError, text, top_level};
use serde_json::Value;

const KEYS: [&str; 2] = ["model", "stream"];

/// For every valid JSON object the scan finds what the full parser finds, or refuses it for a key that readers
/// see in different ways.
pub(crate) fn target(bytes: &[u8]) {
    let scanned = top_level(bytes, KEYS);
    let parsed = serde_json::from_slice::<Value>(bytes);
    let found = match (scanned, &parsed) {
        (Ok(found), _) => found,
        (Err(error), Ok(Value::Object(_))) => {
            let is_ambiguous = matches!(
                error,
                ScanError::Repeated { .. } | ScanError::Lookalike { .. }
            );
            assert!(is_ambiguous, "valid JSON is refused: {error}");
            return;
        }
        (Err(_), _) => return,
    };
    for (key, range) in KEYS.into_iter().zip(found) {
        let raw = range.map(|range| bytes.get(range).expect("a range within the body"));
        // In a body that is broken deeper down there is nothing to compare with.
        let Ok(object) = &parsed else { continue };
        let value = raw.map(|raw| serde_json::from_slice::<Value>(raw).expect("a whole value"));
        assert_eq!(value.as_ref(), object.get(key));
        if let Some(raw) = raw {
            let read = text(raw);
            assert_eq!(read.as_deref(), object[key].as_str());
        }
    }
}
