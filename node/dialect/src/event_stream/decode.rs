//! Reads frames out of bytes that are cut anywhere.

use super::{
    CRC_BYTES, EventMessage, EventMessageKind, FRAME_BYTES_MAX, FrameError, HEADER_BYTES_MAX,
    PRELUDE_BYTES, headers,
};

/// Cuts bytes into messages.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// What has come of one frame.
    held: Vec<u8>,
    failure: Option<FrameError>,
}

/// The lengths of a frame whose prelude has come and fits its checksum.
struct Prelude {
    total: usize,
    headers: usize,
}

impl FrameDecoder {
    /// Takes bytes, and appends each message that they complete.
    ///
    /// # Errors
    ///
    /// If a frame is malformed, too large or does not fit its checksum; everything after it is refused too. The
    /// messages before it are appended.
    pub fn push(
        &mut self,
        bytes: &[u8],
        messages: &mut Vec<EventMessage>,
    ) -> Result<(), FrameError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let pushed = self.read(bytes, messages);
        self.failure = pushed.err();
        pushed
    }

    /// Whether no frame has begun that has not ended.
    pub const fn is_between_frames(&self) -> bool {
        self.held.is_empty()
    }

    fn read(
        &mut self,
        mut bytes: &[u8],
        messages: &mut Vec<EventMessage>,
    ) -> Result<(), FrameError> {
        loop {
            if !self.fill(PRELUDE_BYTES, &mut bytes) {
                return Ok(());
            }
            let prelude = read_prelude(&self.held)?;
            if !self.fill(prelude.total, &mut bytes) {
                return Ok(());
            }
            let message = read_frame(&self.held, &prelude);
            self.held.clear();
            messages.extend(message?);
        }
    }

    // Holds `length` bytes of the frame, if so many have come.
    fn fill(&mut self, length: usize, bytes: &mut &[u8]) -> bool {
        let wanted = length.saturating_sub(self.held.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(wanted);
        self.held.extend_from_slice(taken);
        *bytes = rest;
        self.held.len() >= length
    }
}

fn read_prelude(frame: &[u8]) -> Result<Prelude, FrameError> {
    let (numbers, checksum) = (word(frame, 0)?, word(frame, 8)?);
    if crc32fast::hash(&frame[..PRELUDE_BYTES - CRC_BYTES]) != checksum {
        return Err(FrameError::Checksum);
    }
    let size = |number: u32| usize::try_from(number).map_err(|_| FrameError::TooLarge);
    let (total, headers) = (size(numbers)?, size(word(frame, 4)?)?);
    if total > FRAME_BYTES_MAX || headers > HEADER_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    if total < PRELUDE_BYTES + headers + CRC_BYTES {
        return Err(FrameError::Malformed);
    }
    Ok(Prelude { total, headers })
}

fn read_frame(frame: &[u8], prelude: &Prelude) -> Result<Option<EventMessage>, FrameError> {
    let end = prelude.total - CRC_BYTES;
    if crc32fast::hash(&frame[..end]) != word(frame, end)? {
        return Err(FrameError::Checksum);
    }
    let (fields, payload) = frame[PRELUDE_BYTES..end].split_at(prelude.headers);
    let fields = headers::read(fields)?;
    let find = |wanted: &str| fields.iter().find(|(name, _)| *name == wanted);
    let text = |wanted: &str| find(wanted).map(|(_, value)| (*value).to_string());
    let needed = |wanted: &str| text(wanted).ok_or(FrameError::Malformed);
    let kind = match find(":message-type").map(|(_, value)| *value) {
        Some("event") => EventMessageKind::Event(needed(":event-type")?),
        Some("exception") => EventMessageKind::Exception(needed(":exception-type")?),
        Some("error") => EventMessageKind::Error {
            code: text(":error-code").unwrap_or_default(),
            message: text(":error-message").unwrap_or_default(),
        },
        // A kind of a later version is nobody's answer.
        Some(_) => return Ok(None),
        None => return Err(FrameError::Malformed),
    };
    let payload = payload.to_vec();
    Ok(Some(EventMessage { kind, payload }))
}

