//! The regions of a public cloud with their measured round trips: where nodes and clients stand.
//!
//! Measured and not computed from distance, since real cables are what routing has to cope with: some
//! pairs are twice as far as the globe says, and the two directions differ by a few percent. The source
//! and the licence of the figures are in `sim/data/README.md`.

use std::time::Duration;

use grapevine_core::country::CountryCode;
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;

/// A region by its place in [`Atlas`].
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

/// Between two nodes of one region: what clouds promise between zones.
const WITHIN_REGION: Duration = Duration::from_millis(1);

const REGIONS: &str = include_str!("../data/azure-regions.csv");
const ROUND_TRIPS: &str = include_str!("../data/azure-rtt.csv");

/// The countries of the regions, in the order of the file, which does not name them.
const COUNTRIES: [&str; 48] = [
    "AU", "AU", "AU", "AU", "BR", "CA", "CA", "IN", "US", "HK", "US", "US", "FR", "FR", "DE", "DE",
    "IL", "IT", "JP", "JP", "KR", "KR", "MY", "MX", "NZ", "US", "IE", "NO", "NO", "PL", "QA", "ZA",
    "ZA", "US", "IN", "SG", "SE", "CH", "CH", "AE", "AE", "GB", "GB", "US", "NL", "US", "US", "US",
];

impl Atlas {
    /// The regions of the files that are compiled in.
    pub(crate) fn of_azure() -> Self {
        let lines = REGIONS.lines().skip(1).zip(COUNTRIES);
        let regions: Vec<Region> = lines
            .map(|(line, country)| region(line, country).expect("the file is compiled in"))
            .collect();
        let mut round_trips = vec![None; regions.len() * regions.len()];
        for (from, line) in ROUND_TRIPS.lines().skip(1).enumerate() {
            for (to, cell) in line.split(',').skip(1).enumerate() {
                let millis: Option<u64> = cell.parse().ok();
                round_trips[from * regions.len() + to] = millis.map(Duration::from_millis);
            }
        }
        let filled = |from: usize, to: usize| {
            let at = |from: usize, to: usize| round_trips[from * regions.len() + to];
            let prior = || regions[from].place.rtt_prior(regions[to].place);
            let measured = at(from, to).or(at(to, from));
            measured.unwrap_or_else(prior).max(WITHIN_REGION)
        };
        let count = regions.len();
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

fn region(line: &str, country: &str) -> Option<Region> {
    let mut cells = line.split(',');
    let name = RegionName::new(cells.next()?).ok()?;
    let mut degrees = cells.skip(1).map(|cell| cell.trim().parse::<f64>());
    let place = GeoPoint::new(degrees.next()?.ok()?, degrees.next()?.ok()?)?;
    let country = CountryCode::new(country).ok()?;
    Some(Region {
        name,
        place,
        country,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_round_trip() {
        let atlas = Atlas::of_azure();
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
        let atlas = Atlas::of_azure();
        let find = |name| atlas.find(name).expect("a region of the file");
        let (here, tokyo) = (find("southeastasia"), find("japaneast"));
        assert!(atlas.round_trip(here, tokyo) < atlas.round_trip(here, find("westeurope")));
        assert_eq!(atlas.region(tokyo).country.to_string(), "JP");
    }
}
