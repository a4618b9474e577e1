//! The residency rules of this node and of its peers.
//!
//! A peer's rules hold here as long as the peer is remembered, dead or alive and over its restarts, until it
//! tells others: that it cannot be heard does not open its fence.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::peer::Peer;
use super::{Effect, Engine, ViewDue};
use crate::fact::Fact;
use crate::ids::NodeName;
use crate::notice::Notice;
use crate::residency::{PeerRules, Residency, RulesFact};

impl Engine {
    /// Takes this node's own rules and tells them.
    pub(super) fn rules_changed(&mut self, rules: Residency, effects: &mut Vec<Effect>) {
        let digest = rules.digest();
        if self.rules.as_ref().is_some_and(|own| own.digest == digest) {
            return;
        }
        let rules = Arc::new(RulesFact { digest, rules });
        self.rules = Some(Arc::clone(&rules));
        self.publish(Fact::Rules(rules), true, effects);
        self.gather_rules();
        let differing = self.peers.iter().filter(|(_, peer)| self.differs(peer));
        let notices = differing.map(|(name, _)| Notice::RulesDiffer { peer: name.clone() });
        effects.extend(notices.map(Effect::Notice));
    }

    /// Takes the rules that `name` told.
    pub(super) fn rules_heard(
        &mut self,
        name: &NodeName,
        rules: Arc<RulesFact>,
        effects: &mut Vec<Effect>,
    ) {
        let own = self.rules_digest();
        let Some(peer) = self.peers.get_mut(name) else {
            return;
        };
        let agreed = peer.rules.as_ref().is_none_or(|rules| rules.digest == own);
        let agrees = rules.digest == own;
        peer.rules = Some(rules);
        let peer = name.clone();
        match (agreed, agrees) {
            (_, false) => effects.push(Effect::Notice(Notice::RulesDiffer { peer })),
            (false, true) => effects.push(Effect::Notice(Notice::RulesAgree { peer })),
            (true, true) => {}
        }
        self.gather_rules();
    }

    /// Of no rules where none were told.
    fn rules_digest(&self) -> u64 {
        self.rules.as_ref().map_or(0, |rules| rules.digest)
    }

    /// Whether `peer` goes by other rules than this node; one that told none counts where there are some.
    pub(super) fn differs(&self, peer: &Peer) -> bool {
        let told = peer.rules.as_ref().map(|rules| rules.digest);
        let known = told.or(peer.fact.as_ref().map(|_| 0));
        known.is_some_and(|digest| digest != self.rules_digest())
    }

    /// Gathers what differs from the own rules, each once.
    pub(super) fn gather_rules(&mut self) {
        let mut seen = BTreeSet::from([self.rules_digest()]);
        let told = self.peers.iter();
        let told = told.filter_map(|(name, peer)| Some((name, peer.rules.as_ref()?)));
        let others = told.filter(|(_, rules)| seen.insert(rules.digest));
        let others = others.filter(|(_, rules)| !rules.rules.rules().is_empty());
        let gathered = others.map(|(name, rules)| PeerRules {
            node: name.clone(),
            fact: Arc::clone(rules),
        });
        self.peer_rules = gathered.collect();
        self.view_becomes(ViewDue::Now);
    }
}
