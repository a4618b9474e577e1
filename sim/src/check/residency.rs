//! No attempt is made or served in a region that the rules close to the client.
//!
//! A node must apply its own rules, and those of its peers where more than half of all nodes close the same region. This
//! checker counts for itself, from what each node received: it does not ask core. It counts all nodes of the scenario,
//! and a node may know fewer: what is closed here is closed by core's count as well, in runs that end before a dead node
//! is forgotten (ten minutes).

use std::collections::BTreeMap;
use std::sync::Arc;

use grapevine_core::Instant;
use grapevine_core::fact::Fact;
use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::residency::{ClientOrigin, Residency as Rules, ResidencyQuestion, RulesFact};

use super::{Check, Seen};
use crate::membership::NodeIndex;

#[derive(Debug)]
pub(super) struct Residency {
    /// Each node's region.
    regions: Vec<RegionName>,
    /// Each node's own rules.
    own: Vec<Arc<Rules>>,
    /// What each node received of the others' rules.
    received: Vec<BTreeMap<NodeIndex, Arc<RulesFact>>>,
    asked: BTreeMap<u64, Asked>,
}

/// A request that is not over.
#[derive(Debug)]
struct Asked {
    client: ClientOrigin,
    model: ModelName,
    /// The regions that were closed to it when its entry read it.
    closed: Vec<RegionName>,
}

impl Residency {
    pub(super) fn new(regions: Vec<RegionName>) -> Self {
        let nodes = regions.len();
        Self {
            regions,
            own: vec![Arc::default(); nodes],
            received: vec![BTreeMap::new(); nodes],
            asked: BTreeMap::new(),
        }
    }

    /// Whether a region is closed to such a request at a node.
    fn closes(
        &self,
        node: NodeIndex,
        region: &RegionName,
        question: &ResidencyQuestion<'_>,
    ) -> bool {
        let closes = |rules: &Rules| !rules.permits(question).allows(region);
        let others = self.received[node.at()].values();
        let count = others.filter(|fact| closes(&fact.rules)).count();
        closes(&self.own[node.at()]) || count * 2 > self.regions.len()
    }

    fn entered(&mut self, request: u64, entry: NodeIndex, client: ClientOrigin, model: &ModelName) {
        if self.own.iter().all(|rules| rules.rules().is_empty()) {
            self.asked.remove(&request);
            return;
        }
        let question = question(client, model);
        let mut closed: Vec<RegionName> = Vec::new();
        for region in &self.regions {
            if !closed.contains(region) && self.closes(entry, region, &question) {
                closed.push(region.clone());
            }
        }
        let asked = Asked {
            client,
            model: model.clone(),
            closed,
        };
        self.asked.insert(request, asked);
    }
}

fn question(client: ClientOrigin, model: &ModelName) -> ResidencyQuestion<'_> {
    ResidencyQuestion {
        client,
        key: None,
        model: Some(model),
    }
}

impl Check for Residency {
    fn name(&self) -> &'static str {
        "residency"
    }

    fn see(&mut self, _now: Instant, seen: &Seen<'_>) -> Option<String> {
        match seen {
            Seen::Ruled { node, rules } => self.own[node.at()] = Arc::clone(rules),
            Seen::Started { node } => self.received[node.at()].clear(),
            Seen::Received {
                observer,
                author,
                fact: Fact::Rules(rules),
                ..
            } if observer != author => {
                self.received[observer.at()].insert(*author, Arc::clone(rules));
            }
            Seen::Entered {
                request,
                entry,
                client,
                model,
            } => self.entered(*request, *entry, *client, model),
            Seen::Ended { request } => drop(self.asked.remove(request)),
            Seen::Attempted {
                request, region, ..
            } => {
                let asked = self.asked.get(request)?;
                return asked.closed.contains(region).then(|| {
                    format!("request {request} goes to {region}, which its rules forbid")
                });
            }
            Seen::Served { request, owner } => {
                let asked = self.asked.get(request)?;
                let (question, region) = (
                    question(asked.client, &asked.model),
                    &self.regions[owner.at()],
                );
                let is_closed = self.closes(*owner, region, &question);
                return is_closed
                    .then(|| format!("n{} serves request {request}, which rules forbid", owner.0));
            }
            _ => {}
        }
        None
    }
}
