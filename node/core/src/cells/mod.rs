//! Cells: a mesh of meshes, for more nodes than one flat mesh carries.
//!
//! A cell is a flat mesh of 64 to 80 nodes; inside it everything is as in any mesh. A few of its nodes, its *delegates*,
//! also belong to a second mesh, the one of all delegates. What they publish there is a [`CellSummary`] for each model,
//! and what they publish in their own cell is an [`outlook`]: the best offers of other cells, as seen from this one.
//! So a node knows its own cell in full and of the others some twelve upstreams for each model, however many there are.
//!
//! Nobody is elected. Who is a delegate follows from the members ([`delegates`]), two nodes may differ for a moment, and
//! that is harmless: offers carry the stamp of their owner's fact, and readers [`merge`] what several delegates say by
//! it, in any order and however often.
//!
//! A request across cells takes one hop, as within one: its entry node [`order`]s the offers of its cell and of its outlook,
//! and dials the owner itself, at the address in the offer. So a forwarded request still names its upstream and is
//! never forwarded again; both ends check the fence.
//!
//! A delegate that is one no more withdraws what it published, and what one that died had published is dropped with it:
//! offers of a cell without any delegate are gone until it has new ones.
//!
//! A cell that is cut off from the others keeps serving its own upstreams, and goes on to try those of its last outlook:
//! they cost more the older it is, and are dropped after [`FORGOTTEN_AFTER`].
//!
//! What it does not know: how anything is published, or linked.

mod choose;
mod summary;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::Instant;
use crate::geo_point::GeoPoint;
use crate::ids::{CellName, NodeName, RegionName, Stamp, UpstreamName};
use crate::units::Share;

pub use choose::{CellCandidate, FORGOTTEN_AFTER, STALE_AFTER, order};
pub use summary::{
    CellSummary, OFFERS_MAX, OFFERS_PER_CELL, OUTLOOK_MAX, WITHDRAWN_MAX, change, merge, outlook,
    summarise,
};

/// Delegates of a cell: two may die at once, and each costs a place in the mesh of delegates.
pub const DELEGATES: usize = 3;

/// A node that has been ready for less than this becomes a delegate only where there are too few others: one that
/// crashes again and again must not be one each time.
pub const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// A live member of a cell.
#[derive(Clone, Copy, Debug)]
pub struct CellMember<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// Since when it has been ready, as this node knows it; `None` while it is not.
    pub ready_since: Option<Instant>,
}

/// An upstream of some cell, as others may use it for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct CellOffer {
    /// Its cell.
    pub cell: CellName,
    /// Its owner.
    pub node: NodeName,
    /// Its name there.
    pub upstream: UpstreamName,
    /// Where its owner is dialled.
    pub address: SocketAddr,
    /// Its owner's region, for fences.
    pub region: RegionName,
    /// Its owner's place, where known.
    pub place: Option<GeoPoint>,
    /// The stamp of its owner's fact that this is taken from.
    pub stamp: Stamp,
    /// Expected time to first byte at its owner.
    pub ttft: Duration,
    /// How full it is.
    pub load: Share,
    /// How many requests it is estimated to carry at once.
    pub in_flight_max: u32,
}

impl CellOffer {
    /// The key of its upstream.
    pub fn key(&self) -> (&NodeName, &UpstreamName) {
        (&self.node, &self.upstream)
    }

    /// Expected time to first byte at its owner under its load, as [`crate::route::Cost`] counts it.
    pub fn expected(&self) -> Duration {
        self.ttft.mul_f64(1.0 + self.load.get())
    }
}

/// The delegates of a cell with these live members: the first [`DELEGATES`] by name of those that have been ready for
/// [`SETTLED_AFTER`], and then of the others that are ready.
pub fn delegates<'a>(
    now: Instant,
    members: impl IntoIterator<Item = CellMember<'a>>,
) -> Vec<&'a NodeName> {
    let ready = members.into_iter().filter_map(|member| {
        let since = member.ready_since?;
        Some((now.since(since) < SETTLED_AFTER, member.name))
    });
    let mut ready: Vec<(bool, &NodeName)> = ready.collect();
    ready.sort_unstable();
    ready.truncate(DELEGATES);
    ready.into_iter().map(|(_, name)| name).collect()
}
