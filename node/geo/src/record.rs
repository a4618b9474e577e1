//! One record of a location database, in any of the common shapes.
//!
//! MaxMind nests (`country.iso_code`, `location.latitude` as doubles), DB-IP's city files as ip-location-db
//! makes them are flat (`country_code`, `latitude` as floats), others hold `country_code` alone or write
//! `country: "US"`. One struct takes them all; what it does not name is skipped without being decoded.

use std::fmt;

use grapevine_core::country::{Continent, CountryCode};
use grapevine_core::geo_point::GeoPoint;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Located;
use super::atlas;

/// A record as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GeoRecord<'a> {
    #[serde(borrow)]
    country: Code<'a>,
    #[serde(borrow)]
    continent: Code<'a>,
    country_code: Option<&'a str>,
    continent_code: Option<&'a str>,
    location: Coordinates,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Coordinates {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

/// A code that stands alone or within a map under `iso_code` or `code`.
#[derive(Debug, Default)]
struct Code<'a>(Option<&'a str>);

impl GeoRecord<'_> {
    /// The record's location, with the gaps filled from the country; `None` when it has none.
    pub(super) fn located(&self) -> Option<Located> {
        let code = self.country.0.or(self.country_code).unwrap_or_default();
        let named = CountryCode::new(code).ok();
        let entry = named.map(atlas::entry).unwrap_or_default();
        // Registries write codes that are no country's: EU, AP, and ZZ for nothing known.
        let country = named.filter(|_| entry.continent.is_some());
        let continent = self.continent.0.or(self.continent_code);
        let continent = continent.and_then(Continent::from_database_code);
        let located = Located {
            country,
            continent: continent.or(entry.continent).or_else(|| wide_code(code)),
            place: self.place().or(entry.centroid),
        };
        let is_something =
            located.country.is_some() || located.continent.is_some() || located.place.is_some();
        is_something.then_some(located)
    }

    fn place(&self) -> Option<GeoPoint> {
        let nested = self.location.latitude.zip(self.location.longitude);
        let (latitude, longitude) = nested.or_else(|| self.latitude.zip(self.longitude))?;
        // Files with gaps write zeroes, a point in the Gulf of Guinea without clients.
        let is_gap = latitude == 0.0 && longitude == 0.0;
        GeoPoint::new(latitude, longitude).filter(|_| !is_gap)
    }
}

/// Codes for a part of the Earth larger than a country, as the regional registries use them.
fn wide_code(code: &str) -> Option<Continent> {
    match code {
        "EU" => Some(Continent::Europe),
        "AP" => Some(Continent::Asia),
        _ => None,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Code<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodeVisitor)
    }
}

struct CodeVisitor;

impl<'de> Visitor<'de> for CodeVisitor {
    type Value = Code<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a code or a map with `iso_code` or `code`")
    }

    fn visit_borrowed_str<E>(self, code: &'de str) -> Result<Self::Value, E> {
        Ok(Code(Some(code)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut code = Code::default();
        while let Some(key) = map.next_key::<&str>()? {
            if matches!(key, "iso_code" | "code") {
                code.0 = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(code)
    }
}
