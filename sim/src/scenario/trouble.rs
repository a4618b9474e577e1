//! How upstreams misbehave, and which, as checked.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::outcome::{ErrorWords, Finding};

/// Which upstreams a fault affects: all that match each field.
#[derive(Clone, Debug)]
pub(crate) struct Which {
    pub(crate) nodes: Vec<bool>,
    pub(crate) upstream: Option<UpstreamName>,
    pub(crate) provider: Option<String>,
    /// Only where they are asked for this model.
    pub(crate) model: Option<ModelName>,
}

/// How an upstream misbehaves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum UpstreamFault {
    /// It refuses connections.
    Down,
    /// It accepts requests and never answers.
    Hangs,
    /// It pauses within its answers and resumes them when the fault is over.
    Pauses,
    /// It is slower by this factor, and answers: a gray failure.
    Slow(f64),
    /// This share of its answers is 500.
    Errors(f64),
    /// It accepts this many requests per second and answers 429 to the rest.
    Limits(f64),
    /// This share of its answers is an error of another kind, which shows in free probes too if `in_probes`.
    Answers {
        share: f64,
        answer: ErrorAnswer,
        in_probes: bool,
    },
    /// This share of its answers breaks off.
    Breaks(f64),
}

/// An answer that is not what was asked for: its status, and a body with an error's code.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ErrorAnswer {
    pub(crate) status: u16,
    /// The `code` of its body; `None` is a body without any words.
    pub(crate) code: Option<Arc<str>>,
    pub(crate) retry_after: Option<Duration>,
}

impl ErrorAnswer {
    pub(crate) fn new(status: u16, code: &str) -> Self {
        Self {
            status,
            code: Some(code.into()),
            retry_after: None,
        }
    }

    /// What its status and its words show to whoever reads all of it.
    pub(crate) fn finding(&self, names_identity: bool) -> Finding {
        let words = ErrorWords {
            code: self.code.as_deref().unwrap_or_default(),
            ..ErrorWords::default()
        };
        match self.status {
            200..=299 => Finding::of_hidden_error(None, words),
            status => Finding::of_error(status, words, names_identity),
        }
    }
}
