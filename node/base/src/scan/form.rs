//! Finds fields in a `multipart/form-data` body (RFC 7578), or refuses it.
//!
//! Readers of forms differ: in what they take for a delimiter, in quoting and escaping, in which of two
//! parts of one name counts, in what may precede the first part and follow the last. So this accepts the one
//! form that every client library writes and every reader reads alike, and refuses the rest. It never
//! guesses, and always scans to the end. Invariant: no input panics.

use std::ops::Range;

use memchr::memmem;

use super::ScanError;
use super::media;

/// Parts of a form; no API of this kind has more than a dozen.
const PARTS_MAX: usize = 256;

/// The longest head of a part.
const PART_HEAD_BYTES_MAX: usize = 4 * 1_024;

const CRLF: &[u8] = b"\r\n";

/// The byte ranges of the contents of the fields called `keys`, in the order of `keys`.
///
/// # Errors
/// When a reader could find other fields or other contents: the form is not in its plain form, or one of
/// `keys` occurs twice, in another spelling or as a file.
pub fn fields<const N: usize>(
    body: &[u8],
    boundary: &str,
    keys: [&'static str; N],
) -> Result<[Option<Range<usize>>; N], ScanError> {
    let mut found = [const { None }; N];
    for part in parts(body, boundary)? {
        let content_at = head_end(body, &part)?;
        let content = content_at..part.end;
        let head = Head::read(&body[part.start..content_at - 2], part.start)?;
        if head
            .length
            .is_some_and(|length| length != content.len() as u64)
        {
            return Err(plain("a part is not as long as it says", part.start));
        }
        let Some(index) = matching(head.name, &keys)? else {
            continue;
        };
        if head.is_file || head.is_in_other_charset {
            return Err(plain(
                "a field is sent as a file or in another charset",
                part.start,
            ));
        }
        if found[index].replace(content).is_some() {
            return Err(ScanError::Repeated { key: keys[index] });
        }
    }
    Ok(found)
}

const fn plain(what: &'static str, at: usize) -> ScanError {
    ScanError::Form { what, at }
}

/// The ranges between the delimiters. The text of a delimiter occurs nowhere else.
fn parts(body: &[u8], boundary: &str) -> Result<Vec<Range<usize>>, ScanError> {
    let mark = format!("--{boundary}");
    if !body.starts_with(mark.as_bytes()) {
        return Err(plain("the body does not begin with the boundary", 0));
    }
    let mut parts = Vec::new();
    let mut part_at: Option<usize> = None;
    let finder = memmem::Finder::new(mark.as_bytes());
    for at in finder.find_iter(body) {
        if let Some(start) = part_at {
            let end = at.saturating_sub(CRLF.len());
            if end < start || !body[end..].starts_with(CRLF) {
                return Err(plain("the boundary stands where no part ends", at));
            }
            parts.push(start..end);
        }
        let rest = &body[at + mark.len()..];
        if rest == b"--" || rest == b"--\r\n" {
            return Ok(parts);
        }
        if !rest.starts_with(CRLF) {
            return Err(plain(
                "the boundary is followed by something else than a part or the end",
                at,
            ));
        }
        if parts.len() == PARTS_MAX {
            return Err(plain("there are more than 256 parts", at));
        }
        part_at = Some(at + mark.len() + CRLF.len());
    }
    Err(plain("the closing boundary is missing", body.len()))
}

/// Where the content of a part begins.
fn head_end(body: &[u8], part: &Range<usize>) -> Result<usize, ScanError> {
    let end = part.end.min(part.start + PART_HEAD_BYTES_MAX);
    let blank_line = memmem::find(&body[part.start..end], b"\r\n\r\n");
    blank_line
        .map(|length| part.start + length + 4)
        .ok_or(plain(
            "a part's head has no end, or is longer than 4096 bytes",
            part.start,
        ))
}

/// A part's head.
struct Head<'a> {
    name: &'a [u8],
    is_file: bool,
    is_in_other_charset: bool,
    /// In bytes; `None` where it has none.
    length: Option<u64>,
}

