//! Counts the tokens that an upstream reports through a tunnel, as its frames pass.
//!
//! Each text message is looked at for an object of counts ([`Usage`]); those of several answers are added up. Not counted is what
//! is compressed, which is never agreed upon, and what comes as binary messages.

use grapevine_base::websocket::frames::{FrameHead, FramePart, FrameReader, Opcode};
use grapevine_observe::record::Tokens;

use crate::ingress::usage::Usage;

/// Follows an upstream's frames.
#[derive(Debug, Default)]
pub(super) struct CountedFrames {
    frames: FrameReader,
    head: Option<FrameHead>,
    is_text: bool,
    /// Where frames are cannot be known any more.
    is_lost: bool,
    /// Of the message that is arriving.
    message: Usage,
    /// Of those before it.
    sum: Tokens,
}

impl CountedFrames {
    /// Looks at the next bytes.
    pub(super) fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_lost {
            let Ok((taken, part)) = self.frames.next(bytes) else {
                self.is_lost = true;
                return;
            };
            let (passed, rest) = bytes.split_at(taken);
            bytes = rest;
            match part {
                Some(FramePart::Head(head)) => {
                    self.is_text = match head.opcode {
                        Opcode::Text => !head.is_extended && head.mask.is_none(),
                        Opcode::Binary => false,
                        _ => self.is_text,
                    };
                    self.head = Some(head);
                }
                Some(FramePart::Payload(_)) if self.is_data() => self.message.look(passed),
                Some(FramePart::Payload(_)) | None => {}
            }
            let is_last = self.head.is_some_and(|head| head.is_final);
            if self.frames.is_between() && self.is_data() && is_last {
                let counted = std::mem::take(&mut self.message).tokens();
                self.sum = sum(self.sum, counted);
            }
        }
    }

    /// What was reported so far.
    pub(super) fn tokens(&self) -> Tokens {
        self.sum
    }

    /// Whether the frame that is arriving is a part of a text.
    fn is_data(&self) -> bool {
        let is_control = self.head.is_some_and(|head| head.opcode.is_control());
        self.is_text && !is_control
    }
}

fn sum(one: Tokens, other: Tokens) -> Tokens {
    let both = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    Tokens {
        input: both(one.input, other.input),
        cached: both(one.cached, other.cached),
        cache_written: both(one.cache_written, other.cache_written),
        output: both(one.output, other.output),
    }
}

#[cfg(test)]
mod tests {
    use grapevine_base::websocket::own::text_frame;

    use super::*;

    const DONE: &str =
        r#"{"type":"response.done","response":{"usage":{"input_tokens":7,"output_tokens":3}}}"#;

    #[test]
    fn counts_of_several_answers_are_added_up_however_the_bytes_are_cut() {
        let delta = text_frame(
            r#"{"type":"response.text.delta","delta":"\"usage\":{\"input_tokens\":9}"}"#,
        );
        let created = text_frame(r#"{"type":"response.created","response":{"usage":null}}"#);
        let (start, end) = DONE.split_at(30);
        let mut parts = vec![0x01, start.len() as u8];
        parts.extend_from_slice(start.as_bytes());
        parts.extend([0x89, 0, 0x80, end.len() as u8]);
        parts.extend_from_slice(end.as_bytes());
        let bytes = [&created[..], &delta, &text_frame(DONE), &parts].concat();
        for size in [1, 2, 7, 64, bytes.len()] {
            let mut counted = CountedFrames::default();
            for piece in bytes.chunks(size) {
                counted.look(piece);
            }
            let tokens = counted.tokens();
            assert_eq!((tokens.input, tokens.output), (Some(14), Some(6)), "{size}");
        }
    }

    #[test]
    fn binary_compressed_and_masked_messages_are_not_counted() {
        for first in [0x82, 0xc1] {
            let mut frame = text_frame(DONE).to_vec();
            frame[0] = first;
            let mut counted = CountedFrames::default();
            counted.look(&frame);
            assert_eq!(counted.tokens(), Tokens::default());
        }
        let mut counted = CountedFrames::default();
        counted.look(b"\xff\xffno frames");
        counted.look(&text_frame(DONE));
        assert_eq!(counted.tokens(), Tokens::default());
    }
}
