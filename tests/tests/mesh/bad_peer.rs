//! A peer with a good certificate and bad manners: each of its frames is refused with the reason, and
//! the mesh goes on.

use std::time::Duration;

use grapevine_tests::memory::peak_resident_bytes;
use grapevine_tests::mesh::{MESH_NAME, issue_certificate};
use grapevine_tests::rogue::{Rogue, deadly_ack, swelling_ack};
use grapevine_tests::{Mesh, Mock, client, wait_until};

use grapevine_proto::frame::{HEAD_BYTES_MAX, LENGTH_BYTES, TAG_GOSSIP, TAG_RUMOR};

const LIMIT: Duration = Duration::from_secs(10);
const ROGUE: &str = "rogue";

struct World {
    mesh: Mesh,
    _far: Mock,
}

impl World {
    async fn start() -> Self {
        let far = Mock::start("far", &["far"]).await;
        let mesh = Mesh::builder()
            .node("sgp", |node| node)
            .node("jpn", |node| node.upstream(&far))
            .start()
            .await;
        issue_certificate(mesh.directory(), ROGUE, mesh.directory());
        Self { mesh, _far: far }
    }

    async fn rogue(&self) -> Rogue {
        let dialled = Rogue::dial(self.mesh.directory(), ROGUE, MESH_NAME, &self.mesh["jpn"]).await;
        dialled.unwrap_or_else(|error| panic!("no connection: {error}"))
    }

    async fn wait_for_log(&self, word: &str) {
        wait_until(&format!("{word:?} in the log"), LIMIT, async || {
            let log = self.mesh["jpn"].log();
            if log.contains(word) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    async fn check_that_forwarding_still_works(&self) {
        let answer = client::chat(&self.mesh["sgp"], "far", "still there?").await;
        assert_eq!(
            (answer.status, answer.header("x-grapevine-node")),
            (200, "jpn"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_greeting_ends_the_connection() {
    let world = World::start().await;
    let rogue = world.rogue().await;
    rogue.send(&[0xAB; 300]).await;
    let reason = rogue.closed().await;
    assert!(reason.contains("greeting"), "{reason}");
    world.check_that_forwarding_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_protocol_version_is_refused_and_named() {
    let world = World::start().await;
    let rogue = world.rogue().await;
    rogue.send(&rogue.greeting(700, 701)).await;
    let reason = rogue.closed().await;
    assert!(reason.contains("version 701"), "{reason}");
    world.wait_for_log("version 701").await;
    world.check_that_forwarding_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_frames_are_refused_with_the_reason() {
    let world = World::start().await;
    let rogue = world.rogue().await;
    rogue.greet().await;

    let refused = [
        (oversize(), "longer than"),
        // Version 999 in the codec's variable-length form.
        (framed(&[251, 0xE7, 0x03, 1, 2, 3]), "version 999"),
        (framed(&[0x01; 200]), "frame"),
        (framed(&[]), "malformed"),
    ];
    for (bytes, word) in refused {
        let answer = rogue
            .call(&bytes)
            .await
            .unwrap_or_else(|end| panic!("{word:?}: {end}"));
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.contains(word), "no {word:?} in {text:?}");
    }
    // Nobody waits for the reason of a truncated stream.
    for bytes in [&framed(&[1; 100])[..20], &[1, 0][..], &[][..]] {
        assert!(rogue.call(bytes).await.is_err(), "{bytes:?} was answered");
    }
    world.check_that_forwarding_still_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_and_datagrams_are_dropped() {
    let world = World::start().await;
    let rogue = world.rogue().await;
    rogue.greet().await;
    for tag in [0, TAG_GOSSIP, TAG_RUMOR, 200] {
        for length in [0, 1, 50, 5_000] {
            rogue.send(&[vec![tag], vec![0xEE; length]].concat()).await;
        }
        for length in [0, 1, 50, 1_000] {
            let datagram = [vec![tag], vec![0xEE; length]].concat();
            rogue.connection.send_datagram(datagram.into()).unwrap();
        }
    }
    world.check_that_forwarding_still_works().await;
    let view = world.mesh["sgp"].view().await;
    assert!(view.is_live("sgp") && view.is_live("jpn"), "{:#}", view.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_that_no_honest_node_sends_quarantines_its_sender_and_nothing_else() {
    let world = World::start().await;
    let jpn = &world.mesh["jpn"];
    let process = jpn.id().expect("a running node");
    let before = peak_resident_bytes(process);
    for (name, message) in [("rogue-1", swelling_ack()), ("rogue-2", deadly_ack())] {
        issue_certificate(world.mesh.directory(), name, world.mesh.directory());
        let rogue = Rogue::dial(world.mesh.directory(), name, MESH_NAME, jpn).await;
        let rogue = rogue.unwrap_or_else(|error| panic!("no connection: {error}"));
        rogue.greet().await;
        for _ in 0..10 {
            rogue.send(&[&[TAG_GOSSIP][..], &message].concat()).await;
        }
        wait_until(&format!("{name} to be in quarantine"), LIMIT, async || {
            let view = jpn.view().await;
            let held = view.0["gossip_quarantined"].as_array().cloned();
            let is_held = held
                .unwrap_or_default()
                .iter()
                .any(|peer| peer["peer"] == name);
            if is_held {
                Ok(())
            } else {
                Err(view.0.to_string())
            }
        })
        .await;
        world.check_that_forwarding_still_works().await;
    }
    let more = peak_resident_bytes(process).saturating_sub(before);
    assert!(more < 100_000_000, "{more} bytes more");
    world.wait_for_log("is not listened to for a while").await;
    let metrics = jpn.metrics().await;
    for line in [
        r#"grapevine_peer_gossip_quarantined{peer="rogue-1"} 1"#,
        r#"grapevine_lost_total{kind="gossip_restarts"} 0"#,
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    let view = jpn.view().await;
    assert!(view.is_live("sgp") && view.is_live("jpn"), "{:#}", view.0);
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_le_bytes(), payload].concat()
}

fn oversize() -> Vec<u8> {
    let mut frame = framed(&vec![7; HEAD_BYTES_MAX + 1]);
    frame.truncate(LENGTH_BYTES + 1_000);
    frame
}
