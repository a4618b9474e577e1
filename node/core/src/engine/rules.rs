//! The residency rules of this node and of its peers.
//!
//! The rules that a peer published count here as long as the peer is remembered, dead or alive and over its restarts,
//! until it publishes others: an unreachable peer keeps its vote.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::peer::Peer;
use super::{Effect, Engine, ViewDue};
use crate::fact::Fact;
use crate::ids::NodeName;
use crate::notice::Notice;
use crate::residency::{MeshRules, PeerRules, Residency, RulesFact};
use crate::time::Instant;

impl Engine {
    /// Takes this node's own rules and publishes them.
    pub(super) fn rules_changed(
        &mut self,
        now: Instant,
        rules: Residency,
        effects: &mut Vec<Effect>,
    ) {
        let digest = rules.digest();
        if self.rules.as_ref().is_some_and(|own| own.digest == digest) {
            return;
        }
        let rules = Arc::new(RulesFact { digest, rules });
        self.rules = Some(Arc::clone(&rules));
        self.publish(Fact::Rules(rules), true, effects);
        for (name, peer) in &mut self.peers {
            peer.compare_rules(now, digest);
            if peer.rules_differ_since.is_some() {
                effects.push(Effect::Notice(Notice::RulesDiffer { peer: name.clone() }));
            }
        }
        self.gather_rules();
    }

    /// Takes the rules that `name` published.
    pub(super) fn rules_received(
        &mut self,
        now: Instant,
        name: &NodeName,
        rules: Arc<RulesFact>,
        effects: &mut Vec<Effect>,
    ) {
        let own = self.rules_digest();
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let agreed = peer.rules.as_ref().is_none_or(|rules| rules.digest == own);
        peer.rules = Some(rules);
        peer.compare_rules(now, own);
        let peer = name.clone();
        match (agreed, self.peers[name].rules_differ_since.is_none()) {
            (_, false) => effects.push(Effect::Notice(Notice::RulesDiffer { peer })),
            (false, true) => effects.push(Effect::Notice(Notice::RulesAgree { peer })),
            (true, true) => {}
        }
        self.gather_rules();
    }

    /// Notes that `name` published its node fact: from now on it counts among those who agree or do not.
    pub(super) fn voter_appeared(&mut self, now: Instant, name: &NodeName) {
        let own = self.rules_digest();
        if let Some(peer) = self.peers.get_mut(name) {
            peer.compare_rules(now, own);
        }
        self.gather_rules();
    }

    /// Of no rules where none were published.
    fn rules_digest(&self) -> u64 {
        self.rules.as_ref().map_or(0, |rules| rules.digest)
    }

    /// Gathers the sets of rules that differ from the own, each once with the number of its nodes.
    pub(super) fn gather_rules(&mut self) {
        let own = self.rules_digest();
        let mut sets: BTreeMap<u64, PeerRules> = BTreeMap::new();
        let published = self.peers.iter();
        let published = published.filter_map(|(name, peer)| Some((name, peer.rules.as_ref()?)));
        let others =
            published.filter(|(_, rules)| rules.digest != own && !rules.rules.rules().is_empty());
        for (name, rules) in others {
            let set = sets.entry(rules.digest).or_insert_with(|| PeerRules {
                node: name.clone(),
                nodes: 0,
                fact: Arc::clone(rules),
            });
            set.nodes += 1;
        }
        let gathered = MeshRules {
            others: sets.into_values().collect(),
            nodes: 1 + self.peers.values().filter(|peer| peer.votes()).count(),
        };
        if *self.mesh_rules != gathered {
            self.mesh_rules = Arc::new(gathered);
            self.view_becomes(ViewDue::Now);
        }
    }
}

impl Peer {
    /// Whether it counts among all nodes: it has published something, not merely been named.
    const fn votes(&self) -> bool {
        self.fact.is_some() || self.rules.is_some()
    }

    /// Compares its rules with `own`; a peer that published its node fact but no rules has none.
    fn compare_rules(&mut self, now: Instant, own: u64) {
        let published = self.rules.as_ref().map(|rules| rules.digest);
        let known = published.or(self.fact.as_ref().map(|_| 0));
        self.rules_differ_since = match known.is_some_and(|digest| digest != own) {
            true => self.rules_differ_since.or(Some(now)),
            false => None,
        };
    }
}
