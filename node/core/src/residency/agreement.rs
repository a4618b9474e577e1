//! What the rules of peers do at this node.
//!
//! A node always applies its own rules, to what it brings in and to what it serves. The rules of others bind
//! it where they agree: a region is closed to a request here once the rules of more than half of all known
//! nodes close it. So a node with an older configuration learns a new fence as soon as most nodes have it,
//! and one certified node that is wrong, broken or hostile cannot close a region to anybody but itself.
//!
//! Nodes are counted, not regions: a node claims its region itself, but its name stands in its certificate,
//! so votes are as many as the mesh's authority has issued. The votes of nodes that died count until they are
//! forgotten: a fence does not open because a region is away.
//!
//! Bound: a question is answered in one pass over the sets of rules that differ from the own, at most one for
//! each known node; in a mesh that agrees there is none.

use std::sync::Arc;

use super::{Fence, Permitted, Residency, ResidencyQuestion, RulesFact};
use crate::ids::{NodeName, RegionName};

/// A set of rules that differs from this node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRules {
    /// A node that has it, the first by name.
    pub node: NodeName,
    /// How many nodes have it; at least 1.
    pub nodes: usize,
    /// What they published.
    pub fact: Arc<RulesFact>,
}

/// The rules of the mesh as far as they differ from this node's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshRules {
    /// Each set of rules once.
    pub others: Vec<PeerRules>,
    /// All known nodes, this one and dead ones that are remembered included; at least 1 in a view.
    pub nodes: usize,
}

/// The vote of one set of rules on a request that it concerns.
struct Vote<'a> {
    peer: &'a PeerRules,
    regions: Arc<[RegionName]>,
}

impl MeshRules {
    /// Of a node that knows no other.
    pub const fn of_one() -> Self {
        let others = Vec::new();
        Self { others, nodes: 1 }
    }

    /// Whether `nodes` are more than half of all.
    const fn is_majority(&self, nodes: usize) -> bool {
        nodes.saturating_mul(2) > self.nodes
    }

    /// The sets that concern a request.
    fn votes(&self, question: &ResidencyQuestion<'_>) -> Vec<Vote<'_>> {
        let votes = self.others.iter().filter_map(|peer| {
            let permitted = peer.fact.rules.permits(question);
            let regions = Arc::clone(&permitted.fence()?.regions);
            Some(Vote { peer, regions })
        });
        votes.collect()
    }
}

impl Residency {
    /// Where a request may be answered by these rules and by those on which the nodes of `mesh` agree.
    // Invariant: a region that the own rules leave out is not permitted, nor one that most nodes leave out.
    pub fn permits_with(&self, mesh: &MeshRules, question: &ResidencyQuestion<'_>) -> Permitted {
        let own = self.permits(question);
        if mesh.others.is_empty() {
            return own;
        }
        let votes = mesh.votes(question);
        let closers = |region: Option<&RegionName>| -> usize {
            let leave_out = votes
                .iter()
                .filter(|vote| region.is_none_or(|region| !vote.regions.contains(region)));
            leave_out.map(|vote| vote.peer.nodes).sum()
        };
        // All of them leave out a region that none of them names, and no other is left out by more.
        if !mesh.is_majority(closers(None)) {
            return own;
        }
        let mut fence = match own {
            Permitted::Only(fence) => fence,
            Permitted::All => Fence {
                regions: named(&votes),
                rules: Vec::new(),
                peers: Vec::new(),
            },
        };
        let open = fence.regions.iter();
        let open = open.filter(|region| !mesh.is_majority(closers(Some(region))));
        fence.regions = open.cloned().collect();
        fence.peers = votes.iter().map(|vote| vote.peer.node.clone()).collect();
        Permitted::Only(fence)
    }

