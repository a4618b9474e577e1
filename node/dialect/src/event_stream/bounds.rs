//! Follows frames that are passed on as they came.

use super::{CRC_BYTES, PRELUDE_BYTES};

/// The bytes that say how long a frame is.
const LENGTH_BYTES: usize = 4;

/// Where the frames of a stream end, of which nothing is held or checked.
#[derive(Clone, Debug, Default)]
pub struct FrameBounds {
    length: [u8; LENGTH_BYTES],
    /// How many bytes of the frame have passed.
    passed: usize,
    is_lost: bool,
}

impl FrameBounds {
    /// Bytes of the stream are passed on, cut anywhere.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_lost {
            let wanted = match LENGTH_BYTES.checked_sub(self.passed) {
                Some(missing @ 1..) => missing,
                _ => self.total() - self.passed,
            };
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            if let Some(length) = self.length.get_mut(self.passed..) {
                let known = length.len().min(taken.len());
                length[..known].copy_from_slice(&taken[..known]);
            }
            self.passed += taken.len();
            bytes = rest;
            if self.passed < LENGTH_BYTES {
                continue;
            }
            // No frame is that short: where the next one begins is not known.
            self.is_lost = self.total() < PRELUDE_BYTES + CRC_BYTES;
            if self.passed == self.total() {
                self.passed = 0;
            }
        }
    }

    /// Whether everything passed on so far were whole frames, and none has begun.
    pub const fn is_between_frames(&self) -> bool {
        self.passed == 0 && !self.is_lost
    }

    fn total(&self) -> usize {
        usize::try_from(u32::from_be_bytes(self.length)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event_stream::EventMessage;

    #[test]
    fn length_that_no_frame_has_ends_all_knowledge() {
        let mut bounds = FrameBounds::default();
        assert!(bounds.is_between_frames());
        bounds.pass(&[0, 0, 0, 15]);
        bounds.pass(&[0; 11]);
        assert!(!bounds.is_between_frames());
    }

    proptest! {
        #[test]
        fn frame_ends_where_it_ends_however_it_is_cut(
            payloads in prop::collection::vec("[a-z]{0,40}", 1..5), cut in 1_usize..20,
        ) {
            let mut bounds = FrameBounds::default();
            for payload in payloads {
                let mut frame = Vec::new();
                EventMessage::event("a", payload).write(&mut frame).expect("the frame is small");
                let (last, before) = frame.split_last().expect("no frame is empty");
                for piece in before.chunks(cut) {
                    bounds.pass(piece);
                    prop_assert!(!bounds.is_between_frames());
                }
                bounds.pass(&[*last]);
                prop_assert!(bounds.is_between_frames());
            }
        }
    }
}
