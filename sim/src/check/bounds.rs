//! Memory and gossip state stay bounded: values, states, requests, calls, planned events.

use std::collections::BTreeMap;

use grapevine_core::Instant;
use grapevine_core::fact::{Fact, FactKey};
use grapevine_proto::value::{STATE_BYTES_MAX, VALUE_BYTES_MAX};

use super::{Check, Seen};
use crate::membership::NodeIndex;

/// Planned events for each node and each request at most: timers, packets in flight.
const PLANNED_PER_NODE: usize = 600;
const PLANNED_PER_REQUEST: usize = 16;

#[derive(Debug)]
pub(super) struct Bounds {
    nodes: usize,
    states: Vec<BTreeMap<FactKey, usize>>,
}

impl Bounds {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            states: vec![BTreeMap::new(); nodes],
        }
    }

    fn published(
        &mut self,
        author: NodeIndex,
        key: &FactKey,
        bytes: usize,
        fact: &Fact,
    ) -> Option<String> {
        let state = &mut self.states[author.at()];
        if matches!(fact, Fact::UpstreamGone(_)) {
            state.remove(key);
            return None;
        }
        state.insert(key.clone(), bytes);
        let total: usize = state.values().sum();
        let is_too_long = bytes > VALUE_BYTES_MAX + key.to_string().len();
        if is_too_long {
            return Some(format!("value of {key} of n{} has {bytes} bytes", author.0));
        }
        (total > STATE_BYTES_MAX).then(|| format!("state of n{} has {total} bytes", author.0))
    }
}

impl Check for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn see(&mut self, _now: Instant, seen: &Seen<'_>) -> Option<String> {
        match seen {
            Seen::Published {
                author,
                key,
                bytes,
                fact,
            } => self.published(*author, key, *bytes, fact),
            Seen::Inspected {
                requests,
                calls,
                planned,
                alive,
            } => {
                // A request has one call; a call that it abandoned may not have received the cancellation yet.
                if *calls > requests * 2 + 64 {
                    return Some(format!("{calls} calls for {requests} requests"));
                }
                let nodes = self.nodes.max(*alive);
                let most = nodes * PLANNED_PER_NODE + requests * PLANNED_PER_REQUEST + 1_000;
                (*planned > most).then(|| format!("{planned} planned events for {nodes} nodes"))
            }
            _ => None,
        }
    }
}
