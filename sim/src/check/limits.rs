//! No request takes more attempts than its limit.

use grapevine_core::Instant;

use super::{Check, Seen};

#[derive(Debug)]
pub(super) struct Limits {
    attempts_max: u32,
}

impl Limits {
    pub(super) const fn new(attempts_max: u32) -> Self {
        Self { attempts_max }
    }
}

impl Check for Limits {
    fn name(&self) -> &'static str {
        "limits"
    }

    fn see(&mut self, _now: Instant, seen: &Seen<'_>) -> Option<String> {
        let Seen::Attempted {
            request, attempts, ..
        } = seen
        else {
            return None;
        };
        let max = self.attempts_max;
        (*attempts > max).then(|| format!("request {request} takes attempt {attempts} of {max}"))
    }
}
