//! Messages about rights on their way out: to a link where there is one; else the peer is dialled, and the message is
//! dropped.

use std::net::SocketAddr;

use bytes::Bytes;
use grapevine_core::ids::NodeName;
use tokio::sync::{mpsc, watch};

use super::links::Links;
use super::members::Members;

/// Sends messages about rights. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RightsOutput {
    links: Links,
    members: watch::Receiver<Members>,
    strangers: mpsc::Sender<SocketAddr>,
}

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
pub(super) fn open(ways: Ways<'_>) -> (mpsc::Sender<(NodeName, Bytes)>, RightsWay) {
    let (received, input) = mpsc::channel(RIGHTS_MAX);
    let output = RightsOutput::new(ways);
    (received, RightsWay { output, input })
}

/// What leads to a peer: its link, its address, and who dials it.
pub(super) type Ways<'a> = (
    &'a Links,
    &'a watch::Receiver<Members>,
    &'a mpsc::Sender<SocketAddr>,
);

impl RightsOutput {
    /// Sends over `links`, and asks for dials through `strangers`.
    fn new((links, members, strangers): Ways<'_>) -> Self {
        Self {
            links: links.clone(),
            members: members.clone(),
            strangers: strangers.clone(),
        }
    }

    /// Sends `message`, its first byte included, to a peer; false where it is dropped. Never waits.
    pub fn send(&self, to: &NodeName, message: &Bytes) -> bool {
        if let Some(link) = self.links.get(to) {
            return link.outbox.rights(&link.connection, message);
        }
        let address = self.members.borrow().get(to).copied();
        if let Some(address) = address {
            // A full queue means that enough dials are asked for.
            let _ = self.strangers.try_send(address);
        }
        false
    }
}
