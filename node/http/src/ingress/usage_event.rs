//! The event of token counts that a stream has only because this node asked for it.
//!
//! OpenAI's streams report their usage with `"choices":[]` in an event of its own, before `[DONE]`, for which the
//! client's program may not be prepared. So a client that did not ask for it does not get it. Every other byte
//! passes as it came. Only an event that may still prove to be that one is held until it is whole.

use bytes::{Bytes, BytesMut};
use grapevine_base::scan;
use memchr::{memchr2, memmem};

/// The longest event of counts; those of today are below 2 KiB.
const HELD_MAX: usize = 8 * 1_024;

/// Takes the event out of a stream.
#[derive(Debug, Default)]
pub(super) struct UsageEvents {
    lines: Lines,
    /// The beginning of an event that may be the one.
    held: BytesMut,
    /// Whether the event that has begun is another one.
    is_passing: bool,
}

impl UsageEvents {
    /// Takes the next piece; hands what remains of it, and of earlier ones, to `pass`.
    pub(super) fn take(&mut self, piece: &Bytes, mut pass: impl FnMut(Bytes)) {
        // What is passed on next, and the event that is looked at, begin here.
        let (mut from, mut at) = (0, 0);
        if !self.is_passing && self.held.is_empty() {
            at = self.lines.rest_of_end(piece);
        }
        while let Some(length) = self.lines.event_end(&piece[at..]) {
            let end = at + length;
            if !std::mem::take(&mut self.is_passing) {
                if !self.held.is_empty() {
                    self.held.extend_from_slice(&piece[at..end]);
                    let event = self.held.split().freeze();
                    from = end;
                    if !is_usage(&event) {
                        pass(event);
                    }
                } else if is_usage(&piece[at..end]) {
                    pass(piece.slice(from..at));
                    from = end;
                }
            }
            at = end;
        }
        let rest = &piece[at..];
        if !self.is_passing && !rest.is_empty() {
            let began_here = self.held.is_empty();
            self.held.extend_from_slice(rest);
            if self.held.len() <= HELD_MAX && may_be_usage(&self.held) {
                pass(piece.slice(from..at));
                return;
            }
            self.is_passing = true;
            let held = self.held.split().freeze();
            if !began_here {
                pass(held);
                return;
            }
        }
        pass(piece.slice(from..));
    }

    /// The stream ended: what is left of it.
    pub(super) fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

/// Follows the lines of a stream, which end with LF, CR, or both.
#[derive(Debug, Default)]
struct Lines {
    is_within_line: bool,
    /// The last line ended with CR, so that LF next is the rest of its end.
    is_after_cr: bool,
}

impl Lines {
    /// The length of what still belongs to the end of the last line, at the beginning of `text`.
    fn rest_of_end(&mut self, text: &[u8]) -> usize {
        let is_rest = self.is_after_cr && text.first() == Some(&b'\n');
        self.is_after_cr &= !is_rest;
        usize::from(is_rest)
    }

    /// The index after the first blank line in `text`, which follows what was looked at before; all of it counts as
    /// looked at where there is none.
    fn event_end(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            if std::mem::take(&mut self.is_after_cr) && *byte == b'\n' {
                at += 1;
                continue;
            }
            let Some(length) = memchr2(b'\n', b'\r', &text[at..]) else {
                self.is_within_line = true;
                return None;
            };
            let is_blank = !std::mem::take(&mut self.is_within_line) && length == 0;
            at += length + 1;
            self.is_after_cr = text[at - 1] == b'\r';
            if is_blank {
                if self.is_after_cr && text.get(at) == Some(&b'\n') {
                    self.is_after_cr = false;
                    at += 1;
                }
                return Some(at);
            }
        }
        None
    }
}

/// Whether an event that begins with `text` may be the one with the counts.
fn may_be_usage(text: &[u8]) -> bool {
    let data = match text.strip_prefix(b"data:") {
        Some(data) => data.trim_ascii_start(),
        None => return b"data:".starts_with(text),
    };
    if data.first().is_some_and(|byte| *byte != b'{') {
        return false;
    }
    let Some(at) = memmem::find(data, b"\"choices\"") else {
        return true;
    };
    let mut rest = &data[at + b"\"choices\"".len()..];
    for expected in b":[]" {
        match rest.trim_ascii_start().split_first() {
            None => return true,
            Some((byte, after)) if byte == expected => rest = after,
            Some(_) => return false,
        }
    }
    true
}

