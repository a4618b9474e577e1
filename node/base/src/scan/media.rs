//! The kind of a request's body, by its `Content-Type`.

use http::header::{self, HeaderMap};

/// The kind of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media<'a> {
    /// There is no `Content-Type`.
    Unnamed,
    /// JSON in UTF-8, or text that servers read as JSON.
    Json,
    /// A form with this boundary.
    Form(&'a str),
    /// Something else.
    Other,
}

/// Why the kind cannot be determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// There are two.
    #[error("Content-Type must be sent once")]
    Repeated,
    /// It is not of the form `type/subtype; name=value`.
    #[error(
        "Content-Type is not in its plain form, such as 'application/json' or 'multipart/form-data; boundary=b'"
    )]
    Malformed,
    /// It is JSON or a form in another charset.
    #[error("Content-Type names another charset than UTF-8")]
    Charset,
}

/// The longest boundary (RFC 2046, 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Reads the kind out of `headers`.
///
/// # Errors
/// See [`MediaError`].
pub fn media(headers: &HeaderMap) -> Result<Media<'_>, MediaError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(value) = values.next() else {
        return Ok(Media::Unnamed);
    };
    if values.next().is_some() {
        return Err(MediaError::Repeated);
    }
    read(value.as_bytes())
}

fn read(value: &[u8]) -> Result<Media<'_>, MediaError> {
    // As nearly all write it.
    if value == b"application/json" {
        return Ok(Media::Json);
    }
    let end = value
        .iter()
        .position(|byte| matches!(byte, b';' | b' ' | b'\t'));
    let (essence, mut rest) = value.split_at(end.unwrap_or(value.len()));
    let mut parts = essence.split(|byte| *byte == b'/');
    let is_kind = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(|byte| is_token(*byte)))
    };
    if !is_kind(parts.next()) || !is_kind(parts.next()) || parts.next().is_some() {
        return Err(MediaError::Malformed);
    }
    let (mut boundary, mut charset) = (None, None);
    while !rest.is_empty() {
        let parameter = parameter(rest).ok_or(MediaError::Malformed)?;
        rest = parameter.rest;
        let slot = match () {
            () if parameter.is("boundary") => &mut boundary,
            () if parameter.is("charset") => &mut charset,
            () if parameter.is_extended("boundary") || parameter.is_extended("charset") => {
                return Err(MediaError::Malformed);
            }
            () => continue,
        };
        if slot.replace(parameter).is_some() {
            return Err(MediaError::Malformed);
        }
    }
    let charset = charset.as_ref().map(|charset| charset.value);
    let kind = essence.to_ascii_lowercase();
    let is_form = kind == b"multipart/form-data";
    let is_json = matches!(&*kind, b"application/json" | b"text/json" | b"text/plain")
        || kind.ends_with(b"+json");
    if (is_form || is_json) && charset.is_some_and(|charset| !names_utf8(charset)) {
        return Err(MediaError::Charset);
    }
    if is_form {
        let boundary = boundary.and_then(|it| plain_boundary(&it));
        return boundary.map(Media::Form).ok_or(MediaError::Malformed);
    }
    Ok(if is_json { Media::Json } else { Media::Other })
}

/// The boundary, if all readers agree on it: unquoted of letters, digits and other token characters, quoted of
/// all that a boundary may hold.
fn plain_boundary<'a>(parameter: &Parameter<'a>) -> Option<&'a str> {
    let is_plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'\'' | b'+' | b'_' | b'-' | b'.')
    };
    let may_be_quoted = |byte: &u8| matches!(byte, b'(' | b')' | b',' | b'/' | b':' | b'=' | b'?');
    let value = parameter.value;
    let is_good = (1..=BOUNDARY_BYTES_MAX).contains(&value.len())
        && value
            .iter()
            .all(|byte| is_plain(byte) || (parameter.is_quoted && may_be_quoted(byte)));
    is_good.then(|| std::str::from_utf8(value).ok()).flatten()
}

/// Whether a content type names no charset, or UTF-8 or a part of it; false also where it cannot be read.
pub(super) fn is_utf8(content_type: &[u8]) -> bool {
    let end = content_type
        .iter()
        .position(|byte| matches!(byte, b';' | b' ' | b'\t'));
    let mut rest = &content_type[end.unwrap_or(content_type.len())..];
    while !rest.is_empty() {
        let Some(parameter) = parameter(rest) else {
            return false;
        };
        let is_other = parameter.is("charset") && !names_utf8(parameter.value);
        if is_other || parameter.is_extended("charset") {
            return false;
        }
        rest = parameter.rest;
    }
    true
}

fn names_utf8(charset: &[u8]) -> bool {
    [&b"utf-8"[..], b"utf8", b"us-ascii"]
        .iter()
        .any(|name| charset.eq_ignore_ascii_case(name))
}

/// One `; name=value` of a header.
pub(super) struct Parameter<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    is_quoted: bool,
    /// What follows it.
    pub(super) rest: &'a [u8],
}

