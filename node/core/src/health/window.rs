//! Shares of attempts that failed, over a span that goes along with the time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;
use crate::units::Share;

/// Buckets of a window: ten counters, however many attempts.
const BUCKETS: u32 = 10;

/// Successes and failures of the last `span`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    span: Duration,
    buckets: VecDeque<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    began: Instant,
    succeeded: u32,
    failed: u32,
    /// One bit for each client that saw a failure, by its number modulo 64.
    clients: u64,
    /// The same for each that saw anything.
    witnesses: u64,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) failed: u32,
    pub(super) all: u32,
    /// Clients that saw failures, at least.
    pub(super) clients: u32,
    /// Clients that saw anything, at least.
    pub(super) witnesses: u32,
    /// Steps of the window that hold failures.
    pub(super) moments: u32,
}

impl Window {
    pub(super) const fn new(span: Duration) -> Self {
        Self {
            span,
            buckets: VecDeque::new(),
        }
    }

    /// Counts one; `client` where a client saw it.
    pub(super) fn record(&mut self, now: Instant, succeeded: bool, client: Option<u64>) {
        while self
            .buckets
            .front()
            .is_some_and(|first| now.since(first.began) >= self.span)
        {
            self.buckets.pop_front();
        }
        let step = self.span / BUCKETS;
        if (self.buckets.back()).is_none_or(|last| now.since(last.began) >= step) {
            self.buckets.push_back(Bucket {
                began: now,
                succeeded: 0,
                failed: 0,
                clients: 0,
                witnesses: 0,
            });
        }
        let Some(bucket) = self.buckets.back_mut() else {
            return;
        };
        let bit = client.map_or(0, |client| 1 << (client % 64));
        bucket.witnesses |= bit;
        if succeeded {
            bucket.succeeded = bucket.succeeded.saturating_add(1);
        } else {
            bucket.failed = bucket.failed.saturating_add(1);
            bucket.clients |= bit;
        }
    }

    pub(super) fn totals(&self, now: Instant) -> Totals {
        let fresh = self
            .buckets
            .iter()
            .filter(|bucket| now.since(bucket.began) < self.span);
        let mut totals = Totals::default();
        let (mut clients, mut witnesses) = (0_u64, 0_u64);
        for bucket in fresh {
            totals.failed = totals.failed.saturating_add(bucket.failed);
            let all = bucket.failed.saturating_add(bucket.succeeded);
            totals.all = totals.all.saturating_add(all);
            clients |= bucket.clients;
            witnesses |= bucket.witnesses;
            totals.moments += u32::from(bucket.failed > 0);
        }
        totals.clients = clients.count_ones();
        totals.witnesses = witnesses.count_ones();
        totals
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }
}

impl Totals {
    pub(super) fn failed_share(self) -> Share {
        Share::of(self.failed, self.all)
    }
}
