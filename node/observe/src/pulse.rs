//! The last ten minutes in numbers: requests, failures, first bytes, client areas and serving nodes.
//!
//! Metrics contain the same for a server that stores them; this is for operators without one.
//! The collecting task counts each record once, off the request path.
//!
//! Bound: [`BUCKETS`] buckets, each with [`STEPS`] counts and at most [`NAMED_MAX`] nodes and areas:
//! under 1 MB when all are full.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::NodeName;

use super::record::{ClientRecord, RequestRecord};

/// How long one bucket collects.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Buckets that are kept: ten minutes.
pub const BUCKETS: usize = 120;

/// Nodes, and areas, that one bucket distinguishes; further ones count in the sums alone.
pub const NAMED_MAX: usize = 32;

/// Steps of the first byte's histogram, each a tenth wider than the one before: 1 ms to 5 min.
const STEPS: usize = 132;

/// The upper end of the first step.
const FIRST_STEP: Duration = Duration::from_millis(1);

/// How much wider each step is.
const STEP_GROWTH: f64 = 1.1;

/// Counts of the last minutes. Cheap to clone; locked by the collector and the operator only.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<VecDeque<Bucket>>>);

/// What happened within one [`INTERVAL`].
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Which interval since the clock's start.
    number: u64,
    /// Requests that ended.
    pub requests: u32,
    /// Those that failed ([`RequestRecord::end`]).
    pub failed: u32,
    /// Attempts made at each node, and how many of them were not answered.
    pub attempts: BTreeMap<NodeName, Tally>,
    /// Requests by their client's area.
    pub areas: BTreeMap<String, Crowd>,
    first_bytes: [u32; STEPS],
}

/// Attempts at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub made: u32,
    /// Those without an answer that went to the client.
    pub failed: u32,
}

/// The clients of one area.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd {
    /// Its coordinates, by the last client that had some.
    pub place: Option<GeoPoint>,
    /// Their requests.
    pub requests: u32,
}

impl Pulse {
    /// Counts a request that ended about `now`.
    pub fn count(&self, now: Instant, record: &RequestRecord) {
        let number = number(now);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.back().is_none_or(|last| last.number < number) {
            if buckets.len() == BUCKETS {
                buckets.pop_front();
            }
            buckets.push_back(Bucket::empty(number));
        }
        if let Some(last) = buckets.back_mut() {
            last.count(record);
        }
    }

    /// The last [`BUCKETS`] intervals up to `now`, the oldest first, with empty ones where nothing
    /// happened.
    pub fn last(&self, now: Instant) -> Vec<Bucket> {
        let newest = number(now);
        let oldest = (newest + 1).saturating_sub(BUCKETS as u64);
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = buckets.iter().filter(|it| it.number >= oldest).peekable();
        let at = |number| match kept.next_if(|bucket| bucket.number == number) {
            Some(bucket) => bucket.clone(),
            None => Bucket::empty(number),
        };
        (oldest..=newest).map(at).collect()
    }
}

fn number(now: Instant) -> u64 {
    now.since_start().as_secs() / INTERVAL.as_secs()
}

impl Bucket {
    fn empty(number: u64) -> Self {
        Self {
            number,
            requests: 0,
            failed: 0,
            attempts: BTreeMap::new(),
            areas: BTreeMap::new(),
            first_bytes: [0; STEPS],
        }
    }

    /// The first byte's time that `share` of the served requests did not exceed, to a tenth; `None`
    /// when none was served.
    pub fn first_byte(&self, share: f64) -> Option<Duration> {
        let all: u32 = self.first_bytes.iter().sum();
        let wanted = (f64::from(all) * share).ceil().max(1.0);
        let mut passed = 0;
        let reached = self.first_bytes.iter().position(|count| {
            passed += count;
            f64::from(passed) >= wanted
        });
        reached.filter(|_| all > 0).map(middle)
    }

    fn count(&mut self, record: &RequestRecord) {
        self.requests += 1;
        self.failed += u32::from(record.end().is_failed());
        if record.served.is_some() {
            self.first_bytes[step(record.first_byte)] += 1;
        }
        let last = record.attempts.len().saturating_sub(1);
        for (index, attempt) in record.attempts.iter().enumerate() {
            let has_room = self.attempts.len() < NAMED_MAX;
            if has_room || self.attempts.contains_key(&attempt.node) {
                let tally = self.attempts.entry(attempt.node.clone()).or_default();
                let is_answer = index == last && record.served.is_some();
                tally.made += 1;
                tally.failed += u32::from(!is_answer);
            }
        }
        self.count_client(record.client);
    }

    fn count_client(&mut self, client: ClientRecord) {
        let Some(area) = client.area() else { return };
        if self.areas.len() < NAMED_MAX || self.areas.contains_key(&area) {
            let empty = Crowd {
                place: None,
                requests: 0,
            };
            let crowd = self.areas.entry(area).or_insert(empty);
            crowd.requests += 1;
            crowd.place = client.place.or(crowd.place);
        }
    }
}

