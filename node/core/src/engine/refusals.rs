//! What the owner of an upstream refused by its state, before what it publishes says so.
//!
//! A refusal has no room for a standing. That it comes says enough: what was published last no longer holds, and the
//! next request would be refused too. So its kind of request gets no further one until the owner publishes anew, and
//! for [`REFUSED_FOR`] at most, so that no lost message hides an upstream.
//!
//! Bound: the models that the upstream lists, of which its published value has no room for many.

use std::time::Duration;

use crate::ids::ModelName;
use crate::time::Instant;

/// As long as what an owner publishes may take by gossip alone: ten of its rounds of 200 ms, in which it reaches 1,000
/// nodes. As a rumor it comes within the first.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// What was refused, each with its end: requests for a model, or those that name none.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Vec<(Option<ModelName>, Instant)>);

impl Refusals {
    /// A request for `model` was refused.
    pub(super) fn note(&mut self, now: Instant, model: Option<&ModelName>) {
        self.0
            .retain(|(refused, until)| now < *until && refused.as_ref() != model);
        self.0.push((model.cloned(), now + REFUSED_FOR));
    }

    /// The owner has published what it is.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Until when requests for `model` count as refused: its own, or all of them. What is refused without a model is
    /// refused for every one.
    pub(super) fn until(&self, model: Option<&ModelName>) -> Option<Instant> {
        let concerned = self.0.iter().filter(|(refused, _)| {
            let refused = refused.as_ref();
            refused.is_none() || refused == model
        });
        concerned.map(|(_, until)| *until).max()
    }
}
