//! What can happen in a world, and to whom.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::engine::{LoadReport, ProbeReport};

use super::gossip::SealedFact;
use super::node::IncarnationNumber;
use crate::membership::NodeIndex;
use crate::scenario::ErrorAnswer;

/// What can happen.
#[derive(Debug)]
pub(super) enum WorldEvent {
    /// A node's engine has something to do.
    Wake {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    /// A node polls its links.
    Poll {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    /// A node pings its peers, and dials those it misses.
    Ping {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    /// A peer's echo arrives.
    Pong {
        node: NodeIndex,
        incarnation: IncarnationNumber,
        peer: NodeIndex,
        round_trip: Duration,
        datagram: Vec<u8>,
    },
    /// A dial ends.
    Dialled {
        node: NodeIndex,
        incarnation: IncarnationNumber,
        peer: NodeIndex,
        peer_incarnation: IncarnationNumber,
    },
    /// The members have changed.
    Members {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    /// A rumor arrives.
    Rumor {
        node: NodeIndex,
        incarnation: IncarnationNumber,
        from: NodeIndex,
        published: Arc<SealedFact>,
    },
    /// A node learns of its earlier incarnation, which is later by the wall clock.
    EarlierIncarnation {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    /// A probe ends.
    Probed {
        node: NodeIndex,
        incarnation: IncarnationNumber,
        report: Box<ProbeReport>,
    },
    /// The load that an upstream reports was read.
    LoadRead {
        node: NodeIndex,
        incarnation: IncarnationNumber,
        report: Box<LoadReport>,
    },
    /// The next client sends a request.
    Asks,
    /// One of the clients of an arrival sends a request; so many did before it.
    Arrives { arrival: usize, before: u32 },
    /// A request reaches a node's listener.
    Enters { request: u64, entry: NodeIndex },
    /// A forwarded request's head reaches its owner.
    Hops {
        from: (NodeIndex, IncarnationNumber),
        owner: (NodeIndex, IncarnationNumber),
        attempt: (u64, u32),
        frame: Vec<u8>,
    },
    /// A node has read a client's request.
    HasRead {
        request: u64,
        entry: (NodeIndex, IncarnationNumber),
    },
    /// A node has read a forwarded request's head.
    HasReadHop {
        from: (NodeIndex, IncarnationNumber),
        owner: (NodeIndex, IncarnationNumber),
        attempt: (u64, u32),
        frame: Vec<u8>,
    },
    /// The upstream answers a call or fails it.
    Reacts { call: (u64, u32) },
    /// A call has waited for its first byte for unusually long.
    Awaits { call: (u64, u32) },
    /// The pause of a request that had made so many attempts is over.
    Resumes { request: u64, attempts: u32 },
    /// An attempt has waited for long at its entry.
    LooksAround { attempt: (u64, u32) },
    /// The last byte of a call's answer came.
    BodyEnds { call: (u64, u32) },
    /// The first frame of an answer comes back to the entry.
    Returns {
        attempt: (u64, u32),
        answer: AnswerStart,
    },
    /// The end of an answer comes back to the entry.
    Ends {
        attempt: (u64, u32),
        /// The code of an end that is not clean.
        broken: Option<u32>,
    },
    /// A caller's cancellation of a call reaches its owner.
    Cancels { call: (u64, u32) },
    /// What a cut path held up is sent again.
    SendsAgain {
        from: NodeIndex,
        to: NodeIndex,
        attempt: (u64, u32),
        message: CallMessage,
    },
    /// The dial for an attempt ran out of time.
    Unreached { attempt: (u64, u32) },
    /// A request's deadline passes.
    Deadline { request: u64 },
    /// A fault begins.
    Breaks { fault: usize },
    /// A fault is over.
    Heals { fault: usize },
    /// A node ends without notice.
    Crashes { node: NodeIndex },
    /// A node starts an incarnation.
    Starts { node: NodeIndex },
    /// A node begins to drain.
    Drains {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    /// A drained node ends.
    Closes {
        node: NodeIndex,
        incarnation: IncarnationNumber,
    },
    /// Checkers inspect the whole world.
    Inspection,
}

/// The start of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AnswerStart {
    /// Its first frame.
    pub(super) frame: Vec<u8>,
    /// The error that its body shows.
    pub(super) error: Option<Arc<ErrorAnswer>>,
}

/// What is sent on the stream of a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CallMessage {
    /// The request, from one incarnation of its entry to one of its owner.
    Request {
        from: IncarnationNumber,
        to: IncarnationNumber,
        frame: Vec<u8>,
    },
    /// How its answer starts.
    Answer(AnswerStart),
    /// The answer is complete.
    End,
    /// It is not, for the reason with this code.
    Broken(u32),
    /// The caller no longer waits.
    Cancel,
}

impl WorldEvent {
    /// Its kind and its subject, for the trace.
    pub(super) fn tag(&self) -> (u64, u64) {
        let attempt = |(request, number): &(u64, u32)| request << 8 | u64::from(*number & 0xff);
        match self {
            Self::Wake { node, .. } => (1, u64::from(node.0)),
            Self::Poll { node, .. } => (2, u64::from(node.0)),
            Self::Ping { node, .. } => (3, u64::from(node.0)),
            Self::Pong { node, peer, .. } => (4, u64::from(node.0) << 32 | u64::from(peer.0)),
            Self::Dialled { node, peer, .. } => (5, u64::from(node.0) << 32 | u64::from(peer.0)),
            Self::Members { node, .. } => (6, u64::from(node.0)),
            Self::Rumor { node, from, .. } => (7, u64::from(node.0) << 32 | u64::from(from.0)),
            Self::EarlierIncarnation { node, .. } => (8, u64::from(node.0)),
            Self::Probed { node, .. } => (9, u64::from(node.0)),
            Self::Asks => (10, 0),
            Self::Enters { request, entry } => (11, request << 16 | u64::from(entry.0)),
            Self::Hops { attempt: it, .. } => (12, attempt(it)),
            Self::Reacts { call } => (13, attempt(call)),
            Self::BodyEnds { call } => (14, attempt(call)),
            Self::Returns { attempt: it, .. } => (15, attempt(it)),
            Self::Ends { attempt: it, .. } => (16, attempt(it)),
            Self::Cancels { call } => (17, attempt(call)),
            Self::Deadline { request } => (18, *request),
            Self::Breaks { fault } => (19, *fault as u64),
            Self::Heals { fault } => (20, *fault as u64),
            Self::Crashes { node } => (21, u64::from(node.0)),
            Self::Starts { node } => (22, u64::from(node.0)),
            Self::Drains { node, .. } => (23, u64::from(node.0)),
            Self::Closes { node, .. } => (24, u64::from(node.0)),
            Self::Inspection => (25, 0),
            Self::Awaits { call } => (26, attempt(call)),
            Self::SendsAgain { attempt: it, .. } => (27, attempt(it)),
            Self::HasRead { request, .. } => (28, *request),
            Self::HasReadHop { attempt: it, .. } => (29, attempt(it)),
            Self::Resumes { request, .. } => (30, *request),
            Self::LooksAround { attempt: it } => (31, attempt(it)),
            Self::LoadRead { node, .. } => (33, u64::from(node.0)),
            Self::Unreached { attempt: it } => (34, attempt(it)),
            Self::Arrives { arrival, before } => (32, (*arrival as u64) << 32 | u64::from(*before)),
        }
    }

    /// The node whose process it needs.
    pub(super) fn process(&self) -> Option<NodeIndex> {
        match self {
            Self::Wake { node, .. }
            | Self::Poll { node, .. }
            | Self::Ping { node, .. }
            | Self::Pong { node, .. }
            | Self::Dialled { node, .. }
            | Self::Members { node, .. }
            | Self::Rumor { node, .. }
            | Self::EarlierIncarnation { node, .. }
            | Self::Probed { node, .. }
            | Self::LoadRead { node, .. } => Some(*node),
            Self::Enters { entry, .. } => Some(*entry),
            Self::HasRead { entry, .. } => Some(entry.0),
            Self::Hops { owner, .. } | Self::HasReadHop { owner, .. } => Some(owner.0),
            Self::SendsAgain { from, .. } => Some(*from),
            _ => None,
        }
    }
}
