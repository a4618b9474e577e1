//! A body of Anthropic's messages as Bedrock and Vertex AI take it: the model is in the path, the version in the body.
//!
//! A few bytes are left out or put in between pieces of what was received; nothing is parsed into a tree, and no piece is
//! copied.

use std::ops::Range;

use bytes::Bytes;
use grapevine_base::scan;
use http::HeaderValue;

/// What differs from Anthropic's own API.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnthropicForm {
    /// The value of `anthropic_version`, unless the body has one.
    pub(super) version: &'static str,
    /// Whether `stream` is left out: the path says it.
    pub(super) drops_stream: bool,
    /// Whether the header `anthropic-beta` becomes a member of the body.
    pub(super) takes_beta: bool,
}

/// Amazon Bedrock's (its reference of Anthropic's messages).
pub(super) const BEDROCK: AnthropicForm = AnthropicForm {
    version: "bedrock-2023-05-31",
    drops_stream: true,
    takes_beta: true,
};

/// Vertex AI's (its reference of Anthropic's models).
pub(super) const VERTEX: AnthropicForm = AnthropicForm {
    version: "vertex-2023-10-16",
    drops_stream: false,
    takes_beta: false,
};

/// What is looked for.
const KEYS: [&str; 4] = ["model", "stream", "anthropic_version", "anthropic_beta"];

impl AnthropicForm {
    /// `body` in this form, in pieces of it, some of which may be empty. `betas` are the values of the client's header.
    /// `None` where the body is no object that every parser reads alike.
    pub(super) fn pieces<'a>(
        self,
        body: &Bytes,
        betas: impl Iterator<Item = &'a HeaderValue>,
    ) -> Option<[Bytes; 5]> {
        let [model, stream, version, beta] = scan::top_level(body, KEYS).ok()?;
        let open = body.iter().position(|byte| *byte == b'{')? + 1;
        let mut added = String::new();
        if version.is_none() {
            added = format!("\"anthropic_version\":\"{}\"", self.version);
        }
        if self.takes_beta && beta.is_none() {
            push_betas(betas, &mut added);
        }
        let stream = stream.filter(|_| self.drops_stream);
        let mut dropped: Vec<_> = [model, stream].into_iter().flatten().collect();
        dropped.sort_unstable_by_key(|range| range.start);
        let rest = kept(body, open, &dropped)?;
        let [first, second, last] = &rest;
        if !added.is_empty() && !is_empty(body, &rest) {
            added.push(',');
        }
        Some([
            body.slice(..open),
            added.into(),
            body.slice(first.clone()),
            body.slice(second.clone()),
            body.slice(last.clone()),
        ])
    }
}

/// The header's values as a member of the body; nothing where there are none.
fn push_betas<'a>(betas: impl Iterator<Item = &'a HeaderValue>, added: &mut String) {
    let names = betas.filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|value| value.split(','));
    let names: Vec<&str> = names
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return;
    }
    if !added.is_empty() {
        added.push(',');
    }
    added.push_str("\"anthropic_beta\":");
    added.push_str(&serde_json::Value::from(names).to_string());
}

/// Whether an object has no member but those that were dropped; `rest` is what is left after its opening brace.
pub(super) fn is_empty(body: &[u8], rest: &[Range<usize>]) -> bool {
    let mut left = rest.iter().flat_map(|range| &body[range.clone()]);
    let first = left.find(|byte| !byte.is_ascii_whitespace());
    first.is_none_or(|byte| *byte == b'}')
}

/// What of `body` after its opening brace is left without the members whose values are `dropped`, fewer than `N`, in
/// order.
pub(super) fn kept<const N: usize>(
    body: &[u8],
    open: usize,
    dropped: &[Range<usize>],
) -> Option<[Range<usize>; N]> {
    let mut kept = std::array::from_fn(|_| body.len()..body.len());
    // Where what is kept begins, as long as no member is.
    let mut begin = open;
    let mut at = open;
    for (piece, value) in kept.iter_mut().zip(dropped) {
        let key = key_of(body, value.start)?;
        let before = blanks_before(body, key);
        let is_first = before <= begin;
        let range = match is_first {
            // The comma after it goes too.
            true => {
                let after = blanks_after(body, value.end);
                let has_comma = body.get(after) == Some(&b',');
                begin..if has_comma { after + 1 } else { value.end }
            }
            // The comma before it.
            false => before.checked_sub(1)?..value.end,
        };
        if is_first {
            begin = range.end;
        }
        *piece = at..range.start.max(at);
        at = range.end;
    }
    *kept.get_mut(dropped.len())? = at..body.len();
    Some(kept)
}

/// Where the key of the member begins whose value begins at `value`. Only keys without a quote in them were found.
fn key_of(body: &[u8], value: usize) -> Option<usize> {
    let colon = blanks_before(body, value).checked_sub(1)?;
    let closing = blanks_before(body, colon).checked_sub(1)?;
    body.get(..closing)?.iter().rposition(|byte| *byte == b'"')
}

