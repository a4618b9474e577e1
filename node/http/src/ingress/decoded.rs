//! A body for background work that was sent encoded, decoded as its reader asks for more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grapevine_base::bodies::Charge;
use grapevine_base::coding::Decoder;
use grapevine_base::exchange::RequestBodyError;
use http_body::{Body, Frame};

/// Decodes `body` piece by piece; each is charged until it is dropped. What all of it may be is for its reader to limit.
pub(super) struct Decoded<B> {
    /// `None` once it ended or failed.
    body: Option<B>,
    decoder: Decoder,
    /// The sender's account; nothing is charged to this handle.
    charge: Charge,
}

impl<B> Decoded<B> {
    pub(super) fn new(body: B, decoder: Decoder, charge: Charge) -> Self {
        Self {
            body: Some(body),
            decoder,
            charge,
        }
    }

    /// The next piece of what arrived already.
    fn step(&mut self) -> Result<Option<Bytes>, RequestBodyError> {
        let Some(piece) = self.decoder.step()? else {
            return Ok(None);
        };
        let mut charge = self.charge.beside();
        charge.add(piece.len()).map_err(RequestBodyError::NoRoom)?;
        Ok(Some(charge.on(Bytes::copy_from_slice(piece))))
    }
}

impl<B> Decoded<B>
where
    B: Body<Data = Bytes, Error = RequestBodyError> + Unpin,
{
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, RequestBodyError>> {
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
                    self.decoder.finish()?;
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
    B: Body<Data = Bytes, Error = RequestBodyError> + Unpin,
{
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
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
    use grapevine_base::coding::{Coding, CodingError};
    use grapevine_core::share::ShareExceeded;
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
        let whole = Decoded::new(body, decoder, charge).collect().await;
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
