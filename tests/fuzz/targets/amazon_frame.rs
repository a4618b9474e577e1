//! Amazon's binary event stream, as it comes, and one frame with these headers and this payload.
//!
//! The second is made with checksums that fit, which no change by chance would find: its first byte says how many of
//! the bytes after it are headers.

use grapevine_dialect::event_stream::{EventMessage, FrameBounds, FrameDecoder, FrameError};

pub(crate) fn target(bytes: &[u8]) {
    check(bytes);
    if let [headers, rest @ ..] = bytes {
        let (headers, payload) = rest.split_at(usize::from(*headers).min(rest.len()));
        check(&frame(headers, payload));
    }
}

/// However the bytes are cut, the messages are the same; what was read is written and read again as it was; and who
/// only follows the frames finds the same ends.
fn check(bytes: &[u8]) {
    let (messages, result, is_between) = read([bytes]);
    assert_eq!(
        read(bytes.chunks(1)),
        (messages.clone(), result, is_between)
    );
    assert_eq!(
        read(bytes.chunks(5)),
        (messages.clone(), result, is_between)
    );
    if result.is_ok() {
        let mut bounds = FrameBounds::default();
        bytes.chunks(3).for_each(|piece| bounds.pass(piece));
        assert_eq!(bounds.is_between_frames(), is_between);
    }
    let mut written = Vec::new();
    for message in &messages {
        if message.write(&mut written).is_err() {
            // A name of the upstream's may be longer than the writer takes.
            return;
        }
    }
    assert_eq!(read([&written[..]]), (messages, Ok(()), true));
}

type Read = (Vec<EventMessage>, Result<(), FrameError>, bool);

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut decoder = FrameDecoder::default();
    let mut messages = Vec::new();
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut messages) {
            return (messages, Err(error), false);
        }
    }
    (messages, Ok(()), decoder.is_between_frames())
}

fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = Vec::new();
    frame.extend_from_slice(&length(16 + headers.len() + payload.len()));
    frame.extend_from_slice(&length(headers.len()));
    frame.extend_from_slice(&checksum(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&checksum(&frame).to_be_bytes());
    frame
}

/// CRC-32 (IEEE 802.3), bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = match sum & 1 {
                0 => sum >> 1,
                _ => (sum >> 1) ^ 0xEDB8_8320,
            };
        }
    }
    !sum
}