impl Parameter<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether it is `name*` or a piece of it, such as `name*0` (RFC 2231): some readers take that for the
    /// parameter called `name`, before the plain one or behind it, and others pass it over.
    fn is_extended(&self, name: &str) -> bool {
        let star = self.name.iter().position(|byte| *byte == b'*');
        star.is_some_and(|star| self.name[..star].eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// The parameter at the beginning of `text`, which is not empty; `None` where there is none, or where
/// readers differ about its end: a quoted value with a backslash before its closing quote.
pub(super) fn parameter(text: &[u8]) -> Option<Parameter<'_>> {
    let text = trim_blanks(text).strip_prefix(b";")?;
    let text = trim_blanks(text);
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return None;
    }
    if let Some(quoted) = value.strip_prefix(b"\"") {
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        let (value, rest) = (&quoted[..end], &quoted[end + 1..]);
        let follows = rest
            .first()
            .is_none_or(|byte| matches!(byte, b';' | b' ' | b'\t'));
        let is_clear = follows && !value.ends_with(b"\\");
        return is_clear.then_some(Parameter {
            name,
            value,
            is_quoted: true,
            rest,
        });
    }
    let end = value.iter().position(|byte| !is_token(*byte));
    let (value, rest) = value.split_at(end.unwrap_or(value.len()));
    let follows = rest
        .first()
        .is_none_or(|byte| matches!(byte, b';' | b' ' | b'\t'));
    (follows && !value.is_empty()).then_some(Parameter {
        name,
        value,
        is_quoted: false,
        rest,
    })
}

/// `text` without the blanks at both ends.
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    let text = trim_blanks(text);
    let last = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
    &text[..last.map_or(0, |last| last + 1)]
}

fn trim_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    &text[start.unwrap_or(text.len())..]
}

/// Whether `byte` is a token character (RFC 9110, 5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinguished_in_any_case() {
        for (text, kind) in [
            ("application/json", Media::Json),
            ("Application/JSON; charset=UTF-8", Media::Json),
            ("application/json;charset=\"utf-8\"; v=1", Media::Json),
            ("application/vnd.api+json", Media::Json),
            ("text/plain", Media::Json),
            ("multipart/form-data; boundary=b", Media::Form("b")),
            ("Multipart/Form-Data ; Boundary=\"a=b\"", Media::Form("a=b")),
            ("application/x-www-form-urlencoded", Media::Other),
            ("multipart/mixed; boundary=b", Media::Other),
            ("application/octet-stream", Media::Other),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(kind), "{text}");
        }
    }

    #[test]
    fn parameter_in_an_extended_spelling_beside_the_plain_one_is_refused() {
        for text in [
            "multipart/form-data; boundary=a; boundary*=utf-8''b",
            "multipart/form-data; boundary*0=b; boundary=a",
            "multipart/form-data; boundary=a; Boundary*0*=utf-8''b",
            "multipart/form-data; boundary=a; charset*=utf-16''utf-16",
            "application/json; charset=utf-8; charset*=us-ascii''utf-16",
        ] {
            assert_eq!(read(text.as_bytes()), Err(MediaError::Malformed), "{text}");
        }
        assert!(!is_utf8(b"text/plain; charset*=us-ascii''utf-16"));
        let other = b"multipart/form-data; boundary=a; title*=utf-8''b";
        assert_eq!(read(other), Ok(Media::Form("a")));
    }

    #[test]
    fn kind_that_readers_could_take_for_another_is_refused() {
        for text in [
            "",
            "json",
            "/",
            "application/json, multipart/form-data; boundary=b",
            "application/json multipart/form-data",
            "application/json/x",
            "application/json;",
            "application/json; charset",
            "application/json; charset =utf-8",
            "application/json; charset=\"utf-8",
            "application/json; charset=utf-8; charset=utf-16",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=a; BOUNDARY=b",
            "multipart/form-data; boundary=a=b",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=\"a\\\"b\"",
            "multipart/form-data; boundary=\"a\"b",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary*=utf-8''b",
            "multipart/form-data; boundary=\u{e9}",
        ] {
            assert_eq!(read(text.as_bytes()), Err(MediaError::Malformed), "{text}");
        }
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        assert_eq!(read(long.as_bytes()), Err(MediaError::Malformed));
        for text in [
            "application/json; charset=utf-16",
            "application/json; charset=utf-7",
            "multipart/form-data; boundary=b; charset=utf-16le",
        ] {
            assert_eq!(read(text.as_bytes()), Err(MediaError::Charset), "{text}");
        }
    }

    #[test]
    fn two_kinds_are_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(media(&headers), Ok(Media::Unnamed));
        for _ in 0..2 {
            headers.append(
                header::CONTENT_TYPE,
                "application/json".parse().expect("a value"),
            );
        }
        assert_eq!(media(&headers), Err(MediaError::Repeated));
    }
}
