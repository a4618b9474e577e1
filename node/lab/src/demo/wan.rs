//! The distance between the regions, emulated: every datagram between two nodes waits as long as it would travel.
//!
//! Each node advertises the address of a relay of its own, which passes datagrams on to the node's real mesh port. A
//! node sends from that one port, so a datagram's source identifies its sender and hence its distance. For every sender
//! the relay holds a socket of its own towards the node, so that answers find their way back, delayed as well.
//! Delays are constant per direction, so datagrams keep their order; nothing is lost but what overflows a queue.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Datagrams in flight in one direction; more are dropped, as a router would.
const QUEUE_DATAGRAMS_MAX: usize = 4_096;

/// Senders that a relay knows; datagrams of others are dropped.
const SENDERS_MAX: usize = 64;

/// The relays of a mesh. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Wan {
    fronts: Vec<SocketAddr>,
    _relays: JoinSet<()>,
}

impl Wan {
    /// Starts a relay for each node, given by its real mesh address. `one_way(from, to)` is the time that a datagram
    /// takes between two nodes, both by their number in `nodes`.
    ///
    /// # Errors
    /// When a socket cannot be bound.
    pub(super) async fn start(
        nodes: &[SocketAddr],
        one_way: fn(usize, usize) -> Duration,
    ) -> std::io::Result<Self> {
        let nodes: Arc<[SocketAddr]> = nodes.into();
        let mut fronts = Vec::new();
        let mut relays = JoinSet::new();
        for number in 0..nodes.len() {
            let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
            fronts.push(front.local_addr()?);
            let relay = Relay {
                number,
                nodes: Arc::clone(&nodes),
                one_way,
                front,
                inward: BTreeMap::new(),
                tasks: JoinSet::new(),
            };
            relays.spawn(relay.run());
        }
        Ok(Self {
            fronts,
            _relays: relays,
        })
    }

    /// The addresses to advertise, in the order of the nodes.
    pub(super) fn advertised(&self) -> &[SocketAddr] {
        &self.fronts
    }
}

type Queue = Sender<(Instant, Vec<u8>)>;

/// One node's relay: peers send to `front`.
struct Relay {
    number: usize,
    nodes: Arc<[SocketAddr]>,
    one_way: fn(usize, usize) -> Duration,
    front: Arc<UdpSocket>,
    inward: BTreeMap<SocketAddr, (Duration, Queue)>,
    tasks: JoinSet<()>,
}

impl Relay {
    async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error here is an ICMP answer to an earlier datagram: its receiver is down.
            let Ok((length, source)) = self.front.recv_from(&mut buffer).await else {
                continue;
            };
            if !self.inward.contains_key(&source) && self.open(source).await.is_none() {
                continue;
            }
            if let Some((delay, queue)) = self.inward.get(&source) {
                // A full queue drops the datagram; QUIC sends it again.
                let _ = queue.try_send((Instant::now() + *delay, buffer[..length].to_vec()));
            }
        }
    }

    /// Opens both directions between the node and a sender; `None` when that cannot be.
    async fn open(&mut self, source: SocketAddr) -> Option<()> {
        let node = *self.nodes.get(self.number)?;
        let sender = self.nodes.iter().position(|node| *node == source)?;
        if self.inward.len() >= SENDERS_MAX {
            return None;
        }
        let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.ok()?);
        let inward = self.deliver(Arc::clone(&back), node);
        let outward = self.deliver(Arc::clone(&self.front), source);
        let inward_delay = (self.one_way)(sender, self.number);
        let outward_delay = (self.one_way)(self.number, sender);
        self.inward.insert(source, (inward_delay, inward));
        self.tasks.spawn(async move {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                let Ok((length, _)) = back.recv_from(&mut buffer).await else {
                    continue;
                };
                let due = Instant::now() + outward_delay;
                let _ = outward.try_send((due, buffer[..length].to_vec()));
            }
        });
        Some(())
    }

    fn deliver(&mut self, socket: Arc<UdpSocket>, to: SocketAddr) -> Queue {
        let (queue, waiting) = channel(QUEUE_DATAGRAMS_MAX);
        self.tasks.spawn(deliver(waiting, socket, to));
        queue
    }
}

async fn deliver(
    mut waiting: Receiver<(Instant, Vec<u8>)>,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
) {
    while let Some((due, datagram)) = waiting.recv().await {
        tokio::time::sleep_until(due).await;
        // A receiver that is down loses datagrams, as on any network.
        let _ = socket.send_to(&datagram, to).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forty_there_ten_back(from: usize, _: usize) -> Duration {
        Duration::from_millis(if from == 0 { 40 } else { 10 })
    }

    async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 16];
        let limit = Duration::from_secs(5);
        let received = tokio::time::timeout(limit, socket.recv_from(&mut buffer)).await;
        let (length, from) = received.unwrap().unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[tokio::test]
    async fn each_direction_takes_its_own_time_and_answers_find_back() {
        let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nodes = [one.local_addr().unwrap(), other.local_addr().unwrap()];
        let wan = Wan::start(&nodes, forty_there_ten_back).await.unwrap();
        let front = wan.advertised()[1];

        let sent = Instant::now();
        one.send_to(b"ask", front).await.unwrap();
        let (datagram, from) = receive(&other).await;
        assert_eq!(datagram, b"ask");
        assert!(sent.elapsed() >= Duration::from_millis(40));

        let sent = Instant::now();
        other.send_to(b"answer", from).await.unwrap();
        assert_eq!(receive(&one).await, (b"answer".to_vec(), front));
        assert!(sent.elapsed() >= Duration::from_millis(10));
    }
}
