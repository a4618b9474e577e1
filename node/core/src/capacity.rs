//! How many requests an upstream carries at once, learned from its refusals and its latency.
//!
//! Nobody knows this before the upstream is full: the configuration sets a bound, by default what the node itself can
//! carry. So every request is taken to fit until there is evidence, of either kind:
//! - It refuses: a 429, 503 or 529 with so many in flight. The limit falls below that number by a tenth.
//! - It slows down with many in flight: first bytes take over twice as long as in the long run there. The
//!   limit falls towards the number that would take no longer (the gradient of Netflix's
//!   `concurrency-limits`).
//!
//! The limit rises again while it is used without new evidence, by its square root for each round of answers; and it
//! doubles with every minute without evidence, so that old evidence does not count for long.
//!
//! The limit *steers and never refuses*: above it an upstream counts as full, so that requests and conversations go
//! elsewhere where they can; where they cannot, the upstream itself refuses.

use std::time::Duration;

use crate::time::Instant;

/// The memory that a request in flight takes at a node while it streams. Measured with 10,000 streams over one hop:
/// 31 KiB at the entry and at the owner; as much again for a client that has a connection of its own.
const REQUEST_BYTES: u64 = 64 * 1_024;

/// A node carries at least so many, however little memory it has.
const CARRIED_MIN: u32 = 256;

/// With fewer in flight a refusal proves nothing: it is not for lack of room. No limit is below this.
const REFUSED_MIN: u32 = 8;

/// With fewer in flight slowness proves nothing: a few long prompts, or a busy minute of the provider, make any
/// upstream slow, and conversations would leave their caches for it.
const SLOWED_MIN: u32 = 64;

/// What is left of the number in flight when the upstream refused.
const BACKOFF: f64 = 0.9;

/// First bytes may take this many times as long as in the long run (gradient limiters use 1.5 to 2; first
/// bytes of models waver more than those of services).
const TOLERANCE: f64 = 2.0;

/// The least that is left at once, however slow it has become.
const GRADIENT_MIN: f64 = 0.5;

/// What is refused or answered within this span was sent under the same limit: it is one piece of evidence.
const ROUND_MIN: Duration = Duration::from_millis(100);

/// The limit doubles in this span without evidence.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What one sample moves the short average by: it is one of some twenty.
const SHORT_GAIN: f64 = 0.05;

/// In this span the long average rises by all but 1/e of what it lies below the short one. By time and not
/// by samples, of which a full upstream gives thousands before anybody can have gone elsewhere.
const LONG_SPAN: Duration = Duration::from_secs(600);

/// How many requests a node carries at once: one for each connection of a client, in half of its memory. The other
/// half is for bodies, which have a budget of their own, and for everything else.
pub fn of_node(connections: usize, memory: Option<u64>) -> u32 {
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    let in_memory = memory.map_or(u64::MAX, |memory| memory / 2 / REQUEST_BYTES);
    let in_memory = u32::try_from(in_memory).unwrap_or(u32::MAX);
    connections.min(in_memory.max(CARRIED_MIN))
}

/// What an upstream carries at once, as far as is known.
#[derive(Clone, Debug)]
pub struct Capacity {
    max: u32,
    limit: f64,
    short: Option<f64>,
    long: f64,
    sampled_at: Instant,
    /// When the limit was last lowered, or else last risen by time.
    changed_at: Instant,
}

impl Capacity {
    /// One of which only the bound is known, at least 1.
    pub fn new(now: Instant, max: u32) -> Self {
        let max = max.max(1);
        Self {
            max,
            limit: f64::from(max),
            short: None,
            long: 0.0,
            sampled_at: now,
            changed_at: now,
        }
    }

    /// Another bound is configured; what was learned below it stays.
    pub fn set_max(&mut self, max: u32) {
        let was_free = self.limit >= f64::from(self.max);
        self.max = max.max(1);
        if was_free {
            self.limit = f64::from(self.max);
        }
        self.limit = self.limit.min(f64::from(self.max));
    }

    /// How many it is estimated to carry at once: from 1 to its bound.
    pub fn limit(&self) -> u32 {
        // Never above the bound, which is a `u32`.
        self.limit as u32
    }

