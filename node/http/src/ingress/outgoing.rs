//! An answer, streamed to the client piece by piece as the upstream sends it.
//!
//! After the first byte there is no failover: a stream of events that breaks ends with an error event in the
//! API's own shape, and then the connection is broken off. It never ends cleanly, which the SDKs take for
//! success.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::answer_headers::AnswerHeaders;
use grapevine_base::exchange::{AnswerBody, CallFailure};
use grapevine_base::head_lines::HeadLines;
use grapevine_base::headers::content_length;
use grapevine_core::outcome::Outcome;
use http::header::{self, HeaderMap};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::broken::BrokenOff;
use super::cost;
use super::following::Following;
use super::problem::{Problem, Shape};
use super::sealed::Sealer;
use super::sse;
use super::track::Track;
use super::usage::Usage;
use super::usage_event::UsageEvents;

/// Between the error event and the end of the connection, so that the event is sent first.
const BREAK_DELAY: Duration = Duration::from_millis(20);

/// An answer as it begins.
#[derive(Debug)]
pub(super) enum Begun {
    /// The whole answer.
    Whole(Bytes),
    /// A stream.
    Flowing(Box<Outgoing>),
}

/// An upstream's answer as it arrives.
#[derive(Debug)]
pub(super) struct Outgoing {
    state: State,
    /// Remaining bytes, where the answer's head has a length. The client's connection does not poll after the last
    /// of them, so the end must be detected by counting.
    left: Option<u64>,
    ready: VecDeque<Bytes>,
    /// `None` unless the answer is a stream of events that can be read.
    events: Option<Following>,
    /// `None` unless the event of token counts is kept from the client.
    hidden: Option<UsageEvents>,
    /// `None` unless the answer holds ids that its upstream made.
    sealer: Option<Box<Sealer>>,
    usage: Usage,
    /// When the last piece went out.
    sent_at: Instant,
    /// `None` until the stream was silent for the first time.
    silence: Option<Pin<Box<Sleep>>>,
    track: Track,
}

#[derive(Debug)]
enum State {
    Flowing(AnswerBody),
    /// Trailers are all that is left.
    Trailing(HeaderMap),
    Parting(Pin<Box<Sleep>>),
    Over,
}

impl Outgoing {
    /// The answer's `body` after its `first` frame. Adjusts `headers` where the body may become longer than
    /// announced, and adds to its `lines` what it cost.
    pub(super) fn start(
        body: AnswerBody,
        first: Option<Frame<Bytes>>,
        (headers, lines): (&mut AnswerHeaders, &mut HeadLines),
        mut track: Track,
    ) -> Begun {
        let mut usage = Usage::of(track.path().path(), headers);
        let has_ended = first.is_none() || body.is_end_stream();
        let data = match first.map(Frame::into_data) {
            None => Bytes::new(),
            Some(Ok(data)) => data,
            Some(Err(_trailers)) => Bytes::new(),
        };
        let length = content_length(headers);
        headers.take(&header::CONTENT_LENGTH);
        let events = Following::of(headers);
        let is_text = events.as_ref().is_some_and(Following::is_text);
        let mut sealer = Sealer::of(
            &track.settings().seal_keys,
            track.owner(),
            track.path().path(),
            headers,
        );
        let mut hidden = (is_text && track.hides_usage()).then(UsageEvents::default);
        let is_whole = has_ended || length == Some(data.len() as u64);
        let is_longer =
            sealer.is_some() || (is_whole && hidden.is_some()) || (!is_whole && events.is_some());
        if let Some(length) = length.filter(|_| !is_longer) {
            lines.set_length(length);
        }
        if is_whole {
            usage.look(&data);
            track.set_tokens(usage.tokens());
            track.finish_answer();
            cost::mark(lines, track.recorded_cost());
            return Begun::Whole(match (&mut hidden, &mut sealer) {
                (None, None) => data,
                (None, Some(sealer)) => sealer.whole(data),
                (Some(hidden), _) => without_usage(hidden, &data),
            });
        }
        track.answer_goes_on();
        let mut outgoing = Self {
            state: State::Flowing(body),
            left: length.filter(|_| events.is_none()),
            ready: VecDeque::new(),
            events,
            hidden,
            sealer,
            usage,
            sent_at: Instant::now(),
            silence: None,
            track,
        };
        outgoing.take(data);
        Begun::Flowing(Box::new(outgoing))
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                self.sent_at = Instant::now();
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Trailing(trailers) => {
                    let trailers = std::mem::take(trailers);
                    self.end_well();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                State::Parting(until) => {
                    if until.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    self.state = State::Over;
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
                State::Flowing(body) => match Pin::new(body).poll_frame(context) {
                    Poll::Pending => return self.poll_silence(context),
                    Poll::Ready(Some(Ok(frame))) => self.take_frame(frame),
                    Poll::Ready(Some(Err(failure))) => self.break_off(failure),
                    Poll::Ready(None) => self.end_well(),
                },
            }
        }
    }

