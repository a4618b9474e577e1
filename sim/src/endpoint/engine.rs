//! A self-hosted engine: prompts take their time, a cache has read some of them before, and its metrics say what runs and
//! waits.
//!
//! The cache is of conversations, the least recently used goes first. All turns but the last are what it has of one; of
//! a conversation that it never saw it has the system prompt, where another one of the same group is in it.

use std::collections::VecDeque;
use std::time::Duration;

use grapevine_core::reported::{EngineMetrics, LoadReading, Prefill};
use grapevine_core::units::Share;

use super::Endpoint;
use crate::scenario::EngineSpec;

/// The share of a prompt that a conversation has said before.
const TURNS_PART: f64 = 0.9;

/// The share of a prompt that all conversations of a group begin with.
const SYSTEM_PART: f64 = 0.3;

/// Groups of conversations with one system prompt each.
const GROUPS: u64 = 10;

/// The prompt of a conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompt {
    pub(crate) session: u64,
    pub(crate) tokens: u64,
}

/// What an engine has read.
#[derive(Debug)]
pub(super) struct EngineState {
    spec: EngineSpec,
    /// Conversations in its cache, the latest first.
    recent: VecDeque<u64>,
    ended: u64,
    read: Prefill,
}

impl EngineState {
    pub(super) fn new(spec: EngineSpec) -> Self {
        Self {
            spec,
            recent: VecDeque::new(),
            ended: 0,
            read: Prefill::default(),
        }
    }

    /// Reads a prompt: how long that takes, and the tokens of it that were in the cache.
    pub(super) fn reads(&mut self, prompt: Prompt) -> (Duration, u64) {
        let known = self.recent.iter().position(|one| *one == prompt.session);
        let group = |session: u64| session % GROUPS;
        let part = match known {
            Some(_) => TURNS_PART,
            None if self
                .recent
                .iter()
                .any(|one| group(*one) == group(prompt.session)) =>
            {
                SYSTEM_PART
            }
            None => 0.0,
        };
        if let Some(known) = known {
            self.recent.remove(known);
        }
        self.recent.push_front(prompt.session);
        self.recent.truncate(self.spec.conversations);
        let cached = (prompt.tokens as f64 * part) as u64;
        let tokens = prompt.tokens - cached;
        let span = self.spec.prefill.mul_f64(tokens as f64 / 1_000.0);
        self.read.seconds += span.as_secs_f64();
        self.read.tokens += tokens;
        (span, cached)
    }

    pub(super) fn ends_one(&mut self) {
        self.ended += 1;
    }

    pub(super) fn metrics(&self, running: usize, waiting: usize, slots: usize) -> EngineMetrics {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        EngineMetrics {
            running: count(running),
            waiting: count(waiting),
            cache_usage: Some(Share::of(count(running), count(slots))),
            ended: Some(self.ended),
            prefill: Some(self.read),
        }
    }
}

impl Endpoint {
    /// What it reports of its load.
    pub(crate) fn load(&self) -> LoadReading {
        match &self.engine {
            _ if self.faults.is_down() => LoadReading::Failed,
            Some(engine) => {
                let (running, waiting) = (self.working.len(), self.line.len());
                LoadReading::Read(engine.metrics(running, waiting, self.capacity))
            }
            None => LoadReading::Absent,
        }
    }
}
