//! The state machine: events in, effects and views out.

mod event;

pub use event::{
    AttemptReport, Effect, Event, Identity, Models, Probe, ProbeReport, Rules, UpstreamSpec, Via,
};

use rand_core::Rng;

use crate::time::Instant;
use crate::view::View;

/// The state of one node: its own upstreams, and what it knows of its peers.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// A node that knows nothing yet.
    pub fn new(_now: Instant, _identity: Identity, _rules: Rules) -> Self {
        Self {}
    }

    /// Takes an event and returns what to do.
    pub fn handle(&mut self, _now: Instant, _event: Event, _rng: &mut impl Rng) -> Vec<Effect> {
        Vec::new()
    }

    /// When time alone will change something; `None` while nothing waits.
    pub fn next_wake(&self) -> Option<Instant> {
        None
    }

    /// Whether a new view should be published.
    pub fn view_is_due(&self, _now: Instant) -> bool {
        false
    }

    /// The mesh as this node sees it now.
    pub fn view(&mut self, _now: Instant) -> View {
        unimplemented!()
    }
}
