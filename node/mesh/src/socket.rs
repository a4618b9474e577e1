//! The mesh's UDP socket, woken for what arrives alone.
//!
//! tokio's own socket is registered for both directions. Each packet that a peer on the same machine takes in, and each
//! that the network card has sent, makes room in the send buffer, for which the kernel then wakes the thread: once for
//! each batch that is sent, and for nothing. So this one waits for room only while a send found none. It also knows that a
//! read of fewer packets than it had room for was the last, and does not ask again.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The largest datagram that is tried on a path, and taken in: what a path carries is found by QUIC's own probes
/// (RFC 8899), so that one of 1,500 bytes loses a few of those. Ten of them are one system call's worth, which UDP
/// limits to 65,507 bytes; beyond that quinn would send batches that the kernel refuses.
pub(super) const DATAGRAM_MAX: u16 = 6_500;

/// The socket.
#[derive(Debug)]
pub(super) struct MeshSocket {
    io: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// Whether the last send found no room.
    is_full: AtomicBool,
}

impl MeshSocket {
    /// Registers `socket` with the current runtime.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            io: register(socket, Interest::READABLE)?,
            state,
            is_full: AtomicBool::new(false),
        })
    }
}

/// Registers `socket` with the current runtime for `interest` alone.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe, since it asks that the descriptor stays open: a socket's own does"
)]
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsyncUdpSocket for MeshSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(RoomPoller {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.io.get_ref().into(), transmit);
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.is_full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut readiness = ready!(self.io.poll_read_ready(context))?;
            match self.state.recv(self.io.get_ref().into(), buffers, meta) {
                Ok(count) => {
                    // What arrives from now on makes the socket ready anew.
                    if count < buffers.len() {
                        readiness.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => readiness.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        // quinn takes memory for as many of the largest packets, thirty-two times, and zeroes it.
        let segments_max = usize::from(u16::MAX).div_ceil(usize::from(DATAGRAM_MAX));
        self.state.gro_segments().min(segments_max)
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room in the send buffer, for one connection.
#[derive(Debug)]
struct RoomPoller {
    socket: Arc<MeshSocket>,
    /// The socket under another number, registered for room alone, while there is none.
    waiting: Option<AsyncFd<UdpSocket>>,
}

impl UdpPoller for RoomPoller {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.socket.is_full.load(Ordering::Relaxed) {
            self.waiting = None;
            return Poll::Ready(Ok(()));
        }
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => {
                let socket = self.socket.io.get_ref().try_clone()?;
                register(socket, Interest::WRITABLE)?
            }
        };
        if let Poll::Ready(readiness) = waiting.poll_write_ready(context) {
            // Whoever finds none again registers anew.
            let _ = readiness?;
            self.socket.is_full.store(false, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        self.waiting = Some(waiting);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Long enough for what must come, and only waited for where it does not.
    const MUST_COME: Duration = Duration::from_secs(30);

    fn socket() -> (Arc<MeshSocket>, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let socket = Arc::new(MeshSocket::new(socket).expect("a socket of the mesh"));
        let address = socket.local_addr().expect("its address");
        (socket, address)
    }

    fn send(from: &MeshSocket, to: SocketAddr, contents: &[u8]) {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: None,
        };
        from.try_send(&transmit).expect("room");
    }

    /// The lengths of what one read takes in, with room for `room` packets.
    async fn receive(socket: &MeshSocket, room: usize) -> Vec<usize> {
        let mut memory = vec![[0; 2_048]; room];
        let mut buffers: Vec<_> = memory
            .iter_mut()
            .map(|room| IoSliceMut::new(room))
            .collect();
        let mut meta = vec![RecvMeta::default(); room];
        let received = poll_fn(|context| socket.poll_recv(context, &mut buffers, &mut meta));
        let count = timeout(MUST_COME, received)
            .await
            .expect("it comes")
            .expect("no error");
        meta[..count].iter().map(|meta| meta.len).collect()
    }

    #[tokio::test]
    async fn packets_arrive_whether_there_was_room_for_more_or_not() {
        let (here, address) = socket();
        let (there, _) = socket();
        for round in 1..=3 {
            for length in 1..=5 {
                send(&there, address, &vec![0; 10 * round + length]);
            }
            let mut lengths = Vec::new();
            while lengths.len() < 5 {
                lengths.extend(receive(&here, 2).await);
            }
            let sent: Vec<_> = (1..=5).map(|length| 10 * round + length).collect();
            assert_eq!(lengths, sent);
        }
    }

    #[tokio::test]
    async fn room_is_waited_for_only_after_a_send_found_none_and_comes() {
        let (socket, _) = socket();
        let mut poller = Arc::clone(&socket).create_io_poller();
        let mut room = async || poll_fn(|context| poller.as_mut().poll_writable(context)).await;
        room().await.expect("no error");
        socket.is_full.store(true, Ordering::Relaxed);
        let waited = timeout(MUST_COME, room()).await;
        waited.expect("room comes").expect("no error");
        assert!(!socket.is_full.load(Ordering::Relaxed));
    }
}
