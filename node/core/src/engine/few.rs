//! A map of a few entries, for each of a thousand peers.
//!
//! A `BTreeMap` reserves eleven slots with its first entry; most peers have one upstream and three keys. In a mesh of
//! 1,000 nodes that was two of every three bytes an engine held. Sorted, so that its order is that of a `BTreeMap`;
//! searched by halving, and growing one by one, since it is read for every view and written when a peer publishes a
//! change.

/// A map of a few entries in the order of their keys.
#[derive(Clone, Debug)]
pub(super) struct Few<K, V>(Vec<(K, V)>);

impl<K: Ord, V> Few<K, V> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let index = self.find(key).ok()?;
        Some(&mut self.0[index].1)
    }

    /// Inserts `value`, replacing the one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => {
                self.0.reserve_exact(1);
                self.0.insert(index, (key, value));
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Ok(index) = self.find(key) {
            self.0.remove(index);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stand_in_the_order_of_their_keys() {
        let mut few = Few::new();
        for (key, value) in [(3, 'c'), (1, 'a'), (2, 'x'), (2, 'b')] {
            few.insert(key, value);
        }
        assert_eq!(few.values().collect::<String>(), "abc");
        few.remove(&1);
        few.remove(&7);
        assert_eq!((few.len(), few.get_mut(&2)), (2, Some(&mut 'b')));
        few.clear();
        assert_eq!(few.len(), 0);
    }
}
