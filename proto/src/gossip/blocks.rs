//! Streams of blocks, each compressed or not.

use zstd::bulk::{Decompressor, compress_to_buffer};

use super::reader::Reader;
use super::{
    BLOCK_BYTES_MAX, CONTENT_BYTES_FREE, CONTENT_BYTES_MAX, CONTENT_RATIO_MAX, MessageError,
};

const END: u8 = 0;
const COMPRESSED: u8 = 1;
const PLAIN: u8 = 2;

/// Blocks of one stream: as many as hold [`CONTENT_BYTES_MAX`].
const BLOCKS_MAX: usize = CONTENT_BYTES_MAX / BLOCK_BYTES_MAX;

/// Zstandard's default.
const LEVEL: i32 = 0;

/// Reads a stream up to its end. Costs at most [`CONTENT_BYTES_MAX`] of memory, whatever it contains: a block
/// goes into a buffer of its limit, however many frames it has and whatever sizes these announce.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Vec<u8>, MessageError> {
    let mut content = Vec::new();
    let mut decompressor = None;
    let mut buffer = Vec::new();
    let longest = CONTENT_BYTES_FREE + CONTENT_RATIO_MAX * reader.length();
    let longest = longest.min(CONTENT_BYTES_MAX);
    for _ in 0..=BLOCKS_MAX {
        if content.len() > longest {
            return Err(MessageError::TooMuch);
        }
        let kind = reader.byte()?;
        if kind == END {
            return Ok(content);
        }
        let length = usize::from(reader.short()?);
        let block = reader.bytes(length)?;
        match kind {
            PLAIN if block.len() <= BLOCK_BYTES_MAX => content.extend_from_slice(block),
            COMPRESSED => {
                let decompressor = match &mut decompressor {
                    Some(decompressor) => decompressor,
                    None => decompressor
                        .insert(Decompressor::new().map_err(|_| MessageError::Compression)?),
                };
                buffer.resize(BLOCK_BYTES_MAX, 0);
                let decompressed = decompressor.decompress_to_buffer(block, &mut buffer[..]);
                let length = decompressed.map_err(|_| MessageError::Compression)?;
                content.extend_from_slice(&buffer[..length]);
            }
            PLAIN => return Err(MessageError::Compression),
            _ => return Err(MessageError::Kind),
        }
    }
    Err(MessageError::TooMuch)
}

/// Writes `content` as a stream, compressed where that is shorter and asked for.
pub(super) fn write(content: &[u8], compresses: bool, to: &mut Vec<u8>) {
    let mut buffer = Vec::new();
    for block in content.chunks(BLOCK_BYTES_MAX) {
        buffer.resize(block.len(), 0);
        let compressed = if compresses {
            compress_to_buffer(block, &mut buffer[..], LEVEL).ok()
        } else {
            None
        };
        let (kind, bytes) = match compressed {
            Some(length) => (COMPRESSED, &buffer[..length]),
            None => (PLAIN, block),
        };
        to.push(kind);
        let length = u16::try_from(bytes.len()).expect("a block has at most 16,384 bytes");
        to.extend(length.to_le_bytes());
        to.extend(bytes);
    }
    to.push(END);
}
