//! One connection to a peer that has greeted and was checked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use grapevine_core::ids::{Generation, NodeName};
use grapevine_core::limit::InFlight;
use grapevine_proto::frame::close;
use quinn::{ConnectionError, VarInt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::preference::LinkPreference;

/// The most peers with a connection.
pub const PEERS_MAX: usize = 1_024;

/// One connection to a peer that has greeted and was checked.
#[derive(Debug)]
pub struct PeerLink {
    /// The peer.
    pub peer: NodeName,
    /// The peer's incarnation.
    pub generation: Generation,
    /// Its advertised address.
    pub address: SocketAddr,
    /// The same as configured there, `host:port`.
    pub host: String,
    /// Whether this node dialled it.
    pub dialled_here: bool,
    /// The address that was dialled, by this node.
    pub dialled_address: Option<SocketAddr>,
    /// Grows with each connection of this process.
    pub serial: u64,
    /// The connection.
    pub connection: quinn::Connection,
    /// Gossip and rumors on their way out.
    pub outbox: Outbox,
    /// Forwarded requests in flight on it, both ways.
    pub calls: InFlight,
    /// Those of them that this node sent.
    pub sent: InFlight,
    /// Those of them that this node serves.
    pub served: InFlight,
    /// Calls to the insides of both ends that are in flight on it.
    pub(super) inside: InsideCalls,
    /// While it is silent: when its peer last spoke.
    silent: watch::Sender<Option<Instant>>,
    /// Whether gossip or a message about rights went over it since the last look.
    exchanged: AtomicBool,
    /// Whether a call did.
    called: AtomicBool,
    speaks: AtomicBool,
    retiring: AtomicBool,
}

/// What [`PeerLink::new`] needs to know.
#[derive(Debug)]
pub struct LinkParts {
    /// The peer.
    pub peer: NodeName,
    /// The peer's incarnation.
    pub generation: Generation,
    /// Its advertised address.
    pub address: SocketAddr,
    /// The same as configured there.
    pub host: String,
    /// The address that this node dialled; `None` when the peer dialled.
    pub dialled_address: Option<SocketAddr>,
    /// Grows with each connection of this process.
    pub serial: u64,
    /// The connection.
    pub connection: quinn::Connection,
    /// Where its gossip and rumors wait.
    pub outbox: Outbox,
}

impl PeerLink {
    /// A link whose greeting was just exchanged.
    pub fn new(parts: LinkParts) -> Self {
        let calls = InFlight::default();
        Self {
            peer: parts.peer,
            generation: parts.generation,
            address: parts.address,
            host: parts.host,
            dialled_here: parts.dialled_address.is_some(),
            dialled_address: parts.dialled_address,
            serial: parts.serial,
            connection: parts.connection,
            outbox: parts.outbox,
            sent: InFlight::over(&calls),
            served: InFlight::over(&calls),
            calls,
            inside: InsideCalls::default(),
            silent: watch::Sender::new(None),
            exchanged: AtomicBool::new(false),
            called: AtomicBool::new(false),
            speaks: AtomicBool::new(true),
            retiring: AtomicBool::new(false),
        }
    }

    /// Whether nothing was received on it for too long.
    pub fn is_silent(&self) -> bool {
        !self.speaks.load(Ordering::Relaxed)
    }

    /// Records that it speaks, or when it last did.
    pub fn set_silent(&self, spoke_at: Option<Instant>) {
        self.speaks.store(spoke_at.is_none(), Ordering::Relaxed);
        self.silent.send_replace(spoke_at);
    }

    /// While it is silent: when its peer last spoke.
    pub fn spoke_at(&self) -> Option<Instant> {
        *self.silent.borrow()
    }

    /// Waits until the link falls silent, or forever.
    pub async fn fell_silent(&self) {
        let mut silent = self.silent.subscribe();
        if silent.wait_for(Option::is_some).await.is_err() {
            // This link owns the sender, so this is never reached while the link is borrowed.
            std::future::pending::<()>().await;
        }
    }

    /// True the first time: the caller must close it once it is idle.
    pub fn start_retiring(&self) -> bool {
        !self.retiring.swap(true, Ordering::Relaxed)
    }

    /// Whether it ends since either end did not need it any more.
    pub(super) fn is_parting(&self) -> bool {
        self.retiring.load(Ordering::Relaxed) || self.was_closed_as_superfluous()
    }

    /// Whether the peer closed it as superfluous.
    pub(super) fn was_closed_as_superfluous(&self) -> bool {
        matches!(
            self.connection.close_reason(),
            Some(ConnectionError::ApplicationClosed(closed))
                if closed.error_code == VarInt::from_u32(close::SUPERFLUOUS)
        )
    }

    /// Notes that gossip or a message about rights goes over it.
    pub fn note_exchange(&self) {
        self.exchanged.store(true, Ordering::Relaxed);
    }

    /// Notes that a call goes over it, of either end.
    pub fn note_call(&self) {
        self.called.store(true, Ordering::Relaxed);
    }

    /// Whether there was an exchange since the last look, and whether a call.
    pub(super) fn take_uses(&self) -> (bool, bool) {
        let take = |used: &AtomicBool| used.swap(false, Ordering::Relaxed);
        (take(&self.exchanged), take(&self.called))
    }

    /// Whether no call runs on it.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.count() == 0 && self.inside.is_idle()
    }

    /// Undoes [`PeerLink::start_retiring`]: the link is used after all.
    pub fn stop_retiring(&self) {
        self.retiring.store(false, Ordering::Relaxed);
    }

    /// Its preference among the connections to its peer.
    pub(super) fn preference(&self) -> LinkPreference {
        LinkPreference {
            generation: self.generation,
            speaks: !self.is_silent(),
            dialled_here: self.dialled_here,
            serial: self.serial,
        }
    }
}

/// Calls to the insides of both ends in flight on one link.
#[derive(Debug, Default)]
pub(super) struct InsideCalls {
    /// Calls of this node to the peer's inside.
    pub(super) sent: InFlight,
    /// Calls of the peer to this node's inside.
    pub(super) served: InFlight,
}

impl InsideCalls {
    /// Whether there are none.
    pub(super) fn is_idle(&self) -> bool {
        self.sent.count() == 0 && self.served.count() == 0
    }
}
