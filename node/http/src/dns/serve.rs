//! The sockets: UDP and TCP at one address.
//!
//! One task each. A datagram is answered before the next is received, which needs no bound; a TCP conversation
//! is one question after another, within limits on the number of conversations and on silence.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_base::driver::DriverHandle;
use grapevine_base::listener::burst::Burst;
use grapevine_base::listener::{ConnectionEntry, ConnectionTable, descriptors};
use grapevine_core::connection::CloseReason;
use grapevine_observe::dns::DnsQueries;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::respond::{Ground, Transport};
use super::{DnsSettings, LocateAddress};

/// Concurrent TCP conversations where descriptors allow it; one more closes the one that has been silent for
/// longest. Resolvers need TCP for truncated answers alone.
pub const CONVERSATIONS_MAX: usize = 128;

/// How long a TCP conversation may wait for a whole question, or for its answer to be read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest question in bytes; a longer one is malformed. Typical ones need a few hundred.
const QUESTION_BYTES_MAX: usize = 4_096;

/// The pause after a socket's error, so that a lasting one does not spin.
const ERROR_REST: Duration = Duration::from_millis(50);

/// The open sockets.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Answers questions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    /// The settings.
    pub settings: Arc<ArcSwap<DnsSettings>>,
    /// The source of the view.
    pub driver: DriverHandle,
    /// Locates clients.
    pub locate: LocateAddress,
    /// Counts.
    pub queries: DnsQueries,
    /// The TCP conversations.
    pub conversations: ConnectionTable,
}

impl Sockets {
    /// Opens both at `address`.
    ///
    /// # Errors
    /// When the address is taken, not this host's, or not permitted.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let udp = UdpSocket::bind(tcp.local_addr()?).await?;
        Ok(Self { udp, tcp })
    }

    /// Where they are.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

impl Server {
    /// Answers until the future is dropped.
    pub async fn serve(self, sockets: Sockets) {
        tokio::join!(self.serve_udp(&sockets.udp), self.serve_tcp(&sockets.tcp));
    }

    async fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; QUESTION_BYTES_MAX];
        let failures = Burst::default();
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    let begin = || warn!(%error, "DNS questions are not received");
                    let end = |failures| warn!(failures, "DNS questions are received again");
                    failures.hit(begin, end);
                    sleep(ERROR_REST).await;
                    continue;
                }
            };
            // Such a sender cannot be answered.
            if from.port() == 0 {
                continue;
            }
            if let Some(answer) = self.answer(&buffer[..length], from, Transport::Udp) {
                // A client that cannot be reached retries.
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }

    async fn serve_tcp(&self, listener: &TcpListener) {
        let failures = Burst::default();
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.not_accepted(&failures, &error).await;
                    continue;
                }
            };
            if let Ok(entry) = self.conversations.admit(0) {
                let (server, is_crowded) = (self.clone(), entry.is_crowded());
                tokio::spawn(async move { server.host(stream, from, &entry).await });
                if is_crowded {
                    yield_now().await;
                }
            }
        }
    }

    /// Sheds connections where descriptors have run out.
    async fn not_accepted(&self, failures: &Burst, error: &io::Error) {
        let begin = || warn!(%error, "DNS connections are not accepted");
        let end = |failures| warn!(failures, "DNS connections are accepted again");
        failures.hit(begin, end);
        if descriptors::are_exhausted(error) {
            self.conversations.make_room();
        }
        sleep(ERROR_REST).await;
    }

    /// Converses until the other side ends it, or its slot is needed.
    async fn host(&self, stream: TcpStream, from: SocketAddr, entry: &ConnectionEntry) {
        tokio::select! {
            ended = self.converse(stream, from, entry) => match ended {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    entry.closed(CloseReason::Head);
                }
                // After a broken conversation the other side must start again.
                Ok(()) | Err(_) => {}
            },
            _ = entry.activity().shutdown_requested() => entry.closed(CloseReason::Shed),
        }
    }

    async fn converse(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        entry: &ConnectionEntry,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            entry.activity().await_first();
            let question = timeout(PATIENCE, read_message(&mut stream)).await??;
            let Some(answer) = self.answer(&question, from, Transport::Tcp) else {
                return Ok(());
            };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let message = [&length.to_be_bytes()[..], &answer].concat();
            timeout(PATIENCE, stream.write_all(&message)).await??;
        }
    }

    fn answer(&self, bytes: &[u8], from: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let (settings, view) = (self.settings.load(), self.driver.view());
        let ground = Ground {
            settings: &settings,
            view: &view,
            locate: &self.locate,
        };
        let response = ground.respond(bytes, from.ip().to_canonical(), transport)?;
        self.queries.count(response.kind, response.code);
        Some(response.bytes)
    }
}

