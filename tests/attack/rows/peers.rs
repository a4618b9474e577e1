//! Attacks by a peer with a good certificate, that of `n2`.

use std::time::Duration;

use grapevine_core::ids::UpstreamName;
use grapevine_core::residency::Origin;
use grapevine_proto::frame::{RequestHead, TAG_GOSSIP, TAG_RUMOR};
use grapevine_tests::rogue::Rogue;
use grapevine_tests::wait::must;
use tokio::time::timeout;

use super::Tally;
use crate::world::World;

/// How long the peer waits for what becomes of its messages.
const HELD: Duration = Duration::from_secs(10);

async fn peer(world: &World) -> Rogue {
    let dialled = Rogue::dial(world.directory(), "n2", "test", world.target()).await;
    let peer = must("dialling", dialled);
    peer.greet().await;
    peer
}

/// Heads of calls whose bodies never come.
pub(crate) async fn announced_bodies(world: &World) -> Tally {
    let peer = peer(world).await;
    let mut tally = Tally::default();
    let mut streams = Vec::new();
    for index in 0..8 {
        let head = RequestHead {
            request_id: &format!("attack-{index}"),
            upstream: must("a name", UpstreamName::new("near")),
            model: None,
            method: "POST",
            path: "/v1/chat/completions",
            headers: Vec::new(),
            body_bytes: 32 << 20,
            remaining: Duration::from_secs(60),
            hops: 1,
            last_resort: false,
            allow_regions: Vec::new(),
            traceparent: None,
            client: Origin::Unknown,
            key: None,
        };
        let head = must("a head", head.encode());
        let Ok((mut send, receive)) = peer.connection.open_bi().await else {
            tally.refused += 1;
            continue;
        };
        tally.sent += 1;
        // A node may refuse at any byte.
        let _ = send.write_all(&head).await;
        streams.push((send, receive));
    }
    for (_, receive) in &mut streams {
        let answered = timeout(HELD, receive.read_to_end(1 << 16)).await;
        tally.refused += usize::from(answered.is_ok());
    }
    tally
}

/// Messages of every kind with nothing in them that means anything.
pub(crate) async fn junk(world: &World) -> Tally {
    let mut tally = Tally::default();
    let mut peer = peer(world).await;
    for length in 0..300 {
        for tag in [0, TAG_GOSSIP, TAG_RUMOR, 200] {
            let message = [vec![tag], vec![0xEE; length * 200]].concat();
            tally.sent += 1;
            let Ok(mut stream) = peer.connection.open_uni().await else {
                // Closed by the node: the peer dials again, as a hostile one would.
                tally.refused += 1;
                let dialled = Rogue::dial(world.directory(), "n2", "test", world.target()).await;
                let Ok(again) = dialled else { return tally };
                peer = again;
                continue;
            };
            let _ = stream.write_all(&message).await;
            let _ = stream.finish();
        }
    }
    tally
}

/// Streams of both kinds that begin and do not go on.
pub(crate) async fn open_streams(world: &World) -> Tally {
    let peer = peer(world).await;
    let mut tally = Tally::default();
    let mut held = Vec::new();
    for _ in 0..250 {
        let opened = async {
            let mut both = peer.connection.open_bi().await.ok()?;
            let mut one = peer.connection.open_uni().await.ok()?;
            both.0.write_all(&[0]).await.ok()?;
            one.write_all(&[TAG_GOSSIP]).await.ok()?;
            Some((both, one))
        };
        tally.sent += 2;
        match timeout(Duration::from_millis(200), opened).await {
            Ok(Some(streams)) => held.push(streams),
            Ok(None) | Err(_) => tally.refused += 2,
        }
    }
    // Either the node ends the first of them, or it is held for as long as this goes.
    if let Some(((_, receive), _)) = held.first_mut() {
        let _ = timeout(HELD, receive.read_to_end(1 << 16)).await;
    }
    tally
}
