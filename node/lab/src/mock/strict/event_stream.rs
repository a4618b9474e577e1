//! Frames of `application/vnd.amazon.eventstream`: a prelude with its CRC, headers, a payload, and the CRC of it all.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::Value;

/// The type of a header that is a text.
const TEXT: u8 = 7;

/// An event called `kind`.
pub(super) fn event(kind: &str, payload: &Value) -> Bytes {
    frame(
        &[
            (":event-type", kind),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ],
        payload,
    )
}

/// An exception, after which the stream ends.
pub(super) fn exception(kind: &str, payload: &Value) -> Bytes {
    frame(
        &[
            (":exception-type", kind),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ],
        payload,
    )
}

fn frame(headers: &[(&str, &str)], payload: &Value) -> Bytes {
    let payload = payload.to_string();
    let mut written = BytesMut::new();
    for (name, value) in headers {
        // The names and values are the constants above and names of events: shorter than their lengths' limits.
        written.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        written.put_slice(name.as_bytes());
        written.put_u8(TEXT);
        written.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        written.put_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut frame = BytesMut::with_capacity(written.len() + payload.len() + 16);
    frame.put_u32(length(written.len() + payload.len() + 16));
    frame.put_u32(length(written.len()));
    let prelude = crc32fast::hash(&frame);
    frame.put_u32(prelude);
    frame.put_slice(&written);
    frame.put_slice(payload.as_bytes());
    let whole = crc32fast::hash(&frame);
    frame.put_u32(whole);
    frame.freeze()
}

/// Frames as tests read them back: the headers, and the payload.
#[cfg(test)]
pub(in crate::mock) type ReadFrame = (Vec<(String, String)>, Value);

/// Reads frames back, and checks their sums.
#[cfg(test)]
pub(in crate::mock) fn frames(mut bytes: &[u8]) -> Vec<ReadFrame> {
    let mut found = Vec::new();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    while !bytes.is_empty() {
        let length = number(&bytes[..4]) as usize;
        let headers_length = number(&bytes[4..8]) as usize;
        assert_eq!(
            number(&bytes[8..12]),
            crc32fast::hash(&bytes[..8]),
            "the CRC of the prelude"
        );
        let (frame, rest) = bytes.split_at(length);
        assert_eq!(
            number(&frame[length - 4..]),
            crc32fast::hash(&frame[..length - 4]),
            "the CRC"
        );
        let mut headers = Vec::new();
        let mut left = &frame[12..12 + headers_length];
        while !left.is_empty() {
            let (name, after) = left[1..].split_at(left[0] as usize);
            assert_eq!(after[0], TEXT);
            let (value, after) =
                after[3..].split_at(u16::from_be_bytes([after[1], after[2]]) as usize);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            headers.push((text(name), text(value)));
            left = after;
        }
        let payload = &frame[12 + headers_length..length - 4];
        found.push((headers, serde_json::from_slice(payload).expect("JSON")));
        bytes = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_read_back_with_their_headers_and_checksums() {
        let bytes = [
            event("chunk", &json!({"a": "é"})),
            exception("throttlingException", &json!({})),
        ]
        .concat();
        let frames = frames(&bytes);
        assert_eq!(
            frames[0].0[0],
            (":event-type".to_owned(), "chunk".to_owned())
        );
        assert_eq!(frames[0].1, json!({"a": "é"}));
        assert_eq!(
            frames[1].0[2],
            (":message-type".to_owned(), "exception".to_owned())
        );
    }

    #[test]
    fn the_bytes_of_a_frame_are_pinned() {
        let frame = frame(&[("a", "b")], &json!({}));
        assert_eq!(
            frame[..19],
            [
                0, 0, 0, 24, 0, 0, 0, 6, 220, 209, 166, 31, 1, b'a', 7, 0, 1, b'b', b'{'
            ]
        );
    }
}
