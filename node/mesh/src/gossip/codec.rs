//! Chitchat's messages on our connections, by way of its own UDP socket.
//!
//! Chitchat does not publish its codec, so its UDP socket on loopback serves as one. To encode, it
//! sends to a socket of ours, the *tap*. To decode, the bytes are sent to it from another socket of
//! ours, a *slot*, and it returns the message. The bytes have passed the guard, which wrote them. It skips
//! a message that it cannot read without a report; so each is followed by a *mark*, a tiny valid message,
//! and a mark that comes first means that the message was malformed. One message is in flight at a time;
//! slots alternate, so that a straggler is never taken for its successor. This costs about 7 us per
//! message, and five sockets per node.
//!
//! Nothing here waits for a peer: chitchat's only loop sends and receives, and a send that waited
//! 3 s for one dead peer raised the detection of all from 1.4 to 21 s.
//!
//! Any process on this machine can reach these sockets. So the tap is connected, and the kernel drops
//! what others send; messages from anything but the awaited slot are dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket as Codec};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use grapevine_core::links::idle::GOSSIP_FULL_PACE;
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::guard::ChitchatGuard;
use crate::wire::{GOSSIP_BYTES_MAX, GossipOutput, GossipSender};

/// Sockets that decode in turn.
const SLOTS: usize = 4;

/// A message that loopback did not deliver by now is lost: its buffer was full.
const LOOPBACK_TIMEOUT: Duration = Duration::from_millis(50);

/// Chitchat's magic number and protocol version 0, and the type of a message without a body.
const MARK: [u8; 4] = [0x53, 0xb0, 0, 3];

/// Messages and their senders from the links; survives restarts of chitchat, which holds it while it runs.
pub(super) type Inbox = Arc<Mutex<mpsc::Receiver<(GossipSender, Bytes)>>>;

/// How many nodes there are, for the socket, which thins out its rounds beyond 80.
///
/// A round costs 100 bytes for each node, so at a fixed interval the cost grows with their number:
/// 40 kB/s at 80 nodes and 200 ms. Chitchat's interval cannot be changed, and to start it again with
/// a longer one whenever the mesh grows would give every node a new incarnation at the same time. So the
/// interval stays, and beyond 80 nodes only 80 of N rounds are sent, which costs the same 40 kB/s;
/// the failure detector adapts by itself, since it measures the intervals that it observes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    nodes: AtomicU32,
}

impl Pace {
    pub(super) fn set_nodes(&self, nodes: usize) {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        self.nodes.store(nodes, Ordering::Relaxed);
    }

    /// The share of rounds to send, and by how much intervals grow: its inverse.
    pub(super) fn share(&self) -> f64 {
        let nodes = self.nodes.load(Ordering::Relaxed).max(GOSSIP_FULL_PACE);
        f64::from(GOSSIP_FULL_PACE) / f64::from(nodes)
    }
}

/// Opens the socket that chitchat talks through.
pub(super) struct LinkTransport<O> {
    pub(super) advertise: SocketAddr,
    pub(super) outgoing: O,
    pub(super) inbox: Inbox,
    pub(super) pace: Arc<Pace>,
    pub(super) guard: ChitchatGuard,
}

struct LinkSocket<O> {
    advertise: SocketAddr,
    outgoing: O,
    inbox: OwnedMutexGuard<mpsc::Receiver<(GossipSender, Bytes)>>,
    pace: Arc<Pace>,
    guard: ChitchatGuard,
    codec: Codec,
    codec_address: SocketAddr,
    tap: UdpSocket,
    tap_address: SocketAddr,
    buffer: Box<[u8]>,
    slots: Vec<Slot>,
    slot_next: usize,
    awaited: Option<Awaited>,
    /// Rounds due, of which one is sent when it reaches 1.
    rounds_due: f64,
}

struct Slot {
    socket: std::net::UdpSocket,
    address: SocketAddr,
}

/// A message that was put into the codec.
struct Awaited {
    slot: SocketAddr,
    from: SocketAddr,
    until: Instant,
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

#[async_trait]
impl<O: GossipOutput> Transport for LinkTransport<O> {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(self.socket().await?))
    }
}

