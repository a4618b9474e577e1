//! Ids of tool calls that fit the other side's rules, and come back as they were.
//!
//! An id is changed only where the other side would refuse it. A change of characters can be undone, so that the
//! client's next request names the id that the upstream gave. A change of length cannot, and need not: it happens in
//! requests alone, where equal ids only have to stay equal.

use std::borrow::Cow;

/// What begins an id whose characters were changed.
const ENCODED: &str = "gvid_";

/// What begins an id that was shortened.
const SHORTENED: &str = "gvsh_";

/// The most characters of an id in a chat completions request, by the error message of OpenAI's API.
pub(crate) const CHAT_ID_MAX: usize = 40;

/// The most characters of the id of a user, by the error message of OpenAI's API.
const USER_MAX: usize = 64;

/// The id of a user as OpenAI's API takes it, unless its client speaks the API's own dialect and knows what it takes.
pub(crate) fn of_user(user: &str, is_home: bool) -> String {
    match is_home {
        true => user.to_string(),
        false => shortened(user, USER_MAX).into_owned(),
    }
}

/// An id of `[a-zA-Z0-9_-]+` that stands for `id`; equal ids give equal ones, and [`restored`] gives `id` again.
pub(crate) fn plain(id: &str) -> Cow<'_, str> {
    let is_plain = !id.is_empty() && id.bytes().all(is_plain_byte);
    if is_plain && !id.starts_with(ENCODED) {
        return Cow::Borrowed(id);
    }
    let mut encoded = String::from(ENCODED);
    for byte in id.bytes() {
        if byte != b'_' && is_plain_byte(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('_');
            encoded.push(digit(byte >> 4));
            encoded.push(digit(byte & 15));
        }
    }
    Cow::Owned(encoded)
}

/// The id that [`plain`] made this one of, or the id itself.
pub(crate) fn restored(id: &str) -> Cow<'_, str> {
    let decoded = id.strip_prefix(ENCODED).and_then(decode);
    match decoded {
        Some(decoded) if plain(&decoded) == id => Cow::Owned(decoded),
        _ => Cow::Borrowed(id),
    }
}

/// An id of at most `max` bytes that stands for `id`; equal ids give equal ones.
pub(crate) fn shortened(id: &str, max: usize) -> Cow<'_, str> {
    if id.len() <= max {
        return Cow::Borrowed(id);
    }
    let forward = fingerprint(id.bytes());
    let backward = fingerprint(id.bytes().rev());
    Cow::Owned(format!("{SHORTENED}{forward:016x}{backward:016x}"))
}

/// The id of a call that its upstream gave none: one in its answer, and its answer's own.
pub(crate) fn made(index: usize, answer_id: Option<&str>) -> String {
    format!("call_{index}_{}", answer_id.unwrap_or_default())
}

const fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap_or('0')
}

fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

// FNV-1a: the same on every machine and in every version, which a hasher of the standard library is not.
fn fingerprint(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fitting_id_stays_as_it_is() {
        assert_eq!(plain("call_abc-1"), "call_abc-1");
        assert_eq!(shortened("call_abc", CHAT_ID_MAX), "call_abc");
    }

    #[test]
    fn id_with_other_characters_is_encoded_and_comes_back() {
        assert_eq!(plain("functions.f:0"), "gvid_functions_2ef_3a0");
        assert_eq!(restored("gvid_functions_2ef_3a0"), "functions.f:0");
        assert_eq!(plain(""), "gvid_");
    }

    #[test]
    fn long_ids_stay_equal_and_different() {
        let (one, other) = ("a".repeat(70), "b".repeat(70));
        assert_eq!(shortened(&one, CHAT_ID_MAX), shortened(&one, CHAT_ID_MAX));
        assert_ne!(shortened(&one, CHAT_ID_MAX), shortened(&other, CHAT_ID_MAX));
        assert!(shortened(&one, CHAT_ID_MAX).len() <= CHAT_ID_MAX);
    }

    proptest! {
        #[test]
        fn every_id_fits_and_comes_back(id in "\\PC{0,40}") {
            let fitting = plain(&id).into_owned();
            prop_assert!(!fitting.is_empty() && fitting.bytes().all(is_plain_byte));
            prop_assert_eq!(restored(&fitting), id);
        }
    }
}
