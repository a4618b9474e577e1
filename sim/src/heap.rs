//! Events in the order of (time, sequence): two at one moment happen in the order they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use grapevine_core::Instant;

/// Planned events, the soonest first.
#[derive(Debug)]
pub struct Heap<E> {
    planned: BinaryHeap<Reverse<Planned<E>>>,
    sequence: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at: Instant,
    sequence: u64,
    event: E,
}

impl<E> Default for Heap<E> {
    fn default() -> Self {
        Self {
            planned: BinaryHeap::new(),
            sequence: 0,
        }
    }
}

impl<E> Heap<E> {
    /// Plans `event` for `at`.
    pub fn plan(&mut self, at: Instant, event: E) {
        self.sequence += 1;
        self.planned.push(Reverse(Planned {
            at,
            sequence: self.sequence,
            event,
        }));
    }

    /// Takes the next event, with its time.
    pub fn take_next(&mut self) -> Option<(Instant, E)> {
        self.planned
            .pop()
            .map(|Reverse(planned)| (planned.at, planned.event))
    }

    /// How many events are planned.
    pub fn len(&self) -> usize {
        self.planned.len()
    }

    /// Whether nothing is planned.
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// When the next event happens.
    pub fn next_at(&self) -> Option<Instant> {
        self.planned.peek().map(|Reverse(planned)| planned.at)
    }
}

impl<E> Planned<E> {
    const fn key(&self) -> (Instant, u64) {
        (self.at, self.sequence)
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn events_of_one_moment_keep_their_order() {
        let at = |seconds| Instant::from_start(Duration::from_secs(seconds));
        let mut heap = Heap::default();
        for (time, name) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            heap.plan(at(time), name);
        }
        assert_eq!(heap.next_at(), Some(at(1)));
        let order: Vec<_> = std::iter::from_fn(|| heap.take_next())
            .map(|(_, name)| name)
            .collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}
