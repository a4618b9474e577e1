//! The option that makes OpenAI's streams report their token counts.
//!
//! A stream of chat completions ends without any unless `stream_options.include_usage` is true. It is added where
//! the client leaves it out, by replacing or inserting a few bytes: the rest of the body stays as it is.

use std::ops::Range;

use memchr::memmem;

use crate::scan;

/// Paths whose streams have the option.
const PATHS: [&str; 2] = ["/v1/chat/completions", "/v1/completions"];

const OPTIONS: &str = "stream_options";
const INCLUDE: &str = "include_usage";

/// A place in a body, and what is to stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageOption {
    /// What is replaced; empty where something is inserted.
    pub range: Range<usize>,
    /// What it is replaced by.
    pub text: &'static str,
}

/// How to ask for the counts in `body`, a request for a stream from `path`. `None` where it asks itself, where
/// the path has no such option, or where the option cannot be found with certainty.
pub fn to_add(path: &str, body: &[u8]) -> Option<UsageOption> {
    if !PATHS.contains(&path) {
        return None;
    }
    let open = body.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if body[open] != b'{' {
        return None;
    }
    // Most requests end here, without a second look at each of their values.
    if memmem::find(body, OPTIONS.as_bytes()).is_none() {
        return inserted(open + 1, "\"stream_options\":{\"include_usage\":true},");
    }
    let [options] = scan::top_level(body, [OPTIONS]).ok()?;
    let Some(options) = options else {
        return inserted(open + 1, "\"stream_options\":{\"include_usage\":true},");
    };
    let value = &body[options.clone()];
    if value == b"null" || is_empty_object(value) {
        return Some(UsageOption {
            range: options,
            text: "{\"include_usage\":true}",
        });
    }
    let [include] = scan::top_level(value, [INCLUDE]).ok()?;
    let Some(include) = include else {
        return inserted(options.start + 1, "\"include_usage\":true,");
    };
    match &value[include.clone()] {
        b"false" | b"null" => Some(UsageOption {
            range: options.start + include.start..options.start + include.end,
            text: "true",
        }),
        _ => None,
    }
}

/// Whether `error` names the option, as that of an upstream which refuses it does.
pub fn is_named_in(error: &[u8]) -> bool {
    [OPTIONS, INCLUDE]
        .iter()
        .any(|name| memmem::find(error, name.as_bytes()).is_some())
}

fn inserted(at: usize, text: &'static str) -> Option<UsageOption> {
    let range = at..at;
    Some(UsageOption { range, text })
}

fn is_empty_object(value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"{");
    let inner = inner.and_then(|value| value.strip_suffix(b"}"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(path: &str, body: &str) -> Option<String> {
        let option = to_add(path, body.as_bytes())?;
        let mut body = body.to_owned();
        body.replace_range(option.range, option.text);
        Some(body)
    }

    fn chat(body: &str) -> Option<String> {
        asking("/v1/chat/completions", body)
    }

    #[test]
    fn option_is_added_and_nothing_else_changes() {
        for (body, asks) in [
            (
                "\n{ \"stream\" : true, \"n\":1.0 }",
                "\n{\"stream_options\":{\"include_usage\":true}, \"stream\" : true, \"n\":1.0 }",
            ),
            (
                r#"{"stream":true,"stream_options":null}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream_options": { } ,"stream":true}"#,
                r#"{"stream_options": {"include_usage":true} ,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_obfuscation":false},"stream":true}"#,
                r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage": false },"stream":true}"#,
                r#"{"stream_options":{"include_usage": true },"stream":true}"#,
            ),
            (
                r#"{"messages":[{"content":"stream_options"}],"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"messages":[{"content":"stream_options"}],"stream":true}"#,
            ),
        ] {
            assert_eq!(chat(body).as_deref(), Some(asks), "{body}");
            let parsed: serde_json::Value = serde_json::from_str(asks).expect(asks);
            assert_eq!(parsed["stream_options"]["include_usage"], true);
            assert_eq!(chat(asks), None, "{asks}");
        }
    }

    #[test]
    fn body_that_asks_itself_or_is_unclear_stays_as_it_is() {
        for body in [
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":"yes"}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":{},"stream_options":{}}"#,
            r#"{"stream":true,"stream_options":{},"Stream_Options":{}}"#,
            r#"{"stream":true,"stream_options":[]}"#,
            r#"{"stream":true,"stream_options":7}"#,
            "--b\r\ncontent-disposition: form-data; name=stream\r\n\r\ntrue\r\n--b--",
            "",
        ] {
            assert_eq!(chat(body), None, "{body}");
        }
    }

    #[test]
    fn other_apis_report_their_usage_unasked() {
        let body = r#"{"stream":true}"#;
        assert!(asking("/v1/completions", body).is_some());
        for path in ["/v1/responses", "/v1/messages", "/v1/audio/speech"] {
            assert_eq!(asking(path, body), None, "{path}");
        }
    }
}
