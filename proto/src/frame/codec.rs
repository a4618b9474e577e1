//! The one file that knows the codec's limits, and how a payload is framed.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};

use super::{DecodeError, EncodeError, HEAD_BYTES_MAX, LENGTH_BYTES, VERSION};

/// The codec counts decoded width (eight bytes for each length), so its limit lies above the frame's.
const DECODED_BYTES_MAX: usize = HEAD_BYTES_MAX + 32 * 1_024;

/// Room for most frames, so that they are not moved while they are written.
const EXPECTED_BYTES: usize = 1_024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> =
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>();

/// Writes version and `body` behind their length.
///
/// # Errors
/// When the payload would be longer than `max`.
pub(super) fn framed(
    body: &impl Encode,
    field: &'static str,
    max: usize,
) -> Result<Vec<u8>, EncodeError> {
    let mut start = Vec::with_capacity(EXPECTED_BYTES);
    start.resize(LENGTH_BYTES, 0);
    let mut frame = payload_after(start, body);
    let length = frame.len() - LENGTH_BYTES;
    match u32::try_from(length) {
        Ok(prefix) if length <= max => frame[..LENGTH_BYTES].copy_from_slice(&prefix.to_le_bytes()),
        _ => return Err(EncodeError::TooLong { field, max }),
    }
    Ok(frame)
}

/// Writes version and `body` behind what `start` holds.
pub(super) fn payload_after(mut start: Vec<u8>, body: &impl Encode) -> Vec<u8> {
    bincode::encode_into_std_write((VERSION, body), &mut start, CONFIG)
        .expect("writing plain data into memory does not fail");
    start
}

/// Reads the version and then the body, all of `payload` and nothing beyond.
///
/// # Errors
/// On another version, before anything else is looked at, and on what the codec would not write.
pub(super) fn read<'a, T: BorrowDecode<'a, ()>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    let (theirs, used) = bincode::borrow_decode_from_slice::<u16, _>(payload, CONFIG)
        .map_err(|_| DecodeError::Malformed)?;
    if theirs != VERSION {
        return Err(DecodeError::Version {
            theirs,
            ours: VERSION,
        });
    }
    let body = payload.get(used..).ok_or(DecodeError::Malformed)?;
    let (value, consumed) =
        bincode::borrow_decode_from_slice(body, CONFIG).map_err(|_| DecodeError::Malformed)?;
    if consumed != body.len() {
        return Err(DecodeError::Malformed);
    }
    Ok(value)
}
