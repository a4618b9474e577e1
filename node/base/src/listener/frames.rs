//! Follows the frames of one direction of an HTTP/2 connection (RFC 9113, 4.1): enough to see a head that
//! arrives in parts, and an answer that progresses.
//!
//! Payloads are skipped unread. Nothing is validated: HTTP/2 itself refuses a broken frame.

/// Length, type, flags, stream.
const HEADER_BYTES: usize = 9;

/// What a client sends first, before any frame (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where in the frames one direction is.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    /// How much of `header` is there.
    known: usize,
    /// Remaining bytes of the payload.
    payload: usize,
    block: Block,
}

/// Where in the fields of a request a direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    /// In none.
    #[default]
    None,
    /// In the last frame of one.
    Last,
    /// In a frame after which another must follow.
    Open,
}

impl Frames {
    /// What a server sends.
    pub(super) fn of_a_server() -> Self {
        Self::default()
    }

    /// What a client sends.
    pub(super) fn of_a_client() -> Self {
        Self {
            payload: PREFACE.len(),
            ..Self::default()
        }
    }

    /// Follows `bytes`. Whether a part of an answer or of a request was among them.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_data = false;
        while !bytes.is_empty() {
            if self.payload > 0 {
                let passed = self.payload.min(bytes.len());
                self.payload -= passed;
                bytes = &bytes[passed..];
                has_data |= self.header[3] == DATA && self.known == HEADER_BYTES;
            } else {
                let taken = (HEADER_BYTES - self.known).min(bytes.len());
                self.header[self.known..][..taken].copy_from_slice(&bytes[..taken]);
                self.known += taken;
                bytes = &bytes[taken..];
                if self.known < HEADER_BYTES {
                    break;
                }
                self.begin();
            }
            if self.payload == 0 {
                self.end();
            }
        }
        has_data
    }

    /// Whether the fields of a request have begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.block != Block::None
    }

    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if kind == HEADERS || kind == CONTINUATION {
            self.block = match flags & END_HEADERS {
                0 => Block::Open,
                _ => Block::Last,
            };
        }
    }

    fn end(&mut self) {
        self.known = 0;
        if self.block == Block::Last {
            self.block = Block::None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("short").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(frame.len() + payload, 0);
        frame
    }

    /// A client that has sent its preface and its settings.
    fn client() -> Frames {
        let mut frames = Frames::of_a_client();
        frames.follow(PREFACE);
        frames.follow(&frame(4, 0, 6));
        assert!(!frames.is_in_head());
        frames
    }

    #[test]
    fn head_is_seen_from_its_first_frame_to_the_last_byte_of_its_last() {
        let mut frames = client();
        frames.follow(&frame(HEADERS, 0, 5));
        assert!(frames.is_in_head(), "a continuation must follow");
        let last = frame(CONTINUATION, END_HEADERS, 5);
        frames.follow(&last[..last.len() - 1]);
        assert!(frames.is_in_head(), "a byte is missing");
        frames.follow(&last[last.len() - 1..]);
        assert!(!frames.is_in_head());
    }

    #[test]
    fn whole_head_and_other_frames_are_no_partial_head() {
        let mut frames = client();
        for whole in [
            frame(HEADERS, END_HEADERS, 40),
            frame(HEADERS, END_HEADERS, 0),
            frame(6, 0, 8),
            frame(DATA, 1, 100),
        ] {
            frames.follow(&whole);
            assert!(!frames.is_in_head(), "{whole:?}");
        }
    }

    #[test]
    fn data_is_distinguished_from_everything_else() {
        let mut frames = Frames::of_a_server();
        assert!(!frames.follow(&frame(4, 0, 6)));
        assert!(!frames.follow(&frame(6, 1, 8)));
        assert!(!frames.follow(&frame(HEADERS, END_HEADERS, 9)));
        let data = frame(DATA, 0, 100);
        assert!(frames.follow(&data[..50]));
        assert!(frames.follow(&data[50..]));
    }

    proptest! {
        #[test]
        fn pieces_are_followed_as_the_whole_is(
            kinds in prop::collection::vec((0_u8..12, any::<u8>(), 0_usize..60), 1..12),
            piece in 1_usize..40,
        ) {
            let bytes: Vec<u8> = kinds
                .into_iter()
                .flat_map(|(kind, flags, payload)| frame(kind, flags, payload))
                .collect();
            let (mut whole, mut parts) = (client(), client());
            let mut had_data = false;
            for part in bytes.chunks(piece) {
                had_data |= parts.follow(part);
            }
            prop_assert_eq!(whole.follow(&bytes), had_data);
            prop_assert_eq!(whole.is_in_head(), parts.is_in_head());
        }

        #[test]
        fn any_bytes_are_followed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            Frames::of_a_client().follow(&bytes);
            Frames::of_a_server().follow(&bytes);
        }
    }
}
