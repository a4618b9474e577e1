//! The middle and the continent of every country, in one table.

use std::sync::LazyLock;

use grapevine_core::country::{Continent, CountryCode};
use grapevine_core::geo_point::GeoPoint;

/// One line per country, `code,latitude,longitude`, below a heading.
const CENTROIDS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/geo/centroids.csv"
));

const LETTERS: usize = 26;

/// A country's entry in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct AtlasEntry {
    /// `None` when no such country is known.
    pub(super) continent: Option<Continent>,
    /// The country's middle.
    pub(super) centroid: Option<GeoPoint>,
}

/// Looks `country` up: one indexed read.
pub(super) fn entry(country: CountryCode) -> AtlasEntry {
    static ENTRIES: LazyLock<Vec<AtlasEntry>> = LazyLock::new(entries);
    ENTRIES.get(index(country)).copied().unwrap_or_default()
}

fn index(country: CountryCode) -> usize {
    let [first, second] = country.letters().map(|letter| usize::from(letter - b'A'));
    first * LETTERS + second
}

fn entries() -> Vec<AtlasEntry> {
    let mut entries = vec![AtlasEntry::default(); LETTERS * LETTERS];
    for (country, centroid) in centroids() {
        entries[index(country)] = AtlasEntry {
            continent: country.continent(),
            centroid: Some(centroid),
        };
    }
    entries
}

fn centroids() -> impl Iterator<Item = (CountryCode, GeoPoint)> {
    CENTROIDS.lines().skip(1).filter_map(parse)
}

fn parse(line: &str) -> Option<(CountryCode, GeoPoint)> {
    let mut fields = line.split(',');
    let country = CountryCode::new(fields.next()?).ok()?;
    let mut degrees = || fields.next()?.parse().ok();
    let (latitude, longitude) = (degrees()?, degrees()?);
    Some((country, GeoPoint::new(latitude, longitude)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_gives_a_country_of_the_continents_table() {
        // 249 codes of ISO 3166-1 and XK: as many as core's table of continents holds.
        assert_eq!(CENTROIDS.lines().count(), 1 + 250);
        assert_eq!(centroids().count(), 250);
        assert!(centroids().all(|(country, _)| entry(country).continent.is_some()));
    }

    #[test]
    fn middle_of_singapore_is_in_singapore() {
        let singapore = CountryCode::new("SG").expect("a valid code");
        let here = GeoPoint::new(1.29, 103.85).expect("a valid place");
        let middle = entry(singapore).centroid.expect("Singapore has a centroid");
        assert!(middle.distance_km(here) < 20.0);
    }

    #[test]
    fn unknown_code_has_neither_middle_nor_continent() {
        let unknown = CountryCode::new("ZZ").expect("two letters");
        assert_eq!(entry(unknown), AtlasEntry::default());
    }
}
