//! Finds single fields in a request body without building a tree.
//!
//! A router needs the model's name out of a body that may hold megabytes of conversation. Parsing it
//! into a struct costs thirteen times a scan at 256 KB, a tree eighteen times. So this walks the top
//! level of the object alone and jumps over nested values from bracket to bracket with `memchr`.
//!
//! What it promises: for every body that is valid JSON it finds exactly what a full parser would
//! (of duplicate keys the last one, as `serde_json` and JavaScript do). It refuses what is broken at
//! the top level; what is broken deeper passes, and the upstream says so. Invariant: no input panics.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2, memchr3, memmem};
use serde::de::IgnoredAny;

/// Why a body could not be scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The body is empty or blank.
    #[error("the body is empty; a JSON object was expected")]
    Empty,
    /// The body is JSON of another kind, or no JSON at all.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// The object is broken at this byte.
    #[error("the body is not valid JSON: {what} at byte {at}")]
    Malformed {
        /// What was wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

/// The byte ranges of the values of `keys` at the top level of the JSON object `body`, in the order
/// of `keys`. A range covers the raw value, quotes included.
///
/// # Errors
/// When `body` is not a JSON object, or broken at its top level.
pub fn top_level<const N: usize>(
    body: &[u8],
    keys: [&str; N],
) -> Result<[Option<Range<usize>>; N], ScanError> {
    let mut found = [const { None }; N];
    let mut at = skip_blanks(body, 0);
    match body.get(at) {
        None => return Err(ScanError::Empty),
        Some(b'{') => at = skip_blanks(body, at + 1),
        Some(_) => return Err(ScanError::NotAnObject),
    }
    if body.get(at) == Some(&b'}') {
        return end(body, at + 1).map(|()| found);
    }
    loop {
        let key = string(body, at)?;
        at = expect(body, skip_blanks(body, key.end), b':', "expected ':'")?;
        let value = value(body, skip_blanks(body, at))?;
        at = skip_blanks(body, value.end);
        if let Some(index) = matching(&body[key], &keys) {
            found[index] = Some(value);
        }
        match body.get(at) {
            Some(b',') => at = skip_blanks(body, at + 1),
            Some(b'}') => return end(body, at + 1).map(|()| found),
            _ => return Err(malformed("expected ',' or '}'", at)),
        }
    }
}

/// The text of a raw JSON string, escapes resolved; `None` when `raw` is no JSON string.
pub fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    let content = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr(b'\\', content).is_none() && !content.iter().any(|byte| *byte < 0x20) {
        return std::str::from_utf8(content).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(raw).ok().map(Cow::Owned)
}

/// The byte range of the content of the form field `name` in a `multipart/form-data` body; the last
/// one where there are several.
pub fn form_field(body: &[u8], boundary: &str, name: &str) -> Option<Range<usize>> {
    let delimiter = format!("--{boundary}");
    let wanted = format!("name=\"{name}\"");
    let starts: Vec<usize> = memmem::find_iter(body, delimiter.as_bytes())
        .filter(|at| *at == 0 || body[..*at].ends_with(b"\r\n"))
        .take(FORM_PARTS_MAX + 1)
        .collect();
    let part = |pair: &[usize]| {
        let head_start = pair[0] + delimiter.len();
        let end = pair[1].checked_sub(2)?;
        let part = body.get(head_start..end)?;
        let head_end = memmem::find(part, b"\r\n\r\n")?;
        let is_wanted = disposition_names(&part[..head_end], &wanted);
        is_wanted.then(|| head_start + head_end + 4..end)
    };
    starts.windows(2).filter_map(part).next_back()
}

/// Parts of a form that are looked at; no API of this kind has more than a dozen.
const FORM_PARTS_MAX: usize = 256;

/// The boundary parameter of a `multipart/form-data` content type; `None` for other types.
pub fn form_boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty()).then_some(value)
    })
}

/// Whether a part's head disposes it under the wanted `name="..."`, and not as a file's name.
fn disposition_names(head: &[u8], wanted: &str) -> bool {
    let lines = head.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| {
            line.get(..20)
                .is_some_and(|start| start.eq_ignore_ascii_case("content-disposition:"))
        })
        .any(|line| line.split(';').any(|part| part.trim() == wanted))
}

const fn malformed(what: &'static str, at: usize) -> ScanError {
    ScanError::Malformed { what, at }
}

fn skip_blanks(body: &[u8], mut at: usize) -> usize {
    while matches!(body.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

fn expect(body: &[u8], at: usize, byte: u8, what: &'static str) -> Result<usize, ScanError> {
    if body.get(at) == Some(&byte) {
        Ok(at + 1)
    } else {
        Err(malformed(what, at))
    }
}

fn end(body: &[u8], at: usize) -> Result<(), ScanError> {
    let at = skip_blanks(body, at);
    if at == body.len() {
        Ok(())
    } else {
        Err(malformed("unexpected text after the object", at))
    }
}

/// Which of `keys` the raw key is.
fn matching<const N: usize>(raw: &[u8], keys: &[&str; N]) -> Option<usize> {
    let content = raw.get(1..raw.len().saturating_sub(1))?;
    if memchr(b'\\', content).is_none() {
        return keys.iter().position(|key| key.as_bytes() == content);
    }
    let text = text(raw)?;
    keys.iter().position(|key| *key == text)
}

/// The range of the string that begins at `at`, quotes included.
fn string(body: &[u8], at: usize) -> Result<Range<usize>, ScanError> {
    let mut end = expect(body, at, b'"', "expected a string")?;
    loop {
        let rest = body.get(end..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            Some(hit) if rest[hit] == b'"' => return Ok(at..end + hit + 1),
            Some(hit) => end += hit + 2,
            None => return Err(malformed("unfinished string", at)),
        }
    }
}

/// The range of the value that begins at `at`.
fn value(body: &[u8], at: usize) -> Result<Range<usize>, ScanError> {
    match body.get(at) {
        Some(b'"') => string(body, at),
        Some(b'{') => nested(body, at, b'{', b'}'),
        Some(b'[') => nested(body, at, b'[', b']'),
        Some(_) => scalar(body, at),
        None => Err(malformed("unexpected end", at)),
    }
}

/// The range of the object or list that begins at `at`. Counts one kind of bracket only, which is
/// enough where the other kind is balanced; where it is not, the upstream will say so.
fn nested(body: &[u8], start: usize, open: u8, close: u8) -> Result<Range<usize>, ScanError> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        let Some(hit) = memchr3(open, close, b'"', rest) else {
            return Err(malformed("unfinished value", start));
        };
        at += hit;
        if body[at] == b'"' {
            at = string(body, at)?.end;
            continue;
        }
        depth = if body[at] == open {
            depth + 1
        } else {
            depth - 1
        };
        at += 1;
        if depth == 0 {
            return Ok(start..at);
        }
    }
}

