//! A body that was sent encoded, decoded as its reader asks for more: a client's for background work, or an upstream's
//! answer to a request of this node's own.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grapevine_base::bodies::Charge;
use grapevine_base::coding::{CodingError, Decoder};
use grapevine_base::exchange::{CallFailure, RequestBodyError};
use grapevine_core::outcome::Outcome;
use grapevine_core::share::ShareExceeded;
use http_body::{Body, Frame};

/// Decodes `body` piece by piece. What all of it may be is for its reader to limit.
pub(super) struct Decoded<B> {
    /// `None` once it ended or failed.
    body: Option<B>,
    decoder: Decoder,
    /// The sender's account, with nothing on it, where each piece is charged until it is dropped.
    charge: Option<Charge>,
}

/// Why a piece cannot be passed on.
#[derive(Debug)]
pub(super) enum DecodedError {
    Coding(CodingError),
    NoRoom(ShareExceeded),
}

impl From<CodingError> for DecodedError {
    fn from(error: CodingError) -> Self {
        Self::Coding(error)
    }
}

impl From<DecodedError> for RequestBodyError {
    fn from(error: DecodedError) -> Self {
        match error {
            DecodedError::Coding(error) => Self::Coding(error),
            DecodedError::NoRoom(over) => Self::NoRoom(over),
        }
    }
}

/// Of an answer: what cannot be decoded is as good as broken off.
impl From<DecodedError> for CallFailure {
    fn from(error: DecodedError) -> Self {
        let why = match error {
            DecodedError::Coding(error) => error.to_string(),
            DecodedError::NoRoom(_) => "no memory is left for it".to_owned(),
        };
        Self::new(Outcome::BrokenOff, why)
    }
}

impl<B> Decoded<B> {
    pub(super) fn new(body: B, decoder: Decoder, charge: Option<Charge>) -> Self {
        Self {
            body: Some(body),
            decoder,
            charge,
        }
    }

    /// The next piece of what arrived already.
    fn step(&mut self) -> Result<Option<Bytes>, DecodedError> {
        let Some(piece) = self.decoder.step()? else {
            return Ok(None);
        };
        let copy = Bytes::copy_from_slice(piece);
        let Some(account) = &self.charge else {
            return Ok(Some(copy));
        };
        let mut charge = account.beside();
        charge.add(copy.len()).map_err(DecodedError::NoRoom)?;
        Ok(Some(charge.on(copy)))
    }
}

impl<B> Decoded<B>
where
    B: Body<Data = Bytes, Error: From<DecodedError>> + Unpin,
{
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, B::Error>> {
        loop {
            if let Some(piece) = self.step()? {
                return Poll::Ready(Ok(Some(piece)));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(None));
            };
            match ready!(Pin::new(body).poll_frame(context)?) {
                None => {
                    self.body = None;
                    self.decoder.finish().map_err(DecodedError::Coding)?;
                }
                // Trailers are about the encoded body.
                Some(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        self.decoder.feed(piece);
                    }
                }
            }
        }
    }
}

impl<B> Body for Decoded<B>
where
    B: Body<Data = Bytes, Error: From<DecodedError>> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.body.is_none() {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(context));
        if piece.is_err() {
            self.body = None;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)).transpose())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use grapevine_base::bodies::{BodyBudget, BodySender};
    use grapevine_base::coding::Coding;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// `{"custom_id":"a"}` with a line end, 10,000 times, as gzip.
    fn lines() -> (Vec<u8>, Vec<u8>) {
        let text = b"{\"custom_id\":\"a\"}\n".repeat(10_000);
        let encoded = stored(&text);
        (text, encoded)
    }

    /// gzip without compression.
    fn stored(text: &[u8]) -> Vec<u8> {
        let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let mut blocks = text.chunks(60_000).peekable();
        while let Some(block) = blocks.next() {
            let length = u16::try_from(block.len()).expect("a short block");
            body.push(u8::from(blocks.peek().is_none()));
            body.extend(length.to_le_bytes());
            body.extend((!length).to_le_bytes());
            body.extend(block);
        }
        body.extend(crc32(text).to_le_bytes());
        body.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
        body
    }

    fn crc32(text: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        };
        !text.iter().fold(!0, step)
    }

    async fn collected(encoded: &[u8], budget: &BodyBudget) -> Result<Bytes, RequestBodyError> {
        let pieces: Vec<_> = encoded
            .chunks(1_000)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = StreamBody::new(stream::iter(pieces));
        let decoder = Decoder::new(Coding::Gzip)?;
        let charge = budget.account(BodySender::Key("app"));
        let whole = Decoded::new(body, decoder, Some(charge)).collect().await;
        whole.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn encoded_file_is_received_as_it_was() {
        let (text, encoded) = lines();
        let budget = BodyBudget::new(1 << 20);
        assert!(collected(&encoded, &budget).await.as_deref() == Ok(&text));
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn file_that_breaks_off_or_finds_no_room_is_refused() {
        let (_, encoded) = lines();
        let budget = BodyBudget::new(1 << 20);
        let broken = collected(&encoded[..encoded.len() - 1], &budget).await;
        assert_eq!(
            broken,
            Err(RequestBodyError::Coding(CodingError::Truncated))
        );
        let budget = BodyBudget::new(100_000);
        let refused = collected(&encoded, &budget).await;
        assert_eq!(refused, Err(RequestBodyError::NoRoom(ShareExceeded::Share)));
        assert_eq!(budget.held(), 0);
    }
}
