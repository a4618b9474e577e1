//! Which model a request is about, when another one than the client's stands in.

use grapevine_core::ids::ModelName;
use grapevine_core::request::{Action, AttemptId, FallbackStep, Request};
use grapevine_core::route::Plan;
use grapevine_observe::excerpt::Excerpt;

use super::Track;

impl Track {
    /// The model that upstreams are asked for now.
    pub(in super::super) fn model(&self) -> Option<&ModelName> {
        match self.request.as_deref() {
            Some(request) => request.model(),
            None => self.record.model.as_ref(),
        }
    }

    /// Continues with the plan for another model, where there is one.
    pub(in super::super) fn start_fallback(&mut self, planned: Option<Plan>) -> Option<Action> {
        let now = self.clock.now();
        let action = self.request.as_deref_mut()?.start_fallback(now, planned);
        self.report();
        Some(action)
    }

    /// The client gets the answer of `attempt`.
    pub(in super::super) fn relays(&mut self, attempt: AttemptId) {
        let request = self.request.as_deref();
        let steps = request.map_or(&[][..], |request| request.fallbacks(Some(attempt)));
        self.record.fallbacks = steps.to_vec();
    }

    /// The answer was translated between these dialects.
    pub(in super::super) fn translated(&mut self, dialect: &str) {
        self.record.dialect = Some(Excerpt::of(dialect));
    }

    /// The changes of model that led to the client's answer; all of them where it got none.
    pub(super) fn fallbacks_of(&self, request: Option<&Request>) -> Vec<FallbackStep> {
        match (request, &self.record.served) {
            (Some(request), None) => request.fallbacks(None).to_vec(),
            _ => self.record.fallbacks.clone(),
        }
    }

    /// The model that the client asked for.
    pub(in super::super) fn asked_model(&self) -> Option<&ModelName> {
        self.record.model.as_ref()
    }

    /// The model that answered, and the models that led to it; the client's where none did.
    pub(in super::super) fn models(&self) -> (Option<&ModelName>, &[FallbackStep]) {
        (self.record.served_model(), &self.record.fallbacks)
    }
}
