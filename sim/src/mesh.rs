//! Engines that tell each other facts over links with a delay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use grapevine_core::engine::{Effect, Event, Identity, UpstreamSpec, Via};
use grapevine_core::fact::{Fact, Phase};
use grapevine_core::ids::{Generation, NodeName, RegionName, Stamp};
use grapevine_core::outcome::Outcome;
use grapevine_core::view::View;
use grapevine_core::{Engine, Instant};
use grapevine_proto::value;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::heap::Heap;

/// A mesh of engines in which everybody is linked to everybody.
#[derive(Debug)]
pub struct Mesh {
    now: Instant,
    heap: Heap<Happening>,
    nodes: BTreeMap<NodeName, Node>,
    delay: Duration,
    rng: ChaCha8Rng,
}

#[derive(Debug)]
struct Node {
    engine: Engine,
    /// The wake-up that was planned last; an earlier one that it replaced is ignored.
    wake_at: Option<Instant>,
}

#[derive(Debug)]
enum Happening {
    Wake {
        node: NodeName,
    },
    Arrive {
        node: NodeName,
        from: NodeName,
        stamp: Stamp,
        fact: Fact,
    },
    ProbeEnds {
        node: NodeName,
        event: Event,
    },
}

/// How long a probe takes; every upstream of this world answers.
const PROBE: Duration = Duration::from_millis(20);

impl Mesh {
    /// `names`, each with `upstream`, linked with a one-way `delay`; everything else from `seed`.
    pub fn new(names: &[NodeName], upstream: &UpstreamSpec, delay: Duration, seed: u64) -> Self {
        let nodes = names
            .iter()
            .map(|name| (name.clone(), Node::new(name)))
            .collect();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut mesh = Self {
            now: Instant::START,
            heap: Heap::default(),
            nodes,
            delay,
            rng,
        };
        for name in names {
            let peers: BTreeSet<_> = names.iter().filter(|peer| *peer != name).cloned().collect();
            for peer in &peers {
                mesh.tell(name, Event::LinkUp { peer: peer.clone() });
                mesh.tell(
                    name,
                    Event::RttMeasured {
                        peer: peer.clone(),
                        rtt: delay * 2,
                    },
                );
            }
            mesh.tell(name, Event::MembersChanged(peers));
            mesh.tell(name, Event::Configured(vec![upstream.clone()]));
            mesh.tell(name, Event::PhaseChanged(Phase::Ready));
        }
        mesh
    }

    /// The time of this world.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Tells `node` an event now, and carries out what it asks for.
    pub fn tell(&mut self, node: &NodeName, event: Event) {
        let Some(told) = self.nodes.get_mut(node) else {
            return;
        };
        for effect in told.engine.handle(self.now, event, &mut self.rng) {
            self.carry_out(node, effect);
        }
        self.plan_wake(node);
    }

    /// Lets everything happen until `until`.
    pub fn run_until(&mut self, until: Instant) {
        while self.heap.next_at().is_some_and(|at| at <= until) {
            let Some((at, happening)) = self.heap.take_next() else {
                return;
            };
            self.now = at;
            self.happen(happening);
        }
        self.now = until;
    }

    /// What `node` sees now.
    pub fn view(&mut self, node: &NodeName) -> Option<View> {
        let now = self.now;
        self.nodes.get_mut(node).map(|node| node.engine.view(now))
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake { node } => {
                let due = self.nodes.get(&node).and_then(|node| node.wake_at);
                if due.is_some_and(|due| due <= self.now) {
                    self.tell(&node, Event::Tick);
                }
            }
            Happening::Arrive {
                node,
                from,
                stamp,
                fact,
            } => {
                self.tell(
                    &node,
                    Event::FactHeard {
                        node: from,
                        stamp,
                        fact,
                        via: Via::Gossip,
                    },
                );
            }
            Happening::ProbeEnds { node, event } => self.tell(&node, event),
        }
    }

    fn carry_out(&mut self, node: &NodeName, effect: Effect) {
        match effect {
            Effect::Publish { fact, stamp, .. } => self.spread(node, stamp, &fact),
            Effect::Probe { upstream, .. } => {
                let outcome = Outcome::status(200);
                let report = grapevine_core::engine::ProbeReport {
                    upstream,
                    outcome,
                    first_byte: None,
                    models: None,
                };
                let event = Event::ProbeEnded(report);
                self.heap.plan(
                    self.now + PROBE,
                    Happening::ProbeEnds {
                        node: node.clone(),
                        event,
                    },
                );
            }
            Effect::Relay { .. } | Effect::Notice(_) => {}
        }
    }

    /// Sends a fact to everybody, through the encoding that real nodes use.
    fn spread(&mut self, from: &NodeName, stamp: Stamp, fact: &Fact) {
        let payload = value::encode(fact, value::PAYLOAD_BYTES_MAX);
        let Ok(payload) = payload else { return };
        let Ok(fact) = value::decode(&fact.key(), &payload.json) else {
            return;
        };
        let peers: Vec<NodeName> = self
            .nodes
            .keys()
            .filter(|peer| *peer != from)
            .cloned()
            .collect();
        for node in peers {
            let arrive = Happening::Arrive {
                node,
                from: from.clone(),
                stamp,
                fact: fact.clone(),
            };
            self.heap.plan(self.now + self.delay, arrive);
        }
    }

    fn plan_wake(&mut self, name: &NodeName) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        if node.engine.view_is_due(now) {
            node.engine.view(now);
        }
        let wake_at = node.engine.next_wake().map(|at| at.max(now));
        let sooner = wake_at.is_some_and(|at| {
            node.wake_at
                .is_none_or(|planned| at < planned || planned <= now)
        });
        if let (true, Some(at)) = (sooner, wake_at) {
            node.wake_at = Some(at);
            self.heap.plan(at, Happening::Wake { node: name.clone() });
        }
    }
}

