//! Where events of a stream end (the HTML standard's server-sent events), so that what we add is never within
//! one.
//!
//! An event is passed on when it is whole: until then a client could not use it anyway, and a stream that
//! breaks off leaves no partial event before its error. Nothing is changed, and only small pieces of a partial
//! event are copied: each would keep the buffer that it was read into, so that an upstream that sends byte by
//! byte would make this node hold thousands of times what it sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::memrchr;

/// An event longer than this is passed on in parts; nothing can be added within it then.
const HELD_MAX: usize = 256 * 1_024;

/// A piece of an unfinished event that is shorter than this is copied: what it may keep of a read buffer
/// is then at most a few times its own length.
const COPIED_BELOW: usize = 4 * 1_024;

/// A comment, which clients skip.
pub(super) const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// Cuts a stream at the ends of its events.
#[derive(Debug, Default)]
pub(super) struct Events {
    held: VecDeque<Bytes>,
    /// Small pieces after those held, joined.
    joined: BytesMut,
    held_bytes: usize,
    /// The last two bytes received, in order.
    last: [u8; 2],
    /// Whether a part of an unfinished event was passed on.
    within_event: bool,
}

impl Events {
    /// Takes the next piece; appends to `ready` what can be passed on.
    pub(super) fn take(&mut self, mut piece: Bytes, ready: &mut VecDeque<Bytes>) {
        let end = self.last_end(&piece);
        self.remember(&piece);
        if let Some(end) = end {
            let whole = piece.split_to(end);
            self.release(ready);
            ready.push_back(whole);
            self.within_event = false;
        }
        if piece.is_empty() {
            return;
        }
        self.hold(piece);
        if self.held_bytes > HELD_MAX {
            self.release(ready);
            self.within_event = true;
        }
    }

    /// The stream ended cleanly: passes on what is left.
    pub(super) fn finish(&mut self, ready: &mut VecDeque<Bytes>) {
        self.release(ready);
    }

    /// The stream broke: drops the unfinished event. Returns what must come before anything else.
    pub(super) fn cut(&mut self) -> &'static [u8] {
        self.held.clear();
        self.joined.clear();
        self.held_bytes = 0;
        if self.within_event { b"\n\n" } else { b"" }
    }

    /// Whether everything passed on so far were whole events, and none has begun.
    pub(super) fn is_between_events(&self) -> bool {
        self.held_bytes == 0 && !self.within_event
    }

    fn hold(&mut self, piece: Bytes) {
        self.held_bytes += piece.len();
        if piece.len() < COPIED_BELOW {
            self.joined.extend_from_slice(&piece);
        } else {
            self.close_joined();
            self.held.push_back(piece);
        }
    }

    fn close_joined(&mut self) {
        if !self.joined.is_empty() {
            self.held.push_back(self.joined.split().freeze());
        }
    }

    fn release(&mut self, ready: &mut VecDeque<Bytes>) {
        self.close_joined();
        ready.extend(self.held.drain(..));
        self.held_bytes = 0;
    }

    fn remember(&mut self, piece: &[u8]) {
        self.last = match piece {
            [.., before, last] => [*before, *last],
            [last] => [self.last[1], *last],
            [] => self.last,
        };
    }

    /// The index after the last blank line that ends in `piece`.
    fn last_end(&self, piece: &[u8]) -> Option<usize> {
        let byte = |index: usize, back: usize| match index.checked_sub(back) {
            Some(index) => piece[index],
            None => self.last[2 + index - back],
        };
        let mut rest = piece;
        while let Some(at) = memrchr(b'\n', rest) {
            let before = byte(at, 1);
            if before == b'\n' || (before == b'\r' && byte(at, 2) == b'\n') {
                return Some(at + 1);
            }
            rest = &rest[..at];
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed(pieces: &[&str]) -> (String, Events) {
        let mut events = Events::default();
        let mut ready = VecDeque::new();
        for piece in pieces {
            events.take(Bytes::copy_from_slice(piece.as_bytes()), &mut ready);
        }
        let text = String::from_utf8(Vec::from(ready).concat()).expect("text");
        (text, events)
    }

    #[test]
    fn only_whole_events_are_passed_on() {
        assert_eq!(passed(&["data: a\n\ndata: b"]).0, "data: a\n\n");
        assert_eq!(
            passed(&["data: a\n", "\ndata: b\r\n", "\r", "\n"]).0,
            "data: a\n\ndata: b\r\n\r\n"
        );
        assert!(passed(&["data: a\n\n"]).1.is_between_events());
    }

    #[test]
    fn partial_event_is_dropped_when_the_stream_breaks() {
        let (text, mut events) = passed(&["data: a\n\ndata: {\"ha"]);
        assert!(!events.is_between_events());
        assert_eq!(events.cut(), b"");
        assert_eq!(text, "data: a\n\n");
    }

    #[test]
    fn small_pieces_of_an_unfinished_event_are_held_as_one() {
        let mut events = Events::default();
        let mut ready = VecDeque::new();
        for _ in 0..1_000 {
            events.take(Bytes::from_static(b"x"), &mut ready);
        }
        assert!(ready.is_empty() && events.held.is_empty());
        events.take(Bytes::from(vec![b'y'; COPIED_BELOW]), &mut ready);
        events.take(Bytes::from_static(b"\n\n"), &mut ready);
        let lengths: Vec<usize> = ready.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [1_000, COPIED_BELOW, 2]);
    }

    #[test]
    fn event_beyond_the_limit_is_passed_on_in_parts() {
        let long = "x".repeat(HELD_MAX + 1);
        let (text, mut events) = passed(&[&long]);
        assert_eq!(text.len(), HELD_MAX + 1);
        assert!(!events.is_between_events());
        assert_eq!(events.cut(), b"\n\n");
    }

    proptest! {
        #[test]
        fn every_byte_is_passed_on_once_and_in_order(pieces in prop::collection::vec("[a\r\n]{0,5}", 0..20)) {
            let mut events = Events::default();
            let mut ready = VecDeque::new();
            for piece in &pieces {
                events.take(Bytes::copy_from_slice(piece.as_bytes()), &mut ready);
                let so_far = Vec::from(ready.clone()).concat();
                let is_whole = so_far.is_empty() || so_far.ends_with(b"\n\n") || so_far.ends_with(b"\n\r\n");
                prop_assert!(is_whole);
            }
            events.finish(&mut ready);
            prop_assert_eq!(Vec::from(ready).concat(), pieces.concat().into_bytes());
        }
    }
}
