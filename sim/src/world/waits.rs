//! Waits of requests that are over: of a pause, for a first byte, of everything.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::request::{AttemptEvent, Request};

use super::{World, WorldEvent};

/// How often the product's driver looks whether a long wait is in vain.
const LOOKS_AROUND_EVERY: Duration = Duration::from_secs(1);

impl World {
    /// One of a request's waits is over.
    pub(super) fn wait_is_over(&mut self, wait: &WorldEvent) {
        match *wait {
            WorldEvent::Awaits { call } => self.awaits(call),
            WorldEvent::Resumes { request, attempts } => self.resumes(request, attempts),
            WorldEvent::LooksAround { attempt } => self.looks_around(attempt),
            WorldEvent::Deadline { request } => self.deadline(request),
            WorldEvent::LoadRead {
                node,
                incarnation,
                ref report,
            } => self.load_read(node, incarnation, report),
            WorldEvent::Unreached { attempt } => self.unreached(attempt),
            _ => {}
        }
    }

    /// The pause before another attempt is over.
    fn resumes(&mut self, id: u64, attempts: u32) {
        let is_paused = self
            .requests
            .get(&id)
            .is_some_and(|client| client.current.is_none() && !client.committed);
        if is_paused && self.attempts_of(id) == attempts {
            self.drive(id, |request, now| Some(request.resume(now)));
        }
    }

    pub(super) fn attempts_of(&self, id: u64) -> u32 {
        let client = self.requests.get(&id);
        let request = client.and_then(|client| client.request.as_ref());
        request.map_or(0, Request::attempts)
    }

    /// An attempt has waited for long: where its entry knows by now that the upstream answers nobody, it moves.
    fn looks_around(&mut self, key: (u64, u32)) {
        let Some(current) = self.current(key.0, key.1).filter(|it| it.status.is_none()) else {
            return;
        };
        let (attempt, upstream) = (current.id, Arc::clone(&current.choice.candidate.upstream));
        let Some(client) = self.requests.get(&key.0) else {
            return;
        };
        let model = client.model.clone();
        let Some(view) = client.entry.and_then(|(entry, _)| self.view(entry)) else {
            return;
        };
        let candidate = view.candidate(Some(&model), &upstream);
        if candidate.is_none_or(|it| it.answers_nobody()) {
            self.drive(key.0, |request, now| {
                request.on(now, attempt, AttemptEvent::Stalled)
            });
        }
        if self.is_current(key) {
            let again_at = self.now + LOOKS_AROUND_EVERY;
            self.plan(again_at, WorldEvent::LooksAround { attempt: key });
        }
    }
}