/// Whether a whole event is the one with the counts.
fn is_usage(event: &[u8]) -> bool {
    if !may_be_usage(event) {
        return false;
    }
    let lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    let data: Vec<&[u8]> = lines
        .filter_map(|line| line.strip_prefix(b"data:"))
        .collect();
    let data = data.join(&b'\n');
    let Ok([Some(choices), Some(usage)]) = scan::top_level(&data, ["choices", "usage"]) else {
        return false;
    };
    let choices = data[choices].strip_prefix(b"[");
    let is_empty = choices.is_some_and(|choices| choices.trim_ascii() == b"]");
    is_empty && data[usage].starts_with(b"{")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str =
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
    const COUNTS: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn passed(pieces: &[&str]) -> String {
        let mut events = UsageEvents::default();
        let mut passed = Vec::new();
        for piece in pieces {
            let piece = Bytes::copy_from_slice(piece.as_bytes());
            events.take(&piece, |it| passed.extend_from_slice(&it));
        }
        passed.extend_from_slice(&events.finish());
        String::from_utf8(passed).expect("text")
    }

    #[test]
    fn event_of_counts_alone_is_taken_out_wherever_the_stream_is_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let written = |parts: &[&str]| parts.concat().replace('\n', end);
            let stream = written(&[TEXT, TEXT, COUNTS, DONE]);
            let rest = written(&[TEXT, TEXT, DONE]);
            for at in 0..stream.len() {
                let (first, second) = stream.split_at(at);
                let passed = passed(&[first, second]);
                // The second half of a line's end may pass on its own, as a blank line more.
                assert_eq!(
                    passed.replace("\r\n\r\n\n", "\r\n\r\n"),
                    rest,
                    "{first:?}|{second:?}"
                );
            }
            let bytes: Vec<&str> = (0..stream.len()).map(|at| &stream[at..=at]).collect();
            let passed = passed(&bytes);
            assert_eq!(passed.replace("\r\n\r\n\n", "\r\n\r\n"), rest);
        }
    }

    #[test]
    fn other_events_stay() {
        for event in [
            // Azure's first event.
            "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n",
            "data: {\"choices\":[],\"usage\":null}\n\n",
            // Counts that come with the last text.
            "data: {\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9}}\n\n",
            "data: {\"error\":{\"message\":\"no\"}}\n\n",
            "data: {\"choices\":[],\"usage\":{}\n\n",
            ": data: {\"choices\":[],\"usage\":{}}\n\n",
            "event: x\ndata: {\"choices\":[],\"usage\":{}}\n\n",
            "\n\n",
        ] {
            assert_eq!(passed(&[TEXT, event, DONE]), [TEXT, event, DONE].concat());
        }
        let pretty = "data: {\ndata:  \"choices\" : [ ],\ndata: \"usage\": {}}\n\n";
        assert_eq!(passed(&[TEXT, pretty, DONE]), [TEXT, DONE].concat());
    }

    #[test]
    fn what_cannot_be_the_event_is_passed_on_at_once() {
        let mut events = UsageEvents::default();
        let mut take = |text: &str| {
            let mut passed = Vec::new();
            let piece = Bytes::copy_from_slice(text.as_bytes());
            events.take(&piece, |it| passed.extend_from_slice(&it));
            String::from_utf8(passed).expect("text")
        };
        assert_eq!(take("data: {\"id\":1,\"choices\":"), "");
        assert_eq!(take("[{"), "data: {\"id\":1,\"choices\":[{");
        assert_eq!(take("\"delta\":"), "\"delta\":");
        assert_eq!(take("1}]}\n\ndat"), "1}]}\n\n");
        assert_eq!(take("a: [D"), "data: [D");
        assert_eq!(take("ONE]\n\n: pin"), "ONE]\n\n: pin");
        assert_eq!(take("g\n\n"), "g\n\n");
        let long = format!("data: {{\"id\":\"{}", "x".repeat(HELD_MAX));
        assert_eq!(take(&long), long);
    }

    #[test]
    fn piece_without_the_event_is_not_copied() {
        let piece = Bytes::from([TEXT, TEXT].concat());
        let mut passed = Vec::new();
        UsageEvents::default().take(&piece, |it| passed.push(it));
        assert_eq!((passed.len(), passed[0].as_ptr()), (1, piece.as_ptr()));
    }

    proptest! {
        #[test]
        fn stream_without_the_event_passes_byte_by_byte(pieces in prop::collection::vec("[d:{\\[\"\r\n]{0,5}|data: |\\{\"choices\":\\[", 0..20)) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(passed(&pieces), pieces.concat());
        }
    }
}