fn word(frame: &[u8], start: usize) -> Result<u32, FrameError> {
    let bytes = frame.get(start..start + 4).ok_or(FrameError::Malformed)?;
    let bytes: [u8; 4] = bytes.try_into().map_err(|_| FrameError::Malformed)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(message: &EventMessage) -> Vec<u8> {
        let mut out = Vec::new();
        message.write(&mut out).unwrap();
        out
    }

    fn decoded(pieces: &[&[u8]]) -> (Vec<EventMessage>, Option<FrameError>) {
        let mut decoder = FrameDecoder::default();
        let mut messages = Vec::new();
        for piece in pieces {
            if let Err(error) = decoder.push(piece, &mut messages) {
                return (messages, Some(error));
            }
        }
        (messages, None)
    }

    fn message() -> impl Strategy<Value = EventMessage> {
        let kind = prop_oneof![
            "[a-zA-Z]{0,20}".prop_map(EventMessageKind::Event),
            "\\PC{0,20}".prop_map(EventMessageKind::Exception),
            ("\\PC{0,20}", "\\PC{0,20}")
                .prop_map(|(code, message)| EventMessageKind::Error { code, message }),
        ];
        let payload = prop::collection::vec(any::<u8>(), 0..80);
        (kind, payload).prop_map(|(kind, payload)| EventMessage { kind, payload })
    }

    #[test]
    fn frame_has_the_bytes_that_the_format_says() {
        // The example of Amazon's description: no headers and no payload say nothing, so a reader refuses it.
        let nothing = [
            0, 0, 0, 16, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
        ];
        assert_eq!(decoded(&[&nothing]).1, Some(FrameError::Malformed));
        let bytes = frame(&EventMessage::event("a", "{}"));
        assert_eq!(&bytes[..8], [0, 0, 0, 89, 0, 0, 0, 71]);
        assert_eq!(&bytes[12..29], b"\x0b:event-type\x07\0\x01a\x0d");
        assert_eq!(&bytes[83..85], b"{}");
    }

    #[test]
    fn lengths_are_refused_before_anything_is_held() {
        for (total, headers, expected) in [
            (u32::MAX, 0, FrameError::TooLarge),
            (1 << 20, 1 << 19, FrameError::TooLarge),
            (15, 0, FrameError::Malformed),
            (16, 1, FrameError::Malformed),
        ] {
            let mut prelude = Vec::new();
            prelude.extend_from_slice(&u32::to_be_bytes(total));
            prelude.extend_from_slice(&u32::to_be_bytes(headers));
            prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
            assert_eq!(decoded(&[&prelude]).1, Some(expected));
        }
    }

    #[test]
    fn nothing_is_read_after_a_failure() {
        let mut bytes = frame(&EventMessage::event("a", "{}"));
        bytes[0] = 1;
        let mut decoder = FrameDecoder::default();
        let mut messages = Vec::new();
        assert!(decoder.push(&bytes, &mut messages).is_err());
        let whole = frame(&EventMessage::event("a", "{}"));
        assert_eq!(
            decoder.push(&whole, &mut messages),
            Err(FrameError::Checksum)
        );
        assert!(messages.is_empty());
    }

    proptest! {
        #[test]
        fn messages_come_back_wherever_they_are_cut(
            messages in prop::collection::vec(message(), 1..4),
            cuts in prop::collection::vec(0.0..1.0_f64, 0..6),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(frame).collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| (cut * bytes.len() as f64) as usize).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decoded(&pieces), (messages, None));
        }

        #[test]
        fn flipped_bit_is_noticed(message in message(), place in 0.0..1.0_f64) {
            let mut bytes = frame(&message);
            let bit = (place * (bytes.len() * 8) as f64) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (read, error) = decoded(&[&bytes]);
            prop_assert_eq!((read.len(), error), (0, Some(FrameError::Checksum)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decoded(&[&bytes]);
        }

        #[test]
        fn any_headers_are_read_or_refused(fields in prop::collection::vec(any::<u8>(), 0..60)) {
            let total = u32::try_from(PRELUDE_BYTES + fields.len() + CRC_BYTES).unwrap();
            let mut bytes = total.to_be_bytes().to_vec();
            bytes.extend_from_slice(&u32::try_from(fields.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            bytes.extend_from_slice(&fields);
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            let (read, error) = decoded(&[&bytes]);
            prop_assert!(read.is_empty() || error.is_none());
        }
    }
}
