//! What the filter keeps of a message, one test for each rule.

use grapevine_core::Instant;
use grapevine_core::fact::{Fact, FactKey, Phase};
use grapevine_core::ids::{Generation, UpstreamName};
use grapevine_core::roster::INCARNATIONS_BURST;
use grapevine_proto::gossip::{Deletion, Incarnation, KeyValue, Message, NodeDelta, StateEntry};

use super::super::counters::{Counters, Rejection};
use super::super::filter::Filter;
use super::super::own::{Own, Sealed};
use super::net::{World, address, mesh, node};
use crate::wire::GossipSender;

/// A filter of `n1`, and a state of `n2` as `n2` signed it: certificate, phase, and an upstream that is gone.
struct Setting {
    filter: Filter,
    counters: Counters,
    own: Own,
    keys: Vec<KeyValue>,
}

fn incarnation(number: u16, generation: u64) -> Incarnation {
    Incarnation {
        node: node(&format!("n{number}")),
        generation: Generation(generation),
        address: address(number),
    }
}

fn sender(number: u16) -> GossipSender {
    let Incarnation { node, address, .. } = incarnation(number, 1);
    GossipSender { node, address }
}

fn key(version: u64, sealed: Sealed) -> KeyValue {
    KeyValue {
        key: sealed.key,
        value: sealed.value,
        version,
        deletion: if sealed.is_passing {
            Deletion::Passing
        } else {
            Deletion::Stays
        },
    }
}

impl Setting {
    fn new() -> Self {
        let world = World::new();
        let (_, verifier) = world.identity(&node("n1"));
        let mut filter = Filter::new(mesh(), node("n1"), address(1), verifier);
        filter.begin_incarnation(Generation(1));
        let (signer, _) = world.identity(&node("n2"));
        let mut own = Own::new(mesh(), node("n2"), address(2), signer, Generation(1));
        let mut sealed = own.seal_first();
        sealed.push(own.publish(&Fact::Phase(Phase::Ready), 1));
        let gone = UpstreamName::new("u1").expect("a valid name");
        sealed.push(own.publish(&Fact::UpstreamGone(gone), 2));
        let keys = (1..)
            .zip(sealed)
            .map(|(version, sealed)| key(version, sealed));
        Self {
            filter,
            counters: Counters::default(),
            keys: keys.collect(),
            own,
        }
    }

    fn delta(&self) -> NodeDelta {
        NodeDelta {
            incarnation: incarnation(2, 1),
            collected_version: 0,
            after_version: 0,
            keys: self.keys.clone(),
            version: None,
        }
    }

