//! What a model answers.

use serde_json::Value;

use super::error::ReportedError;
use super::request::{Role, Turn};
use crate::dialect::Dialect;
use crate::rest::Rest;

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HubAnswer {
    /// The answer's id.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// When, in seconds since 1970.
    pub created: Option<u64>,
    /// The answers; more than one only where the client asked for several.
    pub choices: Vec<AnswerChoice>,
    /// Which class of service it had.
    pub service_tier: Option<String>,
    /// What it cost.
    pub usage: Option<TokenUsage>,
    /// Why it failed: an upstream may say so in an answer, under a status of success.
    pub failure: Option<Box<ReportedError>>,
    /// What else its dialect said.
    pub rest: Rest,
}

/// One of the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerChoice {
    /// Which.
    pub index: u64,
    /// What it says.
    pub turn: Turn,
    /// Why it ends; nothing while it has not ended.
    pub stop: Option<Stop>,
    /// The log probabilities of its tokens.
    pub logprobs: Option<Value>,
    /// What else its dialect said.
    pub rest: Rest,
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The reason.
    pub reason: StopReason,
    /// The text that ended it.
    pub sequence: Option<String>,
    /// The reason in the words of the dialect that it came in.
    pub word: String,
    /// That dialect.
    pub from: Dialect,
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model has said what it had to say.
    End,
    /// It reached the number of tokens that the client allows.
    MaxTokens,
    /// It filled the model's context.
    ContextFull,
    /// It came to one of the client's stop sequences.
    StopSequence,
    /// It calls tools.
    ToolCalls,
    /// The model does not want to.
    Refusal,
    /// A filter stopped it.
    ContentFilter,
    /// The provider pauses a long turn; the client sends the answer back to go on.
    Pause,
    /// One that the hub does not know.
    Other,
}

/// What an answer cost, in tokens. A field is nothing where the provider does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenUsage {
    /// The prompt's, whether they were cached or not.
    pub input: Option<u64>,
    /// Those of the prompt that came from a cache.
    pub cache_read: Option<u64>,
    /// Those of the prompt that went into a cache.
    pub cache_write: Option<u64>,
    /// The answer's, thinking included.
    pub output: Option<u64>,
    /// Those of the answer that were thought.
    pub reasoning: Option<u64>,
    /// What else its dialect said.
    pub rest: Rest,
}

impl HubAnswer {
    /// An answer that says nothing yet.
    pub const fn new(rest: Rest) -> Self {
        Self {
            id: None,
            model: None,
            created: None,
            choices: Vec::new(),
            service_tier: None,
            usage: None,
            failure: None,
            rest,
        }
    }
}

impl AnswerChoice {
    /// A choice that says nothing yet.
    pub fn new(index: u64, from: Dialect) -> Self {
        let turn = Turn {
            role: Role::Assistant,
            parts: Vec::new(),
            rest: Rest::new(from, ""),
        };
        Self {
            index,
            turn,
            stop: None,
            logprobs: None,
            rest: Rest::new(from, ""),
        }
    }
}

impl Stop {
    /// A reason in the words of `from`.
    pub fn new(reason: StopReason, word: impl Into<String>, from: Dialect) -> Self {
        Self {
            reason,
            sequence: None,
            word: word.into(),
            from,
        }
    }
}

impl TokenUsage {
    /// Nothing said yet.
    pub const fn new(rest: Rest) -> Self {
        Self {
            input: None,
            cache_read: None,
            cache_write: None,
            output: None,
            reasoning: None,
            rest,
        }
    }

    /// The tokens of the input that came from a cache or went into one.
    pub fn cached(&self) -> u64 {
        let read = self.cache_read.unwrap_or(0);
        read.saturating_add(self.cache_write.unwrap_or(0))
    }

    /// Adds a later report of the same answer to what is known: what it says replaces what was said before.
    pub fn add_to(self, known: &mut Option<Self>) {
        match known {
            Some(usage) => usage.update(self),
            None => *known = Some(self),
        }
    }

    fn update(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.output = later.output.or(self.output);
        self.reasoning = later.reasoning.or(self.reasoning);
        self.rest.update(later.rest);
    }
}
