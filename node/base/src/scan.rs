//! Finds single fields in a request body without building a tree.
//!
//! A router needs the model's name out of a body that may hold megabytes of conversation. Parsing it
//! into a struct costs thirteen times a scan at 256 KB, a tree eighteen times. So this walks the top
//! level of the object alone and jumps over nested values from bracket to bracket with `memchr`.
//!
//! Guarantee: for every body that is valid JSON it finds exactly what any full parser would, or refuses it.
//! Parsers differ in which of two equal keys counts, in the case of keys (Go's takes any), in comments, quotes
//! and escapes that JSON does not have, and in how deep they go: a body in which two of them could find different
//! values for a wanted key is refused. What is wrong in another way deeper down (a missing comma) passes, and the
//! upstream refuses it. Invariant: no input panics.

pub mod form;
pub mod media;

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

/// How deep a body may be nested; serde_json's own limit, and the lowest of the field.
const DEPTH_MAX: u32 = 127;

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
    /// The form is broken, or readers could differ.
    #[error(
        "the form is not in its plain form (RFC 7578): {what}, in the part or at the place at byte {at}"
    )]
    Form {
        /// What was wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A key is there twice.
    #[error("'{key}' is given more than once")]
    Repeated {
        /// Which.
        key: &'static str,
    },
    /// A key is there in a spelling that some servers take for it.
    #[error(
        "a key of the body is spelled almost like '{key}'; write it exactly so, or leave it out"
    )]
    Lookalike {
        /// Which.
        key: &'static str,
    },
}

/// The byte ranges of the values of `keys` at the top level of the JSON object `body`, in the order
/// of `keys`. A range covers the raw value, quotes included.
///
/// # Errors
/// When `body` is not a JSON object, is broken, or could be read in two ways.
pub fn top_level<const N: usize>(
    body: &[u8],
    keys: [&'static str; N],
) -> Result<[Option<Range<usize>>; N], ScanError> {
    top_level_and_hints(body, keys, []).map(|(found, [])| found)
}

/// The values of `keys` as [`top_level`] finds them.
pub type Found<const N: usize> = [Option<Range<usize>>; N];

/// Where a value stands, in little room: a dozen of these are handed on with every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HintRange {
    start: u32,
    /// Zero where there is none.
    end: u32,
}

impl HintRange {
    /// The range; none of a value that ends beyond 4 GiB.
    fn of(range: &Range<usize>) -> Self {
        match (u32::try_from(range.start), u32::try_from(range.end)) {
            (Ok(start), Ok(end)) => Self { start, end },
            _ => Self::default(),
        }
    }

    /// What stands there in `body`.
    pub fn within(self, body: &[u8]) -> Option<&[u8]> {
        let range = (self.end > 0).then_some(self.start as usize..self.end as usize)?;
        body.get(range)
    }
}

