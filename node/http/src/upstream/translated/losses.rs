//! What a translation loses, and whether it may.

use bytes::Bytes;
use grapevine_base::exchange::Call;
use grapevine_core::dialect::PermittedLoss;
use grapevine_dialect::Loss;
use http::HeaderValue;
use serde_json::Value;

use super::visible;

/// The most text about losses that a header holds.
const TEXT_MAX: usize = 1_024;

/// The first of `losses` for which the request is refused: the client decides where it says so, else the operator, who
/// permits what is `permitted`.
pub(super) fn refused<'a>(
    losses: &'a [Loss],
    call: &Call,
    permitted: &PermittedLoss,
) -> Option<&'a Loss> {
    let mut real = losses.iter().filter(|loss| !loss.is_advice());
    match call.caller.lossy {
        Some(true) => None,
        Some(false) => real.next(),
        None => real.find(|loss| {
            let names = || names_at(call.body.received(), &loss.path);
            !permitted.permits(&loss.path, names)
        }),
    }
}

/// The paths of what a request lost, as a header has them; `None` where that is nothing.
pub(super) fn paths(losses: &[Loss]) -> Option<HeaderValue> {
    let paths: Vec<&str> = losses.iter().map(|loss| loss.path.as_str()).collect();
    visible(paths.join(", ").as_bytes(), TEXT_MAX).filter(|paths| !paths.is_empty())
}

/// What the object at `path` of `body` calls itself. Read only where something is lost that is not permitted by its
/// path, which no request of a client that knows its upstream does.
fn names_at(body: &Bytes, path: &str) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut found = Some(&body);
    let parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
    for part in parts {
        found = found.and_then(|value| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            value => value.get(part),
        });
    }
    let named = |key: &str| found?.get(key)?.as_str().map(str::to_owned);
    ["type", "name"].into_iter().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_found_by_its_path() {
        let body = Bytes::from_static(
            br#"{"tools": [{"type": "function"}, {"type": "web_search_20250305", "name": "web_search"}]}"#,
        );
        assert_eq!(
            names_at(&body, "tools[1]"),
            ["web_search_20250305", "web_search"]
        );
        for path in ["tools[2]", "tools", "tools[1].type", "x", ""] {
            assert!(names_at(&body, path).is_empty(), "{path}");
        }
        assert!(names_at(&Bytes::from_static(b"no JSON"), "tools[0]").is_empty());
    }
}
