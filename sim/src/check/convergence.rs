//! When faults are over, all nodes see the same mesh: which nodes are alive, and each upstream's standing.

use grapevine_core::Instant;
use grapevine_core::fact::{Phase, Standing};
use grapevine_core::ids::UpstreamName;
use grapevine_core::view::{NodeView, View};

use super::Violation;
use crate::membership::NodeIndex;

/// Disagreements that are listed; the rest are counted.
const LISTED_MAX: usize = 3;

/// A node, and the standing of each of its upstreams.
pub(crate) type Truth = (NodeIndex, Vec<(UpstreamName, Standing)>);

/// The views that are wrong, if any, `now` at the end of a run: `truth` lists the nodes that are alive, and `view`
/// returns what each of them sees.
pub(crate) fn converged(
    now: Instant,
    truth: &[Truth],
    mut view: impl FnMut(NodeIndex) -> Option<View>,
) -> Option<Violation> {
    let alive: Vec<NodeIndex> = truth.iter().map(|(owner, _)| *owner).collect();
    let mut wrong = Vec::new();
    for observer in &alive {
        let Some(view) = view(*observer) else {
            continue;
        };
        for (owner, standings) in truth.iter().filter(|(owner, _)| owner != observer) {
            let seen = seen_of(&view, *owner);
            wrong.extend(
                difference(seen, standings)
                    .map(|what| format!("n{} sees n{} {what}", observer.0, owner.0)),
            );
        }
        let ghosts = view.nodes.iter().filter(|node| node.live);
        let ghosts = ghosts.filter(|node| {
            let index = NodeIndex::of(&node.name);
            index.is_none_or(|index| !alive.contains(&index))
        });
        wrong.extend(ghosts.map(|ghost| format!("n{} sees {} alive", observer.0, ghost.name)));
    }
    let first = wrong
        .iter()
        .take(LISTED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    let what = format!("{} disagreements: {first}", wrong.len());
    (!wrong.is_empty()).then(|| Violation {
        checker: "convergence",
        at: now.since_start(),
        what,
    })
}

fn seen_of(view: &View, owner: NodeIndex) -> Option<&NodeView> {
    let mut nodes = view.nodes.iter();
    nodes.find(|node| NodeIndex::of(&node.name) == Some(owner))
}

fn difference(seen: Option<&NodeView>, truth: &[(UpstreamName, Standing)]) -> Option<String> {
    let Some(seen) = seen else {
        return Some("not at all".into());
    };
    if !seen.live || seen.phase != Phase::Ready {
        let live = if seen.live { "live" } else { "dead" };
        return Some(format!("{live} and {}", seen.phase.as_str()));
    }
    for (name, standing) in truth {
        let published = seen.upstreams.iter().find(|one| one.fact.name == *name);
        let Some(published) = published else {
            return Some(format!("without {name}"));
        };
        // A cooldown ends by itself, at the owner and at all other nodes.
        let is_passing =
            |it: Standing| matches!(it, Standing::CoolingDown { .. } | Standing::Ready);
        let both_pass = is_passing(published.fact.standing) && is_passing(*standing);
        if published.fact.standing.differs_in_kind(*standing) && !both_pass {
            let (published, truth) = (published.fact.standing.as_str(), standing.as_str());
            return Some(format!("with {name} {published}, which is {truth}"));
        }
    }
    None
}
