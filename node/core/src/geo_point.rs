//! Points on the Earth, and the latency that distance predicts before anything is measured.

use std::time::Duration;

/// A point on the Earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    latitude: f64,
    longitude: f64,
    /// The point on a sphere of radius 1, kept so that comparing distances takes no trigonometry.
    direction: [f64; 3],
}

/// The Earth's mean radius in kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6_371.0;

/// Light in fibre: two thirds of 299,792 km/s, in kilometres per millisecond.
const FIBRE_KM_PER_MS: f64 = 199.86;

/// Cables are longer than great circles; the measured matrices of large clouds lie near this factor.
const DETOUR: f64 = 1.5;

/// Access and processing that no distance explains.
const CONSTANT: Duration = Duration::from_millis(2);

/// A round trip when nothing at all is known: about half way round the Earth.
pub const RTT_UNKNOWN: Duration = Duration::from_millis(150);

impl GeoPoint {
    /// Latitude in -90..=90 and longitude in -180..=180 degrees; `None` outside of them.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let valid = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        let (north, east) = (latitude.to_radians(), longitude.to_radians());
        valid.then(|| Self {
            latitude,
            longitude,
            direction: [
                north.cos() * east.cos(),
                north.cos() * east.sin(),
                north.sin(),
            ],
        })
    }

    /// Degrees north of the equator.
    pub const fn latitude(self) -> f64 {
        self.latitude
    }

    /// Degrees east of Greenwich.
    pub const fn longitude(self) -> f64 {
        self.longitude
    }

    /// Great-circle distance in kilometres (haversine formula).
    pub fn distance_km(self, other: Self) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_latitude = (b - a) / 2.0;
        let half_longitude = (other.longitude - self.longitude).to_radians() / 2.0;
        let haversine =
            half_latitude.sin().powi(2) + a.cos() * b.cos() * half_longitude.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * haversine.clamp(0.0, 1.0).sqrt().asin()
    }

    /// Half of one minus the cosine of the angle between the two, in 0 to 1: grows with the distance, and costs three
    /// multiplications, for sorting many points by it.
    pub fn separation(self, other: Self) -> f64 {
        let cosine: f64 = (self.direction.iter().zip(other.direction))
            .map(|(left, right)| left * right)
            .sum();
        ((1.0 - cosine) / 2.0).clamp(0.0, 1.0)
    }

    /// The round trip to expect between two points before it is measured.
    pub fn rtt_prior(self, other: Self) -> Duration {
        let one_way_ms = self.distance_km(other) / FIBRE_KM_PER_MS * DETOUR;
        CONSTANT + Duration::from_secs_f64(2.0 * one_way_ms / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singapore_to_frankfurt_is_about_ten_thousand_kilometres() {
        let singapore = GeoPoint::new(1.29, 103.85).expect("a valid place");
        let frankfurt = GeoPoint::new(50.11, 8.68).expect("a valid place");
        let distance = singapore.distance_km(frankfurt);
        assert!((10_200.0..10_350.0).contains(&distance), "{distance}");
        let rtt = singapore.rtt_prior(frankfurt);
        assert!((150..165).contains(&rtt.as_millis()), "{rtt:?}");
    }

    #[test]
    fn separation_is_the_distance_in_another_measure() {
        let place = |(lat, lon)| GeoPoint::new(lat, lon).expect("a valid place");
        let places = [
            (1.29, 103.85),
            (50.11, 8.68),
            (-33.9, 151.2),
            (37.4, -122.1),
            (90.0, 0.0),
        ];
        for from in places.map(place) {
            for to in places.map(place) {
                let angle = 2.0 * from.separation(to).sqrt().asin();
                let distance = angle * EARTH_RADIUS_KM;
                assert!((distance - from.distance_km(to)).abs() < 1.0, "{distance}");
            }
        }
    }

    #[test]
    fn place_off_the_globe_is_refused() {
        assert!(GeoPoint::new(90.1, 0.0).is_none());
        assert!(GeoPoint::new(0.0, -180.1).is_none());
        assert!(GeoPoint::new(f64::NAN, 0.0).is_none());
        assert!(GeoPoint::new(-90.0, 180.0).is_some());
    }
}
