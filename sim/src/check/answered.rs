//! Every request ends in an answer or a clear error, at the latest at its deadline.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use grapevine_core::Instant;

use super::{Check, Seen};

/// Entries that may die during one request, each of which makes it start again elsewhere.
const STARTS: u32 = 3;

/// The delays between the client and its entries.
const WAYS: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct Answered {
    open: BTreeMap<u64, Instant>,
    /// In the order they were asked in, which is the order of their deadlines.
    order: VecDeque<(Instant, u64)>,
}

impl Check for Answered {
    fn name(&self) -> &'static str {
        "answered"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>) -> Option<String> {
        match seen {
            Seen::Asked { request, deadline } => {
                let latest = now + now.until(*deadline) * STARTS + WAYS;
                self.open.insert(*request, latest);
                self.order.push_back((latest, *request));
            }
            Seen::Ended { request, .. } => {
                // A retried request ends once only: the first end counts.
                self.open.remove(request);
            }
            _ => {}
        }
        while let Some((latest, request)) = self.order.front().copied() {
            if self.open.contains_key(&request) {
                return (latest < now)
                    .then(|| format!("request {request} was lost: no answer, no error"));
            }
            self.order.pop_front();
        }
        None
    }
}
