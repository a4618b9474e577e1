//! Certified peers that lie, and malformed messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use grapevine_core::engine::Via;
use grapevine_core::fact::{FactKey, Phase};
use grapevine_core::ids::{Generation, NodeName, Stamp};
use grapevine_proto::gossip;
use grapevine_proto::value::envelope::{Rumor, seal, signed_bytes};
use grapevine_proto::value::position::{Position, positioned};
use tokio::sync::Mutex;

use super::super::codec::{LinkTransport, Pace};
use super::super::counters::Rejection;
use super::super::task::GOSSIP_INTERVAL;
use super::net::{Node, Port, World, address, mesh, node};
use crate::signer::Signer;
use crate::wire::GossipOutput;

const DRAINING: &str = r#"{"phase":"draining"}"#;

/// A value of `of`, signed by `signer`.
fn forged(signer: &Signer, of: &NodeName, key: &str, generation: u64, payload: &str) -> String {
    let stamp = Stamp {
        generation: Generation(generation),
        version: 1_000,
    };
    let bytes = signed_bytes(mesh().as_str(), of, key, stamp, payload);
    seal(stamp, payload, &signer.current().sign(&bytes)).expect("JSON")
}

/// A certified member that abuses chitchat.
struct Mallory {
    chitchat: ChitchatHandle,
    port: Port,
    signer: Signer,
}

impl Mallory {
    async fn join(world: &World) -> Self {
        let name = node("mallory");
        let (port, incoming) = world.net.attach(&name, address(66));
        let transport = LinkTransport {
            advertise: address(66),
            outgoing: port.clone(),
            inbox: Arc::new(Mutex::new(incoming.gossip)),
            pace: Arc::new(Pace::default()),
            guard: world.guard(&name, 66),
        };
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new("mallory", 1, address(66)),
            cluster_id: mesh().to_string(),
            gossip_interval: GOSSIP_INTERVAL,
            listen_addr: address(66),
            seed_nodes: vec![address(1).to_string()],
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: std::time::Duration::from_secs(600),
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let chitchat = spawn_chitchat(config, Vec::new(), &transport).await;
        let (signer, _) = world.identity(&name);
        Self {
            chitchat: chitchat.expect("loopback sockets"),
            port,
            signer,
        }
    }

    /// Writes into the state of another incarnation, with a version above its own writes.
    async fn write(&self, id: &ChitchatId, key: &str, value: &str) {
        let version = 1_000;
        let value = serde_json::json!({"value": value, "version": version, "status": "Set"});
        self.chitchat
            .with_chitchat(|chitchat| {
                let value = serde_json::from_value(value.clone()).expect("a versioned value");
                let values = [(key.to_owned(), value)];
                chitchat.reset_node_state_if_update(id, values.into_iter(), version, 0);
            })
            .await;
    }
}

/// Waits until `node` refused something for `reason`, taking its events meanwhile.
async fn until_rejected(node: &mut Node, reason: Rejection) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while node.gossip.counters().rejected(reason) == 0 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{reason:?} is not counted"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn restarts(node: &Node) -> u64 {
    node.gossip.counters().restarts.load(Ordering::Relaxed)
}

#[tokio::test]
async fn value_forged_in_gossip_is_ignored_and_counted() {
    let world = World::new();
    let mut nodes = world.start_all(3).await;
    nodes[1].publish_phase(Phase::Ready).await;
    nodes[0].until_phase(&node("n2"), Phase::Ready).await;
    nodes[2].until_phase(&node("n2"), Phase::Ready).await;
    let mallory = Mallory::join(&world).await;
    let victim = ChitchatId::new("n2", 1, address(2));
    let position = Position {
        generation: Generation(1),
        version: 1_000,
    };
    let draining = positioned(DRAINING, position);
    let value = forged(&mallory.signer, &node("n2"), "phase", 1, &draining);
    mallory.write(&victim, "phase", &value).await;
    until_rejected(&mut nodes[0], Rejection::Signature).await;
    until_rejected(&mut nodes[2], Rejection::Signature).await;
    until_rejected(&mut nodes[1], Rejection::ForeignWrite).await;
    // The victim continues in the same incarnation, and is believed.
    assert_eq!(restarts(&nodes[1]), 0);
    nodes[1].publish_phase(Phase::Joining).await;
    for other in [0, 2] {
        nodes[other].until_phase(&node("n2"), Phase::Joining).await;
        let is_forged = |phase: &FactKey| {
            let received = nodes[other].received.iter();
            received
                .filter(|received| received.fact.key() == *phase)
                .any(|received| received.stamp.version == 1_000)
        };
        assert!(!is_forged(&FactKey::Phase));
    }
}

