//! The transport in memory: what chitchat sends is measured by its own codec and kept for the network.
//!
//! The codec is not public. A [`ChannelTransport`] writes and reads each message on its way, so a private
//! pair of its sockets gives the exact length.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::sync::mpsc;

use super::super::NodeIndex;
use super::super::settings::Settings;

/// Messages that wait for one node; the step that delivers them waits until they are taken.
pub(super) const INBOX_MAX: usize = 4;

/// A message that was sent and not yet given to the network.
#[derive(Debug)]
pub(super) struct SentMessage {
    pub(super) from: NodeIndex,
    pub(super) to: SocketAddr,
    pub(super) envelope: ChitchatEnvelope,
    pub(super) bytes: usize,
}

/// What the sockets of one incarnation share with the worker.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) node: NodeIndex,
    pub(super) address: SocketAddr,
    pub(super) settings: Settings,
    pub(super) outbox: Arc<Mutex<Vec<SentMessage>>>,
    /// Grows with everything that any socket does.
    pub(super) activity: Arc<AtomicU64>,
    /// Grows with everything that the sockets of this incarnation do.
    pub(super) used: AtomicU64,
    /// Members, this node included: beyond a number of them rounds are thinned out.
    pub(super) nodes: AtomicU32,
}

impl Port {
    fn count_activity(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
        self.activity.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens the one socket of an instance.
pub(super) struct PortTransport {
    pub(super) port: Arc<Port>,
    pub(super) inbox: Mutex<Option<mpsc::Receiver<(SocketAddr, ChitchatEnvelope)>>>,
}

struct PortSocket {
    port: Arc<Port>,
    inbox: mpsc::Receiver<(SocketAddr, ChitchatEnvelope)>,
    writer: Box<dyn Socket>,
    reader: Box<dyn Socket>,
    reader_address: SocketAddr,
    /// Rounds due, of which one is sent when it reaches 1.
    rounds_due: f64,
}

#[async_trait]
impl Transport for PortTransport {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let codec = ChannelTransport::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (writer, reader) = (codec.open(any).await?, codec.open(any).await?);
        let inbox = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let inbox = inbox.ok_or_else(|| anyhow::anyhow!("an instance has one socket"))?;
        Ok(Box::new(PortSocket {
            port: Arc::clone(&self.port),
            inbox,
            reader_address: reader.local_addr()?,
            writer,
            reader,
            rounds_due: 0.0,
        }))
    }
}

#[async_trait]
impl Socket for PortSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.port.address)
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        self.port.count_activity();
        if !self.is_wanted(to, &envelope.message) {
            return Ok(SendOutcome { num_bytes_sent: 0 });
        }
        let outcome = self.writer.send(self.reader_address, envelope).await?;
        let message = SentMessage {
            from: self.port.node,
            to,
            envelope: self.reader.recv().await?.envelope,
            bytes: outcome.num_bytes_sent,
        };
        let mut outbox = self
            .port
            .outbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        outbox.push(message);
        Ok(outcome)
    }

    /// Cancel-safe. Without a sender, which is so only after the instance ended, it never returns.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        let Some((from_addr, envelope)) = self.inbox.recv().await else {
            return std::future::pending().await;
        };
        self.port.count_activity();
        Ok(RecvOutcome {
            from_addr,
            envelope,
            num_bytes_received: 0,
        })
    }
}

impl PortSocket {
    /// As the product's socket: nothing to this node's own address, which an earlier incarnation has too,
    /// and only as many rounds as the pace allows.
    fn is_wanted(&mut self, to: SocketAddr, message: &ChitchatMessage) -> bool {
        if to == self.port.address {
            return false;
        }
        if !matches!(message, ChitchatMessage::Syn { .. }) {
            return true;
        }
        let nodes = self.port.nodes.load(Ordering::Relaxed) as usize;
        self.rounds_due += self.port.settings.share(nodes);
        let is_due = self.rounds_due >= 1.0;
        if is_due {
            self.rounds_due -= 1.0;
        }
        is_due
    }
}