    fn take_frame(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.take(data),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.release();
                    self.state = State::Trailing(trailers);
                }
            }
        }
        if let State::Flowing(body) = &self.state
            && (body.is_end_stream() || self.left == Some(0))
        {
            self.end_well();
        }
    }

    fn take(&mut self, data: Bytes) {
        self.usage.look(&data);
        let form = self.events.as_ref().map(Following::form);
        if let Err(problem) = self.track.grow(form, &data, &self.usage) {
            return self.end_at_limit(&problem);
        }
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        let mut pass = |piece: Bytes| {
            if piece.is_empty() {
                return;
            }
            if let Some(events) = &mut self.events {
                events.pass(&piece);
            }
            self.ready.push_back(piece);
        };
        // Answers that hold ids are none of those whose counts are hidden.
        match (&mut self.hidden, &mut self.sealer) {
            (Some(hidden), _) => hidden.take(&data, pass),
            (None, Some(sealer)) => sealer.take(data, pass),
            (None, None) => pass(data),
        }
    }

    /// What was held, where that was not the event of token counts.
    fn release(&mut self) {
        let held = self.hidden.as_mut().map(UsageEvents::finish);
        let held = held.filter(|held| !held.is_empty());
        self.ready.extend(held);
    }

    fn end_well(&mut self) {
        self.release();
        self.state = State::Over;
        self.track.set_tokens(self.usage.tokens());
        self.track.finish_answer();
    }

    /// Ends the attempt, and soon the connection: what was sent before reaches the client first, and in a stream an
    /// error event.
    fn break_off(&mut self, failure: CallFailure) {
        let problem = Problem::failed(&failure.outcome);
        self.part(failure, &problem);
    }

    /// Nothing is wrong with the upstream: it sees a client that hangs up.
    fn end_at_limit(&mut self, problem: &Problem) {
        let failure = CallFailure::new(Outcome::Cancelled, problem.message.clone());
        self.part(failure, problem);
    }

    fn part(&mut self, failure: CallFailure, problem: &Problem) {
        self.track.set_tokens(self.usage.tokens());
        let event = self.events.as_ref().and_then(|events| {
            let shape = Shape::of(self.track.path().path());
            events.error(problem, shape, self.track.id())
        });
        self.track.finish_broken(failure, problem.code);
        self.ready.extend(event);
        self.state = State::Parting(Box::pin(tokio::time::sleep(BREAK_DELAY)));
    }

    /// A comment when the stream was silent for too long, and only between events.
    fn poll_silence(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if !self.events.as_ref().is_some_and(Following::is_text) {
            return Poll::Pending;
        }
        let interval = self.track.settings().ping_interval;
        let due = self.sent_at + interval;
        let timer = self
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= due {
                break;
            }
            timer.as_mut().reset(due);
        }
        if let Err(problem) = self.track.check_hold() {
            self.end_at_limit(&problem);
            return self.poll_frame(context);
        }
        self.sent_at = Instant::now();
        timer.as_mut().reset(self.sent_at + interval);
        if self.events.as_ref().is_some_and(Following::takes_comment) {
            return Poll::Ready(Some(Ok(Frame::data(sse::PING))));
        }
        // Within an event: the timer set anew has to be polled once to wake this task again.
        let _ = timer.as_mut().poll(context);
        Poll::Pending
    }
}

impl Drop for Outgoing {
    /// SDKs hang up at the last event, before the stream's own end: what was counted until then holds.
    fn drop(&mut self) {
        self.track.set_tokens(self.usage.tokens());
    }
}

/// A whole stream without the event of token counts.
fn without_usage(hidden: &mut UsageEvents, stream: &Bytes) -> Bytes {
    let mut pieces = Vec::new();
    hidden.take(stream, |piece| pieces.push(piece));
    pieces.push(hidden.finish());
    pieces.retain(|piece| !piece.is_empty());
    match &*pieces {
        [piece] => piece.clone(),
        pieces => Bytes::from(pieces.concat()),
    }
}