/// The range of the number or word that begins at `at`.
fn scalar(body: &[u8], at: usize) -> Result<Range<usize>, ScanError> {
    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
    let rest = &body[at..];
    let length = rest.iter().position(is_end).unwrap_or(rest.len());
    match serde_json::from_slice::<IgnoredAny>(&rest[..length]) {
        Ok(_) => Ok(at..at + length),
        Err(_) => Err(malformed("expected a value", at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn model(body: &str) -> Option<String> {
        let [found] = top_level(body.as_bytes(), ["model"]).expect("a valid object");
        found.map(|range| body[range].to_owned())
    }

    #[test]
    fn nested_model_is_not_the_model() {
        let body = r#"{"metadata":{"model":"no"},"list":["model",{"model":"no"}],"model":"yes"}"#;
        assert_eq!(model(body).as_deref(), Some(r#""yes""#));
        assert_eq!(model(r#"{"a":{"model":"no"}}"#), None);
    }

    #[test]
    fn brackets_and_quotes_within_strings_do_not_count() {
        let body = r#"{"messages":[{"content":"}]\"\\"}],"model":"m"}"#;
        assert_eq!(model(body).as_deref(), Some(r#""m""#));
    }

    #[test]
    fn last_of_duplicate_keys_counts() {
        assert_eq!(
            model(r#"{"model":"a","model":"b"}"#).as_deref(),
            Some(r#""b""#)
        );
    }

    #[test]
    fn escaped_key_is_the_same_key() {
        assert_eq!(model(r#"{"mod\u0065l":"m"}"#).as_deref(), Some(r#""m""#));
        assert_eq!(text(br#""m\u0065""#).as_deref(), Some("me"));
    }

    #[test]
    fn broken_top_level_is_refused_with_its_place() {
        let error = |body: &str| top_level(body.as_bytes(), ["model"]).expect_err("broken");
        assert_eq!(error("  "), ScanError::Empty);
        assert_eq!(error("[1]"), ScanError::NotAnObject);
        assert_eq!(error(r#"{"model":"#), malformed("unexpected end", 9));
        assert_eq!(
            error(r#"{"model":"m""#),
            malformed("expected ',' or '}'", 12)
        );
        assert_eq!(error(r#"{"model":nope}"#), malformed("expected a value", 9));
        assert_eq!(
            error(r#"{"a":1}x"#),
            malformed("unexpected text after the object", 7)
        );
        assert_eq!(error(r#"{"a":1,}"#), malformed("expected a string", 7));
    }

    #[test]
    fn form_field_is_found_and_file_contents_are_not_searched() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n\
                    name=\"model\"\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n\
                    whisper-1\r\n--b--\r\n";
        let found = form_field(body.as_bytes(), "b", "model").expect("a model");
        assert_eq!(&body[found], "whisper-1");
        assert_eq!(form_field(body.as_bytes(), "other", "model"), None);
        assert_eq!(
            form_boundary("multipart/form-data; boundary=\"b\""),
            Some("b")
        );
        assert_eq!(form_boundary("application/json; boundary=b"), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("model".to_owned()),
            Just("stream".to_owned()),
            any::<String>()
        ]
    }

    proptest! {
        #[test]
        fn scan_finds_what_a_full_parser_finds(
            pairs in prop::collection::vec((key(), json()), 0..6),
            pretty in any::<bool>(),
        ) {
            let object = Value::Object(Map::from_iter(pairs));
            let body = if pretty {
                serde_json::to_vec_pretty(&object)
            } else {
                serde_json::to_vec(&object)
            };
            let body = body.expect("a value can be written");
            let found = top_level(&body, ["model", "stream"]).expect("valid JSON");
            for (key, range) in ["model", "stream"].into_iter().zip(found) {
                let value = range.map(|range| {
                    serde_json::from_slice::<Value>(&body[range]).expect("a whole value")
                });
                prop_assert_eq!(value.as_ref(), object.get(key));
            }
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            // The result does not matter here, only that there is one.
            let _ = top_level(&body, ["model"]);
            let _ = text(&body);
            let _ = form_field(&body, "b", "model");
        }

        #[test]
        fn no_json_like_text_panics(body in "[{}\\[\\]\",:\\\\a1 ]{0,40}") {
            if let Ok([Some(range)]) = top_level(body.as_bytes(), ["a"]) {
                prop_assert!(body.get(range).is_some());
            }
        }
    }
}
