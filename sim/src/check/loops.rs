//! A request is forwarded once: no loop.

use grapevine_core::Instant;

use super::{Check, Seen};

/// One hop.
const HOPS_MAX: u8 = 1;

#[derive(Debug)]
pub(super) struct Loops;

impl Check for Loops {
    fn name(&self) -> &'static str {
        "loops"
    }

    fn see(&mut self, _now: Instant, seen: &Seen<'_>) -> Option<String> {
        let Seen::Hopped { request, hops } = seen else {
            return None;
        };
        (*hops > HOPS_MAX).then(|| format!("request {request} takes hop {hops}"))
    }
}
