//! Opens a link to a peer for a call, where there is none and the peer is a member.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::NodeName;
use grapevine_core::links::ALL_MAX;
use grapevine_observe::links::LinkCounts;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::link::PeerLink;
use super::links::Links;
use super::members::Members;

/// Finds links, and asks the dialler for those that are missing. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LinkOpener {
    me: NodeName,
    pub(super) links: Links,
    members: watch::Receiver<Members>,
    strangers: mpsc::Sender<SocketAddr>,
    counts: LinkCounts,
}

/// Why there is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// The peer is this node itself.
    #[error("which is this node itself")]
    Myself,
    /// The mesh is linked whole, so who has no link cannot be reached.
    #[error("and the mesh is small enough for one to each member")]
    Unlinked,
    /// Its address is not known.
    #[error("which no live node knows")]
    Unknown,
    /// It did not answer in time.
    #[error("which does not answer")]
    NoAnswer,
}

impl LinkOpener {
    /// Finds links in `links`, and asks for dials of the addresses of `members` through `strangers`.
    pub(super) fn new(
        me: &NodeName,
        (links, members, strangers): (&Links, &watch::Receiver<Members>, &mpsc::Sender<SocketAddr>),
        counts: &LinkCounts,
    ) -> Self {
        Self {
            me: me.clone(),
            links: links.clone(),
            members: members.clone(),
            strangers: strangers.clone(),
            counts: counts.clone(),
        }
    }

    /// The link to `peer`, dialled where there is none and its address is known, within `limit`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) async fn link(
        &self,
        peer: &NodeName,
        limit: Duration,
    ) -> Result<Arc<PeerLink>, OpenError> {
        if let Some(link) = self.links.get(peer) {
            return Ok(link);
        }
        if *peer == self.me {
            return Err(OpenError::Myself);
        }
        self.ask_for(peer)?;
        let opened = timeout(limit, self.links.opened(peer)).await;
        self.counts.opened_for_call(opened.is_ok());
        opened.map_err(|_| OpenError::NoAnswer)
    }

    /// As [`LinkOpener::link`], in a mesh that is too large to be linked whole.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) async fn link_of_large(
        &self,
        peer: &NodeName,
        limit: Duration,
    ) -> Result<Arc<PeerLink>, OpenError> {
        let is_whole = || self.members.borrow().len() <= ALL_MAX;
        if self.links.get(peer).is_none() && is_whole() {
            return Err(OpenError::Unlinked);
        }
        self.link(peer, limit).await
    }

    /// Asks the dialler for a link to `peer`.
    fn ask_for(&self, peer: &NodeName) -> Result<(), OpenError> {
        let address = self.members.borrow().get(peer).copied();
        let address = address.ok_or(OpenError::Unknown)?;
        // A full queue means that enough dials are asked for.
        let _ = self.strangers.try_send(address);
        Ok(())
    }

    /// The link to `peer`; where there is none, one is asked for and nobody waits.
    pub(super) fn link_or_ask(&self, peer: &NodeName) -> Option<Arc<PeerLink>> {
        let link = self.links.get(peer);
        if link.is_none() {
            // Who is no member cannot be asked for.
            let _ = self.ask_for(peer);
        }
        link
    }
}
