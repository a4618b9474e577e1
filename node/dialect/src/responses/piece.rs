//! Parts of a response that come in pieces, and what has come of them.

use serde_json::Value;

use super::{DIALECT, answer};
use crate::hub::stream::{PartDelta, StreamEvent};
use crate::rest::Rest;

/// The one choice of a response.
pub(super) const CHOICE: u64 = 0;

/// A part that comes in pieces.
pub(super) struct Piece {
    /// The part's number.
    pub(super) index: usize,
    /// How many bytes of it have come.
    pub(super) length: usize,
    /// Of how many tokens the log probabilities have come.
    pub(super) tokens: usize,
    is_open: bool,
    kind: fn(String) -> PartDelta,
}

impl Piece {
    /// A part of which nothing has come; `kind` says what its pieces are.
    pub(super) const fn new(index: usize, kind: fn(String) -> PartDelta) -> Self {
        Self {
            index,
            length: 0,
            tokens: 0,
            is_open: true,
            kind,
        }
    }

    /// It goes on.
    pub(super) fn extend(&mut self, more: String, events: &mut Vec<StreamEvent>) {
        self.length += more.len();
        let delta = (self.kind)(more);
        events.push(delta_event(self.index, delta));
    }

    /// Says what has not come yet of the whole.
    pub(super) fn complete(&mut self, whole: &str, events: &mut Vec<StreamEvent>) {
        match whole.get(self.length..) {
            Some(more) if !more.is_empty() => self.extend(more.to_string(), events),
            _ => {}
        }
    }

    /// Says the log probabilities of its tokens.
    pub(super) fn judge(&mut self, tokens: Vec<Value>, events: &mut Vec<StreamEvent>) {
        self.tokens += tokens.len();
        if let Some(value) = answer::hub_logprobs(tokens) {
            let choice = CHOICE;
            events.push(StreamEvent::Logprobs { choice, value });
        }
    }

    /// It is complete.
    pub(super) fn stop(&mut self, events: &mut Vec<StreamEvent>) {
        if std::mem::take(&mut self.is_open) {
            events.push(StreamEvent::PartStop {
                choice: CHOICE,
                index: self.index,
            });
        }
    }
}

/// A part goes on.
pub(super) fn delta_event(index: usize, delta: PartDelta) -> StreamEvent {
    StreamEvent::PartDelta {
        choice: CHOICE,
        index,
        delta,
        rest: Rest::new(DIALECT, "delta"),
    }
}
