//! How far a request is: its attempts, and what it reports.

use std::collections::VecDeque;
use std::time::Duration;

use super::{AttemptId, EndedAttempt, Request, RequestReport};
use crate::Instant;
use crate::route::Choice;

impl Request {
    /// The reports for the engine since the last call, in order.
    #[must_use]
    pub fn reports(&mut self) -> Vec<RequestReport> {
        std::mem::take(&mut self.reports)
    }

    /// Attempts that another plan may have; at least 1.
    pub fn attempts_left(&self) -> u32 {
        let max = self.attempts_max();
        max.saturating_sub(self.attempts()).max(1)
    }

    /// Attempts begun so far, with those that found no room.
    pub fn attempts(&self) -> u32 {
        let ended = u32::try_from(self.ended.len()).unwrap_or(u32::MAX);
        let in_flight = u32::from(self.in_flight.is_some()) + u32::from(self.beside().is_some());
        ended.saturating_add(in_flight)
    }

    /// The attempt whose answer is kept for when nothing better comes.
    pub const fn held(&self) -> Option<AttemptId> {
        self.held
    }

    /// When the attempt in flight began; of two, the one that things happened to last.
    pub fn began_at(&self) -> Option<Instant> {
        Some(self.in_flight.as_ref()?.call.began_at())
    }

    /// The attempt in flight; of two, the one that things happened to last.
    pub fn in_flight(&self) -> Option<AttemptId> {
        Some(self.in_flight.as_ref()?.id)
    }

    /// Attempts that are over, in the order in which they began.
    pub fn ended(&self) -> &[EndedAttempt] {
        &self.ended
    }

    /// From the start of the attempt with the last answer to the first byte of it; zero where none came.
    pub const fn first_byte(&self) -> Duration {
        self.first_byte
    }

    /// Hands over the attempts that are over and the rest of the plan, for the record. Of a request that goes no further.
    pub fn take_history(&mut self) -> (Vec<EndedAttempt>, VecDeque<Choice>) {
        (
            std::mem::take(&mut self.ended),
            std::mem::take(&mut self.plan),
        )
    }
}
