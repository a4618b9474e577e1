//! An encoded body; its first byte selects the coding.

use bytes::Bytes;
use grapevine_node::coding::{Coding, CodingError, Decoder, PIECE_BYTES_MAX};

/// What is decoded here, so that an input that decodes to much takes no time.
const BYTES_MAX: usize = 1 << 20;

/// However the body is cut into pieces, it decodes to the same or not at all.
pub(crate) fn target(bytes: &[u8]) {
    let Some((select, body)) = bytes.split_first() else {
        return;
    };
    let coding = match select % 4 {
        0 => Coding::Gzip,
        1 => Coding::Deflate,
        2 => Coding::Brotli,
        _ => Coding::Zstd,
    };
    let whole = decoded(coding, body, body.len().max(1));
    let parts = decoded(coding, body, 7);
    match (&whole, &parts) {
        (Ok(whole), Ok(parts)) => assert!(whole == parts, "two readings"),
        (Err(_), Err(_)) => {}
        // The library compares a frame with the length that it announces only where it has all of it at once.
        (Err(_), Ok(_)) | (Ok(_), Err(_)) if coding == Coding::Zstd => {}
        // What is decoded before an error may differ, and so whether the limit or the error comes first.
        (Err(CodingError::TooLarge { .. }), _) | (_, Err(CodingError::TooLarge { .. })) => {}
        _ => panic!("{whole:?} in one piece, {parts:?} in several"),
    }
}

fn decoded(coding: Coding, body: &[u8], length: usize) -> Result<Vec<u8>, CodingError> {
    let mut decoder = Decoder::new(coding)?;
    let mut whole = Vec::new();
    for piece in body.chunks(length) {
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(piece) = decoder.step()? {
            assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX);
            whole.extend_from_slice(piece);
            if whole.len() > BYTES_MAX {
                return Err(CodingError::TooLarge { max: BYTES_MAX });
            }
        }
    }
    decoder.finish()?;
    Ok(whole)
}
