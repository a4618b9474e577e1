//! How often an address may be wrong about a secret.
//!
//! Each failure fills a vessel that leaks: a program that is set up wrongly and asks every quarter of a
//! minute never fills it, somebody who guesses does at once. A full vessel blocks its address, for twice
//! as long each time, so that even a weak secret is not found within years. Nobody else is touched.
//!
//! The table is bounded: the address that failed longest ago makes room. Somebody with more addresses than it holds
//! gets [`FAILURES_MAX`] guesses from each, and needs a network of them for every second.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::Instant;

/// Failures in a row before an address is blocked.
pub const FAILURES_MAX: u32 = 10;

/// One failure is forgotten after each of these.
pub const FORGET: Duration = Duration::from_secs(10);

/// The first block; each further one lasts twice as long.
const BLOCK_FIRST: Duration = Duration::from_secs(1);

/// The longest block.
const BLOCK_MAX: Duration = Duration::from_secs(300);

/// Addresses that are remembered.
pub const SOURCES_MAX: usize = 4_096;

/// Failures by address.
#[derive(Clone, Debug, Default)]
pub struct Guesses(BTreeMap<IpAddr, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    /// Those not forgotten at `last`.
    count: u32,
    /// The last failure, or the end of the block that it led to.
    last: Instant,
    /// How often it was blocked since it was last clean.
    blocks: u32,
    blocked_until: Instant,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuessVerdict {
    /// The address may go on.
    Counted,
    /// The address is blocked from now on.
    Blocked(Duration),
}

impl Guesses {
    /// How long the address of `source` is still blocked; `None` when it may try.
    pub fn blocked(&self, now: Instant, source: IpAddr) -> Option<Duration> {
        let failures = self.0.get(&network(source))?;
        let left = now.until(failures.blocked_until);
        (!left.is_zero()).then_some(left)
    }

    /// Counts a failure.
    pub fn failed(&mut self, now: Instant, source: IpAddr) -> GuessVerdict {
        let network = network(source);
        if !self.0.contains_key(&network) && self.0.len() >= SOURCES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                self.0.remove(&oldest);
            }
        }
        let failures = self.0.entry(network).or_insert(Failures {
            count: 0,
            last: now,
            blocks: 0,
            blocked_until: now,
        });
        failures.add(now)
    }

    /// Forgets the failures of `source`, which showed the secret.
    pub fn succeeded(&mut self, source: IpAddr) {
        self.0.remove(&network(source));
    }
}

impl Failures {
    fn add(&mut self, now: Instant) -> GuessVerdict {
        let forgotten = now.since(self.last).as_secs() / FORGET.as_secs();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.count = self.count.saturating_sub(forgotten);
        if self.count == 0 {
            self.blocks = 0;
        }
        self.count += 1;
        self.last = now;
        if self.count < FAILURES_MAX {
            return GuessVerdict::Counted;
        }
        // One more failure fills it again.
        self.count = FAILURES_MAX;
        let block = BLOCK_FIRST
            .saturating_mul(1 << self.blocks.min(16))
            .min(BLOCK_MAX);
        self.blocks = self.blocks.saturating_add(1);
        self.blocked_until = now + block;
        // Nothing is forgotten while it waits.
        self.last = self.blocked_until;
        GuessVerdict::Blocked(block)
    }
}

/// The host behind an address: itself in IPv4, its /64 in IPv6, which is the least that one host is given.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    /// Fails until the block.
    fn block(guesses: &mut Guesses, now: Instant, source: IpAddr) -> Duration {
        loop {
            if let GuessVerdict::Blocked(span) = guesses.failed(now, source) {
                return span;
            }
        }
    }

    #[test]
    fn tenth_failure_in_a_row_blocks() {
        let (mut guesses, source) = (Guesses::default(), address("9.9.9.9"));
        for _ in 1..FAILURES_MAX {
            assert_eq!(guesses.failed(at(1), source), GuessVerdict::Counted);
            assert_eq!(guesses.blocked(at(1), source), None);
        }
        let second = Duration::from_secs(1);
        assert_eq!(guesses.failed(at(1), source), GuessVerdict::Blocked(second));
        assert_eq!(guesses.blocked(at(1), source), Some(second));
        assert_eq!(guesses.blocked(at(2), source), None);
    }

    #[test]
    fn each_block_lasts_twice_as_long_up_to_a_bound() {
        let (mut guesses, source) = (Guesses::default(), address("9.9.9.9"));
        let mut now = at(1);
        let mut spans = Vec::new();
        for _ in 0..12 {
            let span = block(&mut guesses, now, source);
            spans.push(span.as_secs());
            now = now + span;
        }
        assert_eq!(spans[..5], [1, 2, 4, 8, 16]);
        assert_eq!(spans.last(), Some(&300));
    }

    #[test]
    fn other_addresses_and_the_one_that_shows_the_secret_are_not_blocked() {
        let (mut guesses, source) = (Guesses::default(), address("9.9.9.9"));
        block(&mut guesses, at(1), source);
        assert_eq!(guesses.blocked(at(1), address("9.9.9.8")), None);
        let (mut guesses, other) = (Guesses::default(), address("9.9.9.8"));
        for _ in 1..FAILURES_MAX {
            guesses.failed(at(1), other);
        }
        guesses.succeeded(other);
        assert_eq!(guesses.failed(at(1), other), GuessVerdict::Counted);
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let mut guesses = Guesses::default();
        block(&mut guesses, at(1), address("2001:db8::1"));
        assert!(guesses.blocked(at(1), address("2001:db8::2")).is_some());
        assert!(guesses.blocked(at(1), address("2001:db8:0:1::1")).is_none());
        block(&mut guesses, at(1), address("::ffff:9.9.9.9"));
        assert!(guesses.blocked(at(1), address("9.9.9.9")).is_some());
    }

    #[test]
    fn wrong_scraper_that_asks_now_and_then_is_never_blocked() {
        let (mut guesses, source) = (Guesses::default(), address("127.0.0.1"));
        for round in 0..1_000 {
            assert_eq!(
                guesses.failed(at(15 * round), source),
                GuessVerdict::Counted
            );
        }
    }

    #[test]
    fn table_is_bounded_and_the_oldest_makes_room() {
        let mut guesses = Guesses::default();
        let source = |index: usize| {
            let index = u32::try_from(index).expect("few");
            IpAddr::V4(index.into())
        };
        block(&mut guesses, at(1), source(0));
        for index in 1..=SOURCES_MAX {
            guesses.failed(at(2), source(index));
        }
        assert_eq!(guesses.0.len(), SOURCES_MAX);
        assert_eq!(guesses.blocked(at(1), source(0)), None);
    }
}
