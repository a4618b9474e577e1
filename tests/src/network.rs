//! A bad network between nodes, in user space and without privileges.
//!
//! Every node advertises the address of a relay of its own; the relay passes datagrams on to the node's
//! real mesh port. A node has one QUIC endpoint, so the source of a datagram identifies its sender, and each
//! direction between two nodes can be delayed, thinned out and cut by itself. For every sender the relay
//! holds a socket of its own towards the node, so that answers find their way back.
//!
//! Delay keeps the order of datagrams. Loss is drawn from a generator with a fixed seed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::wait::must;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// How many datagrams one direction holds while it delays them; more are dropped, as a router would.
const QUEUE_DATAGRAMS_MAX: usize = 4_096;

/// What happens to datagrams in one direction between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Added to every datagram's way.
    pub delay: Duration,
    /// The share of datagrams lost, from 0 to 1.
    pub loss: f64,
    /// Whether everything is lost.
    pub cut: bool,
}

/// What has happened so far in one direction: a knob must be seen to have had an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCount {
    /// Datagrams passed on.
    pub passed: u64,
    /// Datagrams dropped by loss, by a cut, or by a full queue.
    pub dropped: u64,
}

/// The relays of a mesh. Dropping it ends them.
#[derive(Debug)]
pub struct Network {
    advertised: BTreeMap<String, SocketAddr>,
    links: Arc<Mutex<Links>>,
    _relays: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Links {
    links: BTreeMap<(String, String), (Link, LinkCount)>,
    random: u64,
}

impl Network {
    /// Starts a relay for each of the nodes, given by name and real mesh address.
    ///
    /// # Panics
    ///
    /// When a socket cannot be bound.
    pub async fn start(nodes: &[(String, SocketAddr)]) -> Self {
        let links = Arc::new(Mutex::new(Links {
            random: 0x9E37_79B9_7F4A_7C15,
            ..Links::default()
        }));
        let names: BTreeMap<SocketAddr, String> = nodes
            .iter()
            .map(|(name, address)| (*address, name.clone()))
            .collect();
        let mut advertised = BTreeMap::new();
        let mut relays = JoinSet::new();
        for (name, address) in nodes {
            let socket = Arc::new(must(
                "binding a relay",
                UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await,
            ));
            advertised.insert(name.clone(), must("a relay's address", socket.local_addr()));
            let relay = Relay {
                node: name.clone(),
                target: *address,
                names: names.clone(),
                front: socket,
                links: Arc::clone(&links),
                paths: BTreeMap::new(),
                tasks: JoinSet::new(),
            };
            relays.spawn(relay.run());
        }
        Self {
            advertised,
            links,
            _relays: relays,
        }
    }

    /// The address that a node must advertise.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    #[must_use]
    pub fn address_of(&self, node: &str) -> SocketAddr {
        match self.advertised.get(node) {
            Some(address) => *address,
            None => panic!("no node {node} in this network"),
        }
    }

    /// Sets one direction between two nodes.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn set_one_way(&self, from: &str, to: &str, link: Link) {
        for name in [from, to] {
            assert!(
                self.advertised.contains_key(name),
                "no node {name} in this network"
            );
        }
        lock(&self.links).links.entry(key(from, to)).or_default().0 = link;
    }

    /// Sets both directions between two nodes.
    ///
    /// # Panics
    ///
    /// As [`Network::set_one_way`].
    pub fn set(&self, one: &str, other: &str, link: Link) {
        self.set_one_way(one, other, link);
        self.set_one_way(other, one, link);
    }

    /// Drops everything between two nodes.
    ///
    /// # Panics
    ///
    /// As [`Network::set_one_way`].
    pub fn cut(&self, one: &str, other: &str) {
        self.set(
            one,
            other,
            Link {
                cut: true,
                ..Link::default()
            },
        );
    }

    /// Drops everything between a node and all others.
    ///
    /// # Panics
    ///
    /// As [`Network::set_one_way`].
    pub fn isolate(&self, node: &str) {
        for other in self.advertised.keys().filter(|other| *other != node) {
            self.cut(node, other);
        }
    }

    /// Sets every direction between any two nodes.
    pub fn set_all(&self, link: Link) {
        for one in self.advertised.keys() {
            for other in self.advertised.keys().filter(|other| *other != one) {
                self.set_one_way(one, other, link);
            }
        }
    }

    /// Makes every link perfect again.
    pub fn heal(&self) {
        self.set_all(Link::default());
    }

    /// What has happened in one direction so far.
    #[must_use]
    pub fn count(&self, from: &str, to: &str) -> LinkCount {
        lock(&self.links)
            .links
            .get(&key(from, to))
            .map(|(_, count)| *count)
            .unwrap_or_default()
    }
}

impl Links {
    // Decides a datagram's fate, and counts it.
    fn admit(&mut self, from: &str, to: &str) -> Option<Duration> {
        // xorshift64: enough for drawing losses, and the same on every run.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let draw = (self.random >> 11) as f64 / (1_u64 << 53) as f64;
        let (link, count) = self.links.entry(key(from, to)).or_default();
        if link.cut || draw < link.loss {
            count.dropped += 1;
            return None;
        }
        count.passed += 1;
        Some(link.delay)
    }

    fn overflowed(&mut self, from: &str, to: &str) {
        let count = &mut self.links.entry(key(from, to)).or_default().1;
        count.passed -= 1;
        count.dropped += 1;
    }
}

// One node's relay: `front` is what peers send to.
struct Relay {
    node: String,
    target: SocketAddr,
    names: BTreeMap<SocketAddr, String>,
    front: Arc<UdpSocket>,
    links: Arc<Mutex<Links>>,
    paths: BTreeMap<SocketAddr, Direction>,
    tasks: JoinSet<()>,
}

