//! A gossiped fact: its key in the first line, its payload behind.

use grapevine_proto::value::{PAYLOAD_BYTES_MAX, StateKey, decode, encode, parse_key};
use serde_json::Value;

/// The last digit of a number may differ: serde_json reads decimals to within one unit of it.
const DIFFERENCE_MAX: f64 = 1e-12;

/// What is read of a payload and written whole is a payload of the same key, and from then on stays as it is.
pub(crate) fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (key, json) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(StateKey::Fact(key)) = parse_key(key) else {
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
    let value = |json| serde_json::from_str::<Value>(json).expect("what is written is JSON");
    let (one, other) = (value(&first.json), value(&second.json));
    assert!(are_alike(&one, &other), "{one} is not {other}");
    assert_eq!(second.models_left_out, 0);
}

fn are_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap_or(0.0), other.as_f64().unwrap_or(0.0));
            (one - other).abs() <= DIFFERENCE_MAX * one.abs()
        }
        (Value::Array(ones), Value::Array(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(a, b)| are_alike(a, b))
        }
        (Value::Object(ones), Value::Object(others)) => {
            ones.len() == others.len()
                && ones
                    .iter()
                    .zip(others)
                    .all(|((a, one), (b, other))| a == b && are_alike(one, other))
        }
        _ => one == other,
    }
}
