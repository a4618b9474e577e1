//! Known addresses against the embedded database and against every shape of record; broken files.

use std::hint::black_box;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::country::{Continent, CountryCode};

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a valid address")
}

fn country(code: &str) -> Option<CountryCode> {
    Some(CountryCode::new(code).expect("a valid code"))
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "geo", name]
        .iter()
        .collect()
}

fn open(name: &str) -> Database {
    Database::open(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn located(database: &Database, address: &str) -> Located {
    let location = database.locate(ip(address));
    location
        .located()
        .unwrap_or_else(|| panic!("{address} is {location:?}"))
}

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("grapevine-geo-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        // As a careful operator does it: the file is never there in part.
        let (path, next) = (self.0.join(name), self.0.join("next"));
        std::fs::write(&next, bytes).expect("a file can be written");
        std::fs::rename(&next, &path).expect("a file can be replaced");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is in the folder for temporary files.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
fn embedded_database_is_whole() {
    assert!(
        Database::embedded()
            .walk()
            .expect("no network or record is broken")
    );
    assert!(Database::embedded().built().is_some());
}

/// An address of each family, the country's code, and its continent: national networks and universities, which
/// do not move.
type Known = (&'static str, &'static str, &'static str, Continent);

const KNOWN: [Known; 11] = [
    ("165.21.83.88", "2001:d98::1", "SG", Continent::Asia),
    ("202.188.0.133", "2001:d08::1", "MY", Continent::Asia),
    ("133.11.0.1", "2001:200::1", "JP", Continent::Asia),
    ("131.111.8.42", "2001:630::1", "GB", Continent::Europe),
    ("193.99.144.80", "2001:638::1", "DE", Continent::Europe),
    ("212.27.48.10", "2a01:e00::1", "FR", Continent::Europe),
    ("129.132.1.1", "2001:620::1", "CH", Continent::Europe),
    ("132.246.11.1", "2001:410::1", "CA", Continent::NorthAmerica),
    (
        "18.9.22.169",
        "2620:0:ccc::2",
        "US",
        Continent::NorthAmerica,
    ),
    ("200.160.2.3", "2804:14c::1", "BR", Continent::SouthAmerica),
    ("139.130.4.5", "2001:388::1", "AU", Continent::Oceania),
];

#[test]
fn known_addresses_of_ten_countries_are_found_in_every_form() {
    for (name, database) in [
        ("embedded", Database::embedded()),
        ("nested", open("city-nested.mmdb")),
        ("flat", open("city-flat.mmdb")),
    ] {
        for (v4, v6, code, continent) in KNOWN {
            for address in [v4, v6, &format!("::ffff:{v4}")] {
                let found = located(&database, address);
                assert_eq!(found.country, country(code), "{name} {address}");
                assert_eq!(found.continent, Some(continent), "{name} {address}");
                assert!(found.place.is_some(), "{name} {address}");
            }
        }
    }
}

#[test]
fn country_without_coordinates_is_in_its_middle() {
    let database = Database::embedded();
    for (address, _, code, _) in KNOWN {
        let middle = atlas::entry(CountryCode::new(code).expect("a valid code")).centroid;
        assert_eq!(located(&database, address).place, middle, "{address}");
    }
}

#[test]
fn both_shapes_of_city_records_give_country_continent_and_coordinates() {
    for name in ["city-nested.mmdb", "city-flat.mmdb"] {
        let database = open(name);
        for (address, code, continent, latitude, longitude) in [
            ("81.2.69.142", "GB", Continent::Europe, 51.5142, -0.0931),
            (
                "::ffff:89.160.20.112",
                "SE",
                Continent::Europe,
                58.4167,
                15.6167,
            ),
            ("2001:218::1", "JP", Continent::Asia, 35.68536, 139.75309),
        ] {
            let found = located(&database, address);
            assert_eq!(found.country, country(code), "{name} {address}");
            assert_eq!(found.continent, Some(continent), "{name} {address}");
            let place = GeoPoint::new(latitude, longitude).expect("a valid place");
            let distance = found.place.expect("coordinates").distance_km(place);
            assert!(distance < 0.01, "{name} {address}: {distance} km off");
        }
    }
}

#[test]
fn gaps_of_a_record_are_filled_from_the_country() {
    let malaysia = located(&open("city-nested.mmdb"), "203.0.113.9");
    let middle = atlas::entry(malaysia.country.expect("a country")).centroid;
    assert!(malaysia.place.is_some() && malaysia.place == middle);
    let singapore = located(&open("city-flat.mmdb"), "198.51.100.9");
    assert!(singapore.place.is_some_and(|place| place.latitude() > 1.0));
    let nameless = located(&open("city-nested.mmdb"), "198.51.100.9");
    assert_eq!((nameless.country, nameless.continent), (None, None));
    assert!(nameless.place.is_some());
}

#[test]
fn code_alone_is_enough_and_a_registry_is_no_country() {
    let database = open("country-v4.mmdb");
    assert_eq!(located(&database, "81.2.69.1").country, country("GB"));
    assert_eq!(located(&database, "89.160.20.1").country, country("SE"));
    let europe = located(&database, "198.51.100.1");
    assert_eq!((europe.country, europe.place), (None, None));
    assert_eq!(europe.continent, Some(Continent::Europe));
    assert_eq!(database.locate(ip("203.0.113.1")), Location::Unknown);
}

#[test]
fn address_of_the_other_family_is_unknown() {
    let database = open("country-v4.mmdb");
    assert_eq!(database.locate(ip("2001:218::1")), Location::Unknown);
    assert_eq!(
        located(&database, "::ffff:81.2.69.1").country,
        country("GB")
    );
    assert_eq!(database.locate(ip("192.0.2.1")), Location::Unknown);
}

#[test]
fn address_without_a_location_is_unplaced_even_when_a_database_has_it() {
    let database = open("country-v4.mmdb");
    for address in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.1.2.3",
    ] {
        assert_eq!(
            database.locate(ip(address)),
            Location::Unplaced,
            "{address}"
        );
    }
    // The neighbours of the carriers' block are ordinary.
    for address in ["100.63.255.255", "100.128.0.0", "172.32.0.1"] {
        assert_ne!(
            database.locate(ip(address)),
            Location::Unplaced,
            "{address}"
        );
    }
}

#[test]
fn unusable_files_are_refused_by_name_and_the_old_database_stays() {
    let folder = Folder::new("refused");
    let good = std::fs::read(fixture("city-nested.mmdb")).expect("a fixture");
    let locator = Locator::open(Some(&folder.write("good.mmdb", &good))).expect("a good file");
    let text = folder.write("text.mmdb", b"<html>404 not found</html>");
    let cut = folder.write("cut.mmdb", &good[..good.len() / 2]);
    let asn = fixture("asn.mmdb");
    let absent = folder.0.join("absent.mmdb");
    for (path, expected) in [
        (
            &text,
            "is not a MaxMind database (MMDB), or only the start of one",
        ),
        (
            &cut,
            "is not a MaxMind database (MMDB), or only the start of one",
        ),
        (
            &asn,
            "is a database of \"GeoLite2-ASN\" without countries or coordinates",
        ),
        (&absent, "cannot be read; check the path"),
    ] {
        let error = locator
            .replace(Some(path))
            .expect_err("an unusable file")
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(locator.database().database_type(), "GeoLite2-City");
    }
    locator
        .replace(None)
        .expect("the embedded database is good");
    assert!(locator.locate(ip("165.21.83.88")).located().is_some());
}

#[test]
fn file_that_opens_and_is_broken_inside_is_refused() {
    let folder = Folder::new("broken");
    let good = std::fs::read(fixture("city-nested.mmdb")).expect("a fixture");
    // The directory at the end stays whole; what it points to does not.
    let at = find(&good, b"iso_code").expect("a record");
    for (name, length) in [("one record", 8), ("many records", 100)] {
        let mut broken = good.clone();
        broken[at - 1..at + length].fill(0xff);
        let path = folder.write("broken.mmdb", &broken);
        let error = Database::open(&path).expect_err(name);
        assert!(matches!(error, GeoError::Damaged { .. }), "{name}: {error}");
    }
}

#[test]
fn any_single_wrong_byte_is_refused_or_harmless() {
    let folder = Folder::new("bytes");
    let good = std::fs::read(fixture("country-v4.mmdb")).expect("a fixture");
    let mut refused = 0;
    for index in 0..good.len() {
        let mut bytes = good.clone();
        bytes[index] ^= 0xff;
        match Database::open(&folder.write("byte.mmdb", &bytes)) {
            Ok(database) => {
                black_box(database.locate(ip("81.2.69.1")));
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > good.len() / 10, "{refused} of {}", good.len());
}

#[tokio::test]
async fn changed_file_is_taken_and_a_broken_one_is_not() {
    let folder = Folder::new("watched");
    let read = |name| std::fs::read(fixture(name)).expect("a fixture");
    let path = folder.write("live.mmdb", &read("country-v4.mmdb"));
    let locator = Arc::new(Locator::open(Some(&path)).expect("a good file"));
    let watched = watch(Arc::clone(&locator), path, Duration::from_millis(10))
        .expect("signals can be listened to");
    let changes = async {
        let kind_is = async |kind: &str| {
            while locator.database().database_type() != kind {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        folder.write("live.mmdb", &read("city-flat.mmdb"));
        kind_is("dbip-city").await;
        folder.write("live.mmdb", b"broken");
        let before = locator.database();
        // Long enough for looking, settling and reading.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(Arc::ptr_eq(&before, &locator.database()));
        folder.write("live.mmdb", &read("city-nested.mmdb"));
        kind_is("GeoLite2-City").await;
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), async {
        tokio::select! {
            ended = watched => match ended {},
            () = changes => {}
        }
    });
    in_time.await.expect("each change is loaded");
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}
