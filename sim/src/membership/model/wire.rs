//! How long chitchat's messages are, protocol V1.
//!
//! Digests and deltas are compressed with zstd, so their lengths are estimated: lines through lengths
//! that real chitchat wrote, which the calibration test holds to its tolerance.

use super::super::Entry;
use super::super::settings::MESSAGE_BYTES_MAX;

/// Magic number, version, type.
const HEADER: usize = 4;

/// The mesh's name with its length, behind a SYN's digest.
const CLUSTER: usize = 11;

/// An empty digest, and what each incarnation adds: its name, address, generation, heartbeat and version
/// have 51 bytes before compression.
const DIGEST_BASE: usize = 50;
const DIGEST_PER_INCARNATION: f64 = 14.6;

/// What a node's head in a delta takes before compression, besides its name: tag, generation, address
/// and two versions.
const NODE_HEAD: usize = 34;
const NAME: usize = 6;

/// What a value takes besides key and value: tag, two lengths, version, status.
const ENTRY_HEAD: usize = 14;

/// A compressed block holds this many bytes before compression.
const BLOCK: usize = 16_384;

/// What is left of values after compression, JSON with a signature in base64: of the first, and of
/// those that follow in the same message, which resemble it.
const COMPRESSED_FIRST: f64 = 0.7;
const COMPRESSED: f64 = 0.42;
const FIRST: usize = 400;

/// The length of a digest of so many incarnations.
pub(super) fn digest(incarnations: usize) -> usize {
    DIGEST_BASE + (incarnations as f64 * DIGEST_PER_INCARNATION) as usize
}

pub(super) fn syn(digest: usize) -> usize {
    HEADER + digest + CLUSTER
}

pub(super) fn syn_ack(digest: usize, delta: &Length) -> usize {
    HEADER + digest + delta.estimate()
}

pub(super) fn ack(delta: &Length) -> usize {
    HEADER + delta.estimate()
}

/// What a delta may take beside a digest of this length.
pub(super) const fn room(digest: usize) -> usize {
    MESSAGE_BYTES_MAX.saturating_sub(HEADER + digest)
}

/// The length of a delta, as it grows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Length {
    raw: usize,
}

impl Length {
    /// Adds a node; false, and nothing is added, where there is no room.
    pub(super) fn add_node(&mut self, room: usize) -> bool {
        self.add(NODE_HEAD + NAME, room)
    }

    /// Adds a value; false, and nothing is added, where there is no room.
    pub(super) fn add_entry(&mut self, entry: &Entry, room: usize) -> bool {
        self.add(ENTRY_HEAD + entry.key.len() + entry.value.len(), room)
    }

    /// As chitchat does, full blocks count compressed and the last one does not.
    fn add(&mut self, raw: usize, room: usize) -> bool {
        let after = self.raw + raw;
        let full = after / BLOCK * BLOCK;
        if compressed(full) + (after - full) + HEADER > room {
            return false;
        }
        self.raw = after;
        true
    }

    fn estimate(&self) -> usize {
        1 + compressed(self.raw)
    }
}

fn compressed(raw: usize) -> usize {
    let first = raw.min(FIRST);
    let text = first as f64 * COMPRESSED_FIRST + (raw - first) as f64 * COMPRESSED;
    text as usize + raw.div_ceil(BLOCK) * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delta_grows_up_to_the_room_and_no_further() {
        let entry = Entry {
            key: "up.primary".into(),
            value: "v".repeat(1_000).into(),
        };
        let room = room(digest(100));
        let mut length = Length::default();
        assert!(length.add_node(room));
        let added = (0..1_000).take_while(|_| length.add_entry(&entry, room));
        assert!((80..150).contains(&added.count()));
        assert!(length.estimate() <= room);
        assert!(!length.add_entry(&entry, room));
    }
}