/// The end of what comes before `at`, without blanks.
fn blanks_before(body: &[u8], at: usize) -> usize {
    let before = body[..at].iter().rposition(|byte| !is_blank(*byte));
    before.map_or(0, |last| last + 1)
}

/// The beginning of what comes after `at`, without blanks.
fn blanks_after(body: &[u8], at: usize) -> usize {
    let after = body[at..].iter().position(|byte| !is_blank(*byte));
    after.map_or(body.len(), |first| at + first)
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn edited(form: AnthropicForm, body: &str, betas: &[&'static str]) -> Option<String> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let betas: Vec<_> = betas
            .iter()
            .copied()
            .map(HeaderValue::from_static)
            .collect();
        let pieces = form.pieces(&body, betas.iter())?;
        Some(String::from_utf8(pieces.concat()).expect("text"))
    }

    #[test]
    fn model_and_stream_are_left_out_wherever_they_are() {
        let version = r#""anthropic_version":"bedrock-2023-05-31""#;
        for (body, expected) in [
            (r#"{"model":"m","a":1}"#, format!(r#"{{{version},"a":1}}"#)),
            (r#"{"a":1,"model":"m"}"#, format!(r#"{{{version},"a":1}}"#)),
            (r#"{"model":"m"}"#, format!("{{{version}}}")),
            (
                r#"{ "model" : "m" , "stream" : true }"#,
                format!("{{{version} }}"),
            ),
            (
                r#"{"model":"m","stream":true,"a":1}"#,
                format!(r#"{{{version},"a":1}}"#),
            ),
            (
                r#"{"a":1,"model":"m","stream":true}"#,
                format!(r#"{{{version},"a":1}}"#),
            ),
            (
                r#"{"stream":true,"a":1 , "model":"m"}"#,
                format!(r#"{{{version},"a":1 }}"#),
            ),
            (
                r#"{"mod\u0065l":"m","a":"model"}"#,
                format!(r#"{{{version},"a":"model"}}"#),
            ),
            ("{}", format!("{{{version}}}")),
        ] {
            assert_eq!(edited(BEDROCK, body, &[]), Some(expected), "{body}");
        }
    }

    #[test]
    fn version_of_the_body_stays_and_vertex_keeps_stream() {
        assert_eq!(
            edited(
                VERTEX,
                r#"{"model":"m","anthropic_version":"x","stream":true}"#,
                &["b"]
            )
            .as_deref(),
            Some(r#"{"anthropic_version":"x","stream":true}"#)
        );
        assert_eq!(
            edited(VERTEX, r#"{"stream":true,"model":"m"}"#, &[]).as_deref(),
            Some(r#"{"anthropic_version":"vertex-2023-10-16","stream":true}"#)
        );
    }

    #[test]
    fn beta_header_becomes_a_member() {
        let body = r#"{"model":"m","a":1}"#;
        assert_eq!(
            edited(BEDROCK, body, &["x-1, y-2", "z"]).as_deref(),
            Some(
                r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["x-1","y-2","z"],"a":1}"#
            )
        );
        let own = r#"{"model":"m","anthropic_beta":["own"]}"#;
        let expected = r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["own"]}"#;
        assert_eq!(edited(BEDROCK, own, &["x"]).as_deref(), Some(expected));
    }

    #[test]
    fn body_that_could_be_read_in_two_ways_is_refused() {
        for body in [
            "",
            "[]",
            r#"{"model":"a","model":"b"}"#,
            r#"{"Model":"a"}"#,
            r#"{"a":1"#,
        ] {
            assert_eq!(edited(BEDROCK, body, &[]), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn edited_body_says_the_same_as_an_edited_tree(
            order in Just(vec!["model", "stream", "a", "b"]).prop_shuffle(),
            count in 0_usize..=4,
            blank in "[ \n\t]{0,2}",
        ) {
            let value = |key: &str| json!({"model": key, "s": "}\","});
            let members = order.iter().take(count);
            let members = members.map(|key| format!("{blank}\"{key}\"{blank}:{blank}{}{blank}", value(key)));
            let text = format!("{blank}{{{}{blank}}}", members.collect::<Vec<_>>().join(","));
            let mut object: Map<String, Value> = serde_json::from_str(&text).expect("an object");
            let sent = edited(BEDROCK, &text, &["x"]).expect("an object");
            object.remove("model");
            object.remove("stream");
            object.insert("anthropic_version".to_owned(), json!("bedrock-2023-05-31"));
            object.insert("anthropic_beta".to_owned(), json!(["x"]));
            let read: Value = serde_json::from_str(&sent).expect("JSON again");
            prop_assert_eq!(read, Value::Object(object));
        }
    }
}