impl<'a> Head<'a> {
    /// Reads the lines of `text`, which begins at `at`; each ends with CR LF.
    fn read(text: &'a [u8], at: usize) -> Result<Self, ScanError> {
        let mut disposition = None;
        let mut head = Self {
            name: b"",
            is_file: false,
            is_in_other_charset: false,
            length: None,
        };
        let mut rest = text;
        while let Some(length) = memmem::find(rest, CRLF) {
            let (name, value) = field(&rest[..length])
                .ok_or(plain("a line of a part's head is not 'Name: value'", at))?;
            rest = &rest[length + CRLF.len()..];
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("content-disposition") {
                let read = Disposition::read(value).ok_or(plain(
                    "a part's Content-Disposition is not in its plain form",
                    at,
                ))?;
                if disposition.replace(read).is_some() {
                    return Err(plain("a part has two Content-Dispositions", at));
                }
            } else if is("content-transfer-encoding") || is("content-encoding") {
                let plains: [&[u8]; 3] = [b"7bit", b"8bit", b"binary"];
                if !plains.iter().any(|word| value.eq_ignore_ascii_case(word)) {
                    return Err(plain("a part is encoded", at));
                }
            } else if is("content-type") {
                head.is_in_other_charset |= !media::is_utf8(value);
            } else if is("content-length") {
                let length = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse().ok());
                let length = length.ok_or(plain("a part's Content-Length is no number", at))?;
                if head
                    .length
                    .replace(length)
                    .is_some_and(|before| before != length)
                {
                    return Err(plain("a part has two lengths", at));
                }
            }
        }
        let disposition = disposition.ok_or(plain("a part has no Content-Disposition", at))?;
        head.name = disposition.name;
        head.is_file = disposition.is_file;
        Ok(head)
    }
}

/// The name and the value of a line; `None` where it is folded, holds control characters, or is none.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    // Blanks alone: a line feed at either end begins another line for some readers.
    let (name, value) = (&line[..colon], media::trimmed(&line[colon + 1..]));
    let is_clean = !name.is_empty()
        && name.iter().all(|byte| media::is_token(*byte))
        && !value.iter().any(u8::is_ascii_control);
    is_clean.then_some((name, value))
}

/// What a part is called.
struct Disposition<'a> {
    name: &'a [u8],
    is_file: bool,
}

impl<'a> Disposition<'a> {
    /// Reads `form-data; name=...`; `None` unless all readers take the same of it.
    fn read(value: &'a [u8]) -> Option<Self> {
        let (kind, mut rest) = value.split_at_checked(b"form-data".len())?;
        if !kind.eq_ignore_ascii_case(b"form-data") {
            return None;
        }
        let (mut name, mut file_name, mut file_name_coded) = (None, None, None);
        while !rest.is_empty() {
            let parameter = media::parameter(rest)?;
            rest = parameter.rest;
            // Some readers know them in lower case only.
            let slot = match parameter.name {
                b"name" => &mut name,
                b"filename" => &mut file_name,
                // A second spelling of a file's name changes nothing for fields.
                b"filename*" => &mut file_name_coded,
                _ => return None,
            };
            if slot.replace(parameter.value).is_some() {
                return None;
            }
        }
        let name: &[u8] = name?;
        let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && !matches!(byte, b'\\' | b'%');
        if name.is_empty() || !name.iter().all(is_plain) {
            return None;
        }
        // A reader that cuts at every ';', or searches for the word, must not find another name within a value.
        let mut values = [Some(name), file_name, file_name_coded]
            .into_iter()
            .flatten();
        if values.any(holds_a_name) {
            return None;
        }
        Some(Self {
            name,
            is_file: file_name.is_some() || file_name_coded.is_some(),
        })
    }
}

/// Whether a parameter called `name` could be seen in `value`. Some readers allow blanks before its `=`.
fn holds_a_name(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    memmem::find_iter(&lower, b"name").any(|at| {
        let follows = lower[at + b"name".len()..].trim_ascii_start().first();
        matches!(follows, Some(b'=' | b'*'))
    })
}

/// Which of `keys` a field's name is.
///
/// # Errors
/// When it is not the name itself but what a lenient reader takes for it: in another case, with blanks, or
/// with a subscript.
fn matching(name: &[u8], keys: &[&'static str]) -> Result<Option<usize>, ScanError> {
    if let Some(index) = keys.iter().position(|key| key.as_bytes() == name) {
        return Ok(Some(index));
    }
    let stem = name.split(|byte| *byte == b'[').next().unwrap_or_default();
    let alike = |key: &&&str| stem.trim_ascii().eq_ignore_ascii_case(key.as_bytes());
    match keys.iter().find(alike) {
        Some(key) => Err(ScanError::Lookalike { key }),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
