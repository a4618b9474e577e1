//! Where events of a stream end (the HTML standard's server-sent events), so that what we add is never within
//! one.
//!
//! Every piece is passed on as it came and when it came: nothing is held until its event is whole. So a stream that
//! breaks off may leave a partial event at the client, and what is added after it must end that event first. A
//! parser cannot be made to forget a line that it has got, but the event's name can still be set: the partial one is
//! then an event called `incomplete`, which parsers that go by the name leave out, and in which others find broken
//! JSON.

use bytes::Bytes;

/// A comment, which clients skip.
pub(super) const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// Ends a partial event, whose last line has ended or not.
const AFTER_LINE: &[u8] = b"event: incomplete\n\n";
const WITHIN_LINE: &[u8] = b"\nevent: incomplete\n\n";

/// Follows what was passed on of a stream. Lines end with LF, CR, or both.
#[derive(Debug)]
pub(super) struct Events {
    /// The last bytes, in order: enough to recognise a blank line, whatever its ends.
    last: [u8; 3],
}

impl Default for Events {
    /// As after a blank line: nothing has begun.
    fn default() -> Self {
        Self { last: *b"\n\n\n" }
    }
}

impl Events {
    /// `piece` is passed on.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        let [_, before, last] = self.last;
        self.last = match *piece {
            [] => self.last,
            [byte] => [before, last, byte],
            [first, second] => [last, first, second],
            [.., first, second, third] => [first, second, third],
        };
    }

    /// Whether everything passed on so far were whole events, and none has begun.
    pub(super) fn is_between_events(&self) -> bool {
        let ends_line = |byte| byte == b'\n' || byte == b'\r';
        match self.last {
            [before, b'\r', b'\n'] => ends_line(before),
            [_, before, b'\n'] => before == b'\n',
            [_, before, b'\r'] => ends_line(before),
            _ => false,
        }
    }

    /// The stream broke: what must come before anything else.
    pub(super) fn cut(&self) -> &'static [u8] {
        match self.last {
            _ if self.is_between_events() => b"",
            [_, _, b'\n' | b'\r'] => AFTER_LINE,
            _ => WITHIN_LINE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(pieces: &[&str]) -> Events {
        let mut events = Events::default();
        for piece in pieces {
            events.pass(piece.as_bytes());
        }
        events
    }

    #[test]
    fn blank_line_ends_an_event_whatever_its_ends() {
        for whole in [
            "",
            "\n",
            "\r\n",
            "data: a\n\n",
            "data: a\r\r",
            "data: a\r\n\r\n",
            "data: a\n\r\n",
            "data: a\r\r\n",
            "data: a\n\r",
            "data: a\r\n\r",
            "data: a\r\n\n",
            "data: a\n\n\r\n",
        ] {
            assert!(after(&[whole]).is_between_events(), "{whole:?}");
            assert_eq!(after(&[whole]).cut(), b"");
        }
        for partial in [
            "d",
            "data: a\n",
            "data: a\r",
            "data: a\r\n",
            ": c\n",
            "\n\n:",
        ] {
            assert!(!after(&[partial]).is_between_events(), "{partial:?}");
        }
    }

    #[test]
    fn partial_event_is_ended_before_anything_is_added() {
        assert_eq!(after(&["data: {\"ha"]).cut(), b"\nevent: incomplete\n\n");
        for line in ["data: a\n", "data: a\r", "data: a\r\n"] {
            assert_eq!(after(&[line]).cut(), b"event: incomplete\n\n", "{line:?}");
        }
    }

    /// What a client gets: names and data, by the standard's own steps.
    fn parsed(text: &str) -> Vec<(String, String)> {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let (mut name, mut data, mut events) = (String::new(), Vec::new(), Vec::new());
        let lines = text.split_inclusive('\n');
        for line in lines.filter_map(|line| line.strip_suffix('\n')) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "event" => name = value,
                "data" => data.push(value),
                "" if line.is_empty() => {
                    let ended = (std::mem::take(&mut name), std::mem::take(&mut data));
                    if !ended.1.is_empty() {
                        events.push((ended.0, ended.1.join("\n")));
                    }
                }
                _ => {}
            }
        }
        events
    }

    proptest! {
        #[test]
        fn what_is_added_is_an_event_of_its_own(
            pieces in prop::collection::vec("[a\r\n]{0,3}|data: |event: |: ", 0..12),
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stream = pieces.concat();
            let events = after(&pieces);
            prop_assert_eq!(events.last, after(&[&stream]).last);
            let ended = std::str::from_utf8(events.cut()).expect("text");
            let before = parsed(&stream);
            let all = parsed(&format!("{stream}{ended}data: error\n\n"));
            let (last, others) = all.split_last().expect("one at least");
            prop_assert_eq!(last, &(String::new(), "error".to_owned()));
            prop_assert_eq!(&others[..before.len()], &*before);
            match &others[before.len()..] {
                [] => {}
                [(name, _)] => prop_assert_eq!(name, "incomplete"),
                more => prop_assert!(false, "{:?}", more),
            }
            if events.is_between_events() {
                let pinged = parsed(&format!("{stream}: ping\n\n"));
                prop_assert_eq!(pinged, before);
            }
        }
    }
}
