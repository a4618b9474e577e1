//! A stream of events, in pieces that end at each byte 0xff, which is no byte of UTF-8.

use grapevine_node::ingress::probes::{Passed, events};

/// However the bytes are cut into pieces, what ends with a blank line is passed on, and the rest at the end.
pub(crate) fn target(bytes: &[u8]) {
    let whole: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0xff).collect();
    let end = (0..=whole.len())
        .rev()
        .find(|end| whole[..*end].ends_with(b"\n\n") || whole[..*end].ends_with(b"\n\r\n"));
    let (passed, rest) = whole.split_at(end.unwrap_or(0));
    let expected = Passed {
        events: passed.to_vec(),
        rest: rest.to_vec(),
        is_between_events: rest.is_empty(),
    };
    assert_eq!(events([&whole[..]]), expected);
    assert_eq!(events(bytes.split(|byte| *byte == 0xff)), expected);
    assert_eq!(events(whole.chunks(1)), expected);
}