impl<O: GossipOutput> LinkTransport<O> {
    async fn socket(&self) -> anyhow::Result<LinkSocket<O>> {
        let codec = Codec::open(loopback()).await?;
        let codec_address = codec.local_addr()?;
        let tap = UdpSocket::bind(loopback()).await?;
        tap.connect(codec_address).await?;
        let slots = (0..SLOTS).map(|_| Slot::open()).collect::<Result<_, _>>()?;
        Ok(LinkSocket {
            advertise: self.advertise,
            outgoing: self.outgoing.clone(),
            inbox: Arc::clone(&self.inbox).lock_owned().await,
            pace: Arc::clone(&self.pace),
            guard: self.guard.clone(),
            codec,
            codec_address,
            tap_address: tap.local_addr()?,
            tap,
            buffer: vec![0; GOSSIP_BYTES_MAX].into(),
            slots,
            slot_next: 0,
            awaited: None,
            rounds_due: 0.0,
        })
    }
}

impl Slot {
    fn open() -> std::io::Result<Self> {
        let socket = std::net::UdpSocket::bind(loopback())?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }
}

#[async_trait]
impl<O: GossipOutput> Socket for LinkSocket<O> {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.advertise)
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let num_bytes_sent = if self.is_wanted(to, &envelope.message) {
            self.encode_and_queue(to, envelope).await?
        } else {
            0
        };
        Ok(SendOutcome { num_bytes_sent })
    }

    /// Cancel-safe: what is awaited is kept in `self`, and putting a message into the codec does not
    /// wait. An error means that the loopback socket is broken; it ends this chitchat, and the next one opens
    /// new sockets.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let Some(awaited) = &self.awaited else {
                match self.inbox.recv().await {
                    Some((from, message)) => {
                        if let Some(message) = self.guard.pass(&from, &message) {
                            self.put(from.address, &message);
                        }
                    }
                    None => std::future::pending().await,
                }
                continue;
            };
            let Ok(outcome) = timeout_at(awaited.until, self.codec.recv()).await else {
                self.awaited = None;
                continue;
            };
            let outcome = outcome?;
            if outcome.from_addr != awaited.slot {
                continue;
            }
            let from = awaited.from;
            self.awaited = None;
            if matches!(outcome.envelope.message, ChitchatMessage::BadCluster) {
                // The mark: the codec did not accept what the guard accepted.
                self.guard.disagrees(&from);
                continue;
            }
            return Ok(RecvOutcome {
                from_addr: from,
                ..outcome
            });
        }
    }
}

impl<O: GossipOutput> LinkSocket<O> {
    /// Whether to send: not to this node's own address (its earlier incarnations have the same), and only
    /// as many rounds as the pace allows.
    fn is_wanted(&mut self, to: SocketAddr, message: &ChitchatMessage) -> bool {
        if to == self.advertise {
            return false;
        }
        if !matches!(message, ChitchatMessage::Syn { .. }) {
            return true;
        }
        self.rounds_due += self.pace.share();
        let is_due = self.rounds_due >= 1.0;
        if is_due {
            self.rounds_due -= 1.0;
        }
        is_due
    }

