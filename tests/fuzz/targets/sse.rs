//! A stream of events, in pieces that end at each byte 0xff, which is no byte of UTF-8.

use grapevine_node::ingress::probes::{Passed, events};

/// However the bytes are cut into pieces, it is known whether an event has begun, and what is added after the end is
/// an event of its own.
pub(crate) fn target(bytes: &[u8]) {
    let whole: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0xff).collect();
    let Passed {
        is_between_events,
        ended_by,
    } = events([&whole[..]]);
    assert_eq!(is_between_events, ended_by.is_empty());
    let expected = Passed {
        is_between_events,
        ended_by,
    };
    assert_eq!(events(bytes.split(|byte| *byte == 0xff)), expected);
    assert_eq!(events(whole.chunks(1)), expected);
    let stream = [&whole[..], ended_by, b"data: added\n\n"].concat();
    assert_eq!(last_event(&stream), b"data: added");
}

/// The lines of the last event, without the ends of the first and the last.
fn last_event(stream: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
        }
        match lines.last_mut() {
            Some(line) if byte != b'\r' && byte != b'\n' => line.push(byte),
            _ => lines.push(Vec::new()),
        }
    }
    let is_blank = |line: &Vec<u8>| line.is_empty();
    let mut events = lines.split(is_blank).filter(|event| !event.is_empty());
    events.next_back().unwrap_or_default().join(&b'\n')
}
