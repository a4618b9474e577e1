//! Peers without a link in a mesh that is too large to be linked whole.

use super::*;
use crate::link::DIAL_PAUSE;
use crate::links::ALL_MAX;

/// With so many live peers, none of which has published anything.
fn among(peers: usize) -> Bench {
    let mut bench = Bench::new();
    let mut names: Vec<String> = (0..peers.saturating_sub(2))
        .map(|index| format!("n{index}"))
        .collect();
    names.extend(["jpn", "sgp"].map(str::to_owned));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    set_members(&mut bench, &names);
    bench
}

impl Bench {
    /// A live peer that serves `name`, and has never been linked.
    fn receive_of(&mut self, peer: &str, name: &str, ttft: Duration) {
        self.receive(peer, 1, Fact::Node(node_fact(peer)));
        self.receive(peer, 2, Fact::Phase(Phase::Ready));
        let fact = UpstreamFact {
            models: BTreeMap::from([(model(name), Some(ttft))]),
            ..upstream_fact(Standing::Ready, ttft)
        };
        self.receive(peer, 3, Fact::Upstream(fact));
    }

    fn unreached(&mut self, peer: &str) {
        self.handle(Event::AttemptEnded(AttemptReport {
            peer: Some(node(peer)),
            upstream: upstream("primary"),
            model: Some(model("gpt")),
            outcome: Outcome::PeerUnreached,
            witness: witness(0, self.now),
            detail: None,
            first_byte: None,
            shape: RequestShape::default(),
        }));
    }

    fn reach(&mut self, peer: &str) -> Reach {
        let view = self.engine.view(self.now);
        let found = view.nodes.iter().find(|one| one.name == node(peer));
        found.expect("a known peer").reach
    }
}

#[test]
fn model_that_no_linked_peer_serves_is_reached_in_a_large_mesh_alone() {
    for (peers, is_reached) in [(ALL_MAX, false), (ALL_MAX + 1, true)] {
        let mut bench = among(peers);
        bench.receive_of("jpn", "gpt", TTFT);
        assert_eq!(bench.plan().is_ok(), is_reached, "{peers}");
    }
}

#[test]
fn dial_costs_two_round_trips_more() {
    let mut bench = among(200);
    bench.receive_of("jpn", "gpt", TTFT);
    bench.handle(Event::RttMeasured {
        peer: node("jpn"),
        rtt: NEAR,
    });
    let cost = bench.plan().expect("a plan").choices[0].cost;
    assert_eq!((cost.rtt, cost.ttft), (NEAR * 3, TTFT));
}

#[test]
fn linked_peer_goes_before_one_that_needs_a_link_unless_that_is_clearly_cheaper() {
    for (ttft, first) in [(TTFT, "sgp"), (TTFT / 8, "jpn")] {
        let mut bench = among(200);
        bench.meet("sgp", NEAR, TTFT);
        bench.receive_of("jpn", "gpt", ttft);
        bench.handle(Event::RttMeasured {
            peer: node("jpn"),
            rtt: NEAR,
        });
        assert_eq!(bench.first_node(), first, "{ttft:?}");
        assert_eq!(bench.plan().expect("a plan").choices.len(), 2);
    }
}

#[test]
fn peer_whose_link_was_closed_as_idle_is_in_reach_and_one_that_was_lost_is_not() {
    let mut bench = among(200);
    bench.meet("jpn", NEAR, TTFT);
    bench.handle(Event::LinkClosed { peer: node("jpn") });
    assert_eq!(bench.reach("jpn"), Reach::Unlinked);
    let effects = bench.handle(Event::LinkUp { peer: node("jpn") });
    assert_eq!(effects, [], "a link that gossip opens is no transition");
    bench.handle(Event::LinkDown { peer: node("jpn") });
    assert_eq!(bench.reach("jpn"), Reach::Down);
    bench.wait(DIAL_PAUSE);
    assert_eq!(bench.reach("jpn"), Reach::Unlinked);
}

#[test]
fn peer_that_did_not_answer_a_dial_gets_no_request_until_its_pause_is_over() {
    let mut bench = among(200);
    bench.receive_of("jpn", "gpt", TTFT);
    bench.unreached("jpn");
    assert_eq!(bench.reach("jpn"), Reach::Down);
    let wakes_at = bench.engine.next_change().expect("a pause that ends");
    assert!(wakes_at <= bench.now + DIAL_PAUSE);
    bench.wait(DIAL_PAUSE);
    assert_eq!(bench.reach("jpn"), Reach::Unlinked);
}

#[test]
fn peer_that_is_dead_draining_or_serves_no_requests_is_not_dialled() {
    let mut bench = among(200);
    bench.receive_of("jpn", "gpt", TTFT);
    bench.receive("jpn", 4, Fact::Phase(Phase::Draining));
    assert_eq!(bench.reach("jpn"), Reach::Down);
    bench.receive_of("sgp", "gpt", TTFT);
    assert_eq!(bench.reach("sgp"), Reach::Unlinked);
    let others: Vec<String> = (0..100).map(|index| format!("n{index}")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    set_members(&mut bench, &others);
    assert_eq!(bench.reach("sgp"), Reach::Down);
}
