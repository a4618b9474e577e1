//! The handshake of the mesh on a new connection: which node the peer is, by its greeting and certificate.
//!
//! A dialler's TLS handshake succeeds before the peer has checked its certificate, so a connection
//! counts only when the peer's greeting has come.

use std::time::Duration;

use bytes::Bytes;
use grapevine_core::ids::NodeName;
use grapevine_proto::frame::{GREETING_BYTES_MAX, Greeting, TAG_GREETING};
use quinn::{Connection, ConnectionError};
use rustls::pki_types::CertificateDer;

use super::identity::{IdentityError, Verifier};
use super::streams::{self, ReceiveError};

/// How long a peer may take to greet.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    /// The connection ended, or was refused by the peer.
    #[error(transparent)]
    Lost(#[from] ConnectionError),
    /// The peer did not greet in time.
    #[error("peer sent no greeting within {GREETING_TIMEOUT:?}")]
    TimedOut,
    /// What came first is not a greeting, or one that cannot be read.
    #[error("peer's greeting cannot be read: {0}")]
    Unreadable(ReceiveError),
    /// The certificate is not that of a node of this mesh.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The greeting names another node than the certificate.
    #[error("peer calls itself {greeted}, its certificate names {certified}")]
    OtherName {
        /// The name in the certificate.
        certified: NodeName,
        /// The name in the greeting.
        greeted: NodeName,
    },
    /// It is this node itself.
    #[error("address leads back to this node, or another node uses this node's certificate")]
    Myself,
}

/// Greets and waits for the peer's greeting.
///
/// # Errors
/// See [`GreetError`]; the connection must be closed.
pub async fn greet(
    connection: &Connection,
    own: &Bytes,
    me: &NodeName,
    verifier: &Verifier,
) -> Result<Greeting, GreetError> {
    let certified = certified_name(connection, verifier)?;
    if certified == *me {
        return Err(GreetError::Myself);
    }
    let exchange = async {
        let mut stream = connection.open_uni().await?;
        let mut parts = [Bytes::from_static(&[TAG_GREETING]), own.clone()];
        let sent = stream.write_all_chunks(&mut parts).await;
        sent.map_err(|error| GreetError::Unreadable(write_error(error)))?;
        // Only a stream that ended before cannot be finished.
        let _ = stream.finish();
        receive(connection).await
    };
    let greeting = tokio::time::timeout(GREETING_TIMEOUT, exchange)
        .await
        .map_err(|_| GreetError::TimedOut)??;
    if greeting.node != certified {
        return Err(GreetError::OtherName {
            certified,
            greeted: greeting.node,
        });
    }
    Ok(greeting)
}

/// Reads the first stream of the peer, which carries its greeting: streams arrive in order.
async fn receive(connection: &Connection) -> Result<Greeting, GreetError> {
    let mut stream = connection.accept_uni().await?;
    let mut tag = [0];
    let read = stream.read_exact(&mut tag).await;
    read.map_err(|error| GreetError::Unreadable(error.into()))?;
    if tag != [TAG_GREETING] {
        return Err(GreetError::Unreadable(ReceiveError::WrongLength));
    }
    let payload = streams::read_frame(&mut stream, GREETING_BYTES_MAX)
        .await
        .map_err(GreetError::Unreadable)?;
    Greeting::decode(&payload).map_err(|error| GreetError::Unreadable(error.into()))
}

/// The node that the peer's certificate names. TLS has checked the chain before.
fn certified_name(connection: &Connection, verifier: &Verifier) -> Result<NodeName, IdentityError> {
    let identity = connection
        .peer_identity()
        .ok_or(IdentityError::Unreadable)?;
    let chain = identity
        .downcast::<Vec<CertificateDer<'static>>>()
        .map_err(|_| IdentityError::Unreadable)?;
    let certificate = chain.first().ok_or(IdentityError::Unreadable)?;
    Ok(verifier.check(certificate)?.node().clone())
}

fn write_error(error: quinn::WriteError) -> ReceiveError {
    match error {
        quinn::WriteError::ConnectionLost(error) => ReceiveError::Lost(error),
        quinn::WriteError::Stopped(code) => ReceiveError::Reset(code.into_inner()),
        // A new stream that nobody finished, and no 0-RTT.
        _ => ReceiveError::WrongLength,
    }
}
