//! The reader of answers without a connection, for fuzzers. The program itself does not use it.

use bytes::BytesMut;

use super::body::Rest;
use super::head::HeadReader;

/// What an upstream's bytes are read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// Its status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, as far as it came.
    pub body: Vec<u8>,
    /// Whether the body is over; `None` where it ends with the connection.
    pub is_whole: Option<bool>,
}

/// The first answer in what arrives in `pieces`; `None` where there is none, or its head is not whole.
///
/// # Errors
/// It is refused: what is wrong with it.
pub fn answer<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<ReadAnswer>, String> {
    let (mut incoming, mut reader) = (BytesMut::new(), HeadReader::default());
    let mut read: Option<(ReadAnswer, Rest)> = None;
    for piece in pieces {
        incoming.extend_from_slice(piece);
        if read.is_none() {
            let Some(head) = reader.take(&mut incoming).map_err(shown)? else {
                continue;
            };
            let headers = head.headers.iter();
            let answer = ReadAnswer {
                status: head.status.as_u16(),
                headers: headers
                    .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                    .collect(),
                body: Vec::new(),
                is_whole: Some(false),
            };
            read = Some((answer, Rest::of(head.framing().map_err(shown)?)));
        }
        if let Some((answer, rest)) = &mut read {
            while let Some(frame) = rest.take(&mut incoming).map_err(shown)? {
                answer.body.extend(frame.into_data().unwrap_or_default());
            }
            answer.is_whole = match rest {
                Rest::Close => None,
                rest => Some(matches!(rest, Rest::Over)),
            };
        }
    }
    Ok(read.map(|(answer, _)| answer))
}

fn shown(error: impl ToString) -> String {
    error.to_string()
}
