//! An answer piece by piece.
//!
//! A frame is what one event of the upstream's stream says. Parts are numbered within their choice in the order of
//! their appearance; a dialect that has no numbers for them is given some by its reader.

use serde_json::Value;

use super::answer::{HubAnswer, Stop, TokenUsage};
use super::error::ReportedError;
use super::part::Part;
use crate::rest::Rest;

/// What one event of a stream says.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamFrame {
    /// In order.
    pub events: Vec<StreamEvent>,
    /// What else the event said.
    pub rest: Rest,
}

/// One thing that happens in a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// The answer begins: all of it that is known, with no content yet.
    Start(Box<HubAnswer>),
    /// What a dialect says about a choice beside its parts, kept for that dialect alone.
    Choice {
        /// Which choice.
        choice: u64,
        /// What else the choice said.
        rest: Rest,
        /// What else its turn said.
        turn: Rest,
    },
    /// A part begins, with as much of it as has come.
    PartStart {
        /// Which choice.
        choice: u64,
        /// Which part of it.
        index: usize,
        /// The part so far.
        part: Box<Part>,
    },
    /// A part goes on.
    PartDelta {
        /// Which choice.
        choice: u64,
        /// Which part of it.
        index: usize,
        /// What comes next.
        delta: PartDelta,
        /// What else the event said about it.
        rest: Rest,
    },
    /// A part is complete. A dialect that does not say so leaves it to the choice's end.
    PartStop {
        /// Which choice.
        choice: u64,
        /// Which part of it.
        index: usize,
    },
    /// Log probabilities of the tokens in this frame.
    Logprobs {
        /// Which choice.
        choice: u64,
        /// As they came.
        value: Value,
    },
    /// A choice ends.
    Stop {
        /// Which choice.
        choice: u64,
        /// Why.
        stop: Stop,
    },
    /// What the answer has cost so far. It may come before and after the end of the choices.
    Usage(Box<TokenUsage>),
    /// The answer fails.
    Error(Box<ReportedError>),
    /// The stream is complete.
    End,
    /// Nothing; the upstream is alive.
    Ping,
    /// An event that the hub does not model.
    Unknown {
        /// Its name.
        name: Option<String>,
        /// As it came.
        value: Value,
    },
}

/// What comes next of a part.
#[derive(Clone, Debug, PartialEq)]
pub enum PartDelta {
    /// Words.
    Text(String),
    /// Words of a refusal.
    Refusal(String),
    /// Words of a thought.
    Thinking(String),
    /// A piece of a thought's signature.
    Signature(String),
    /// The id of a tool call that began without one.
    ToolId(String),
    /// A piece of a tool's name.
    ToolName(String),
    /// A piece of a tool's input.
    ToolInput(String),
    /// One that the hub does not model, such as a citation, as it came.
    Unknown(Value),
}

impl StreamFrame {
    /// A frame with nothing beyond its events.
    pub const fn new(events: Vec<StreamEvent>, rest: Rest) -> Self {
        Self { events, rest }
    }
}