#[tokio::test]
async fn true_value_under_a_higher_version_does_not_hide_what_comes_after_it() {
    let world = World::new();
    let mut nodes = world.start_all(3).await;
    nodes[1].publish_phase(Phase::Ready).await;
    nodes[0].until_phase(&node("n2"), Phase::Ready).await;
    let mallory = Mallory::join(&world).await;
    let victim = ChitchatId::new("n2", 1, address(2));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let value = loop {
        let value = mallory.chitchat.with_chitchat(|chitchat| {
            let state = chitchat.node_state(&victim)?;
            state.get("phase").map(str::to_owned)
        });
        if let Some(value) = value.await {
            break value;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "mallory received nothing"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    mallory.write(&victim, "phase", &value).await;
    until_rejected(&mut nodes[0], Rejection::Generation).await;
    nodes[1].publish_phase(Phase::Draining).await;
    nodes[0].until_phase(&node("n2"), Phase::Draining).await;
    let received = nodes[0]
        .last(&node("n2"), &FactKey::Phase)
        .expect("received");
    assert_eq!(received.via, Via::Gossip);
}

#[tokio::test]
async fn member_that_proved_nothing_is_no_member() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    let mallory = Mallory::join(&world).await;
    // It speaks, and chitchat finds it alive, but it has signed nothing.
    let own = ChitchatId::new("mallory", 1, address(66));
    let written = mallory.chitchat.with_chitchat(|chitchat| {
        chitchat.self_node_state().set("phase", "nonsense");
        chitchat.self_chitchat_id() == &own
    });
    assert!(written.await);
    until_rejected(&mut nodes[0], Rejection::Malformed).await;
    nodes[1].publish_phase(Phase::Ready).await;
    nodes[0].until_phase(&node("n2"), Phase::Ready).await;
    assert!(!nodes[0].members.contains(&node("mallory")));
}

#[tokio::test]
async fn rumor_in_anothers_name_is_ignored_and_counted() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    let victim = node("n2");
    let (liar, _) = world.identity(&node("liar"));
    let value = forged(&liar, &victim, "phase", 1, DRAINING);
    let rumor = |certificate: &[u8], value: &str| {
        let rumor = Rumor::encode(&victim, "phase", certificate, value);
        Bytes::from(rumor.expect("fits"))
    };
    // Each by a peer of its own, since some of them quarantine it.
    let push = |number: u16, rumor: Bytes| {
        let name = node(&format!("liar-{number}"));
        let (port, _incoming) = world.net.attach(&name, address(100 + number));
        port.rumor(rumor, Some(&victim));
    };
    push(1, rumor(liar.current().certificate(), &value));
    until_rejected(&mut nodes[0], Rejection::Certificate).await;
    push(2, rumor(nodes[1].signer.current().certificate(), &value));
    until_rejected(&mut nodes[0], Rejection::Signature).await;
    let foreign = World::new().identity(&victim).0;
    let value = forged(&foreign, &victim, "phase", 1, DRAINING);
    push(3, rumor(foreign.current().certificate(), &value));
    push(4, Bytes::from_static(b"{\"n\":"));
    until_rejected(&mut nodes[0], Rejection::Malformed).await;
    push(5, vec![b' '; 9_000].into());
    until_rejected(&mut nodes[0], Rejection::Oversize).await;
    let counters = nodes[0].gossip.counters();
    assert_eq!(counters.rejected(Rejection::Certificate), 2);
    let held = nodes[0].gossip.quarantined().held();
    let held: Vec<_> = held.iter().map(|(peer, _)| peer.as_str()).collect();
    assert_eq!(held, ["liar-2", "liar-4"]);
    nodes[1].publish_phase(Phase::Ready).await;
    nodes[0].until_phase(&victim, Phase::Ready).await;
    assert_eq!(nodes[0].received.len(), 1, "{:?}", nodes[0].received);
}

