//! The reader of requests without a connection, for fuzzers. The program itself does not use it.

use bytes::BytesMut;

use super::head::{Framing, HeadReader};
use super::upload::{Next, Rest};
use crate::http1::ChunkDecoder;

/// What a client's bytes are read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Its method.
    pub method: String,
    /// Its target, as it stands in the head.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, as far as it arrived.
    pub body: Vec<u8>,
    /// Whether the body is over.
    pub is_whole: bool,
}

/// The requests in what arrives in `pieces`, and the status with which the one after them is refused, if it is; 400
/// stands for a body that breaks.
pub fn requests<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    (count_max, bytes_max): (usize, usize),
) -> (Vec<ReadRequest>, Option<u16>) {
    let (mut incoming, mut reader) = (BytesMut::new(), HeadReader::default());
    let mut read = Vec::new();
    let mut rest: Option<Rest> = None;
    for piece in pieces {
        incoming.extend_from_slice(piece);
        loop {
            let Some(body) = &mut rest else {
                let head = match reader.take(&mut incoming, count_max, bytes_max) {
                    Ok(Some(head)) => head,
                    Ok(None) => break,
                    Err(refused) => return (read, Some(refused.0.as_u16())),
                };
                let headers = head.request.headers().iter();
                read.push(ReadRequest {
                    method: head.request.method().to_string(),
                    target: head.request.uri().to_string(),
                    headers: headers
                        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                        .collect(),
                    body: Vec::new(),
                    is_whole: false,
                });
                rest = Some(match head.framing {
                    Framing::Length(length) => Rest::Length(length),
                    Framing::Chunked => Rest::Chunked(ChunkDecoder::default()),
                });
                continue;
            };
            let Some(request) = read.last_mut() else {
                break;
            };
            match body.next(&mut incoming) {
                Ok(Next::Data(data)) => request.body.extend_from_slice(&data),
                Ok(Next::End) => {
                    request.is_whole = true;
                    rest = None;
                }
                Ok(Next::Unfinished) => break,
                Err(_) => return (read, Some(400)),
            }
        }
    }
    (read, None)
}