impl Node {
    fn new(name: &NodeName) -> Self {
        let region = RegionName::new(name.as_str()).expect("a node's name is a region's name too");
        let identity = Identity {
            node: name.clone(),
            generation: Generation(1),
            region,
            place: None,
            protocol: 1,
            build: "sim".into(),
            serves_requests: true,
            public: grapevine_core::fact::Public::default(),
        };
        Self {
            engine: Engine::new(Instant::START, identity),
            wake_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_core::engine::{AttemptReport, Models, Probe};
    use grapevine_core::health::Policy;
    use grapevine_core::ids::{ModelName, UpstreamName};
    use grapevine_core::units::{Tier, Weight};

    const DELAY: Duration = Duration::from_millis(80);

    fn names(count: usize) -> Vec<NodeName> {
        (0..count)
            .map(|index| NodeName::new(&format!("n{index}")).expect("a valid name"))
            .collect()
    }

    fn upstream() -> UpstreamSpec {
        UpstreamSpec {
            name: UpstreamName::new("primary").expect("a valid name"),
            models: Models::Listed(vec![ModelName::new("gpt").expect("a valid name")]),
            tier: Tier(1),
            weight: Weight::default(),
            attempts_max: 1,
            in_flight_max: 10,
            health: Policy::default(),
            probe: Probe::Models,
            probe_interval: Duration::from_secs(30),
        }
    }

    fn eject(mesh: &mut Mesh, node: &NodeName) {
        for _ in 0..3 {
            let report = AttemptReport {
                peer: None,
                upstream: upstream().name,
                model: None,
                outcome: Outcome::ConnectFailed,
                first_byte: None,
            };
            mesh.tell(node, Event::AttemptEnded(report));
        }
    }

    /// How many nodes see the upstream of `owner` in use.
    fn seen_in_use(mesh: &mut Mesh, nodes: &[NodeName], owner: &NodeName) -> usize {
        let now = mesh.now();
        let sees = |view: View| {
            let mut tiers = view.no_model.tiers.into_iter();
            tiers.any(|tier| {
                let mut usable = tier.usable.iter();
                usable.any(|one| one.upstream.node == *owner && one.upstream.is_usable(now))
            })
        };
        nodes
            .iter()
            .filter(|node| mesh.view(node).is_some_and(sees))
            .count()
    }

    #[test]
    fn ejection_reaches_everybody_in_one_delay_and_recovery_follows() {
        let nodes = names(10);
        let mut mesh = Mesh::new(&nodes, &upstream(), DELAY, 1);
        mesh.run_until(Instant::from_start(Duration::from_secs(5)));
        assert_eq!(seen_in_use(&mut mesh, &nodes, &nodes[3]), 10);
        eject(&mut mesh, &nodes[3]);
        assert_eq!(
            seen_in_use(&mut mesh, &nodes, &nodes[3]),
            9,
            "the owner knows at once"
        );
        let heard_at = mesh.now() + DELAY;
        mesh.run_until(heard_at);
        assert_eq!(seen_in_use(&mut mesh, &nodes, &nodes[3]), 0);
        mesh.run_until(Instant::from_start(Duration::from_secs(8)));
        assert_eq!(seen_in_use(&mut mesh, &nodes, &nodes[3]), 10);
    }

    #[test]
    fn equal_seeds_give_equal_worlds() {
        let run = |seed| {
            let nodes = names(5);
            let mut mesh = Mesh::new(&nodes, &upstream(), DELAY, seed);
            eject(&mut mesh, &nodes[0]);
            mesh.run_until(Instant::from_start(Duration::from_millis(1_050)));
            nodes
                .iter()
                .map(|node| format!("{:?}", mesh.view(node)))
                .collect::<String>()
        };
        assert_eq!(run(7), run(7));
    }
}
