//! What a peer sends beside calls: messages on streams of their own, within the rates of one peer.
//!
//! Gossip, rumors, rights and echoes of all peers share queues and a thread. So each connection gets a rate far above
//! what an honest peer sends, and anything beyond it is dropped before it is read or queued: gossip repeats
//! itself, and repairs a lost rumor, and the next ping is half a second away.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use grapevine_base::exchange::CallLocal;
use grapevine_core::Instant;
use grapevine_core::allowance::Allowance;
use grapevine_proto::frame::{RIGHTS_BYTES_MAX, TAG_GOSSIP, TAG_RIGHTS, TAG_RUMOR};
use quinn::{ConnectionError, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use super::hub::Hub;
use super::link::PeerLink;
use super::streams;
use super::wire::{GOSSIP_BYTES_MAX, GossipSender, RUMOR_BYTES_MAX};

/// How long a message on a stream of its own may take to come in.
const MESSAGE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The most messages that are received at once on one connection: 2 MB. An honest peer sends one after the other.
const MESSAGES_MAX: usize = 32;

/// What gossip may cost on one connection: a message costs one, and one more per 4 KiB. Two nodes alone, which
/// gossip only with each other, take 30 a second.
const GOSSIP_PER_SECOND: u32 = 400;
const GOSSIP_COST_BYTES: usize = 4 * 1_024;

/// Rumors on one connection.
const RUMORS_PER_SECOND: u32 = 500;

/// Messages about rights on one connection. An honest peer sends some ten a second for each class of limits, and one
/// more for each 256 limits that move.
const RIGHTS_PER_SECOND: u32 = 1_000;

/// Pings on one connection that are answered. An honest peer sends two a second.
const PINGS_PER_SECOND: u32 = 20;

/// What one connection may still send.
#[derive(Debug)]
pub(super) struct Intake {
    rates: Mutex<Rates>,
    readers: Arc<Semaphore>,
}

#[derive(Debug)]
struct Rates {
    gossip: Allowance,
    rumors: Allowance,
    rights: Allowance,
    pings: Allowance,
}

impl Intake {
    pub(super) fn new(now: Instant) -> Self {
        let rate = |per_second| Allowance::new(now, per_second, per_second);
        let rates = Rates {
            gossip: rate(GOSSIP_PER_SECOND),
            rumors: rate(RUMORS_PER_SECOND),
            rights: rate(RIGHTS_PER_SECOND),
            pings: rate(PINGS_PER_SECOND),
        };
        Self {
            rates: Mutex::new(rates),
            readers: Arc::new(Semaphore::new(MESSAGES_MAX)),
        }
    }

    /// Whether a ping is answered.
    pub(super) fn takes_ping(&self, now: Instant) -> bool {
        self.with(|rates| rates.pings.take(now, 1))
    }

    fn takes_rumor(&self, now: Instant) -> bool {
        self.with(|rates| rates.rumors.take(now, 1))
    }

    fn takes_rights(&self, now: Instant) -> bool {
        self.with(|rates| rates.rights.take(now, 1))
    }

    fn takes_gossip(&self, now: Instant, bytes: usize) -> bool {
        let cost = u32::try_from(1 + bytes / GOSSIP_COST_BYTES).unwrap_or(u32::MAX);
        self.with(|rates| rates.gossip.take(now, cost))
    }

    fn with<T>(&self, take: impl FnOnce(&mut Rates) -> T) -> T {
        take(&mut self.rates.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes messages on streams of their own until the connection ends.
pub(super) async fn take<L: CallLocal>(
    hub: &Arc<Hub<L>>,
    link: &Arc<PeerLink>,
    intake: &Arc<Intake>,
) -> ConnectionError {
    loop {
        let stream = match link.connection.accept_uni().await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let Ok(permit) = Arc::clone(&intake.readers).try_acquire_owned() else {
            // Dropping it stops the stream: the peer sees that nobody reads it.
            debug!(peer.name = %link.peer, "too many messages at once");
            continue;
        };
        let (hub, link, intake) = (Arc::clone(hub), Arc::clone(link), Arc::clone(intake));
        tokio::spawn(async move { take_message(&hub, &link, &intake, stream, permit).await });
    }
}

async fn take_message<L: CallLocal>(
    hub: &Hub<L>,
    link: &PeerLink,
    intake: &Intake,
    mut stream: RecvStream,
    permit: OwnedSemaphorePermit,
) {
    let longest = 1 + GOSSIP_BYTES_MAX.max(RUMOR_BYTES_MAX);
    let read = streams::read_message(&mut stream, longest, MESSAGE_TIMEOUT).await;
    drop(permit);
    let Some(message) = read else {
        debug!(peer.name = %link.peer, "message was too long, too slow or cut short");
        return;
    };
    match message.first() {
        Some(&TAG_GOSSIP) if message.len() <= 1 + GOSSIP_BYTES_MAX => {
            take_gossip(hub, link, intake, message.slice(1..));
        }
        Some(&TAG_RUMOR) if message.len() <= 1 + RUMOR_BYTES_MAX => {
            if intake.takes_rumor(hub.driver.now()) {
                // A full queue drops: gossip repairs a lost rumor.
                let _ = hub.rumors.try_send((link.peer.clone(), message.slice(1..)));
            }
        }
        Some(&TAG_RIGHTS) if message.len() <= 1 + RIGHTS_BYTES_MAX => {
            take_rights(hub, link, intake, message.slice(1..));
        }
        _ => debug!(peer.name = %link.peer, "message of unknown kind"),
    }
}

/// Queues a gossip message.
pub(super) fn take_gossip<L>(hub: &Hub<L>, link: &PeerLink, intake: &Intake, message: Bytes) {
    if !intake.takes_gossip(hub.driver.now(), message.len()) {
        return;
    }
    link.note_exchange();
    let from = GossipSender {
        node: link.peer.clone(),
        address: link.address,
    };
    // A full queue drops: gossip repeats itself.
    let _ = hub.gossip.try_send((from, message));
}

/// Queues a message about rights.
pub(super) fn take_rights<L>(hub: &Hub<L>, link: &PeerLink, intake: &Intake, message: Bytes) {
    link.note_exchange();
    if intake.takes_rights(hub.driver.now()) {
        // A full queue drops: the next message says all that this one does.
        let _ = hub.rights.try_send((link.peer.clone(), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_that_floods_is_taken_at_its_rates() {
        let now = Instant::START;
        let intake = Intake::new(now);
        let count = |takes: &dyn Fn() -> bool| (0..10_000).filter(|_| takes()).count();
        assert_eq!(count(&|| intake.takes_gossip(now, 100)), 400);
        assert_eq!(count(&|| intake.takes_rumor(now)), 500);
        assert_eq!(count(&|| intake.takes_rights(now)), 1_000);
        assert_eq!(count(&|| intake.takes_ping(now)), 20);
        let later = now + std::time::Duration::from_secs(1);
        let longest = || intake.takes_gossip(later, GOSSIP_BYTES_MAX);
        assert_eq!(count(&longest), 25);
    }
}
