//! Regions and the round trips between them: where nodes and clients are.
//!
//! They are read from tables ([`crate::matrix`]); those that are compiled in are a public cloud's. They are measured and
//! not computed from distance, since routing has to cope with real cables: some pairs are twice as far as on the globe,
//! and the two directions differ by a few percent. The source and the licence of the figures are in `sim/data/README.md`.

use std::time::Duration;

use grapevine_core::country::CountryCode;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;

/// A region, as an index into [`Atlas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RegionIndex(pub(crate) usize);

/// A region.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: RegionName,
    pub(crate) place: GeoPoint,
    pub(crate) country: CountryCode,
}

/// All regions and the time between them.
#[derive(Clone, Debug)]
pub(crate) struct Atlas {
    regions: Vec<Region>,
    /// Row by row.
    round_trips: Vec<Duration>,
}

/// Between two nodes of one region: what clouds specify between zones.
const WITHIN_REGION: Duration = Duration::from_millis(1);

impl Atlas {
    /// Regions with their round trips row by row, as far as they were measured. A missing one is that of the
    /// other direction, else an estimate from the distance.
    pub(crate) fn new(regions: Vec<Region>, measured: &[Option<Duration>]) -> Self {
        let count = regions.len();
        let filled = |from: usize, to: usize| {
            let at = |from: usize, to: usize| measured.get(from * count + to).copied().flatten();
            let prior = || regions[from].place.rtt_prior(regions[to].place);
            let measured = at(from, to).or(at(to, from));
            measured.unwrap_or_else(prior).max(WITHIN_REGION)
        };
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let round_trips = pairs.map(|(from, to)| filled(from, to)).collect();
        Self {
            regions,
            round_trips,
        }
    }

    pub(crate) fn find(&self, name: &str) -> Option<RegionIndex> {
        let mut regions = self.regions.iter();
        let found = regions.position(|region| region.name.as_str() == name);
        found.map(RegionIndex)
    }

    pub(crate) fn region(&self, index: RegionIndex) -> &Region {
        &self.regions[index.0]
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = RegionIndex> + use<> {
        (0..self.regions.len()).map(RegionIndex)
    }

    pub(crate) fn round_trip(&self, from: RegionIndex, to: RegionIndex) -> Duration {
        self.round_trips[from.0 * self.regions.len() + to.0]
    }

    /// The time one way: half of the round trip as measured from there.
    pub(crate) fn one_way(&self, from: RegionIndex, to: RegionIndex) -> Duration {
        self.round_trip(from, to) / 2
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_pair_has_a_round_trip() {
        let atlas = crate::matrix::azure();
        assert_eq!(atlas.regions.len(), 48);
        for from in atlas.indices() {
            for to in atlas.indices() {
                let millis = atlas.round_trip(from, to).as_millis();
                assert!((1..450).contains(&millis), "{from:?} {to:?} {millis}");
            }
        }
    }

    #[test]
    fn singapore_is_nearer_to_tokyo_than_to_amsterdam() {
        let atlas = crate::matrix::azure();
        let find = |name| atlas.find(name).expect("a region of the file");
        let (here, tokyo) = (find("southeastasia"), find("japaneast"));
        assert!(atlas.round_trip(here, tokyo) < atlas.round_trip(here, find("westeurope")));
        assert_eq!(atlas.region(tokyo).country.to_string(), "JP");
    }
}
