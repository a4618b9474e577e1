//! Writes frames.

use super::{
    CRC_BYTES, EventMessage, EventMessageKind, FRAME_BYTES_MAX, FrameError, HEADER_BYTES_MAX,
    PRELUDE_BYTES, headers,
};

pub(super) fn write(message: &EventMessage, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let mut fields = Vec::new();
    match &message.kind {
        EventMessageKind::Event(name) => {
            headers::write(":event-type", name, &mut fields)?;
            headers::write(":content-type", "application/json", &mut fields)?;
            headers::write(":message-type", "event", &mut fields)?;
        }
        EventMessageKind::Exception(name) => {
            headers::write(":exception-type", name, &mut fields)?;
            headers::write(":content-type", "application/json", &mut fields)?;
            headers::write(":message-type", "exception", &mut fields)?;
        }
        EventMessageKind::Error { code, message } => {
            headers::write(":error-code", code, &mut fields)?;
            headers::write(":error-message", message, &mut fields)?;
            headers::write(":message-type", "error", &mut fields)?;
        }
    }
    let total = PRELUDE_BYTES + fields.len() + message.payload.len() + CRC_BYTES;
    if fields.len() > HEADER_BYTES_MAX || total > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge);
    }
    let start = out.len();
    out.extend_from_slice(&length(total)?);
    out.extend_from_slice(&length(fields.len())?);
    let prelude = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&prelude.to_be_bytes());
    out.extend_from_slice(&fields);
    out.extend_from_slice(&message.payload);
    let whole = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&whole.to_be_bytes());
    Ok(())
}

fn length(bytes: usize) -> Result<[u8; 4], FrameError> {
    let bytes = u32::try_from(bytes).map_err(|_| FrameError::TooLarge)?;
    Ok(bytes.to_be_bytes())
}
