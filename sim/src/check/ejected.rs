//! No traffic to what every node knows to be ejected, except trials and last resorts.
//!
//! What a node knows is what it received, whatever its engine made of it. A plan made before all nodes knew
//! may still be carried out.

use std::collections::BTreeMap;

use grapevine_core::Instant;
use grapevine_core::fact::{Fact, Standing};
use grapevine_core::ids::{Stamp, UpstreamName};

use super::{Check, Seen};
use crate::membership::NodeIndex;

#[derive(Debug)]
pub(super) struct Ejected {
    alive: Vec<bool>,
    alive_count: usize,
    out: BTreeMap<(NodeIndex, UpstreamName), Out>,
}

/// An upstream that its owner published as ejected.
#[derive(Debug)]
struct Out {
    stamp: Stamp,
    informed: Vec<bool>,
    /// How many live nodes are informed.
    count: usize,
    /// When the last of them was.
    known_at: Option<Instant>,
}

impl Ejected {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            alive: vec![false; nodes],
            alive_count: 0,
            out: BTreeMap::new(),
        }
    }

    fn published(&mut self, author: NodeIndex, stamp: Stamp, fact: &Fact) {
        let (name, standing) = match fact {
            Fact::Upstream(fact) => (fact.name.clone(), Some(fact.standing)),
            Fact::UpstreamGone(name) => (name.clone(), None),
            _ => return,
        };
        let key = (author, name);
        if !matches!(standing, Some(Standing::Ejected { .. })) {
            self.out.remove(&key);
            return;
        }
        // Published again with new measurements, it is the same ejection.
        self.out.entry(key).or_insert_with(|| Out {
            stamp,
            informed: vec![false; self.alive.len()],
            count: 0,
            known_at: None,
        });
    }

    fn received(&mut self, now: Instant, observer: NodeIndex, author: NodeIndex, stamp: Stamp) {
        for ((owner, _), out) in &mut self.out {
            let is_it = *owner == author && stamp >= out.stamp;
            if is_it && self.alive[observer.at()] && !out.informed[observer.at()] {
                out.informed[observer.at()] = true;
                out.count += 1;
                out.known_at = (out.count >= self.alive_count).then_some(now);
            }
        }
    }

    fn changed(&mut self, node: NodeIndex, is_alive: bool) {
        if self.alive[node.at()] == is_alive {
            return;
        }
        self.alive[node.at()] = is_alive;
        self.alive_count = if is_alive {
            self.alive_count + 1
        } else {
            self.alive_count - 1
        };
        self.out.retain(|(owner, _), _| *owner != node);
        for out in self.out.values_mut() {
            if std::mem::take(&mut out.informed[node.at()]) {
                out.count -= 1;
            }
            if is_alive {
                out.known_at = None;
            }
        }
    }
}

impl Check for Ejected {
    fn name(&self) -> &'static str {
        "ejected"
    }

    fn see(&mut self, now: Instant, seen: &Seen<'_>) -> Option<String> {
        match seen {
            Seen::Started { node } => self.changed(*node, true),
            Seen::Stopped { node } => self.changed(*node, false),
            Seen::Received {
                observer,
                author,
                stamp,
                fact,
            } => {
                if observer == author {
                    self.published(*author, *stamp, fact);
                }
                let is_upstream = matches!(fact, Fact::Upstream(_));
                if is_upstream && !self.out.is_empty() {
                    self.received(now, *observer, *author, *stamp);
                }
            }
            Seen::Attempted {
                request,
                owner,
                upstream,
                planned_at,
                excused: false,
                ..
            } => {
                if self.out.is_empty() {
                    return None;
                }
                let out = self.out.get(&(*owner, (*upstream).clone()))?;
                let known_at = out.known_at?;
                return (known_at < *planned_at).then(|| {
                    format!(
                        "request {request} goes to {upstream} of n{}, which all know to be ejected",
                        owner.0
                    )
                });
            }
            _ => {}
        }
        None
    }
}