    async fn encode_and_queue(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<usize> {
        // Drains what an earlier send left behind when it timed out.
        while self.tap.try_recv(&mut self.buffer).is_ok() {}
        self.codec.send(self.tap_address, envelope).await?;
        let length = timeout(LOOPBACK_TIMEOUT, self.tap.recv(&mut self.buffer)).await??;
        let message = Bytes::copy_from_slice(&self.buffer[..length]);
        self.outgoing.gossip(to, message);
        Ok(length)
    }

    /// Puts a message and its mark into the codec.
    fn put(&mut self, from: SocketAddr, message: &[u8]) {
        let slot = &self.slots[self.slot_next];
        self.slot_next = (self.slot_next + 1) % SLOTS;
        let put = |bytes: &[u8]| slot.socket.send_to(bytes, self.codec_address).is_ok();
        // A full buffer loses the message, as a network would: gossip repeats it.
        if put(message) && put(&MARK) {
            self.awaited = Some(Awaited {
                slot: slot.address,
                from,
                until: Instant::now() + LOOPBACK_TIMEOUT,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use chitchat::{
        ChitchatConfig, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
    };

    use super::super::counters::Rejection;
    use super::super::tests::net::{Port, World, address, node};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A socket, what puts messages into it, and a SYN as chitchat writes it.
    async fn socket_and_syn() -> (LinkSocket<Port>, mpsc::Sender<(GossipSender, Bytes)>, Bytes) {
        let world = World::new();
        let transport = |number| {
            let (outgoing, _) = world.net.attach(&node("n"), address(number));
            let (sender, inbox) = mpsc::channel(64);
            let transport = LinkTransport {
                advertise: address(number),
                outgoing,
                inbox: Arc::new(Mutex::new(inbox)),
                pace: Arc::default(),
                guard: world.guard(&node("n"), number),
            };
            (transport, sender)
        };
        let (writer, _writer_inbox) = transport(2);
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new("writer", 1, address(2)),
            cluster_id: "m1".to_owned(),
            gossip_interval: Duration::from_millis(20),
            listen_addr: address(2),
            seed_nodes: vec![address(3).to_string()],
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: PATIENCE,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let writing = spawn_chitchat(config, Vec::new(), &writer).await;
        let deadline = Instant::now() + PATIENCE;
        let syn = loop {
            if let Some(message) = world.net.caught.lock().expect("not poisoned").front() {
                break message.clone();
            }
            assert!(Instant::now() < deadline, "no SYN was written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        writing.expect("loopback sockets").abort();
        let (reader, sender) = transport(1);
        (
            reader.socket().await.expect("loopback sockets"),
            sender,
            syn,
        )
    }

    fn from(name: &str, number: u16) -> GossipSender {
        let (node, address) = (node(name), address(number));
        GossipSender { node, address }
    }

    async fn received(socket: &mut LinkSocket<Port>) -> SocketAddr {
        let outcome = timeout(PATIENCE, socket.recv())
            .await
            .expect("a message in time");
        outcome.expect("a whole socket").from_addr
    }

    #[tokio::test]
    async fn message_comes_from_the_address_its_peer_advertises() {
        let (mut socket, inbox, syn) = socket_and_syn().await;
        for number in 10..30 {
            inbox
                .send((from("n", number), syn.clone()))
                .await
                .expect("room");
        }
        for number in 10..30 {
            assert_eq!(received(&mut socket).await, address(number));
        }
    }

    #[tokio::test]
    async fn garbage_between_messages_quarantines_only_its_sender() {
        let (mut socket, inbox, syn) = socket_and_syn().await;
        let mark = Bytes::from_static(&MARK);
        let garbage = [Bytes::new(), syn.slice(..syn.len() - 3), mark];
        for number in 10..20 {
            let garbage = &garbage[usize::from(number) % garbage.len()];
            let liar = from(&format!("liar-{number}"), 66);
            for message in [garbage, &syn] {
                let message = (liar.clone(), message.clone());
                inbox.send(message).await.expect("room");
            }
            let message = (from("n", number), syn.clone());
            inbox.send(message).await.expect("room");
        }
        for number in 10..20 {
            assert_eq!(received(&mut socket).await, address(number));
        }
        let counters = socket.guard.counters();
        assert_eq!(counters.rejected(Rejection::Message), 10);
        assert_eq!(counters.rejected(Rejection::Quarantined), 10);
    }

    #[tokio::test]
    async fn cancelled_receive_loses_nothing() {
        let (mut socket, inbox, syn) = socket_and_syn().await;
        for number in 10..20 {
            inbox
                .send((from("n", number), syn.clone()))
                .await
                .expect("room");
            let mut polls = 0;
            let from = loop {
                // Polled once, then dropped.
                tokio::select! {
                    biased;
                    outcome = socket.recv() => break outcome.expect("a whole socket").from_addr,
                    () = tokio::task::yield_now() => polls += 1,
                }
                assert!(polls < 100_000, "lost");
            };
            assert_eq!(from, address(number));
        }
    }

    #[tokio::test]
    async fn datagrams_of_other_processes_are_not_received() {
        let (mut socket, inbox, syn) = socket_and_syn().await;
        let stranger = Slot::open().expect("a loopback socket");
        for _ in 0..10 {
            stranger
                .socket
                .send_to(&syn, socket.codec_address)
                .expect("sent");
            stranger
                .socket
                .send_to(b"junk", socket.tap_address)
                .expect("sent");
        }
        inbox
            .send((from("n", 10), syn.clone()))
            .await
            .expect("room");
        assert_eq!(received(&mut socket).await, address(10));
        assert!(
            timeout(Duration::from_millis(50), socket.recv())
                .await
                .is_err()
        );
    }

    #[test]
    fn pace_is_full_up_to_80_nodes_and_falls_beyond() {
        let pace = Pace::default();
        assert_eq!(pace.share(), 1.0);
        pace.set_nodes(80);
        assert_eq!(pace.share(), 1.0);
        pace.set_nodes(160);
        assert_eq!(pace.share(), 0.5);
        pace.set_nodes(1_000);
        assert_eq!(pace.share(), 0.08);
    }
}
