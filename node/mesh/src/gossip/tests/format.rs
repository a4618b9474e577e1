//! The format as `grapevine_proto::gossip` implements it, against chitchat's own.

use std::sync::Arc;

use bytes::Bytes;
use chitchat::transport::{Socket, UdpSocket};
use grapevine_core::fact::Phase;
use grapevine_proto::gossip::{self, Message};
use tokio::time::{Duration, timeout};

use super::net::{World, node};

/// The number of messages that are compared.
const MESSAGES: usize = 300;

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// Messages of a mesh in which nodes join and facts change: of every type, with keys in them.
async fn messages() -> Vec<Bytes> {
    let world = World::new();
    let net = Arc::clone(&world.net);
    let collected = tokio::spawn(async move {
        let mut collected = Vec::new();
        while collected.len() < MESSAGES {
            collected.extend(net.caught.lock().expect("not poisoned").drain(..));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        collected
    });
    let mut nodes = world.start_all(3).await;
    let mut phases = [Phase::Ready, Phase::Draining].into_iter().cycle();
    while !collected.is_finished() {
        let phase = phases.next().expect("endless");
        nodes[0].publish_phase(phase).await;
        nodes[1].until_phase(&node("n1"), phase).await;
        nodes[2].until_phase(&node("n1"), phase).await;
    }
    collected.await.expect("no panic")
}

/// How chitchat reads a message, without the length that it had.
async fn as_chitchat_reads(socket: &mut UdpSocket, message: &[u8]) -> String {
    let to = socket.local_addr().expect("an address");
    let from = std::net::UdpSocket::bind(std::net::SocketAddr::from(LOOPBACK)).expect("a port");
    from.send_to(message, to).expect("sent");
    let received = timeout(Duration::from_secs(20), socket.recv()).await;
    let envelope = received.expect("a message").expect("a socket").envelope;
    let text = format!("{envelope:?}");
    let parts = text.split("serialized_len: ");
    parts
        .map(|part| part.trim_start_matches(|character: char| character.is_ascii_digit()))
        .collect()
}

#[tokio::test]
async fn chitchat_reads_what_is_written_here_as_what_it_wrote_itself() {
    let mut socket = UdpSocket::open(LOOPBACK.into()).await.expect("a port");
    let mut types = [0; 3];
    let mut keys = 0;
    for message in messages().await {
        let read = gossip::decode(&message).expect("what chitchat writes is a message");
        let (kind, delta) = match &read {
            Message::Syn { .. } => (0, &[][..]),
            Message::SynAck { delta, .. } => (1, &delta[..]),
            Message::Ack { delta } => (2, &delta[..]),
        };
        types[kind] += 1;
        keys += delta.iter().map(|node| node.keys.len()).sum::<usize>();
        let written = gossip::encode(&read).expect("short enough");
        let theirs = as_chitchat_reads(&mut socket, &message).await;
        let ours = as_chitchat_reads(&mut socket, &written).await;
        assert_eq!(ours, theirs);
    }
    assert!(types.iter().all(|count| *count > 5), "{types:?}");
    assert!(keys > 5, "{keys} keys");
}