    /// It refused one for lack of room while `in_flight` were in flight, that one among them.
    pub fn refused(&mut self, now: Instant, in_flight: u32) {
        if in_flight < REFUSED_MIN {
            return;
        }
        self.lower(now, f64::from(in_flight) * BACKOFF);
    }

    /// It answered after `first_byte` while `in_flight` were in flight, that one among them.
    pub fn answered(&mut self, now: Instant, in_flight: u32, first_byte: Duration) {
        let sample = first_byte.as_secs_f64();
        let passed = now.since(self.sampled_at).as_secs_f64() / LONG_SPAN.as_secs_f64();
        self.sampled_at = now;
        let Some(short) = self.short else {
            self.short = Some(sample);
            self.long = sample;
            return;
        };
        let short = short + (sample - short) * SHORT_GAIN;
        self.short = Some(short);
        // The long average follows an improvement at once, and a lasting slowdown only in time.
        let gain = match short < self.long {
            true => SHORT_GAIN,
            false => 1.0 - (-passed).exp(),
        };
        self.long += (short - self.long) * gain;
        self.forget(now);
        let requests = f64::from(in_flight);
        let gradient = (self.long * TOLERANCE / short).clamp(GRADIENT_MIN, 1.0);
        if gradient < 1.0 && in_flight >= SLOWED_MIN {
            self.lower(now, requests * gradient + requests.sqrt());
        } else if requests * 2.0 >= self.limit {
            // Each of the answers of a round adds its part.
            self.raise(self.limit.sqrt() / self.limit);
        }
    }

    fn lower(&mut self, now: Instant, limit: f64) {
        let is_same_round = now.since(self.changed_at) < self.round();
        let has_learned = self.limit < f64::from(self.max);
        if limit < self.limit && !(is_same_round && has_learned) {
            self.limit = limit.max(f64::from(REFUSED_MIN.min(self.max)));
            self.changed_at = now;
        }
    }

    /// How long it takes until an answer shows what the limit does.
    fn round(&self) -> Duration {
        let short = self
            .short
            .unwrap_or_default()
            .min(FORGOTTEN_AFTER.as_secs_f64());
        Duration::from_secs_f64(short).max(ROUND_MIN)
    }

    fn forget(&mut self, now: Instant) {
        let spans = now.since(self.changed_at).as_secs_f64() / FORGOTTEN_AFTER.as_secs_f64();
        if spans >= 1.0 {
            self.raise(self.limit * (spans.min(32.0).exp2() - 1.0));
            self.changed_at = now;
        }
    }