impl Relay {
    async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            // An error here is an ICMP answer to an earlier datagram: the receiver is down.
            let Ok((length, source)) = self.front.recv_from(&mut buffer).await else {
                continue;
            };
            if !self.paths.contains_key(&source) {
                let path = self.open_path(source).await;
                self.paths.insert(source, path);
            }
            if let Some(path) = self.paths.get(&source) {
                path.pass(&buffer[..length]);
            }
        }
    }

    // Makes the two directions between a sender and the node.
    async fn open_path(&mut self, source: SocketAddr) -> Direction {
        let back = Arc::new(must(
            "binding a relay",
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await,
        ));
        // A sender that is no node (a test's own socket) is named by its address and never impaired by name.
        let sender = self
            .names
            .get(&source)
            .cloned()
            .unwrap_or_else(|| source.to_string());
        let inward = self.direction(
            (&sender, &self.node.clone()),
            Arc::clone(&back),
            self.target,
        );
        let outward = self.direction(
            (&self.node.clone(), &sender),
            Arc::clone(&self.front),
            source,
        );
        self.tasks.spawn(async move {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                let Ok((length, _)) = back.recv_from(&mut buffer).await else {
                    continue;
                };
                outward.pass(&buffer[..length]);
            }
        });
        inward
    }

    fn direction(
        &mut self,
        way: (&str, &str),
        socket: Arc<UdpSocket>,
        to: SocketAddr,
    ) -> Direction {
        let (queue, waiting) = channel(QUEUE_DATAGRAMS_MAX);
        self.tasks.spawn(deliver(waiting, socket, to));
        let (from, to) = (way.0.to_string(), way.1.to_string());
        Direction {
            from,
            to,
            links: Arc::clone(&self.links),
            queue,
        }
    }
}

struct Direction {
    from: String,
    to: String,
    links: Arc<Mutex<Links>>,
    queue: Sender<(Instant, Vec<u8>)>,
}

impl Direction {
    fn pass(&self, datagram: &[u8]) {
        let Some(delay) = lock(&self.links).admit(&self.from, &self.to) else {
            return;
        };
        if self
            .queue
            .try_send((Instant::now() + delay, datagram.to_vec()))
            .is_err()
        {
            lock(&self.links).overflowed(&self.from, &self.to);
        }
    }
}

async fn deliver(
    mut waiting: Receiver<(Instant, Vec<u8>)>,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
) {
    while let Some((due, datagram)) = waiting.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        // A receiver that is down loses datagrams, as on any network.
        drop(socket.send_to(&datagram, to).await);
    }
}

fn key(from: &str, to: &str) -> (String, String) {
    (from.to_string(), to.to_string())
}

fn lock(links: &Mutex<Links>) -> MutexGuard<'_, Links> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::within;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn pair() -> (Network, UdpSocket, UdpSocket) {
        let one = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addresses = [
            ("one".to_string(), one.local_addr().unwrap()),
            ("other".to_string(), other.local_addr().unwrap()),
        ];
        (Network::start(&addresses).await, one, other)
    }

    async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 100];
        let (length, from) = within("a datagram", LIMIT, socket.recv_from(&mut buffer))
            .await
            .unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[tokio::test]
    async fn answers_come_back_from_the_address_that_was_asked() {
        let (network, one, other) = pair().await;
        let relay = network.address_of("other");
        one.send_to(b"ask", relay).await.unwrap();
        let (datagram, from) = receive(&other).await;
        assert_eq!(datagram, b"ask");
        other.send_to(b"answer", from).await.unwrap();
        assert_eq!(receive(&one).await, (b"answer".to_vec(), relay));
    }

    #[tokio::test]
    async fn a_one_way_cut_leaves_the_other_way_open_until_healed() {
        let (network, one, other) = pair().await;
        network.set_one_way(
            "one",
            "other",
            Link {
                cut: true,
                ..Link::default()
            },
        );
        one.send_to(b"lost", network.address_of("other"))
            .await
            .unwrap();
        other
            .send_to(b"arrives", network.address_of("one"))
            .await
            .unwrap();
        assert_eq!(receive(&one).await.0, b"arrives");
        let cut = async || match network.count("one", "other").dropped {
            1 => Ok(()),
            dropped => Err(format!("{dropped} dropped")),
        };
        crate::wait_until("the cut", LIMIT, cut).await;
        network.heal();
        one.send_to(b"passes", network.address_of("other"))
            .await
            .unwrap();
        assert_eq!(receive(&other).await.0, b"passes");
    }

    #[tokio::test]
    async fn delay_is_added_in_order_and_loss_takes_its_share() {
        let (network, one, other) = pair().await;
        let delay = Duration::from_millis(50);
        network.set_one_way(
            "one",
            "other",
            Link {
                delay,
                ..Link::default()
            },
        );
        let start = Instant::now();
        for number in 0..3_u8 {
            one.send_to(&[number], network.address_of("other"))
                .await
                .unwrap();
        }
        for number in 0..3_u8 {
            assert_eq!(receive(&other).await.0, [number]);
        }
        assert!(start.elapsed() >= delay);

        let mut links = Links {
            random: 1,
            ..Links::default()
        };
        links.links.insert(
            key("a", "b"),
            (
                Link {
                    loss: 0.2,
                    ..Link::default()
                },
                LinkCount::default(),
            ),
        );
        let lost = (0..10_000)
            .filter(|_| links.admit("a", "b").is_none())
            .count();
        assert!(
            (1_800..2_200).contains(&lost),
            "{lost} of 10000 lost at 20 %"
        );
    }
}
