//! What nodes send one another about rights.
//!
//! Counts are totals, never steps: a message that is lost, repeated, late or overtaken changes nothing, since a later
//! one says all that it said. A total counts within one *lease*: the pair of processes that lend and borrow, by their
//! generations, and the number of the lease between them.

use std::time::Duration;

use crate::ids::Generation;

use super::calendar::WallTime;
use super::spec::{LeaseClass, LimitId, LimitSpec};

/// Lines of one message, at most.
pub const LINES_MAX: usize = 256;

/// How often a node has written its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreVersion(pub u64);

/// A message of one node's escrow to another's. The sender is known from the connection, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscrowMessage {
    /// The sender's list of nodes, [`super::Seats::digest`]. A receiver with another list drops the message.
    pub seats: u64,
    /// What it says.
    pub body: MessageBody,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageBody {
    /// Wants, returns and acknowledgements of a borrower; renews its lease.
    Ask(RightsAsk),
    /// Grants, calls and acknowledgements of a lender.
    Grant(RightsGrant),
    /// A node has started.
    Hello(StartHello),
    /// What another knows of it.
    Testimony(StartTestimony),
    /// A node has written its store.
    Wrote {
        /// As often as this.
        version: StoreVersion,
    },
    /// Another has put that in its own.
    Witnessed {
        /// As it was reported.
        version: StoreVersion,
    },
}

/// Which lease a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseName {
    /// Of which limits.
    pub class: LeaseClass,
    /// The borrowing process.
    pub borrower: Generation,
    /// The lending one; 0 where the borrower does not know it.
    pub lender: Generation,
    /// Counts the leases of the pair, from the borrower's side. A lapsed one has no successor with its number.
    pub number: u32,
}

/// A borrower's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightsAsk {
    /// The lease.
    pub lease: LeaseName,
    /// The borrower's own clock when it sent this; rises from message to message.
    pub sent_at: Duration,
    /// One per limit. May be empty: the lease is renewed.
    pub lines: Vec<AskLine>,
}

/// About one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskLine {
    /// Which.
    pub limit: LimitId,
    /// As the borrower knows it: the lender may not have met this key.
    pub spec: LimitSpec,
    /// The window of the calendar; 0 for others.
    pub window: u32,
    /// Counts the times at which the borrower began anew with this limit, having held nothing.
    pub opening: u32,
    /// Units that the borrower has received.
    pub granted: u64,
    /// Units that it gave back.
    pub returned: u64,
    /// Units that it would use at once.
    pub want: u64,
}

/// A lender's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightsGrant {
    /// The lease, with the lender's generation.
    pub lease: LeaseName,
    /// The latest `sent_at` of the borrower that the lender has seen: from then on the lease runs anew.
    pub echo: Duration,
    /// One per limit.
    pub lines: Vec<GrantLine>,
}

/// About one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantLine {
    /// Which.
    pub limit: LimitId,
    /// The window of the calendar.
    pub window: u32,
    /// The borrower's opening that this answers.
    pub opening: u32,
    /// Units that the lender has given, subtracted before this was sent.
    pub granted: u64,
    /// Units that it has received back.
    pub returned: u64,
    /// What it could still lend.
    pub left: u64,
    /// When it will next have some, where it has none; in milliseconds, 0 where it does not know.
    pub next_millis: u32,
    /// Units that the borrower may keep: what it has beyond comes back as it is ready.
    pub keep: u64,
}

/// A node has started, or has not yet heard enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartHello {
    /// Its process.
    pub generation: Generation,
    /// Its own clock when it sent this.
    pub sent_at: Duration,
}

/// What one node knows of another that has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartTestimony {
    /// The process that asked.
    pub generation: Generation,
    /// The latest process of its name that the witness knows, as borrower or as lender.
    pub known: Generation,
    /// The hello's.
    pub echo: Duration,
    /// The highest version of its store that the witness has put in its own; 0 for none.
    pub version: StoreVersion,
    /// The witness's time of the calendar.
    pub wall: WallTime,
    /// Units of limits on concurrency that the witness still uses of those it borrowed from an earlier process.
    pub held: Vec<(LimitId, u64)>,
    /// Whether `held` is whole: it has at most [`LINES_MAX`] lines.
    pub is_whole: bool,
}

impl EscrowMessage {
    /// How many bytes it takes on the wire, within a few: numbers of variable length, ids in full.
    pub fn wire_bytes(&self) -> usize {
        let body = match &self.body {
            MessageBody::Ask(ask) => {
                let line = |line: &AskLine| {
                    16 + 1
                        + varint(line.spec.amount)
                        + varint(line.window.into())
                        + varint(line.opening.into())
                        + varint(line.granted)
                        + varint(line.returned)
                        + varint(line.want)
                };
                LEASE_BYTES + 8 + ask.lines.iter().map(line).sum::<usize>()
            }
            MessageBody::Grant(grant) => {
                let line = |line: &GrantLine| {
                    16 + varint(line.window.into())
                        + varint(line.opening.into())
                        + varint(line.granted)
                        + varint(line.returned)
                        + varint(line.left)
                        + varint(line.next_millis.into())
                        + varint(line.keep)
                };
                LEASE_BYTES + 8 + grant.lines.iter().map(line).sum::<usize>()
            }
            MessageBody::Hello(_) => 16,
            MessageBody::Testimony(testimony) => 44 + testimony.held.len() * 20,
            MessageBody::Wrote { version } | MessageBody::Witnessed { version } => {
                varint(version.0)
            }
        };
        // The list's digest, the kind, and the count of lines.
        8 + 1 + 2 + body
    }
}

/// A lease's name: class, generations, number.
const LEASE_BYTES: usize = 1 + 8 + 8 + 3;

/// A number as bincode writes it.
const fn varint(value: u64) -> usize {
    match value {
        0..=250 => 1,
        251..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