    fn raise(&mut self, by: f64) {
        self.limit = (self.limit + by).min(f64::from(self.max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAST: Duration = Duration::from_millis(200);

    fn at(millis: u64) -> Instant {
        Instant::from_start(Duration::from_millis(millis))
    }

    /// An upstream with a queue: whatever is beyond `carries` waits for its turn.
    fn serve(capacity: &mut Capacity, from: u64, seconds: u64, in_flight: u32, carries: u32) {
        for step in 0..seconds * 20 {
            let wait = f64::from(in_flight.max(carries)) / f64::from(carries);
            capacity.answered(at(from + step * 50), in_flight, FAST.mul_f64(wait));
        }
    }

    #[test]
    fn node_carries_what_fits_into_half_of_its_memory() {
        const GIB: u64 = 1 << 30;
        assert_eq!(of_node(16_384, None), 16_384);
        assert_eq!(of_node(16_384, Some(24 * GIB)), 16_384);
        assert_eq!(of_node(16_384, Some(GIB)), (GIB / 2 / REQUEST_BYTES) as u32);
        assert_eq!(of_node(16_384, Some(0)), CARRIED_MIN);
        assert_eq!(of_node(100, Some(0)), 100);
    }

    #[test]
    fn every_request_fits_until_there_is_evidence() {
        let mut capacity = Capacity::new(at(0), 16_384);
        serve(&mut capacity, 0, 60, 5_000, 10_000);
        assert_eq!(capacity.limit(), 16_384);
    }

    #[test]
    fn refusal_lowers_the_limit_below_the_number_in_flight_once_a_round() {
        let mut capacity = Capacity::new(at(0), 1_000);
        (0..50).for_each(|_| capacity.refused(at(10), 100));
        assert_eq!(capacity.limit(), 90);
        capacity.refused(at(500), 80);
        assert_eq!(capacity.limit(), 72);
    }

    #[test]
    fn refusal_with_few_in_flight_proves_nothing() {
        let mut capacity = Capacity::new(at(0), 1_000);
        capacity.refused(at(0), REFUSED_MIN - 1);
        assert_eq!(capacity.limit(), 1_000);
    }

    #[test]
    fn slowing_down_under_load_lowers_the_limit_towards_what_it_carries() {
        let mut capacity = Capacity::new(at(0), 16_384);
        serve(&mut capacity, 0, 30, 40, 50);
        // 400 clients, of which as many as the limit come here.
        for second in 30..90 {
            let in_flight = capacity.limit().min(400);
            serve(&mut capacity, second * 1_000, 1, in_flight, 50);
        }
        let limit = capacity.limit();
        assert!((50..=150).contains(&limit), "{limit}");
    }

    #[test]
    fn slowness_with_few_in_flight_and_single_late_answers_lower_nothing() {
        let mut capacity = Capacity::new(at(0), 1_000);
        serve(&mut capacity, 0, 30, 40, 50);
        for step in 0..200 {
            let late = if step % 20 == 0 { FAST * 10 } else { FAST };
            capacity.answered(at(30_000 + step * 50), SLOWED_MIN, late);
        }
        assert_eq!(capacity.limit(), 1_000);
        for step in 0..200 {
            capacity.answered(at(60_000 + step * 50), SLOWED_MIN - 1, FAST * 10);
        }
        assert_eq!(capacity.limit(), 1_000);
    }

    #[test]
    fn limit_that_is_used_rises_and_one_that_is_not_is_forgotten() {
        let mut capacity = Capacity::new(at(0), 1_000);
        capacity.refused(at(0), 100);
        serve(&mut capacity, 1_000, 10, 90, 1_000);
        let used = capacity.limit();
        assert!(used > 100, "{used}");
        let mut capacity = Capacity::new(at(0), 1_000);
        capacity.refused(at(0), 100);
        serve(&mut capacity, 1_000, 50, 1, 1_000);
        assert_eq!(capacity.limit(), 90);
        serve(&mut capacity, 51_000, 400, 1, 1_000);
        assert_eq!(capacity.limit(), 1_000);
    }

    #[test]
    fn lasting_slowdown_becomes_the_baseline_in_time() {
        let mut capacity = Capacity::new(at(0), 1_000);
        serve(&mut capacity, 0, 30, 80, 80);
        serve(&mut capacity, 30_000, 1_200, 80, 20);
        assert_eq!(capacity.limit(), 1_000);
    }

    #[test]
    fn new_bound_leaves_what_was_learned() {
        let mut capacity = Capacity::new(at(0), 1_000);
        capacity.set_max(2_000);
        assert_eq!(capacity.limit(), 2_000);
        capacity.refused(at(0), 100);
        capacity.set_max(500);
        assert_eq!(capacity.limit(), 90);
        capacity.set_max(50);
        assert_eq!(capacity.limit(), 50);
    }

    proptest! {
        #[test]
        fn limit_is_never_outside_its_range(
            max in 0..u32::MAX,
            events in proptest::collection::vec((0..3u8, 0..u32::MAX, 0..10_000_000u64), 0..200),
        ) {
            let mut capacity = Capacity::new(at(0), max);
            let mut now = 0;
            for (kind, in_flight, millis) in events {
                now += millis;
                match kind {
                    0 => capacity.refused(at(now), in_flight),
                    1 => capacity.answered(at(now), in_flight, Duration::from_millis(millis)),
                    _ => capacity.set_max(in_flight),
                }
                prop_assert!(capacity.limit() >= 1 && capacity.limit() <= capacity.max);
            }
        }
    }
}