    /// What stays of a delta that `from` sends.
    fn pass(&mut self, from: u16, delta: NodeDelta) -> Option<NodeDelta> {
        let message = Message::Ack { delta: vec![delta] };
        match self.send(from, message) {
            Some(Message::Ack { mut delta }) => delta.pop(),
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, from: u16, message: Message) -> Option<Message> {
        let from = sender(from);
        self.filter
            .pass(Instant::START, &from, message, &self.counters)
    }

    /// Whether `incarnation` stays in a digest that `from` sends.
    fn keeps(&mut self, from: u16, incarnation: Incarnation) -> bool {
        let entry = StateEntry {
            incarnation,
            heartbeat: 5,
            collected_version: 0,
            version: 1,
        };
        let digest = vec![entry];
        let mesh = mesh().to_string();
        match self.send(from, Message::Syn { mesh, digest }) {
            Some(Message::Syn { digest, .. }) => !digest.is_empty(),
            other => panic!("{other:?}"),
        }
    }

    fn rejected(&self, reason: Rejection) -> u64 {
        self.counters.rejected(reason)
    }
}

#[test]
fn sender_may_name_itself_and_this_node_and_nobody_unproven() {
    let mut setting = Setting::new();
    assert!(setting.keeps(3, incarnation(3, 1)));
    assert!(setting.keeps(3, incarnation(1, 1)));
    assert!(!setting.keeps(3, incarnation(2, 1)));
    let elsewhere = Incarnation {
        address: address(4),
        ..incarnation(3, 1)
    };
    assert!(!setting.keeps(3, elsewhere));
}

#[test]
fn node_counts_once_its_certificate_came_whoever_relayed_it() {
    let mut setting = Setting::new();
    let delta = setting.delta();
    assert_eq!(setting.pass(3, delta.clone()), Some(delta));
    assert!(setting.keeps(4, incarnation(2, 1)));
    assert!(!setting.keeps(4, incarnation(2, 2)));
}

#[test]
fn certificate_proves_one_incarnation_at_one_address() {
    for incarnation in [
        Incarnation {
            address: address(66),
            ..incarnation(2, 1)
        },
        incarnation(2, 9),
        incarnation(3, 1),
    ] {
        let mut setting = Setting::new();
        let delta = NodeDelta {
            incarnation: incarnation.clone(),
            ..setting.delta()
        };
        assert_eq!(setting.pass(5, delta), None, "{incarnation:?}");
        assert!(!setting.keeps(5, incarnation));
    }
}

#[test]
fn nobody_writes_into_the_state_of_this_node() {
    let mut setting = Setting::new();
    let delta = NodeDelta {
        incarnation: incarnation(1, 1),
        ..setting.delta()
    };
    assert_eq!(setting.pass(3, delta), None);
    assert_eq!(setting.rejected(Rejection::ForeignWrite), 1);
}

#[test]
fn value_of_another_key_or_version_is_left_out_and_the_rest_stays() {
    let mut setting = Setting::new();
    let mut delta = setting.delta();
    delta.keys[1].version = 2;
    delta.keys[2].version = 1_000;
    let mut expected = setting.delta();
    expected.keys.truncate(2);
    assert_eq!(setting.pass(3, delta), Some(expected));
    assert_eq!(setting.rejected(Rejection::Generation), 1);
    let mut delta = setting.delta();
    delta.keys.remove(0);
    delta.keys[0].key = "node".to_owned();
    let passed = setting.pass(3, delta).expect("one key stays");
    assert_eq!(passed.keys, setting.keys[2..]);
    assert_eq!(setting.rejected(Rejection::Signature), 1);
}

#[test]
fn how_a_key_is_deleted_is_not_for_a_relay_to_decide() {
    let mut setting = Setting::new();
    let expected = setting.delta();
    let mut delta = setting.delta();
    delta.keys[1].deletion = Deletion::Passing;
    delta.keys[2].deletion = Deletion::Stays;
    assert_eq!(setting.pass(3, delta), Some(expected));
    let mut delta = setting.delta();
    delta.keys[1].deletion = Deletion::Gone;
    let passed = setting.pass(3, delta).expect("two keys stay");
    assert_eq!(passed.keys.len(), 2);
}

#[test]
fn highest_and_collected_versions_are_the_nodes_own_to_raise() {
    let mut setting = Setting::new();
    let raised = NodeDelta {
        collected_version: 1_000,
        ..setting.delta()
    };
    let passed = setting.pass(3, raised.clone()).expect("its keys stay");
    assert_eq!(passed.collected_version, 3);
    let passed = setting.pass(2, raised).expect("its keys stay");
    assert_eq!(passed.collected_version, 1_000);
    let highest = NodeDelta {
        keys: Vec::new(),
        version: Some(1_000),
        ..setting.delta()
    };
    assert_eq!(setting.pass(3, highest.clone()), None);
    assert_eq!(setting.pass(2, highest.clone()), Some(highest));
}

#[test]
fn values_beyond_the_checks_of_a_sender_end_the_delta_and_are_taken_later() {
    let mut setting = Setting::new();
    setting.pass(3, setting.delta()).expect("proven");
    let keys: Vec<_> = (4..1_000)
        .map(|version| {
            key(
                version,
                setting.own.publish(&Fact::Phase(Phase::Ready), version),
            )
        })
        .collect();
    let delta = NodeDelta {
        keys,
        ..setting.delta()
    };
    let passed = setting.pass(3, delta.clone()).expect("some");
    assert!(
        (100..600).contains(&passed.keys.len()),
        "{}",
        passed.keys.len()
    );
    assert_eq!(passed.keys, delta.keys[..passed.keys.len()]);
    assert!(setting.rejected(Rejection::Throttled) >= 1);
    // Another sender has checks of its own.
    assert!(setting.pass(4, delta.clone()).is_some());
    setting.filter.refill();
    assert!(setting.pass(3, delta).is_some());
}

#[test]
fn incarnations_that_a_peer_claims_of_itself_are_limited() {
    let mut setting = Setting::new();
    let kept = (1..1_000).filter(|generation| setting.keeps(3, incarnation(3, *generation)));
    assert_eq!(kept.count(), INCARNATIONS_BURST as usize);
    assert!(setting.rejected(Rejection::Crowded) > 900);
    assert!(
        setting.keeps(4, incarnation(4, 1)),
        "others are not affected"
    );
}

#[test]
fn what_was_checked_is_not_checked_again() {
    let mut setting = Setting::new();
    for _ in 0..1_000 {
        let delta = setting.delta();
        assert_eq!(setting.pass(3, delta.clone()), Some(delta));
    }
    assert_eq!(setting.rejected(Rejection::Throttled), 0);
    let phase = FactKey::Phase.to_string();
    assert!(setting.keys.iter().any(|key| key.key == phase));
}
