//! Asks the host of a silent peer whether the peer's process is gone.
//!
//! A host answers a datagram to a port on which nobody listens with ICMP's "port unreachable", and a
//! connected socket returns that to its owner as a refused connection. QUIC itself ignores it, since anybody
//! may send such a message. Here it counts only on a link that is silent already, and for a socket created
//! for the purpose: the kernel takes the message only if it quotes that socket's own fresh port. A host that
//! is gone as a whole, or a firewall that drops, answers nothing; the link then ends by its timeout.
//!
//! Only an address that takes packets from any sender proves anything: one that this node dialled, or the one
//! that the peer advertises. A NAT router may answer that a port is closed which is open to a single sender.

use grapevine_proto::frame::close;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::VarInt;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::info;

use super::link::PeerLink;

/// How long a host may take to answer that nobody listens: less than the time between two questions.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// The most hosts that this process asks at once: each takes a descriptor.
static LOOKS: Semaphore = Semaphore::const_new(32);

/// Asks the host of a silent link's peer, and closes the link when the process there is gone.
pub(super) fn look(link: &Arc<PeerLink>) {
    let Some(address) = listening_address(link) else {
        return;
    };
    // Too many ask already: this one is asked again in a moment.
    let Ok(permit) = LOOKS.try_acquire() else {
        return;
    };
    let link = Arc::clone(link);
    tokio::spawn(async move {
        if is_port_closed(address).await && link.is_silent() {
            info!(peer.name = %link.peer, peer.address = %address, "nobody listens at the silent peer's address");
            let code = VarInt::from_u32(close::LOST);
            link.connection.close(code, b"nobody listens there");
        }
        drop(permit);
    });
}

/// The address where the peer takes packets from any sender; `None` where that is not certain.
fn listening_address(link: &PeerLink) -> Option<SocketAddr> {
    let remote = link.connection.remote_address();
    let is_same = |one: SocketAddr, other: SocketAddr| {
        one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
    };
    (link.dialled_here || is_same(remote, link.address)).then_some(remote)
}

/// Whether the host at `address` answers that nobody listens on the port.
async fn is_port_closed(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let asked = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        // No packet of QUIC is one byte long: a live peer drops it unread.
        socket.send(&[0]).await?;
        socket.recv(&mut [0]).await
    };
    let answer = timeout(ANSWER_TIMEOUT, asked).await;
    answer
        .is_ok_and(|answer| answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_that_nobody_listens_on_is_closed_and_one_that_only_keeps_silent_is_not() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(any).await else {
                // A machine without IPv6.
                continue;
            };
            let address = socket.local_addr().expect("a bound socket");
            assert!(!is_port_closed(address).await);
            drop(socket);
            assert!(is_port_closed(address).await);
        }
    }
}
