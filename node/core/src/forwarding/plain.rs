//! The one form in which every server reads a path and its query alike.

use super::NotForwarded;

/// The longest path that may be forwarded, in bytes.
const PATH_BYTES_MAX: usize = 2_048;

/// Parameters by which some servers choose a model or deployment, or take another method, whatever the body and the
/// request line contain.
const QUERY_REFUSED: [&str; 7] = [
    "model",
    "model_id",
    "deployment",
    "deployment_id",
    "engine",
    "_method",
    "x-http-method-override",
];

/// Whether every server reads `path` and `query` in the same way.
///
/// # Errors
/// What two of them could read in two ways.
pub fn check_form(path: &str, query: Option<&str>) -> Result<(), NotForwarded> {
    if let Some(what) = irregularity(path) {
        return Err(NotForwarded::NotPlain(what));
    }
    query.map_or(Ok(()), |query| check_query(query, &[]))
}

/// As [`check_form`], for a query that names its model by `model` alone, written just so.
pub(super) fn check_form_with_model(path: &str, query: Option<&str>) -> Result<(), NotForwarded> {
    if let Some(what) = irregularity(path) {
        return Err(NotForwarded::NotPlain(what));
    }
    query.map_or(Ok(()), |query| check_query(query, b"model"))
}

/// What keeps a path from its plain form.
pub(super) fn irregularity(path: &str) -> Option<&'static str> {
    if path.len() > PATH_BYTES_MAX {
        return Some("it is longer than 2048 bytes");
    }
    if is_simple(path) {
        return None;
    }
    let Some(segments) = path.strip_prefix('/') else {
        return Some("it must begin with '/'");
    };
    let mut before_last = segments.split('/').peekable();
    while let Some(segment) = before_last.next() {
        match segment {
            "." | ".." => return Some("it must not hold '.' or '..' segments"),
            "" if before_last.peek().is_some() => return Some("it must not hold empty segments"),
            _ => {}
        }
    }
    // Beside `;`, which some servers cut off with what follows it.
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'%')
            || matches!(
                byte,
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
            )
    };
    if !path.bytes().all(is_plain) {
        return Some("it holds a character that must be encoded, a ';' or a backslash");
    }
    if path.contains('%') && !is_encoded_plainly(path) {
        return Some("it encodes a character that must not be encoded, or is not valid UTF-8");
    }
    None
}

/// Whether `path` has none of the characters that need a closer look, and no empty segment but the last: most have not.
fn is_simple(path: &str) -> bool {
    let mut before = 0;
    let is_simple = |byte: u8| {
        let is_simple = match byte {
            b'/' => before != b'/',
            byte => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
        };
        before = byte;
        is_simple
    };
    path.starts_with('/') && path.bytes().all(is_simple)
}

/// Whether every `%` begins the encoding of a byte that needs one and neither separates nor climbs, and the
/// whole is UTF-8, which leaves no second encoding of `.` and `/`.
fn is_encoded_plainly(path: &str) -> bool {
    let needs_none =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let separates = |byte: u8| matches!(byte, b'/' | b'\\' | b'%' | b';' | b'?' | b'#');
    let decoded = decode(path.as_bytes(), |byte| {
        !needs_none(byte) && !separates(byte) && !byte.is_ascii_control()
    });
    decoded.is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok())
}

/// The bytes of a percent-encoded text; `None` where an escape is broken or stands for a byte that is not
/// `allowed` to be encoded.
pub(super) fn decode(text: &[u8], allowed: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, ..] = others else { return None };
        let byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
        if !allowed(byte) {
            return None;
        }
        decoded.push(byte);
        rest = &others[2..];
    }
    Some(decoded)
}

/// `permitted` is a name that may stand there although it is refused elsewhere; empty for none.
fn check_query(query: &str, permitted: &[u8]) -> Result<(), NotForwarded> {
    for pair in query.split(['&', ';']) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if name.as_bytes() == permitted {
            continue;
        }
        let Some(name) = decode(name.as_bytes(), |_| true) else {
            let what = "its query holds a '%' that encodes nothing";
            return Err(NotForwarded::NotPlain(what));
        };
        // As lenient servers see a name: without its subscript and blanks, in any case.
        let name = name.split(|byte| *byte == b'[').next().unwrap_or_default();
        let is_blank = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'+' | 0);
        let start = name.iter().position(|byte| !is_blank(byte));
        let end = name.iter().rposition(|byte| !is_blank(byte));
        let name = start
            .zip(end)
            .map_or(&[][..], |(start, end)| &name[start..=end]);
        let refused = QUERY_REFUSED
            .iter()
            .find(|refused| name.eq_ignore_ascii_case(refused.as_bytes()));
        if let Some(refused) = refused {
            return Err(NotForwarded::Query(refused));
        }
    }
    Ok(())
}