/// The same in one pass with the values of `hints`, about which two readers may differ: nothing that is allowed or
/// refused depends on them. A hint is a key as it is written, and the first of several counts.
///
/// # Errors
/// As for [`top_level`].
pub fn top_level_and_hints<const N: usize, const M: usize>(
    body: &[u8],
    keys: [&'static str; N],
    hints: [&'static str; M],
) -> Result<(Found<N>, [HintRange; M]), ScanError> {
    let mut found = [const { None }; N];
    let mut hinted = [HintRange::default(); M];
    let mut at = skip_blanks(body, 0);
    match body.get(at) {
        None => return Err(ScanError::Empty),
        Some(b'{') => at = skip_blanks(body, at + 1),
        Some(_) => return Err(ScanError::NotAnObject),
    }
    if body.get(at) == Some(&b'}') {
        return end(body, at + 1).map(|()| (found, hinted));
    }
    loop {
        let key = string(body, at)?;
        at = expect(body, skip_blanks(body, key.end), b':', "expected ':'")?;
        let value = value(body, skip_blanks(body, at))?;
        at = skip_blanks(body, value.end);
        let key = &body[key];
        if let Some(index) = hints.iter().position(|hint| is_key(key, hint)) {
            if hinted[index] == HintRange::default() {
                hinted[index] = HintRange::of(&value);
            }
        } else if let Some(index) = matching(key, &keys)?
            && found[index].replace(value).is_some()
        {
            return Err(ScanError::Repeated { key: keys[index] });
        }
        match body.get(at) {
            Some(b',') => at = skip_blanks(body, at + 1),
            Some(b'}') => return end(body, at + 1).map(|()| (found, hinted)),
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

/// Whether the raw key is `key` as it is written.
fn is_key(raw: &[u8], key: &str) -> bool {
    raw.len() == key.len() + 2 && &raw[1..raw.len() - 1] == key.as_bytes()
}

/// The elements of a raw list, as far as they are whole; none where `raw` is no list.
pub fn elements(raw: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = raw.first().filter(|first| **first == b'[').map(|_| 1);
    std::iter::from_fn(move || {
        let element = value(raw, skip_blanks(raw, at?));
        at = None;
        let element = element.ok()?;
        let end = skip_blanks(raw, element.end);
        at = (raw.get(end) == Some(&b',')).then_some(end + 1);
        Some(element)
    })
}

/// The strings in a raw value that stand for one of `keys`, at any depth, in their order: the index of the key, and
/// the string without its quotes. It ends where the value is broken.
pub fn strings_of<'a, const N: usize>(
    raw: &'a [u8],
    keys: [&'static str; N],
) -> impl Iterator<Item = (usize, &'a [u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += memchr(b'"', raw.get(at..)?)?;
            let key = string(raw, at).ok()?;
            at = key.end;
            let colon = skip_blanks(raw, at);
            if raw.get(colon) != Some(&b':') {
                continue;
            }
            at = skip_blanks(raw, colon + 1);
            let index = keys
                .iter()
                .position(|wanted| is_key(&raw[key.clone()], wanted));
            if let (Some(index), Some(b'"')) = (index, raw.get(at)) {
                let text = string(raw, at).ok()?;
                at = text.end;
                return Some((index, &raw[text.start + 1..text.end - 1]));
            }
        }
    })
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
///
/// # Errors
/// When it is none of them but could be taken for one, or cannot be read.
fn matching(raw: &[u8], keys: &[&'static str]) -> Result<Option<usize>, ScanError> {
    let content = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if let Some(index) = keys.iter().position(|key| key.as_bytes() == content) {
        return Ok(Some(index));
    }
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'\\';
    if content.iter().all(is_plain) {
        let alike = |key: &&&str| key.as_bytes().eq_ignore_ascii_case(content);
        return refuse_lookalike(keys.iter().find(alike));
    }
    let text = text(raw).ok_or(malformed("a key that is no text", 0))?;
    if let Some(index) = keys.iter().position(|key| *key == text) {
        return Ok(Some(index));
    }
    // As parsers see it that stop at a zero, or that fold the case of all scripts.
    let folded = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    let seen = text.split('\0').next().unwrap_or_default();
    let alike = |key: &&&str| seen.chars().map(folded).eq(key.chars());
    refuse_lookalike(keys.iter().find(alike))
}

const fn refuse_lookalike(key: Option<&&'static str>) -> Result<Option<usize>, ScanError> {
    match key {
        Some(key) => Err(ScanError::Lookalike { key }),
        None => Ok(None),
    }
}

/// The range of the string that begins at `at`, quotes included.
fn string(body: &[u8], at: usize) -> Result<Range<usize>, ScanError> {
    let mut end = expect(body, at, b'"', "expected a string")?;
    loop {
        let rest = body.get(end..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            Some(hit) if rest[hit] == b'"' => return Ok(at..end + hit + 1),
            Some(hit) => end += hit + escape(&rest[hit..], end + hit)?,
            None => return Err(malformed("unfinished string", at)),
        }
    }
}

/// The length of the escape that `rest` begins with. Lenient parsers differ in what follows one that JSON
/// does not have.
fn escape(rest: &[u8], at: usize) -> Result<usize, ScanError> {
    let is_known = match rest.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => return Ok(2),
        Some(b'u') => rest
            .get(2..6)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        _ => false,
    };
    is_known.then_some(6).ok_or(malformed("unknown escape", at))
}

/// The range of the value that begins at `at`.
fn value(body: &[u8], at: usize) -> Result<Range<usize>, ScanError> {
    match body.get(at) {
        Some(b'"') => string(body, at),
        Some(b'{' | b'[') => nested(body, at),
        Some(_) => scalar(body, at),
        None => Err(malformed("unexpected end", at)),
    }
}

/// The range of the object or list that begins at `start`. The placement of its commas and colons is for the
/// upstream to check; that only JSON's own characters are between strings is checked here, since quotes and
/// brackets within a comment would be read in two ways.
fn nested(body: &[u8], start: usize) -> Result<Range<usize>, ScanError> {
    // One bit for each open bracket, the innermost lowest: set for an object.
    let (mut open, mut depth) = (0_u128, 0_u32);
    let mut at = start;
    loop {
        let Some(byte) = body.get(at) else {
            return Err(malformed("unfinished value", start));
        };
        match byte {
            b'"' => {
                at = string(body, at)?.end;
                continue;
            }
            b'{' | b'[' if depth == DEPTH_MAX => return Err(malformed("nested too deeply", at)),
            b'{' | b'[' => {
                open = open << 1 | u128::from(*byte == b'{');
                depth += 1;
            }
            b'}' | b']' => {
                if (open & 1 == 1) != (*byte == b'}') {
                    return Err(malformed("a bracket that closes another kind", at));
                }
                open >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(start..at + 1);
                }
            }
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' | b'+' | b'-' | b'.' => {}
            byte if byte.is_ascii_alphanumeric() => {}
            _ => return Err(malformed("a character that JSON does not have there", at)),
        }
        at += 1;
    }
}

/// The range of the number or word that begins at `at`.
fn scalar(body: &[u8], at: usize) -> Result<Range<usize>, ScanError> {
    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
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
    fn escaped_key_is_the_same_key() {
        assert_eq!(model(r#"{"mod\u0065l":"m"}"#).as_deref(), Some(r#""m""#));
        assert_eq!(text(br#""m\u0065""#).as_deref(), Some("me"));
    }

    #[test]
    fn broken_top_level_is_refused_with_its_position() {
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
    fn hints_are_found_beside_keys_and_refuse_nothing() {
        let body = br#"{"input":"a","model":"m","INPUT":2,"input":"b"}"#;
        let ([model], [input, none]) =
            top_level_and_hints(body, ["model"], ["input", "x"]).expect("an object");
        assert_eq!(model.map(|range| &body[range]), Some(&br#""m""#[..]));
        assert_eq!(input.within(body), Some(&br#""a""#[..]));
        assert_eq!(none.within(body), None);
    }

    #[test]
    fn elements_and_strings_are_found_until_a_value_breaks() {
        let raw = br#"[ {"a":[1]} , "x,y" ,3]"#;
        let found: Vec<_> = elements(raw).map(|range| &raw[range]).collect();
        assert_eq!(found, [&br#"{"a":[1]}"#[..], br#""x,y""#, b"3"]);
        assert_eq!(elements(b"{}").count() + elements(b"[]").count(), 0);
        assert_eq!(elements(br#"["a","b"#).count(), 1);
        let raw = br#"{"text":"\"text\":","a":{"text" : "t","role":["user"]},"role":"r","text":1}"#;
        let found: Vec<_> = strings_of(raw, ["text", "role"]).collect();
        let quoted = &br#"\"text\":"#[..];
        assert_eq!(found, [(0, quoted), (0, b"t"), (1, b"r")]);
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

    /// No other spelling of what is looked for.
    fn key() -> impl Strategy<Value = String> {
        let other = any::<String>().prop_filter("a lookalike", |key| {
            !["model", "stream"].contains(&key.to_lowercase().as_str())
        });
        prop_oneof![Just("model".to_owned()), Just("stream".to_owned()), other]
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
            let _ = strings_of(&body, ["a"]).count() + elements(&body).count();
            let _ = form::fields(&body, "b", ["model"]);
        }

        #[test]
        fn no_json_like_text_panics(body in "[{}\\[\\]\",:\\\\a1 ]{0,40}") {
            let _ = strings_of(body.as_bytes(), ["a"]).count();
            let _ = elements(body.as_bytes()).count();
            if let Ok([Some(range)]) = top_level(body.as_bytes(), ["a"]) {
                prop_assert!(body.get(range).is_some());
            }
        }
    }
}
