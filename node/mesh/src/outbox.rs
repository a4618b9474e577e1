//! Gossip, rumors and messages about rights on their way to one peer.
//!
//! Nothing that queues here waits: chitchat has one loop, and a send that blocked there for 3 s on a
//! dead peer raised the detection of failures on all nodes from 1.4 s to 21 s.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use grapevine_proto::frame::{TAG_GOSSIP, TAG_RIGHTS, TAG_RUMOR};
use quinn::Connection;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// Rumors that wait for one peer; more are dropped, since gossip repairs what was missed.
const RUMORS_MAX: usize = 64;

/// Messages about rights that are too long for a datagram and wait for one peer; more are dropped, and the next says
/// all that they said.
const RIGHTS_MAX: usize = 16;

/// How long one message may take to be handed to the connection.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Gossip goes before request bodies on the same connection.
const PRIORITY: i32 = 10;

/// The messages that wait for one peer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    gossip: Arc<Mutex<Option<Bytes>>>,
    gossip_waits: Arc<Notify>,
    rumors: mpsc::Sender<Bytes>,
    rights: mpsc::Sender<Bytes>,
}

/// The other end of an [`Outbox`].
#[derive(Debug)]
pub struct OutboxReceiver {
    gossip: Arc<Mutex<Option<Bytes>>>,
    gossip_waits: Arc<Notify>,
    rumors: mpsc::Receiver<Bytes>,
    rights: mpsc::Receiver<Bytes>,
}

/// An empty outbox and its other end.
pub fn outbox() -> (Outbox, OutboxReceiver) {
    let (rumors, rumors_out) = mpsc::channel(RUMORS_MAX);
    let (rights, rights_out) = mpsc::channel(RIGHTS_MAX);
    let gossip = Arc::<Mutex<Option<Bytes>>>::default();
    let gossip_waits = Arc::<Notify>::default();
    let outbox = Outbox {
        gossip: Arc::clone(&gossip),
        gossip_waits: Arc::clone(&gossip_waits),
        rumors,
        rights,
    };
    let outgoing = OutboxReceiver {
        gossip,
        gossip_waits,
        rumors: rumors_out,
        rights: rights_out,
    };
    (outbox, outgoing)
}

impl Outbox {
    /// Sends a gossip message: as a datagram where it fits, else it waits for a stream, and replaces
    /// one that still waits.
    pub fn gossip(&self, connection: &Connection, message: Bytes) {
        let fits = |max: usize| message.len() < max;
        if connection.max_datagram_size().is_some_and(fits) {
            // A connection that has just ended cannot send; gossip continues without this message.
            let _ = connection.send_datagram(tagged(TAG_GOSSIP, &message));
            return;
        }
        *self.gossip.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        self.gossip_waits.notify_one();
    }

    /// Queues a rumor; false when too many wait and it is dropped.
    pub fn rumor(&self, rumor: Bytes) -> bool {
        self.rumors.try_send(rumor).is_ok()
    }

    /// Sends a message about rights, its first byte included; false when it is dropped.
    pub fn rights(&self, connection: &Connection, message: &Bytes) -> bool {
        let fits = |max: usize| message.len() <= max;
        if connection.max_datagram_size().is_some_and(fits) {
            return connection.send_datagram(message.clone()).is_ok();
        }
        self.rights.try_send(message.slice(1..)).is_ok()
    }
}

impl OutboxReceiver {
    /// Sends what is queued until the connection ends.
    pub async fn run(mut self, connection: &Connection) {
        loop {
            let (tag, message) = tokio::select! {
                Some(rumor) = self.rumors.recv() => (TAG_RUMOR, Some(rumor)),
                Some(rights) = self.rights.recv() => (TAG_RIGHTS, Some(rights)),
                () = self.gossip_waits.notified() => (TAG_GOSSIP, self.take_gossip()),
                else => return,
            };
            let Some(message) = message else { continue };
            match timeout(SEND_TIMEOUT, send(connection, tag, &message)).await {
                Ok(Err(_)) if connection.close_reason().is_some() => return,
                // A peer that reads too slowly loses the message; the next one is newer anyway.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn take_gossip(&self) -> Option<Bytes> {
        self.gossip
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Sends one message on a stream of its own.
async fn send(connection: &Connection, tag: u8, message: &Bytes) -> Result<(), quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    // Only a closed stream has no priority, and this one is new.
    let _ = stream.set_priority(PRIORITY);
    let mut parts = [Bytes::copy_from_slice(&[tag]), message.clone()];
    stream.write_all_chunks(&mut parts).await?;
    // Only a stream that ended before cannot be finished.
    let _ = stream.finish();
    Ok(())
}

fn tagged(tag: u8, message: &[u8]) -> Bytes {
    let mut datagram = BytesMut::with_capacity(1 + message.len());
    datagram.put_u8(tag);
    datagram.extend_from_slice(message);
    datagram.freeze()
}
