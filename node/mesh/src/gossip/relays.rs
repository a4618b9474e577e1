//! Rumors of others that may have to be relayed: the newest of each key, for a moment.
//!
//! The engine decides which first-seen rumors to relay; their bytes are kept here meanwhile, as received,
//! since nobody but their author can sign them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use grapevine_core::fact::FactKey;
use grapevine_core::ids::{NodeName, Stamp};

/// The most rumors that are kept; the oldest is dropped first. At 1.3 KiB each this is 1.4 MB, and 8 MiB at worst.
const KEPT_MAX: usize = 1_024;

/// A rumor as it was received.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) stamp: Stamp,
    pub(super) from: NodeName,
    pub(super) bytes: Bytes,
}

/// The newest rumor of each key.
#[derive(Debug, Default)]
pub(super) struct Relays {
    kept: BTreeMap<(NodeName, FactKey), Kept>,
    order: VecDeque<(NodeName, FactKey)>,
}

impl Relays {
    pub(super) fn keep(&mut self, author: NodeName, key: FactKey, rumor: Kept) {
        let entry = (author, key);
        if self.kept.insert(entry.clone(), rumor).is_none() {
            self.order.push_back(entry);
        }
        if self.order.len() > KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
    }

    /// The rumor with exactly this stamp, if it is still kept.
    pub(super) fn find(&self, author: &NodeName, key: &FactKey, stamp: Stamp) -> Option<&Kept> {
        let kept = self.kept.get(&(author.clone(), key.clone()))?;
        (kept.stamp == stamp).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_core::ids::Generation;

    fn node(number: usize) -> NodeName {
        NodeName::new(&format!("n{number}")).expect("a valid name")
    }

    fn kept(version: u64) -> Kept {
        let generation = Generation(1);
        Kept {
            stamp: Stamp {
                generation,
                version,
            },
            from: node(0),
            bytes: Bytes::from_static(b"rumor"),
        }
    }

    #[test]
    fn newest_rumor_of_a_key_replaces_the_older() {
        let mut relays = Relays::default();
        relays.keep(node(1), FactKey::Phase, kept(1));
        relays.keep(node(1), FactKey::Phase, kept(2));
        assert!(
            relays
                .find(&node(1), &FactKey::Phase, kept(1).stamp)
                .is_none()
        );
        assert!(
            relays
                .find(&node(1), &FactKey::Phase, kept(2).stamp)
                .is_some()
        );
    }

    #[test]
    fn oldest_key_goes_when_there_is_no_room() {
        let mut relays = Relays::default();
        for number in 0..=KEPT_MAX {
            relays.keep(node(number), FactKey::Phase, kept(1));
        }
        assert_eq!(
            (relays.kept.len(), relays.order.len()),
            (KEPT_MAX, KEPT_MAX)
        );
        assert!(
            relays
                .find(&node(0), &FactKey::Phase, kept(1).stamp)
                .is_none()
        );
        assert!(
            relays
                .find(&node(1), &FactKey::Phase, kept(1).stamp)
                .is_some()
        );
    }
}