#[tokio::test]
async fn repeated_rumor_is_not_checked_again() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    let mallory = Mallory::join(&world).await;
    let author = node("n9");
    let (signer, _) = world.identity(&author);
    let value = forged(&signer, &author, "phase", 1, DRAINING);
    let rumor = Rumor::encode(&author, "phase", signer.current().certificate(), &value);
    let rumor = Bytes::from(rumor.expect("fits"));
    for _ in 0..10 {
        mallory.port.rumor(rumor.clone(), Some(&node("n2")));
    }
    nodes[0].until_phase(&author, Phase::Draining).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let repeated = || {
        nodes[0]
            .gossip
            .counters()
            .rumors_repeated
            .load(Ordering::Relaxed)
    };
    while repeated() < 9 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} repeated",
            repeated()
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(
        nodes[0]
            .gossip
            .counters()
            .rumors_new
            .load(Ordering::Relaxed),
        1
    );
}

/// The Ack that ends chitchat's task: a key's version above the one that it declares the highest.
fn deadly_ack(id: &ChitchatId) -> Vec<u8> {
    fn text(text: &str, to: &mut Vec<u8>) {
        to.extend((text.len() as u16).to_le_bytes());
        to.extend(text.as_bytes());
    }
    let mut operations = vec![0];
    text(&id.node_id, &mut operations);
    operations.extend(id.generation_id.to_le_bytes());
    operations.extend([4, 127, 0, 0, 1]);
    operations.extend(id.gossip_advertise_addr.port().to_le_bytes());
    operations.extend([0; 16]);
    operations.push(1);
    text("x", &mut operations);
    text("y", &mut operations);
    operations.extend(1_000_000_u64.to_le_bytes());
    operations.extend([0, 2]);
    operations.extend(1_000_u64.to_le_bytes());
    let mut ack = vec![0x53, 0xb0, 1, 2, 2];
    ack.extend((operations.len() as u16).to_le_bytes());
    ack.extend(operations);
    ack.push(0);
    ack
}

/// One message of small blocks that decompress to much more: 1.2 GB for chitchat alone.
fn swelling_ack() -> Vec<u8> {
    // Zstandard: a frame of one block, the same byte 60,000 times.
    let block = [
        0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x60, 0xe9, 0x03, 0x53, 0x07, 0x00,
    ];
    let mut ack = vec![0x53, 0xb0, 1, 2];
    while ack.len() < 63_800 {
        ack.push(1);
        ack.extend((block.len() as u16).to_le_bytes());
        ack.extend(block);
    }
    ack.push(0);
    ack
}

#[tokio::test]
async fn message_that_would_end_chitchat_quarantines_its_sender_and_affects_nobody_else() {
    let world = World::new();
    let mut nodes = world.start_all(3).await;
    let mallory = Mallory::join(&world).await;
    let deadly = deadly_ack(&ChitchatId::new("n2", 1, address(2)));
    for message in [deadly, swelling_ack()] {
        for _ in 0..5 {
            mallory.port.gossip(address(1), message.clone().into());
        }
    }
    until_rejected(&mut nodes[0], Rejection::Quarantined).await;
    let held = nodes[0].gossip.quarantined().held();
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(held[0].0, node("mallory"));
    // A newcomer joins through the node that is attacked, and all nodes receive each other's facts.
    let mut newcomer = world.start(4, 1);
    newcomer.publish_phase(Phase::Ready).await;
    for other in &mut nodes {
        other.until_phase(&node("n4"), Phase::Ready).await;
        other.publish_phase(Phase::Draining).await;
    }
    for name in ["n1", "n2", "n3"] {
        newcomer.until_phase(&node(name), Phase::Draining).await;
    }
    for node in &nodes {
        assert_eq!(restarts(node), 0);
        assert!(node.members.len() >= 2, "nobody died: {:?}", node.members);
    }
    assert!(nodes[1].gossip.quarantined().held().is_empty());
}

