//! Attacks by a peer with a good certificate, by what it gossips.

use std::time::Duration;

use grapevine_core::ids::{Generation, NodeName};
use grapevine_proto::frame::TAG_GOSSIP;
use grapevine_proto::gossip::{self, Incarnation, MESSAGE_BYTES_MAX, Message, StateEntry};
use grapevine_tests::mesh::MESH_NAME;
use grapevine_tests::rogue::{Rogue, deadly_ack, swelling_ack};
use grapevine_tests::wait::must;
use grapevine_tests::{wait_until, within};

use super::Tally;
use crate::world::World;

const LIMIT: Duration = Duration::from_secs(20);

/// Messages of one kind.
const MESSAGES: usize = 20;

/// Digests that claim members, and members that each claims.
const DIGESTS: usize = 12;
const CLAIMED: usize = 1_100;

/// The longest digest of a mesh of a few nodes.
const DIGEST_BYTES_MAX: usize = 16_000;

/// Compressed blocks that would be a gigabyte.
pub(crate) async fn swelling(world: &World) -> Tally {
    quarantined(world, swelling_ack()).await
}

/// Versions on which the library of gossip asserts.
pub(crate) async fn deadly(world: &World) -> Tally {
    quarantined(world, deadly_ack()).await
}

/// Sends `message` a few times, until its sender is in quarantine.
async fn quarantined(world: &World, message: Vec<u8>) -> Tally {
    let rogue = world.rogue().await;
    for _ in 0..MESSAGES {
        rogue.send(&[&[TAG_GOSSIP][..], &message].concat()).await;
    }
    wait_until("the sender to be in quarantine", LIMIT, async || {
        let view = world.view().await;
        let held = view.0["gossip_quarantined"].as_array();
        let is_held = held.is_some_and(|held| held.iter().any(|peer| peer["peer"] == "rogue"));
        is_held.then_some(()).ok_or_else(|| view.0.to_string())
    })
    .await;
    let mut tally = Tally {
        sent: MESSAGES,
        ..Tally::default()
    };
    tally.ended("lost gossip_message", world.lost("gossip_message").await);
    tally.ended(
        "lost gossip_quarantined",
        world.lost("gossip_quarantined").await,
    );
    check_gossip(world, &mut tally).await;
    tally
}

/// Digests of members that nobody has seen.
pub(crate) async fn claimed_members(world: &World) -> Tally {
    let rogue = world.rogue().await;
    for digest in 0..DIGESTS {
        let message = must("a digest", gossip::encode(&claim(digest)));
        rogue.send(&[&[TAG_GOSSIP][..], &message].concat()).await;
    }
    let longest = longest_answer(&rogue).await;
    let mut tally = Tally {
        sent: DIGESTS * CLAIMED,
        ..Tally::default()
    };
    tally.check(
        longest <= DIGEST_BYTES_MAX,
        format!("the digest has {longest} bytes"),
    );
    let view = world.view().await;
    let nodes = view.0["nodes"].as_array().map_or(0, Vec::len);
    tally.check(
        nodes <= world.nodes().len() + 1,
        format!("{nodes} nodes are known"),
    );
    let claimed = |name: &str| {
        (0..CLAIMED)
            .filter(|index| view.node(&format!("{name}-{index}")).is_some())
            .count()
    };
    let known: usize = (0..DIGESTS)
        .map(|digest| claimed(&format!("claimed-{digest}")))
        .sum();
    tally.ended("a member", known);
    tally.ended("not a member", tally.sent - known);
    check_gossip(world, &mut tally).await;
    tally
}

fn claim(digest: usize) -> Message {
    let entries = (0..CLAIMED).map(|index| StateEntry {
        incarnation: Incarnation {
            node: must(
                "a name",
                NodeName::new(&format!("claimed-{digest}-{index}")),
            ),
            generation: Generation(1),
            address: ([127, 0, 0, 1], 7_171).into(),
        },
        heartbeat: 1,
        collected_version: 0,
        version: 7,
    });
    Message::Syn {
        mesh: MESH_NAME.to_owned(),
        digest: entries.collect(),
    }
}

/// Waits for an answer to each digest: the node has read it. The length of the longest.
async fn longest_answer(rogue: &Rogue) -> usize {
    let read = async {
        let (mut longest, mut answers) = (0, 0);
        while answers < DIGESTS {
            let mut stream = must("a message", rogue.connection.accept_uni().await);
            let message = must("a message", stream.read_to_end(2 * MESSAGE_BYTES_MAX).await);
            let Some((&TAG_GOSSIP, message)) = message.split_first() else {
                continue;
            };
            if matches!(gossip::decode(message), Ok(Message::SynAck { .. })) {
                answers += 1;
                longest = longest.max(message.len());
            }
        }
        longest
    };
    within("an answer to each digest", LIMIT, read).await
}

/// That gossip neither ended nor lost a node by it.
async fn check_gossip(world: &World, tally: &mut Tally) {
    let restarts = world.lost("gossip_restarts").await;
    tally.check(
        restarts == 0,
        format!("gossip was started again {restarts} times"),
    );
    let view = world.view().await;
    for name in ["n1", "n2", "n3"] {
        tally.check(view.is_live(name), format!("{name} is not live at n1"));
    }
}
