//! Whether work can be sent to a node.

/// Whether work can be sent to a node now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It can.
    Open,
    /// It can, over a link that is opened for it: it is one of a large mesh, with which no node is linked whole.
    Unlinked,
    /// The link has been silent for too long: no new work.
    Silent,
    /// There is no link.
    Down,
    /// The node shuts down or is not ready.
    Closed,
}

impl Reach {
    /// Whether new work may be sent there.
    pub const fn takes_work(self) -> bool {
        matches!(self, Self::Open | Self::Unlinked)
    }
}
