//! Which regions serve which clients, where the operator configures it: this wins over distance.

use crate::ids::RegionName;
use crate::residency::{Area, ClientOrigin};

/// Clients of these countries belong to this region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The clients' countries.
    pub clients: Vec<Area>,
    /// Their region.
    pub region: RegionName,
}

/// The operator's map. Each line is looked at for every request by geography.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Homes(pub Vec<Home>);

impl Homes {
    /// The regions of a client, in the order of the map; none where its country is not known.
    pub fn of(&self, client: ClientOrigin) -> Vec<RegionName> {
        let is_home = |home: &&Home| {
            let mut areas = home.clients.iter();
            areas.any(|area| area.contains(client) == Some(true))
        };
        let homes = self.0.iter().filter(is_home);
        homes.map(|home| home.region.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_gets_its_regions_in_the_order_of_the_map() {
        let home = |area: &str, region: &str| Home {
            clients: vec![area.parse().expect("a known area")],
            region: RegionName::new(region).expect("a valid name"),
        };
        let homes = Homes(vec![
            home("MY", "sgp"),
            home("asia", "jpn"),
            home("EU", "eur"),
        ]);
        let of = |country: &str| -> Vec<String> {
            let client = ClientOrigin::Country(country.parse().expect("a code"));
            homes.of(client).iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("MY"), ["sgp", "jpn"]);
        assert_eq!(of("FR"), ["eur"]);
        assert!(of("US").is_empty());
        assert!(homes.of(ClientOrigin::Unknown).is_empty());
    }
}