/// The step of the histogram that `span` falls into.
fn step(span: Duration) -> usize {
    let ratio = span.as_secs_f64() / FIRST_STEP.as_secs_f64();
    if ratio <= 1.0 {
        return 0;
    }
    let step = ratio.log(STEP_GROWTH).ceil();
    // At most a few hundred for the longest span there is.
    (step as usize).min(STEPS - 1)
}

/// About the middle of a step.
fn middle(step: usize) -> Duration {
    let exponent = i32::try_from(step).unwrap_or(i32::MAX);
    FIRST_STEP.mul_f64(STEP_GROWTH.powi(exponent) / STEP_GROWTH.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::excerpt::Excerpt;
    use crate::record::{RequestKind, Served, Tokens};
    use grapevine_core::ids::{RegionName, UpstreamName};
    use grapevine_core::residency::ClientOrigin;
    use http::Method;

    fn record(status: u16, first_byte: Duration) -> RequestRecord {
        let served = Served {
            node: NodeName::new("sgp").expect("a name"),
            region: RegionName::new("sgp").expect("a name"),
            upstream: UpstreamName::new("primary").expect("a name"),
            account: None,
        };
        RequestRecord {
            id: "1".to_owned().into(),
            time: Duration::ZERO,
            method: Method::POST,
            path: Excerpt::of("/v1/chat/completions"),
            model: None,
            fallbacks: Vec::new(),
            dialect: None,
            stream: false,
            status,
            served: (status < 500).then_some(served),
            client: ClientRecord {
                origin: ClientOrigin::Country("SG".parse().expect("a country")),
                place: GeoPoint::new(1.3, 103.8),
            },
            attempts: Vec::new(),
            untried: VecDeque::new(),
            overhead: Duration::ZERO,
            first_byte,
            total: first_byte,
            tokens: Tokens::default(),
            cost: None,
            key_id: None,
            key: None,
            residency: None,
            error: None,
            kind: RequestKind::Client,
            trace: None,
            forwarded_as: None,
            hedge: None,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    #[test]
    fn requests_are_counted_in_the_interval_in_which_they_end() {
        let pulse = Pulse::default();
        pulse.count(at(1), &record(200, Duration::from_millis(100)));
        pulse.count(at(4), &record(503, Duration::ZERO));
        pulse.count(at(12), &record(200, Duration::from_millis(100)));
        let last = pulse.last(at(16));
        let counts: Vec<_> = last.iter().map(|it| (it.requests, it.failed)).collect();
        assert_eq!(counts, [(2, 1), (0, 0), (1, 0), (0, 0)]);
        assert_eq!(last[0].areas["SG"].requests, 2);
    }

    #[test]
    fn stream_that_broke_off_failed_and_one_that_its_client_left_did_not() {
        let pulse = Pulse::default();
        for error in ["upstream_broken_off", "cancelled"] {
            let record = RequestRecord {
                error: Some(error),
                ..record(200, Duration::from_millis(100))
            };
            pulse.count(at(1), &record);
        }
        let bucket = &pulse.last(at(1))[0];
        assert_eq!((bucket.requests, bucket.failed), (2, 1));
    }

    #[test]
    fn what_is_older_than_all_intervals_is_forgotten() {
        let pulse = Pulse::default();
        pulse.count(at(1), &record(200, Duration::ZERO));
        pulse.count(at(2_000), &record(200, Duration::ZERO));
        let last = pulse.last(at(2_004));
        assert_eq!(last.len(), BUCKETS);
        assert_eq!(last.iter().map(|it| it.requests).sum::<u32>(), 1);
        assert_eq!(last[BUCKETS - 1].requests, 1);
    }

    #[test]
    fn percentiles_are_right_to_a_tenth() {
        let pulse = Pulse::default();
        for milliseconds in 1..=100 {
            pulse.count(at(1), &record(200, Duration::from_millis(milliseconds)));
        }
        pulse.count(at(1), &record(200, Duration::MAX));
        let bucket = &pulse.last(at(1))[0];
        let close = |share, wanted: f64| {
            let seen = bucket.first_byte(share).expect("requests").as_secs_f64() * 1e3;
            assert!((seen / wanted - 1.0).abs() < 0.1, "{seen} is not {wanted}");
        };
        close(0.5, 50.0);
        close(0.99, 100.0);
        assert_eq!(Bucket::empty(0).first_byte(0.5), None);
    }

    #[test]
    fn areas_beyond_the_limit_are_in_the_sums_alone() {
        let pulse = Pulse::default();
        for first in b'A'..=b'Z' {
            for second in [b'A', b'B', b'E'] {
                let mut record = record(200, Duration::ZERO);
                let code = [first, second];
                let code = std::str::from_utf8(&code).expect("letters");
                record.client.origin = code
                    .parse()
                    .map_or(ClientOrigin::Unknown, ClientOrigin::Country);
                pulse.count(at(1), &record);
            }
        }
        let bucket = &pulse.last(at(1))[0];
        assert_eq!((bucket.requests, bucket.areas.len()), (78, NAMED_MAX));
    }
}