/// A message behind its length (RFC 1035, 4.2.2).
async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > QUESTION_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use grapevine_core::Engine;
    use grapevine_core::engine::Identity;
    use grapevine_core::fact::Public;
    use grapevine_core::homes::Homes;
    use grapevine_core::ids::{Generation, NodeName, RegionName};
    use grapevine_core::residency::{ClientOrigin, Residency};
    use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};

    use super::*;
    use grapevine_base::clock::Clock;
    use grapevine_base::driver::Driver;
    use grapevine_base::listener::metrics::{ConnectionMetrics, Listener};

    /// Far more than an answer takes.
    const LIMIT: Duration = Duration::from_secs(20);

    /// A server of `mesh.example` on a free port.
    async fn start() -> (SocketAddr, DnsQueries) {
        let clock = Clock::start();
        let identity = Identity {
            node: NodeName::new("eur-1").expect("a valid name"),
            generation: Generation(1),
            region: RegionName::new("eur").expect("a valid name"),
            place: None,
            protocol: 1,
            build: String::new(),
            serves_requests: true,
            public: Public::default(),
        };
        let (_, driver, _) = Driver::new(Engine::new(clock.now(), identity), clock);
        let zone = "mesh.example".parse().expect("a name");
        let (homes, residency) = (Homes::default(), Residency::default());
        let settings = DnsSettings::new(&zone, Duration::from_secs(30), &[], homes, residency);
        let queries = DnsQueries::default();
        let server = Server {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            driver,
            locate: LocateAddress::new(|_| (ClientOrigin::Unknown, None)),
            queries: queries.clone(),
            conversations: ConnectionTable::new(
                CONVERSATIONS_MAX,
                ConnectionMetrics::default().of(Listener::Dns, CONVERSATIONS_MAX),
            ),
        };
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = Sockets::open(free).await.expect("a free port");
        let address = sockets.address().expect("an address");
        tokio::spawn(server.serve(sockets));
        (address, queries)
    }

    fn question() -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        let zone = Name::from_ascii("mesh.example.").expect("a name");
        message.add_query(Query::query(zone, RecordType::SOA));
        message.to_bytes().expect("a message")
    }

    fn is_soa(bytes: &[u8]) -> bool {
        let answer = Message::from_bytes(bytes).expect("a message");
        answer.metadata.response_code == ResponseCode::NoError && answer.answers.len() == 1
    }

    async fn converse(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
        let question = question();
        let length = u16::try_from(question.len()).expect("short").to_be_bytes();
        stream.write_all(&[&length[..], &question].concat()).await?;
        timeout(LIMIT, read_message(stream)).await?
    }

    #[tokio::test]
    async fn datagram_and_conversation_are_answered_at_one_address() {
        let (address, _queries) = start().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        // What is no message is passed over.
        socket.send_to(b"?", address).await.expect("sent");
        socket.send_to(&question(), address).await.expect("sent");
        let mut buffer = [0; 512];
        let received = timeout(LIMIT, socket.recv_from(&mut buffer)).await;
        let (length, _) = received.expect("in time").expect("an answer");
        assert!(is_soa(&buffer[..length]));

        let mut stream = TcpStream::connect(address).await.expect("a connection");
        for _ in 0..3 {
            assert!(is_soa(&converse(&mut stream).await.expect("an answer")));
        }
    }

    #[tokio::test]
    async fn question_over_the_limit_ends_the_conversation() {
        let (address, _queries) = start().await;
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let length = u16::try_from(QUESTION_BYTES_MAX + 1).expect("a length");
        stream.write_all(&length.to_be_bytes()).await.expect("sent");
        let mut rest = Vec::new();
        let ended = timeout(LIMIT, stream.read_to_end(&mut rest)).await;
        assert_eq!(ended.expect("in time").ok(), Some(0));
    }

    #[tokio::test]
    async fn silent_conversations_make_room_for_others() {
        let (address, _queries) = start().await;
        let mut open = Vec::new();
        for _ in 0..2 * CONVERSATIONS_MAX {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            assert!(is_soa(&converse(&mut stream).await.expect("an answer")));
            open.push(stream);
        }
        let mut first = open.remove(0);
        let ended = timeout(LIMIT, first.read_u8()).await;
        assert!(
            ended.expect("in time").is_err(),
            "the longest silent is closed"
        );
    }
}