    /// Whether rules about models, the own or those of most nodes of `mesh`, concern who asks `question`,
    /// whatever the model: a request that brings something and names no model may not be answered then.
    pub fn depends_on_model(&self, mesh: &MeshRules, question: &ResidencyQuestion<'_>) -> bool {
        let asking = mesh.others.iter();
        let asking = asking.filter(|peer| peer.fact.rules.asks_for_model(question));
        self.asks_for_model(question) || mesh.is_majority(asking.map(|peer| peer.nodes).sum())
    }
}

/// Every region that a vote names, once.
fn named(votes: &[Vote<'_>]) -> Arc<[RegionName]> {
    let mut regions: Vec<RegionName> = Vec::new();
    for region in votes.iter().flat_map(|vote| vote.regions.iter()) {
        if !regions.contains(region) {
            regions.push(region.clone());
        }
    }
    regions.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::super::{ClientOrigin, Rule, Unknown};
    use super::*;

    fn region(name: &str) -> RegionName {
        RegionName::new(name).expect("a valid name")
    }

    /// Rules that keep clients of the EU in `regions`.
    fn keeps_in(regions: &[&str]) -> Residency {
        let rule = Rule {
            clients: vec!["EU".parse().expect("a known area")],
            keys: Vec::new(),
            models: Vec::new(),
            regions: regions.iter().map(|name| region(name)).collect(),
        };
        Residency::new(vec![rule], Unknown::Fenced)
    }

    fn held(node: &str, nodes: usize, rules: &Residency) -> PeerRules {
        PeerRules {
            node: NodeName::new(node).expect("a valid name"),
            nodes,
            fact: Arc::new(RulesFact {
                digest: rules.digest(),
                rules: rules.clone(),
            }),
        }
    }

    fn from(country: &str) -> ResidencyQuestion<'_> {
        ResidencyQuestion {
            client: ClientOrigin::Country(country.parse().expect("a code")),
            ..ResidencyQuestion::default()
        }
    }

    fn regions(permitted: &Permitted) -> Option<Vec<&str>> {
        let regions = permitted.regions()?.iter();
        Some(regions.map(RegionName::as_str).collect())
    }

    fn mesh(nodes: usize, others: Vec<PeerRules>) -> MeshRules {
        MeshRules { others, nodes }
    }

    #[test]
    fn node_with_an_older_configuration_learns_the_fence_that_most_nodes_have() {
        let (old, new) = (Residency::default(), keeps_in(&["eur"]));
        let mesh = mesh(3, vec![held("eur-1", 2, &new)]);
        let permitted = old.permits_with(&mesh, &from("DE"));
        assert_eq!(regions(&permitted), Some(vec!["eur"]));
        let named = permitted.fence().map(ToString::to_string);
        assert_eq!(named.as_deref(), Some("residency of eur-1"));
        assert_eq!(old.permits_with(&mesh, &from("US")), Permitted::All);
    }

    #[test]
    fn rules_of_one_node_close_nothing_at_others() {
        let (old, nowhere) = (Residency::default(), keeps_in(&["nowhere"]));
        for nodes in [2, 3, 10] {
            let mesh = mesh(nodes, vec![held("bad", 1, &nowhere)]);
            assert_eq!(old.permits_with(&mesh, &from("DE")), Permitted::All);
            let own = keeps_in(&["eur"]);
            let permitted = own.permits_with(&mesh, &from("DE"));
            assert_eq!(regions(&permitted), Some(vec!["eur"]), "{nodes} nodes");
        }
    }

    #[test]
    fn model_must_be_named_where_own_rules_or_those_of_most_nodes_are_about_models() {
        let about_models = |keys: Vec<Arc<str>>| {
            let rule = Rule {
                clients: vec![],
                keys,
                models: vec![crate::ids::ModelName::new("m").expect("a valid name")],
                regions: [region("eur")].into(),
            };
            Residency::new(vec![rule], Unknown::Fenced)
        };
        let (none, all) = (Residency::default(), about_models(vec![]));
        let question = from("DE");
        let alone = MeshRules::of_one();
        assert!(all.depends_on_model(&alone, &question));
        assert!(!none.depends_on_model(&alone, &question));
        assert!(!about_models(vec!["app".into()]).depends_on_model(&alone, &question));
        assert!(!keeps_in(&["eur"]).depends_on_model(&alone, &question));
        let peers = |nodes, have| mesh(nodes, vec![held("eur-1", have, &all)]);
        assert!(none.depends_on_model(&peers(3, 2), &question));
        assert!(!none.depends_on_model(&peers(3, 1), &question));
    }

    #[test]
    fn half_of_all_nodes_is_not_most_of_them() {
        let (old, new) = (Residency::default(), keeps_in(&["eur"]));
        let closed = |nodes, have| {
            let mesh = mesh(nodes, vec![held("eur-1", have, &new)]);
            old.permits_with(&mesh, &from("DE")).fence().is_some()
        };
        assert!(!closed(4, 2) && closed(4, 3));
        assert!(!closed(5, 2) && closed(5, 3));
    }

    #[test]
    fn own_rules_hold_whatever_others_publish() {
        let own = keeps_in(&["eur", "gbr"]);
        let mesh = mesh(9, vec![held("wide", 8, &keeps_in(&["eur", "usa"]))]);
        let permitted = own.permits_with(&mesh, &from("DE"));
        assert_eq!(regions(&permitted), Some(vec!["eur"]));
    }

    #[test]
    fn different_rules_agree_on_what_each_of_them_closes() {
        let old = Residency::default();
        let sets = vec![
            held("a", 1, &keeps_in(&["eur"])),
            held("b", 1, &keeps_in(&["eur", "gbr"])),
        ];
        let permitted = old.permits_with(&mesh(3, sets), &from("DE"));
        assert_eq!(regions(&permitted), Some(vec!["eur", "gbr"]));
    }

    proptest! {
        /// A region is closed exactly when the own rules close it or more than half of the nodes do.
        #[test]
        fn region_is_closed_by_the_own_rules_or_by_most_nodes(
            own in prop::option::of(prop::collection::vec(0_usize..4, 0..4)),
            sets in prop::collection::vec((prop::collection::vec(0_usize..4, 0..4), 1_usize..4), 0..4),
            without in 0_usize..4,
        ) {
            const NAMES: [&str; 4] = ["eur", "usa", "sgp", "jpn"];
            let rules = |picked: &Vec<usize>| {
                keeps_in(&picked.iter().map(|index| NAMES[*index]).collect::<Vec<_>>())
            };
            let own = own.as_ref().map(rules).unwrap_or_default();
            let others: Vec<PeerRules> = sets.iter().enumerate()
                .map(|(index, (picked, nodes))| held(&format!("n{index}"), *nodes, &rules(picked)))
                .collect();
            let nodes = 1 + without + others.iter().map(|set| set.nodes).sum::<usize>();
            let question = from("DE");
            let permitted = own.permits_with(&mesh(nodes, others.clone()), &question);
            for name in NAMES.into_iter().chain(["elsewhere"]) {
                let region = region(name);
                let closers = others.iter().filter(|set| !set.fact.rules.permits(&question).allows(&region));
                let closed = closers.map(|set| set.nodes).sum::<usize>() * 2 > nodes;
                let expected = own.permits(&question).allows(&region) && !closed;
                prop_assert_eq!(permitted.allows(&region), expected, "{}", name);
            }
        }
    }
}
