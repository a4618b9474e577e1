//! What is sent for one answer, decided as a list of steps, and the response body that plays it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::engine::RunningRequest;
use super::knobs::Knobs;
use super::stats::Ticket;

/// An answer before any fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// One JSON document in parts, so that padding is shared instead of copied.
    Json(Vec<Bytes>),
    /// An event stream.
    Stream(Stream),
}

/// An event stream in the three phases that the faults distinguish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stream {
    /// Events before the first text.
    pub(super) opening: Bytes,
    /// One event per piece of text.
    pub(super) chunks: Vec<Bytes>,
    /// Events that carry the end of the answer.
    pub(super) closing: Bytes,
}

impl Stream {
    /// The stream under `stream_error_after_chunks`: so many chunks, and then `failure` in place of the end.
    pub(super) fn failing(mut self, chunks: u32, failure: Bytes) -> Self {
        self.chunks.truncate(chunks as usize);
        self.closing = failure;
        self
    }
}

/// One step of a response body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScriptStep {
    Send(Bytes),
    Wait(Duration),
    /// Break the connection without a clean end.
    Break,
}

/// The steps that send `answer` under the faults set in `knobs`.
pub(super) fn script(answer: Answer, knobs: &Knobs) -> Vec<ScriptStep> {
    match answer {
        Answer::Json(parts) => match knobs.cut_after_chunks {
            None => parts.into_iter().map(ScriptStep::Send).collect(),
            Some(0) => vec![ScriptStep::Break],
            Some(_) => half(parts),
        },
        Answer::Stream(stream) => stream_script(stream, knobs),
    }
}

fn stream_script(stream: Stream, knobs: &Knobs) -> Vec<ScriptStep> {
    let limit = knobs.cut_after_chunks.or(knobs.clean_end_after_chunks);
    let kept = limit.map_or(stream.chunks.len(), |limit| {
        stream.chunks.len().min(limit as usize)
    });
    let middle = stream.chunks.len() / 2;
    let mut steps = Vec::with_capacity(2 * kept + 2);
    if limit != Some(0) && !stream.opening.is_empty() {
        steps.push(ScriptStep::Send(stream.opening));
    }
    for (i, chunk) in stream.chunks.into_iter().take(kept).enumerate() {
        let mut wait = Duration::ZERO;
        if i > 0 {
            wait += knobs.chunk_interval;
        }
        if i == middle {
            wait += knobs.slow_chunk;
        }
        if !wait.is_zero() {
            steps.push(ScriptStep::Wait(wait));
        }
        steps.push(ScriptStep::Send(chunk));
    }
    if knobs.cut_after_chunks.is_some() {
        steps.push(ScriptStep::Break);
    } else if knobs.clean_end_after_chunks.is_none() {
        steps.push(ScriptStep::Send(stream.closing));
    }
    steps
}

fn half(parts: Vec<Bytes>) -> Vec<ScriptStep> {
    let total: usize = parts.iter().map(Bytes::len).sum();
    let mut left = total / 2;
    let mut steps = Vec::with_capacity(parts.len() + 1);
    for mut part in parts {
        part.truncate(left);
        left -= part.len();
        if !part.is_empty() {
            steps.push(ScriptStep::Send(part));
        }
    }
    steps.push(ScriptStep::Break);
    steps
}

/// The connection is broken on purpose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Broken {}

/// Plays a script. Holds the request's ticket, so that a client that goes away in the middle is counted.
pub(super) struct ScriptBody {
    steps: std::vec::IntoIter<ScriptStep>,
    sleep: Option<Pin<Box<Sleep>>>,
    break_next: bool,
    ticket: Option<Ticket>,
    running: Option<RunningRequest>,
}

impl ScriptBody {
    pub(super) fn new(
        steps: Vec<ScriptStep>,
        ticket: Option<Ticket>,
        running: Option<RunningRequest>,
    ) -> Self {
        let mut body = Self {
            steps: steps.into_iter(),
            sleep: None,
            break_next: false,
            ticket,
            running,
        };
        body.complete_at_end();
        body
    }

    /// At the last step, not at the poll after it: hyper does not poll again once it has every byte.
    fn complete_at_end(&mut self) {
        if self.steps.len() == 0
            && !self.break_next
            && let Some(ticket) = self.ticket.take()
        {
            ticket.complete();
            self.running = None;
        }
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                std::task::ready!(sleep.as_mut().poll(context));
                self.sleep = None;
            }
            if self.break_next {
                if let Some(ticket) = self.ticket.take() {
                    ticket.break_off();
                }
                return Poll::Ready(Some(Err(Broken)));
            }
            match self.steps.next() {
                None => return Poll::Ready(None),
                Some(ScriptStep::Send(bytes)) => {
                    self.complete_at_end();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(ScriptStep::Wait(time)) => {
                    self.sleep = Some(Box::pin(tokio::time::sleep(time)));
                }
                Some(ScriptStep::Break) => {
                    // hyper flushes when a body is pending and forgets what it holds when a body fails: let it flush.
                    self.break_next = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.get_mut()
            .poll_step(context)
            .map(|step| step.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.steps.len() == 0 && self.sleep.is_none() && !self.break_next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Answer {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        Answer::Stream(Stream {
            opening: bytes("<"),
            chunks: vec![bytes("a"), bytes("b"), bytes("c"), bytes("d")],
            closing: bytes(">"),
        })
    }

    fn outline(knobs: &Knobs, answer: Answer) -> String {
        script(answer, knobs)
            .into_iter()
            .map(|step| match step {
                ScriptStep::Send(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                ScriptStep::Wait(time) => format!("({})", time.as_millis()),
                ScriptStep::Break => "!".to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_stream_without_faults_is_sent_whole_and_unpaced() {
        assert_eq!(outline(&Knobs::default(), stream()), "<abcd>");
    }

    #[test]
    fn the_interval_lies_between_chunks_and_the_slow_chunk_in_the_middle() {
        let knobs = Knobs {
            chunk_interval: Duration::from_millis(10),
            slow_chunk: Duration::from_millis(500),
            ..Knobs::default()
        };
        assert_eq!(outline(&knobs, stream()), "<a(10)b(510)c(10)d>");
    }

    #[test]
    fn a_cut_breaks_after_so_many_chunks() {
        for (after, expected) in [(0, "!"), (1, "<a!"), (4, "<abcd!"), (9, "<abcd!")] {
            let knobs = Knobs {
                cut_after_chunks: Some(after),
                ..Knobs::default()
            };
            assert_eq!(outline(&knobs, stream()), expected);
        }
    }

    #[test]
    fn a_clean_early_end_leaves_the_closing_events_out() {
        for (after, expected) in [(0, ""), (2, "<ab"), (9, "<abcd")] {
            let knobs = Knobs {
                clean_end_after_chunks: Some(after),
                ..Knobs::default()
            };
            assert_eq!(outline(&knobs, stream()), expected);
        }
    }

    #[test]
    fn a_cut_json_answer_breaks_at_half_of_its_bytes() {
        let knobs = Knobs {
            cut_after_chunks: Some(3),
            ..Knobs::default()
        };
        let parts = |texts: [&'static str; 3]| Answer::Json(texts.map(Bytes::from).to_vec());
        assert_eq!(outline(&knobs, parts(["{12", "345", "67}"])), "{123!");
        assert_eq!(outline(&knobs, parts(["{123456}", "", ""])), "{123!");
    }
}
