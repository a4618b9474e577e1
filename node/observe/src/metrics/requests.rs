//! The metrics of requests and attempts.

use grapevine_base::families::Families;

use super::Inner;

impl Inner {
    pub(super) fn register_requests(&self, families: &mut Families) {
        families.register(
            "requests",
            "Requests finished at this node, by class of status; 499 is a client that went away",
            self.requests.family().clone(),
        );
        families.register(
            "attempts",
            "Attempts made by this node, by where they went and how they ended",
            self.attempts.family().clone(),
        );
        families.register_seconds(
            "first_byte",
            "Time from the successful attempt's start to the first byte of its answer",
            self.first_byte.family().clone(),
        );
        families.register_seconds(
            "overhead",
            "Time that this node added to a request that was answered",
            self.overhead.clone(),
        );
        families.register(
            "transitions",
            "Changes of state of own upstreams, peers and links, by kind",
            self.transitions.clone(),
        );
        families.register(
            "residency",
            "Requests that residency rules concerned: kept within their fence, refused, or refused to a peer",
            self.residency.clone(),
        );
        families.register(
            "fallbacks",
            "Requests that another model answered than the one asked for, by cause",
            self.fallbacks.clone(),
        );
    }
}
