//! Ids that an upstream made, with their owner sealed in: the form of a seal, and how one is recognised.
//!
//! A response, a conversation, a container or a file exists at the upstream that made it and nowhere else. So its id
//! leaves the mesh with a *seal* at its end, which names that upstream and proves that a node of this mesh wrote it:
//! any node can route by it, across restarts, and none keeps a table. On the way back the seal is cut off, and the
//! upstream sees the id that it made.
//!
//! ```text
//! resp_68ab12cd34   ->   resp_68ab12cd34_g0fK2xQ9aZ81LmPw
//! file-AbC123       ->   file-AbC123-g0fK2xQ9aZ81LmPw
//! ```
//!
//! The seal is the id's own separator, a mark, and [`SEAL_DIGITS`] digits and letters, which are in the character set
//! of every id: 32 bits that name the owner (its region and its upstream), 8 bits that prefer one node of several
//! with the same upstream, and 48 bits of a keyed hash over both and the id. 48 bits are enough: a guess takes a request
//! each, and a forger would gain no more than the choice of an upstream that the client may use anyway; fences and
//! keys are checked after the seal is opened.
//!
//! The end and not the beginning, so that a stream can be sealed as it flows: nothing is held back, and what was
//! passed on is not changed. No provider's ids end so: a second separator followed by exactly sixteen digits and
//! letters of which the first is the mark and the number fits 88 bits. An id without that end is none of ours, and
//! passes as it is.
//!
//! An owner is found by comparing with what the view holds; two owners of 1,000 share a name with a chance of 1 in
//! 10,000, and then the upstream refuses an id that it did not make.

mod digits;

use crate::ids::{NodeName, RegionName, UpstreamName};
use crate::random;
use crate::view::UpstreamView;

pub use digits::SEAL_DIGITS;

/// What begins the digits of a seal.
const MARK: u8 = b'g';

/// What precedes the digits at the end of encrypted content, which is long and has any end.
const CONTENT_MARK: &[u8] = b"_gv_";

/// The longest id that is sealed; providers' are up to 64 bytes, and a nested mesh adds a seal.
pub const ID_BYTES_MAX: usize = 224;

/// What the seal of an id adds to it: a separator, a mark, and its digits.
pub const ID_SEAL_BYTES: usize = 2 + SEAL_DIGITS;

/// What begins the ids that an upstream makes and keeps, and what separates the rest.
const PREFIXES: [(&[u8], u8); 7] = [
    (b"resp_", b'_'),
    (b"conv_", b'_'),
    (b"cntr_", b'_'),
    (b"file-", b'-'),
    (b"batch_", b'_'),
    (b"rs_", b'_'),
    (b"sess_", b'_'),
];

/// The upstream that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    upstream: u32,
    node: u8,
}

impl Owner {
    /// The owner of what `upstream` of the node called `node` in `region` makes.
    pub fn of(region: &RegionName, upstream: &UpstreamName, node: &NodeName) -> Self {
        let mixed = random::mix(
            random::hash(region.as_str().as_bytes())
                ^ random::mix(random::hash(upstream.as_str().as_bytes())),
        );
        let node = random::mix(random::hash(node.as_str().as_bytes()));
        Self {
            // The upper bits, and all of eight.
            upstream: (mixed >> 32) as u32,
            node: (node >> 56) as u8,
        }
    }

    fn of_view(upstream: &UpstreamView) -> Self {
        Self::of(&upstream.region, &upstream.name, &upstream.node)
    }

    /// Whether `upstream` keeps what this owner made: an upstream of the same name in the same region, at whichever
    /// node.
    pub fn is(self, upstream: &UpstreamView) -> bool {
        Self::of_view(upstream).upstream == self.upstream
    }

    /// Whether both are the same upstream, at whichever node.
    pub const fn is_same_upstream(self, other: Self) -> bool {
        self.upstream == other.upstream
    }

    /// Whether it is also at the same node.
    pub fn is_at_the_node_of(self, upstream: &UpstreamView) -> bool {
        Self::of_view(upstream) == self
    }

    /// What the keyed hash covers beside the id.
    pub fn to_bytes(self) -> [u8; 5] {
        let [a, b, c, d] = self.upstream.to_be_bytes();
        [a, b, c, d, self.node]
    }
}

/// A keyed hash of an owner and an id, cut to what a seal holds.
pub type SealProof = [u8; 6];

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedKind {
    /// An id; what separates its seal.
    Id(u8),
    /// The content of an encrypted item.
    Content,
}

/// The kind of `id` where upstreams make such ids: a known prefix, and a rest of letters, digits, `-` and `_`.
pub fn id_kind(id: &[u8]) -> Option<SealedKind> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if id.len() > ID_BYTES_MAX || !id.iter().all(is_plain) {
        return None;
    }
    let known = |(prefix, _): &&(&[u8], u8)| id.len() > prefix.len() && id.starts_with(prefix);
    let (_, separator) = PREFIXES.iter().find(known)?;
    Some(SealedKind::Id(*separator))
}

/// The end of what `owner` made, as it leaves the mesh.
pub fn seal(kind: SealedKind, owner: Owner, proof: SealProof) -> Vec<u8> {
    let mut seal = Vec::with_capacity(CONTENT_MARK.len() + SEAL_DIGITS);
    match kind {
        SealedKind::Id(separator) => seal.extend([separator, MARK]),
        SealedKind::Content => seal.extend(CONTENT_MARK),
    }
    let mut number = u128::from(owner.upstream);
    number = number << 8 | u128::from(owner.node);
    number = proof
        .iter()
        .fold(number, |number, byte| number << 8 | u128::from(*byte));
    seal.extend(digits::write(number));
    seal
}

/// What the end of a text says of its owner; to be believed only where the proof holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadSeal {
    /// The length of the original in bytes.
    pub original: usize,
    /// The owner.
    pub owner: Owner,
    /// The keyed hash that must be found over the owner and the original.
    pub proof: SealProof,
}

/// The seal at the end of `text`; `None` where it ends as nothing that a mesh sealed.
pub fn read(kind: SealedKind, text: &[u8]) -> Option<ReadSeal> {
    let (rest, written) = text.split_last_chunk::<SEAL_DIGITS>()?;
    let original = match kind {
        SealedKind::Id(separator) => rest.strip_suffix(&[separator, MARK])?,
        SealedKind::Content => rest.strip_suffix(CONTENT_MARK)?,
    };
    if original.is_empty() || matches!(kind, SealedKind::Id(_)) && id_kind(original) != Some(kind) {
        return None;
    }
    let [.., a, b, c, d, node, p0, p1, p2, p3, p4, p5] = digits::read(written)?.to_be_bytes();
    Some(ReadSeal {
        original: original.len(),
        owner: Owner {
            upstream: u32::from_be_bytes([a, b, c, d]),
            node,
        },
        proof: [p0, p1, p2, p3, p4, p5],
    })
}

#[cfg(test)]
mod tests;
