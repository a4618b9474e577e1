//! Finds a client's Close frame as its bytes pass.

use grapevine_base::websocket::frames::{FramePart, FrameReader, Opcode};

/// Follows the frames of one direction.
#[derive(Debug)]
pub(super) struct CloseWatch {
    reader: FrameReader,
    /// Whether the frame that is arriving is a Close frame.
    is_close: bool,
    /// Where frames are cannot be known any more.
    is_lost: bool,
}

impl CloseWatch {
    pub(super) const fn new() -> Self {
        Self {
            reader: FrameReader::new(),
            is_close: false,
            is_lost: false,
        }
    }

    /// Whether a Close frame is whole with these bytes.
    pub(super) fn came(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.is_lost {
            let Ok((taken, part)) = self.reader.next(bytes) else {
                self.is_lost = true;
                return false;
            };
            bytes = &bytes[taken..];
            if let Some(FramePart::Head(head)) = part {
                self.is_close = head.opcode == Opcode::Close;
            }
            if self.is_close && self.reader.is_between() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frame_is_found_once_it_is_whole_and_not_in_a_payload() {
        let text = [0x81, 0x84, 0, 0, 0, 0, 0x88, 0x80, 0, 0];
        let close = [0x88, 0x82, 1, 2, 3, 4, 2, 0xea];
        let mut watch = CloseWatch::new();
        assert!(!watch.came(&text));
        for byte in &close[..7] {
            assert!(!watch.came(&[*byte]));
        }
        assert!(watch.came(&close[7..]));
        let mut lost = CloseWatch::new();
        assert!(!lost.came(&[0x83, 0]) && !lost.came(&close));
    }
}
