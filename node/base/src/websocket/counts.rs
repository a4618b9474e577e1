//! Counts of tunnels, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a tunnel ended, for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelOutcome {
    /// One side closed it, or ended its connection.
    Closed,
    /// This node drained.
    Drained,
    /// Nothing had passed for too long.
    Silent,
    /// What the client sent is not taken.
    Refused,
    /// The upstream, or the way to it, broke off.
    Broken,
    /// The client went away without a word.
    #[default]
    Left,
}

impl TunnelOutcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Closed,
        Self::Drained,
        Self::Silent,
        Self::Refused,
        Self::Broken,
        Self::Left,
    ];

    /// A word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Drained => "drained",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Left => "left",
        }
    }
}

/// The tunnels of this node's clients. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TunnelCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    ended: [AtomicU64; TunnelOutcome::ALL.len()],
    received: AtomicU64,
    sent: AtomicU64,
}

impl TunnelCounts {
    /// Counts a tunnel until what is returned is dropped.
    pub fn open(&self) -> CountedTunnel {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        CountedTunnel {
            counts: self.clone(),
            outcome: TunnelOutcome::default(),
        }
    }

    /// So many bytes came from clients.
    pub fn received(&self, bytes: usize) {
        self.0.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes went to clients.
    pub fn sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Tunnels that are open.
    pub fn open_now(&self) -> u64 {
        let ended = TunnelOutcome::ALL.map(|outcome| self.ended(outcome));
        let opened = self.0.opened.load(Ordering::Relaxed);
        opened.saturating_sub(ended.into_iter().sum())
    }

    /// Tunnels that ended so.
    pub fn ended(&self, outcome: TunnelOutcome) -> u64 {
        self.0.ended[outcome as usize].load(Ordering::Relaxed)
    }

    /// Bytes from and to clients.
    pub fn bytes(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.0.received), load(&self.0.sent))
    }
}

/// One tunnel that is counted as open.
#[derive(Debug)]
pub struct CountedTunnel {
    counts: TunnelCounts,
    outcome: TunnelOutcome,
}

impl CountedTunnel {
    /// Sets how it ends; the first word holds.
    pub fn ends(&mut self, outcome: TunnelOutcome) {
        if self.outcome == TunnelOutcome::default() {
            self.outcome = outcome;
        }
    }

    /// The counts that it is part of.
    pub const fn counts(&self) -> &TunnelCounts {
        &self.counts
    }
}

impl Drop for CountedTunnel {
    fn drop(&mut self) {
        let ended = &self.counts.0.ended[self.outcome as usize];
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_is_open_until_it_is_dropped_and_ends_as_first_said() {
        let counts = TunnelCounts::default();
        let (mut drained, left) = (counts.open(), counts.open());
        assert_eq!(counts.open_now(), 2);
        drained.ends(TunnelOutcome::Drained);
        drained.ends(TunnelOutcome::Closed);
        drop((drained, left));
        assert_eq!(counts.open_now(), 0);
        assert_eq!(counts.ended(TunnelOutcome::Drained), 1);
        assert_eq!(counts.ended(TunnelOutcome::Left), 1);
        assert_eq!(counts.ended(TunnelOutcome::Closed), 0);
    }
}
