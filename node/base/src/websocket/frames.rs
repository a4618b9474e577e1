//! Reads the heads of WebSocket frames (RFC 6455, 5.2) as bytes pass, and keeps none of them.
//!
//! A tunnel passes what each side sends as it is. It must know only where one frame ends and the next begins: a frame of its own
//! may stand there and nowhere else.
//!
//! Invariant: no input panics, and what is held is one head, [`HEAD_BYTES_MAX`] bytes.

/// The longest head: two bytes, a length of eight, a mask of four.
pub const HEAD_BYTES_MAX: usize = 14;

/// The longest payload of a control frame.
pub const CONTROL_BYTES_MAX: u64 = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before.
    Continuation,
    /// The beginning of a text.
    Text,
    /// The beginning of a binary message.
    Binary,
    /// The last frame of its sender.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or says that its sender is there.
    Pong,
}

impl Opcode {
    const fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it stands between the frames of a message and is none of them.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Whether it is the last of its message.
    pub is_final: bool,
    /// Whether an extension that was agreed upon changed it, such as by compression.
    pub is_extended: bool,
    /// What it is.
    pub opcode: Opcode,
    /// What its payload is masked with; a client's always is.
    pub mask: Option<[u8; 4]>,
    /// Bytes of its payload.
    pub length: u64,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// The code is one of those that mean nothing yet.
    #[error("a frame has a reserved opcode")]
    Opcode,
    /// A control frame in parts, or one that is too long.
    #[error("a control frame is in parts, or longer than 125 bytes")]
    Control,
    /// The length has more than 63 bits, or is not written as short as it can be.
    #[error("a frame's length is not written as it must be")]
    Length,
}

/// What comes next in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePart {
    /// A head came to its end.
    Head(FrameHead),
    /// The last bytes that were taken are so much of a payload.
    Payload(usize),
}

/// Finds frames in the bytes of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameReader {
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of the head that came so far.
    filled: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl FrameReader {
    /// Before the first frame.
    pub const fn new() -> Self {
        Self {
            head: [0; HEAD_BYTES_MAX],
            filled: 0,
            left: 0,
        }
    }

    /// Whether one frame has ended and no other has begun.
    pub const fn is_between(&self) -> bool {
        self.filled == 0 && self.left == 0
    }

    /// Takes the next part from the beginning of `bytes`. Returns how many bytes it took, and what they are; `None` where a head
    /// is not whole yet, which takes all of them.
    ///
    /// # Errors
    /// They are no frame; nothing that follows can be read.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Option<FramePart>), FrameFault> {
        if self.left > 0 {
            let here = usize::try_from(self.left).unwrap_or(usize::MAX);
            let taken = here.min(bytes.len());
            self.left -= taken as u64;
            return Ok((taken, (taken > 0).then_some(FramePart::Payload(taken))));
        }
        let mut taken = 0;
        loop {
            let needed = self.needed();
            if self.filled == needed {
                let head = parse(&self.head[..needed])?;
                self.filled = 0;
                self.left = head.length;
                return Ok((taken, Some(FramePart::Head(head))));
            }
            let count = (needed - self.filled).min(bytes.len() - taken);
            if count == 0 {
                return Ok((taken, None));
            }
            self.head[self.filled..self.filled + count]
                .copy_from_slice(&bytes[taken..taken + count]);
            self.filled += count;
            taken += count;
        }
    }

    /// How long the head is, as far as what came of it says.
    const fn needed(&self) -> usize {
        if self.filled < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }
}

/// Reads a whole head.
fn parse(head: &[u8]) -> Result<FrameHead, FrameFault> {
    let opcode = Opcode::of(head[0] & 0xf).ok_or(FrameFault::Opcode)?;
    let is_final = head[0] & 0x80 != 0;
    let (short, rest) = (u64::from(head[1] & 0x7f), &head[2..]);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (length, least, rest) = match short {
        126 => (number(&rest[..2]), 126, &rest[2..]),
        127 => (number(&rest[..8]), 1 << 16, &rest[8..]),
        short => (short, 0, rest),
    };
    if length < least || length >> 63 != 0 {
        return Err(FrameFault::Length);
    }
    if opcode.is_control() && (!is_final || length > CONTROL_BYTES_MAX) {
        return Err(FrameFault::Control);
    }
    Ok(FrameHead {
        is_final,
        is_extended: head[0] & 0x70 != 0,
        opcode,
        mask: rest.try_into().ok(),
        length,
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A frame as a peer writes it.
    fn frame(opcode: u8, is_final: bool, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
        match payload.len() {
            short @ 0..=125 => bytes.push(masked | short as u8),
            long @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&(long as u16).to_be_bytes());
            }
            longest => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(longest as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The heads in `pieces`, and the offsets at which one frame has ended and no other begun.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<FrameHead>, Vec<usize>), FrameFault> {
        let mut reader = FrameReader::default();
        let (mut heads, mut ends, mut offset, mut payload) = (Vec::new(), Vec::new(), 0, 0);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (taken, part) = reader.next(rest)?;
                rest = &rest[taken..];
                offset += taken;
                match part {
                    Some(FramePart::Head(head)) => heads.push(head),
                    Some(FramePart::Payload(count)) => payload += count as u64,
                    None => assert!(rest.is_empty()),
                }
                if reader.is_between() {
                    ends.push(offset);
                }
            }
        }
        assert!(payload <= heads.iter().map(|head| head.length).sum());
        Ok((heads, ends))
    }

    #[test]
    fn heads_that_break_the_rules_are_refused() {
        for (bytes, error) in [
            (&[0x83, 0][..], FrameFault::Opcode),
            (&[0x8f, 0], FrameFault::Opcode),
            (&[0x09, 0], FrameFault::Control),
            (&[0x88, 126, 0, 126], FrameFault::Control),
            (&[0x81, 126, 0, 125], FrameFault::Length),
            (
                &[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                FrameFault::Length,
            ),
            (&[0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameFault::Length),
        ] {
            assert_eq!(read(&[bytes]), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn longest_payload_of_each_form_of_length_is_followed() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000, 0x1_0001] {
            let bytes = frame(2, true, None, &vec![7; length]);
            let (heads, ends) = read(&[&bytes]).expect("a frame");
            assert_eq!((heads[0].length, ends), (length as u64, vec![bytes.len()]));
        }
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_the_bytes_are_cut(
            frames in vec(
                (0_usize..4, any::<bool>(), any::<Option<[u8; 4]>>(), vec(any::<u8>(), 0..300)), 1..8),
            cuts in vec(1_usize..40, 1..40),
        ) {
            let opcodes = [0, 1, 2, 9];
            let (mut bytes, mut ends, mut sent) = (Vec::new(), Vec::new(), Vec::new());
            for (kind, is_final, mask, payload) in &frames {
                let opcode = opcodes[*kind];
                let is_control = opcode == 9;
                let payload = if is_control { &payload[..payload.len().min(125)] } else { payload };
                bytes.extend(frame(opcode, *is_final || is_control, *mask, payload));
                ends.push(bytes.len());
                sent.push((*mask, payload.len() as u64));
            }
            let (mut pieces, mut rest, mut cut) = (Vec::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let here = (*cut.next().expect("endless")).min(rest.len());
                let (piece, others) = rest.split_at(here);
                pieces.push(piece);
                rest = others;
            }
            let (heads, found) = read(&pieces).expect("frames");
            let heads: Vec<_> = heads.iter().map(|head| (head.mask, head.length)).collect();
            prop_assert_eq!(heads, sent);
            prop_assert_eq!(found, ends);
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = read(&[&bytes]);
        }
    }
}
