//! The frames that a node sends by itself, as a server sends them: unmasked (RFC 6455, 5.1).

use bytes::Bytes;

/// The longest reason beside a code.
const REASON_BYTES_MAX: usize = 123;

/// Why a node closes a WebSocket (RFC 6455, 7.4.1, and IANA's registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// 1000: both sides are done.
    Normal,
    /// 1001: nobody needs it any more.
    GoingAway,
    /// 1002: what came is no frame.
    Protocol,
    /// 1003: a kind of message that is not taken.
    Unsupported,
    /// 1008: what was sent is not allowed.
    Policy,
    /// 1009: a message is longer than it may be.
    TooBig,
    /// 1011: it cannot go on, such as where the upstream, or the way to it, broke. There is 1014 for that (bad gateway), which
    /// libraries take for a breach of the protocol.
    Failed,
    /// 1012: the node restarts; connect again.
    Restart,
    /// 1013: connect again later.
    TryLater,
}

impl CloseCode {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Failed => 1011,
            Self::Restart => 1012,
            Self::TryLater => 1013,
        }
    }
}

/// A Close frame; a longer `reason` is cut.
pub fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let payload = [&code.number().to_be_bytes()[..], reason.as_bytes()].concat();
    frame(0x88, &payload)
}

/// A text in one frame.
pub fn text_frame(text: &str) -> Bytes {
    frame(0x81, text.as_bytes())
}

/// The answer to a ping of `payload`, of which no more than a ping can carry is sent.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(0x8a, &payload[..payload.len().min(125)])
}

fn frame(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(long)) => {
            frame.push(126);
            frame.extend_from_slice(&long.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::super::frames::{FramePart, FrameReader, Opcode};
    use super::*;

    #[test]
    fn own_frames_are_whole_at_every_length() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let frame = text_frame(&"a".repeat(length));
            let (taken, part) = FrameReader::default().next(&frame).expect("a frame");
            let Some(FramePart::Head(head)) = part else {
                panic!("no head: {part:?}");
            };
            assert_eq!((head.opcode, head.length), (Opcode::Text, length as u64));
            assert_eq!(frame.len() - taken, length);
        }
    }

    #[test]
    fn reason_of_a_close_is_cut_between_characters() {
        let frame = close_frame(CloseCode::Restart, &"ä".repeat(100));
        assert_eq!(&frame[..4], [0x88, 124, 0x03, 0xf4]);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
