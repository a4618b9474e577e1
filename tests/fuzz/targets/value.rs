//! A gossiped fact: its key in the first line, its payload behind.

use grapevine_proto::value::{Key, PAYLOAD_BYTES_MAX, decode, encode, parse_key};

/// What is read of a payload and written whole is a payload of the same key, and from then on stays as it is.
pub(crate) fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (key, json) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(Key::Fact(key)) = parse_key(key) else {
        return;
    };
    let Ok(fact) = decode(&key, json) else { return };
    assert!(json.len() <= PAYLOAD_BYTES_MAX);
    let Ok(first) = encode(&fact, PAYLOAD_BYTES_MAX) else {
        return;
    };
    assert!(first.json.len() <= PAYLOAD_BYTES_MAX);
    let again = decode(&key, &first.json).expect("what is written can be read");
    let second = encode(&again, PAYLOAD_BYTES_MAX).expect("what was written can be written again");
    assert_eq!(first.json, second.json);
    assert_eq!(second.models_left_out, 0);
}
