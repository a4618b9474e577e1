//! Counts of links between nodes that are opened and closed as they are needed.

use grapevine_base::families::Families;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Links opened for calls, and closed as idle. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LinkCounts {
    opened: Family<OpenedLabels, Counter>,
    closed_idle: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OpenedLabels {
    outcome: &'static str,
}

impl LinkCounts {
    /// Counts a call that had to wait for a link, and whether there was one in time.
    pub fn opened_for_call(&self, opened: bool) {
        let outcome = if opened { "opened" } else { "timeout" };
        self.opened.get_or_create(&OpenedLabels { outcome }).inc();
    }

    /// Counts a link that this node closed since nothing used it.
    pub fn closed_idle(&self) {
        self.closed_idle.inc();
    }

    pub(super) fn register(&self, families: &mut Families) {
        for outcome in ["opened", "timeout"] {
            drop(self.opened.get_or_create(&OpenedLabels { outcome }));
        }
        families.register(
            "links_opened_for_calls",
            "Calls of peers that waited for a link to be opened, by whether it was in time",
            self.opened.clone(),
        );
        families.register(
            "links_closed_idle",
            "Links outside the warm set that this node closed since nothing used them",
            self.closed_idle.clone(),
        );
    }
}
