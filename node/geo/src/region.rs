//! The location of a region by its name, when that is a code of a large cloud or of three letters.
//!
//! The table is `deploy/geo/regions.csv`; `README.md` beside it lists the source of each row.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;

/// One line per region, `source,code,latitude,longitude,where`, below a heading.
const REGIONS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/geo/regions.csv"
));

/// The location of a well-known region, such as `ap-southeast-1`, `us-east4`, `westeurope`, `fra` or `sgp`. Case
/// does not count, `_` is `-`, and a code without `-` is also found when written with some (`West-Europe`).
pub fn place_of(region: &RegionName) -> Option<GeoPoint> {
    static PLACES: LazyLock<BTreeMap<&str, GeoPoint>> = LazyLock::new(|| regions().collect());
    let code = region.as_str().to_ascii_lowercase().replace('_', "-");
    // As written first: `us-east-1` and `us-east1` are two regions of two clouds.
    let place = PLACES.get(code.as_str());
    let place = place.or_else(|| PLACES.get(code.replace('-', "").as_str()));
    place.copied()
}

fn regions() -> impl Iterator<Item = (&'static str, GeoPoint)> {
    REGIONS.lines().skip(1).filter_map(parse)
}

/// The code of each well-known region, and the city or the country where it is. Codes of no cloud, which name a
/// country or a continent, come first.
pub fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = || REGIONS.lines().skip(1).map(|line| line.split(','));
    let of = |is_name: bool| {
        rows().filter_map(move |mut fields| {
            let (source, code) = (fields.next()?, fields.next()?);
            let place = fields.nth(2)?;
            let place = place.split_once(" by ").map_or(place, |(place, _)| place);
            ((source == "name") == is_name).then_some((code, place))
        })
    };
    of(true).chain(of(false))
}

fn parse(line: &str) -> Option<(&str, GeoPoint)> {
    let mut fields = line.split(',').skip(1);
    let code = fields.next()?;
    let mut degrees = || fields.next()?.parse().ok();
    let (latitude, longitude) = (degrees()?, degrees()?);
    Some((code, GeoPoint::new(latitude, longitude)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> Option<GeoPoint> {
        place_of(&RegionName::new(name).expect("a valid name"))
    }

    fn km(one: &str, other: &str) -> f64 {
        let place = |name| place(name).expect("a known region");
        place(one).distance_km(place(other))
    }

    #[test]
    fn every_line_is_a_region_of_its_own() {
        let codes: BTreeMap<_, _> = regions().collect();
        assert_eq!(REGIONS.lines().count(), 1 + 212);
        assert_eq!(codes.len(), 212);
        let is_plain =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        assert!(codes.keys().all(|code| code.chars().all(is_plain)));
    }

    #[test]
    fn codes_of_no_cloud_come_first_and_each_has_a_place() {
        assert_eq!(codes().count(), 212);
        let singapore = codes().find(|(_, place)| *place == "Singapore");
        assert_eq!(singapore, Some(("sgp", "Singapore")));
        assert!(codes().any(|found| found == ("usa", "United States")));
        assert!(codes().all(|(_, place)| !place.is_empty()));
    }

    #[test]
    fn clouds_agree_on_where_a_city_is() {
        for city in [
            [
                "sgp",
                "ap-southeast-1",
                "asia-southeast1",
                "southeastasia",
                "sin",
            ],
            [
                "jpn",
                "ap-northeast-1",
                "asia-northeast1",
                "japaneast",
                "nrt",
            ],
            [
                "deu",
                "eu-central-1",
                "europe-west3",
                "germanywestcentral",
                "fra",
            ],
            ["gbr", "eu-west-2", "europe-west2", "uksouth", "lhr"],
        ] {
            for other in city {
                assert!(km(city[0], other) < 30.0, "{} and {other}", city[0]);
            }
        }
    }

    #[test]
    fn spelling_does_not_count() {
        for (spelled, code) in [
            ("AP_Southeast_1", "ap-southeast-1"),
            ("West-Europe", "westeurope"),
            ("east_us", "eastus"),
            ("SGP", "sgp"),
        ] {
            assert!(place(code).is_some(), "{code}");
            assert_eq!(place(spelled), place(code), "{spelled}");
        }
    }

    #[test]
    fn hyphen_distinguishes_two_clouds() {
        // Virginia at one, South Carolina at the other.
        assert!(km("us-east-1", "us-east1") > 500.0);
    }

    #[test]
    fn unknown_name_has_no_place() {
        for name in ["local", "rack-7", "moon", "ap-southeast-99", "s-g-p-1"] {
            assert_eq!(place(name), None, "{name}");
        }
    }
}