#[tokio::test]
async fn thousands_of_members_that_a_peer_invents_take_no_space() {
    const CLAIMED: u64 = 1_000;
    let world = World::new();
    let mut nodes = world.start_all(3).await;
    let mallory = Mallory::join(&world).await;
    for round in 0..6 {
        let claimed = (0..CLAIMED).map(|number| gossip::StateEntry {
            incarnation: gossip::Incarnation {
                node: node(&format!("claimed-{round}-{number}")),
                generation: Generation(1),
                address: address(66),
            },
            heartbeat: 1 + round,
            collected_version: 0,
            version: 7,
        });
        let syn = gossip::Message::Syn {
            mesh: mesh().to_string(),
            digest: claimed.collect(),
        };
        let syn = gossip::encode(&syn).expect("fits");
        mallory.port.gossip(address(1), syn.into());
        nodes[1].publish_phase(Phase::Joining).await;
        nodes[1].publish_phase(Phase::Ready).await;
    }
    nodes[1].publish_phase(Phase::Draining).await;
    nodes[0].until_phase(&node("n2"), Phase::Draining).await;
    // It relays only nodes that exist.
    let mut newcomer = world.start(4, 1);
    newcomer.until_members(3).await;
    let longest = {
        let caught = world.net.caught.lock().expect("not poisoned");
        caught.iter().map(Bytes::len).max().expect("some")
    };
    assert!(longest < 16_000, "{longest} bytes");
    assert!(nodes[0].gossip.quarantined().held().is_empty());
}

#[tokio::test]
async fn garbage_is_counted_and_gossip_goes_on() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    let caught: Vec<_> = {
        let caught = world.net.caught.lock().expect("not poisoned");
        let messages = caught.iter().map(|message| gossip::decode(message));
        messages
            .map(|message| message.expect("a message"))
            .collect()
    };
    let mallory = Mallory::join(&world).await;
    // A generator of numbers that are the same in every run (Knuth's MMIX).
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for length in 0..100 {
        let mut garbage: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        mallory.port.gossip(address(1), garbage.clone().into());
        garbage.splice(0..0, [0x53, 0xb0, 1, (length % 3) as u8]);
        mallory.port.gossip(address(1), garbage.into());
        tokio::task::yield_now().await;
    }
    until_rejected(&mut nodes[0], Rejection::Message).await;
    // Whole messages with a bit turned, by peers of all sorts: what is taken ends nothing.
    let mut taken = 0;
    for number in 0..2_000_u16 {
        // Written anew, most of it is not compressed, so that the bit is one of the content.
        let message = &caught[random() % caught.len()];
        let mut message = gossip::encode(message).expect("fits");
        let at = random() % message.len();
        message[at] ^= 1 << (random() % 8);
        taken += u32::from(gossip::decode(&message).is_ok());
        let name = node(&format!("stranger-{number}"));
        let port = world.net.stranger(&name, address(200 + number));
        port.gossip(address(1), message.into());
        tokio::task::yield_now().await;
    }
    assert!(taken > 500, "{taken} were messages still");
    assert_eq!(restarts(&nodes[0]), 0);
    nodes[1].publish_phase(Phase::Draining).await;
    nodes[0].until_phase(&node("n2"), Phase::Draining).await;
    nodes[0].publish_phase(Phase::Draining).await;
    nodes[1].until_phase(&node("n1"), Phase::Draining).await;
    assert_eq!(restarts(&nodes[0]), 0);
}

#[tokio::test]
async fn peer_that_speaks_is_alive_whatever_heartbeat_a_relay_reports() {
    let world = World::new();
    let mut nodes = world.start_all(3).await;
    let speaking = || world.net.speaking.lock().expect("not poisoned");
    speaking().insert(node("n2"));
    let mallory = Mallory::join(&world).await;
    let entry = gossip::StateEntry {
        incarnation: gossip::Incarnation {
            node: node("n2"),
            generation: Generation(1),
            address: address(2),
        },
        heartbeat: gossip::NUMBER_MAX,
        collected_version: 0,
        version: 1,
    };
    let syn = gossip::Message::Syn {
        mesh: mesh().to_string(),
        digest: vec![entry],
    };
    let syn = Bytes::from(gossip::encode(&syn).expect("fits"));
    mallory.port.gossip(address(1), syn);
    nodes[0].members_least = usize::MAX;
    // Twice as long as a silent node is taken for alive.
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    while tokio::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    nodes[1].publish_phase(Phase::Draining).await;
    nodes[0].until_phase(&node("n2"), Phase::Draining).await;
    assert!(nodes[0].members.contains(&node("n2")));
    assert!(
        nodes[0].members_least >= 2,
        "{} members",
        nodes[0].members_least
    );
}
