//! The first piece of an answer, and an answer that is kept until it is whole.
//!
//! What came is kept in the pieces in which it came, and joined only where there are several: an answer in one piece is
//! given as it is.

use std::collections::VecDeque;
use std::pin::pin;

use bytes::Bytes;
use grapevine_base::coarse;
use grapevine_base::exchange::{Answer, AnswerBody, CallFailure, CallLocal, CallPeer, is_stream};
use grapevine_base::headers::content_length;
use grapevine_base::peeked::Peeked;
use grapevine_base::shown;
use grapevine_core::forwarding::PathScope;
use grapevine_core::outcome::Finding;
use grapevine_core::request::{Action, AttemptEvent, AttemptId, REST_BYTES_MAX};
use http::Method;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::{Begun, Driver, failed};
use crate::ingress::due::first_frame;
use crate::ingress::following::Following;

impl<L: CallLocal, P: CallPeer> Driver<'_, L, P> {
    /// What the first frame of a body is: none of an answer, all there is to wait for, or a piece of an answer that may be
    /// awaited whole.
    pub(super) fn first_came(
        &self,
        begun: &Begun<'_>,
        first: Option<&Frame<Bytes>>,
    ) -> AttemptEvent {
        let answer = &begun.answer;
        let finding = self.is_none(answer, first);
        let is_judged = finding.is_some();
        let whole = AttemptEvent::FirstByte { finding };
        if is_judged
            || answer.body.is_end_stream()
            || is_stream(self.track.path(), self.request.head.stream)
            || *self.track.method() == Method::HEAD
        {
            return whole;
        }
        let data = first.and_then(Frame::data_ref);
        let length = content_length(&answer.headers);
        match data.map(|data| data.len() as u64) {
            Some(bytes) if length != Some(bytes) && Following::of(&answer.headers).is_none() => {
                AttemptEvent::FirstPiece { bytes, length }
            }
            _ => whole,
        }
    }

    /// What the first frame shows where it is none of an answer.
    fn is_none(&self, answer: &Answer, first: Option<&Frame<Bytes>>) -> Option<Finding> {
        let is_judged =
            self.track.scope() == PathScope::Inference && *self.track.method() != Method::HEAD;
        let data = first.map(|frame| frame.data_ref().map_or(&[][..], |data| data));
        is_judged
            .then(|| shown::by_first_piece(answer.status, &answer.headers, data))
            .flatten()
    }

    /// Waits for the rest of an answer.
    pub(super) async fn await_rest(
        &mut self,
        attempt: AttemptId,
        until: grapevine_core::Instant,
    ) -> Option<Action> {
        let mut begun = self.take(attempt)?;
        let until = self.context.driver.clock().timer(until);
        if let Err(failure) = begun.gather(until).await {
            // Its call is over before another begins.
            drop(begun);
            return self.track.on(attempt, failed(failure));
        }
        let came = AttemptEvent::FirstByte { finding: None };
        let action = self.track.on(attempt, came);
        self.keep(begun);
        action
    }
}

impl Begun<'_> {
    /// Waits for the first frame of its body; `None` where that is empty.
    pub(super) async fn first_frame(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Frame<Bytes>>, CallFailure> {
        let framed = first_frame(&self.choice, &mut self.answer, deadline);
        match &mut self.overdue {
            Some(overdue) => overdue.during(pin!(framed)).await,
            None => framed.await,
        }
    }

    /// Reads the body until it is whole, too long, or the time is over.
    ///
    /// # Errors
    /// Where it broke.
    pub(super) async fn gather(&mut self, until: Instant) -> Result<(), CallFailure> {
        let Some(Some(first)) = self.first.take() else {
            return Ok(());
        };
        // An answer is whole where it has the announced length, also if its body does not say that it ends.
        let announced = content_length(&self.answer.headers);
        let mut came = length(&first);
        let mut frames = VecDeque::from([first]);
        let is_whole = loop {
            let next = pin!(self.answer.body.frame());
            let Some(next) = coarse::timeout_at(until, next).await else {
                break false;
            };
            let Some(frame) = next.transpose()? else {
                break true;
            };
            // Trailers come after all data.
            came += length(&frame);
            let is_last = frame.is_trailers() || came > REST_BYTES_MAX;
            frames.push_back(frame);
            if is_last {
                break false;
            }
            if self.answer.body.is_end_stream() || announced == Some(came) {
                break true;
            }
        };
        if is_whole {
            self.answer.body = AnswerBody::default();
            self.first = Some(Some(Frame::data(joined(frames))));
            return Ok(());
        }
        self.first = Some(frames.pop_front());
        let rest = std::mem::take(&mut self.answer.body);
        self.answer.body = AnswerBody::new(Peeked {
            frames,
            failure: None,
            rest: Some(rest),
        });
        Ok(())
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, Bytes::len) as u64
}

fn joined(frames: VecDeque<Frame<Bytes>>) -> Bytes {
    let data = frames
        .into_iter()
        .filter_map(|frame| frame.into_data().ok());
    let pieces: Vec<Bytes> = data.filter(|piece| !piece.is_empty()).collect();
    match &*pieces {
        [piece] => piece.clone(),
        pieces => Bytes::from(pieces.concat()),
    }
}
