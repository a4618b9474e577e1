//! Chitchat's failure detector for all peers of one node, in arrays.
//!
//! A peer is alive while the time since its last heartbeat is at most phi mean intervals. So the moment
//! of its death is known at each heartbeat, and a round only compares. Times are in ticks.

use std::time::Duration;

use grapevine_core::Instant;

use super::super::settings::{PRIOR_WEIGHT, Settings};

/// A moment in units of 100 us, counted from 1: 119 hours fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u32);

const TICK: Duration = Duration::from_micros(100);

impl Tick {
    /// No moment: before all others.
    pub(super) const NEVER: Self = Self(0);

    pub(super) fn of(at: Instant) -> Self {
        Self(ticks(at.since_start()).saturating_add(1))
    }

    pub(super) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(ticks(span)))
    }
}

fn ticks(span: Duration) -> u32 {
    u32::try_from(span.as_nanos() / TICK.as_nanos()).unwrap_or(u32::MAX)
}

/// What is remembered of each peer's heartbeats.
#[derive(Debug)]
pub(super) struct Detector {
    phi: f64,
    prior_sum: f64,
    samples: u8,
    sample_max: u32,
    last: Vec<Tick>,
    dies_at: Vec<Tick>,
    sum: Vec<u32>,
    len: Vec<u8>,
    next: Vec<u8>,
    /// `samples` intervals for each peer.
    intervals: Vec<u16>,
}

impl Detector {
    pub(super) fn new(settings: &Settings, peers: usize) -> Self {
        Self {
            phi: settings.phi,
            prior_sum: PRIOR_WEIGHT * f64::from(ticks(settings.interval)),
            samples: settings.samples,
            sample_max: ticks(settings.sample_max).min(u32::from(u16::MAX)),
            last: vec![Tick::NEVER; peers],
            dies_at: vec![Tick::NEVER; peers],
            sum: vec![0; peers],
            len: vec![0; peers],
            next: vec![0; peers],
            intervals: vec![0; peers * usize::from(settings.samples)],
        }
    }

    /// Until when each peer is alive, that moment included.
    pub(super) fn deaths(&self) -> &[Tick] {
        &self.dies_at
    }

    /// Takes a heartbeat. Two are needed for an interval, and one interval to count as alive.
    pub(super) fn heartbeat(&mut self, now: Tick, peer: usize) {
        let last = std::mem::replace(&mut self.last[peer], now);
        let interval = now.0 - last.0;
        if last != Tick::NEVER && interval <= self.sample_max {
            self.append(peer, interval);
        }
        if self.len[peer] > 0 {
            let weight = f64::from(self.len[peer]) + PRIOR_WEIGHT;
            let mean = (f64::from(self.sum[peer]) + self.prior_sum) / weight;
            self.dies_at[peer] = Tick(now.0.saturating_add((mean * self.phi) as u32));
        }
    }

    fn append(&mut self, peer: usize, interval: u32) {
        let next = self.next[peer];
        let slot = &mut self.intervals[peer * usize::from(self.samples) + usize::from(next)];
        if self.len[peer] == self.samples {
            self.sum[peer] -= u32::from(*slot);
        } else {
            self.len[peer] += 1;
        }
        self.sum[peer] += interval;
        *slot = u16::try_from(interval).unwrap_or(u16::MAX);
        self.next[peer] = if next + 1 == self.samples {
            0
        } else {
            next + 1
        };
    }

    /// Forgets the intervals of a peer that is not alive, as chitchat does in each round.
    pub(super) fn reset(&mut self, peer: usize) {
        self.len[peer] = 0;
        self.next[peer] = 0;
        self.sum[peer] = 0;
        self.dies_at[peer] = Tick::NEVER;
    }

    /// Starts again with a peer.
    pub(super) fn forget(&mut self, peer: usize) {
        self.reset(peer);
        self.last[peer] = Tick::NEVER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::of(Instant::from_start(Duration::from_millis(millis)))
    }

    /// A detector after heartbeats at these milliseconds.
    fn after(beats: &[u64]) -> Detector {
        let mut detector = Detector::new(&Settings::default(), 1);
        for beat in beats {
            detector.heartbeat(at(*beat), 0);
        }
        detector
    }

    #[test]
    fn peer_is_alive_after_an_interval_only() {
        assert_eq!(after(&[200]).deaths(), [Tick::NEVER]);
        assert_ne!(after(&[200, 400]).deaths(), [Tick::NEVER]);
    }

    #[test]
    fn death_comes_phi_mean_intervals_after_the_last_heartbeat() {
        assert_eq!(after(&[0, 200, 400]).deaths(), [at(1_600)]);
        // The prior counts as five intervals of 200 ms: (5 x 200 + 800) / 6 = 300.
        assert_eq!(after(&[0, 800]).deaths(), [at(800 + 1_800)]);
    }

    #[test]
    fn long_silence_is_no_interval() {
        assert_eq!(after(&[0, 3_001]).deaths(), [Tick::NEVER]);
    }

    #[test]
    fn window_forgets_the_oldest_intervals() {
        let mut beats: Vec<u64> = (0..10).map(|beat| beat * 1_000).collect();
        beats.extend((1..=100).map(|beat| 9_000 + beat * 200));
        let end = 9_000 + 20_000;
        assert_eq!(after(&beats).deaths(), [at(end + 1_200)]);
    }
}
