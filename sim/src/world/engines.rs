//! Readings of the load that engines report, and what their answers say of caches.

use grapevine_core::engine::{Event, LoadReport};
use grapevine_core::ids::UpstreamName;
use grapevine_core::reported::LoadReading;

use super::node::IncarnationNumber;
use super::{World, WorldEvent};
use crate::endpoint::{CallKey, QUICK};
use crate::membership::NodeIndex;

impl World {
    /// A node reads the load of an own upstream.
    pub(super) fn read_load(&mut self, node: NodeIndex, upstream: UpstreamName) {
        let Some(endpoint) = self.endpoint_of(node, &upstream) else {
            return;
        };
        let Some(incarnation) = self.incarnation_of(node) else {
            return;
        };
        let reading = self.endpoints[endpoint].load();
        let report = Box::new(LoadReport { upstream, reading });
        let read = WorldEvent::LoadRead {
            node,
            incarnation,
            report,
        };
        self.plan(self.now + QUICK, read);
    }

    pub(super) fn load_read(
        &mut self,
        node: NodeIndex,
        incarnation: IncarnationNumber,
        report: &LoadReport,
    ) {
        if report.reading != LoadReading::Failed {
            self.record.tally.loads_read += 1;
        }
        if self.is_incarnation(node, incarnation) {
            self.deliver(node, Event::LoadRead(report.clone()));
        }
    }

    /// The tokens of a call's prompt that were in the cache.
    pub(super) fn found_cached(&mut self, key: CallKey, cached: u64) {
        if let Some(client) = self.requests.get_mut(&key.0) {
            client.cached = cached;
        }
    }

    /// An answer began, and reports what it found in the cache.
    pub(super) fn reports_usage(&mut self, id: u64) {
        let Some(client) = self.requests.get(&id) else {
            return;
        };
        let Some((prompt, current)) = client.asks.prompt.zip(client.current.as_ref()) else {
            return;
        };
        let upstream = &current.choice.candidate.upstream;
        upstream.cache.record(prompt.tokens, client.cached);
        self.record.tally.prompt_tokens += prompt.tokens;
        self.record.tally.cached_tokens += client.cached;
    }
}
