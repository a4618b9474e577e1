//! An answer's body in pieces with their lengths, so that its end carries how it ended.
//!
//! A reset of the stream could carry it too, but QUIC drops what was sent before a reset and was not
//! read yet: the last bytes of a stream that breaks would be lost. So the end is a piece of length
//! zero and a code: 0 for a clean end, else one of `frame::reset`. A stream that ends without it has
//! broken off.
//!
//! ```text
//! [length: u32 LE > 0][that many bytes] ... [0: u32][code: u32 LE]
//! ```
//!
//! Bound: a length allocates nothing; pieces are passed on as they come in.

use bytes::{Buf, Bytes};

/// Length of a prefix and of the final code.
const WORD: usize = 4;

/// The code of a clean end.
pub(super) const CLEAN: u32 = 0;

/// What goes before `piece`, which must not be empty.
pub(super) fn prefix(piece: &Bytes) -> Bytes {
    let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
    Bytes::copy_from_slice(&length.to_le_bytes())
}

/// What ends a body.
pub(super) fn end(code: u32) -> Bytes {
    let mut end = [0; 2 * WORD];
    end[WORD..].copy_from_slice(&code.to_le_bytes());
    Bytes::copy_from_slice(&end)
}

/// Takes a body apart again.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    input: Bytes,
    word: [u8; WORD],
    word_length: usize,
    piece_left: usize,
    is_ending: bool,
}

/// What was found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Some of a piece.
    Data(Bytes),
    /// The end, with its code.
    End(u32),
    /// Nothing: more input is needed.
    Nothing,
}

impl Unframer {
    /// Takes the next input; what came before must have been taken out.
    pub(super) fn feed(&mut self, input: Bytes) {
        debug_assert!(self.input.is_empty(), "the input before was taken out");
        self.input = input;
    }

    /// What comes next in the input.
    pub(super) fn next(&mut self) -> Found {
        loop {
            if self.piece_left > 0 {
                let length = self.piece_left.min(self.input.len());
                if length == 0 {
                    return Found::Nothing;
                }
                self.piece_left -= length;
                return Found::Data(self.input.split_to(length));
            }
            let Some(word) = self.take_word() else {
                return Found::Nothing;
            };
            if self.is_ending {
                return Found::End(word);
            }
            self.is_ending = word == 0;
            self.piece_left = word as usize;
        }
    }

    /// The next four bytes as a number, once all of them are here.
    fn take_word(&mut self) -> Option<u32> {
        let length = (WORD - self.word_length).min(self.input.len());
        self.input
            .copy_to_slice(&mut self.word[self.word_length..self.word_length + length]);
        self.word_length += length;
        if self.word_length < WORD {
            return None;
        }
        self.word_length = 0;
        Some(u32::from_le_bytes(self.word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes of a body of `pieces` that ends with `code`.
    fn framed(pieces: &[Vec<u8>], code: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces {
            let piece = Bytes::copy_from_slice(piece);
            bytes.extend_from_slice(&prefix(&piece));
            bytes.extend_from_slice(&piece);
        }
        bytes.extend_from_slice(&end(code));
        bytes
    }

    /// What is found when `bytes` come in pieces of `step`.
    fn unframed(bytes: &[u8], step: usize) -> (Vec<u8>, Option<u32>) {
        let mut unframer = Unframer::default();
        let mut data = Vec::new();
        for input in bytes.chunks(step) {
            unframer.feed(Bytes::copy_from_slice(input));
            loop {
                match unframer.next() {
                    Found::Data(piece) => data.extend_from_slice(&piece),
                    Found::End(code) => return (data, Some(code)),
                    Found::Nothing => break,
                }
            }
        }
        (data, None)
    }

    #[test]
    fn body_without_its_end_has_none() {
        let bytes = framed(&[b"hello".to_vec()], CLEAN);
        assert_eq!(
            unframed(&bytes[..bytes.len() - 1], 100),
            (b"hello".to_vec(), None)
        );
        assert_eq!(unframed(&bytes, 100), (b"hello".to_vec(), Some(CLEAN)));
    }

    proptest! {
        #[test]
        fn body_comes_out_as_it_went_in_however_it_is_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10),
            code in any::<u32>(),
            step in 1usize..64,
        ) {
            let (data, found) = unframed(&framed(&pieces, code), step);
            prop_assert_eq!(data, pieces.concat());
            prop_assert_eq!(found, Some(code));
        }
    }
}
