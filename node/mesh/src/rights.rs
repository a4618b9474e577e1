//! Messages about rights on their way out: to a link where there is one; else the peer is dialled, and the message is
//! dropped.

use bytes::Bytes;
use grapevine_core::ids::NodeName;
use tokio::sync::mpsc;

use super::opener::LinkOpener;

/// Sends messages about rights. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RightsOutput(LinkOpener);

/// The way of messages about rights to and from peers.
#[derive(Debug)]
pub struct RightsWay {
    /// To them.
    pub output: RightsOutput,
    /// From them, each with the peer that its certificate names.
    pub input: mpsc::Receiver<(NodeName, Bytes)>,
}

/// Messages about rights that wait for the limits' task; more are dropped, and the next say what they said.
const RIGHTS_MAX: usize = 4_096;

/// The way, and where links put what they receive.
pub(super) fn open(opener: LinkOpener) -> (mpsc::Sender<(NodeName, Bytes)>, RightsWay) {
    let (received, input) = mpsc::channel(RIGHTS_MAX);
    let output = RightsOutput(opener);
    (received, RightsWay { output, input })
}

impl RightsOutput {
    /// Sends `message`, its first byte included, to a peer; false where it is dropped. Never waits.
    pub fn send(&self, to: &NodeName, message: &Bytes) -> bool {
        let Some(link) = self.0.link_or_ask(to) else {
            return false;
        };
        link.note_exchange();
        link.outbox.rights(&link.connection, message)
    }
}
