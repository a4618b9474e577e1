//! JSON as upstreams write it, where it must become values.
//!
//! An escape of half a surrogate pair, such as `\ud83d` alone, is JSON but no text: models are cut off within an emoji, and
//! Python writes what is left. Values cannot hold it, and one of them would make a whole answer unreadable. So it is
//! read as U+FFFD, as it is shown everywhere. What is only passed on is not read, and stays as it is.

use std::borrow::Cow;

use serde_json::Value;

/// Some files and answers begin with it; it means nothing (RFC 8259 8.1).
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const REPLACEMENT: &[u8; 6] = b"\\ufffd";

/// `text` as a value.
///
/// # Errors
/// When it is no JSON.
pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Value> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    serde_json::from_slice(text).or_else(|error| match mended(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(mended) => serde_json::from_slice(&mended),
    })
}

/// `text` with the escapes of lone surrogates replaced; borrowed where there is none.
fn mended(text: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\\', text.get(at..).unwrap_or_default()) {
        at += next;
        let Some(unit) = unit(&text[at..]) else {
            at += 2;
            continue;
        };
        let follows = text.get(at + 6..).and_then(self::unit);
        match (unit, follows) {
            (0xd800..0xdc00, Some(0xdc00..0xe000)) => at += 12,
            (0xd800..0xe000, _) => {
                mended.to_mut()[at..at + 6].copy_from_slice(REPLACEMENT);
                at += 6;
            }
            _ => at += 6,
        }
    }
    mended
}

/// The UTF-16 unit of the escape that `text` begins with.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lone_surrogate_is_read_as_a_replacement() {
        for (text, read) in [
            (r#""a\ud800""#, "a\u{fffd}"),
            (r#""\udc00b""#, "\u{fffd}b"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\uD83D\n\ud800\u0041""#, "\u{fffd}\n\u{fffd}A"),
            (r#""\\ud800""#, "\\ud800"),
            ("\u{feff}\"a\"", "a"),
        ] {
            assert_eq!(parse(text.as_bytes()).ok(), Some(json!(read)), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in [
            r#""\ud8"#,
            r#""\ud800"#,
            r#"{"a":"\ud800"]"#,
            "\\",
            r#""\ud80g""#,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
