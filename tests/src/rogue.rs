//! A stranger at the mesh port: it speaks QUIC and may hold a good certificate, and sends arbitrary messages.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{Generation, NodeName};
use grapevine_proto::frame::{Datagram, Greeting, Ping, Pong, TAG_GREETING, VERSION};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::client::install_crypto;
use crate::node::Node;
use crate::wait::{must, within};

const LIMIT: Duration = Duration::from_secs(10);

/// Fits a datagram of any path.
const PONG_BYTES_MAX: usize = 1_000;

/// What TLS negotiates between nodes.
const ALPN: &[u8] = b"grapevine/1";

/// One connection to a node's mesh port. Dropping it closes it.
#[derive(Debug)]
pub struct Rogue {
    name: String,
    endpoint: Endpoint,
    /// The connection, for direct use.
    pub connection: Connection,
}

impl Rogue {
    /// Dials `node` of the mesh called `mesh`, with `NAME.pem` and `NAME.key` and trusting
    /// `mesh-ca.pem`, all in `directory`. Sends no greeting yet.
    ///
    /// # Errors
    ///
    /// When the node refuses the handshake. A node may also accept it and close right after.
    ///
    /// # Panics
    ///
    /// When the files cannot be used.
    pub async fn dial(
        directory: &Path,
        name: &str,
        mesh: &str,
        node: &Node,
    ) -> Result<Self, quinn::ConnectionError> {
        install_crypto();
        let mut endpoint = must(
            "a UDP port",
            Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))),
        );
        endpoint.set_default_client_config(client_config(directory, name));
        let server_name = format!("any.{mesh}.grapevine.internal");
        let dialling = must(
            "dialling",
            endpoint.connect(node.addresses().mesh, &server_name),
        );
        let connection = within("a handshake", LIMIT, dialling).await?;
        Ok(Self {
            name: name.to_string(),
            endpoint,
            connection,
        })
    }

    /// Greets as an honest node would, and waits for the node's greeting.
    ///
    /// # Panics
    ///
    /// When the node does not greet.
    pub async fn greet(&self) {
        self.send(&self.greeting(VERSION, VERSION)).await;
        let greeting = must("the node's greeting", self.connection.accept_uni().await);
        let mut greeting = greeting;
        let read = within("the node's greeting", LIMIT, greeting.read_to_end(4_096)).await;
        assert_eq!(
            must("the node's greeting", read).first(),
            Some(&TAG_GREETING)
        );
    }

    /// The message that greets with a range of protocol versions.
    ///
    /// # Panics
    ///
    /// When the name is invalid.
    #[must_use]
    pub fn greeting(&self, version_min: u16, version_max: u16) -> Vec<u8> {
        let address = must("our own address", self.endpoint.local_addr());
        let greeting = Greeting {
            node: must("a name", NodeName::new(&self.name)),
            generation: Generation(1),
            address,
            host: address.to_string(),
            version_min,
            version_max,
        };
        [vec![TAG_GREETING], must("a greeting", greeting.encode())].concat()
    }

    /// Sends a message on a stream of its own.
    ///
    /// # Panics
    ///
    /// When the connection is gone.
    pub async fn send(&self, message: &[u8]) {
        let mut stream = must("a stream", self.connection.open_uni().await);
        must("sending", stream.write_all(message).await);
        must("ending a message", stream.finish());
    }

    /// Sends bytes as a forwarded call and returns all that comes back, or how the stream ended instead.
    ///
    /// # Errors
    ///
    /// When the node resets the stream or closes the connection.
    ///
    /// # Panics
    ///
    /// When neither happens within ten seconds.
    pub async fn call(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut streams = self
            .connection
            .open_bi()
            .await
            .map_err(|error| error.to_string())?;
        // A node may stop reading at any byte.
        drop(streams.0.write_all(bytes).await);
        drop(streams.0.finish());
        let answer = within("an answer to a call", LIMIT, streams.1.read_to_end(1 << 20)).await;
        answer.map_err(|error| error.to_string())
    }

    /// Answers pings for as long as it is polled, as an honest node would: a silent link is closed
    /// after ten seconds. Ends with the connection.
    pub async fn answer_pings(&self) {
        while let Ok(datagram) = self.connection.read_datagram().await {
            if let Ok(Datagram::Ping(Ping { sequence })) = Datagram::decode(&datagram) {
                let loads = Vec::new();
                let pong = Pong { sequence, loads }.encode(PONG_BYTES_MAX);
                // A datagram may be lost; the next ping is answered again.
                drop(self.connection.send_datagram(pong.into()));
            }
        }
    }

    /// Waits until the node closes the connection, and returns its reason.
    ///
    /// # Panics
    ///
    /// When it does not within ten seconds.
    pub async fn closed(&self) -> String {
        within("the end of the connection", LIMIT, self.connection.closed())
            .await
            .to_string()
    }
}

/// A message of gossip in small blocks, each a frame of one byte repeated 60,000 times: 1.2 GB for a reader without limits.
#[must_use]
pub fn swelling_ack() -> Vec<u8> {
    let block = [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x60, 0xe9, 3, 0x53, 7, 0];
    let mut ack = vec![0x53, 0xb0, 1, 2];
    while ack.len() < 63_800 {
        ack.extend([1, block.len() as u8, 0]);
        ack.extend(block);
    }
    ack.push(0);
    ack
}

/// A message of gossip with a key of version 1,000,000 of a node with the claimed highest version 1,000.
#[must_use]
pub fn deadly_ack() -> Vec<u8> {
    let mut operations = vec![0, 3, 0];
    operations.extend(b"sgp");
    operations.extend(1_u64.to_le_bytes());
    operations.extend([4, 127, 0, 0, 1, 0x59, 0x1b]);
    operations.extend([0; 16]);
    operations.extend([1, 1, 0, b'x', 1, 0, b'y']);
    operations.extend(1_000_000_u64.to_le_bytes());
    operations.extend([0, 2]);
    operations.extend(1_000_u64.to_le_bytes());
    let mut ack = vec![0x53, 0xb0, 1, 2, 2, operations.len() as u8, 0];
    ack.extend(operations);
    ack.push(0);
    ack
}

fn client_config(directory: &Path, name: &str) -> ClientConfig {
    let certificate = |file: String| {
        let path = directory.join(file);
        must(
            &format!("reading {}", path.display()),
            CertificateDer::from_pem_file(&path),
        )
    };
    let mut roots = RootCertStore::empty();
    must(
        "trusting the CA",
        roots.add(certificate("mesh-ca.pem".to_string())),
    );
    let key = must(
        "reading a key",
        PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))),
    );
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(format!("{name}.pem"))], key);
    let mut tls = must("a TLS client", tls);
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(must("QUIC", QuicClientConfig::try_from(tls))));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(100)));
    config.transport_config(Arc::new(transport));
    config
}
