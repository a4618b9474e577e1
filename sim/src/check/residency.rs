//! No attempt is made in a region that the rules keep the client out of.

use grapevine_core::Instant;

use super::{Check, Seen};

#[derive(Debug)]
pub(super) struct Residency;

impl Check for Residency {
    fn name(&self) -> &'static str {
        "residency"
    }

    fn see(&mut self, _now: Instant, seen: &Seen<'_>) -> Option<String> {
        let Seen::Attempted {
            request,
            region,
            permitted,
            ..
        } = seen
        else {
            return None;
        };
        let is_kept_out = !permitted.allows(region);
        is_kept_out.then(|| format!("request {request} goes to {region}, which its rules forbid"))
    }
}
