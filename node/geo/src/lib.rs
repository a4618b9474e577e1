//! Locations of clients and nodes: a prior for latency and a fence for residency, never a measurement.
//!
//! Reading order: [`client`] (the client's address), [`Locator`] (from an address to a country and coordinates),
//! [`region`] (from a region's name to coordinates). The embedded data are in `deploy/geo`, with their
//! sources and licences.
//!
//! What this module does not know: requests, routes, rules. It answers, and refuses nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use grapevine_core::country::{Continent, CountryCode};
use grapevine_core::geo_point::GeoPoint;

mod atlas;
pub mod client;
mod database;
mod locator;
mod record;
pub mod region;
#[cfg(test)]
mod tests;

pub use database::{DATABASE_BYTES_MAX, Database, GeoError};
pub use locator::{Locator, watch};

/// What is known of an address's location.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Location {
    /// The database has the address.
    Located(Located),
    /// A public address that the database does not hold, or whose record cannot be used.
    Unknown,
    /// An address without a location: private, loopback, link-local, shared by a carrier (CGNAT), multicast
    /// or unspecified.
    Unplaced,
}

/// Where an address is. At least one of the three is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Located {
    /// The country; `None` when the database knows no more than the continent or the coordinates.
    pub country: Option<CountryCode>,
    /// The database's continent, else that of the country.
    pub continent: Option<Continent>,
    /// The database's coordinates, else the middle of the country.
    pub place: Option<GeoPoint>,
}

impl Location {
    /// What is known, if anything.
    pub const fn located(self) -> Option<Located> {
        match self {
            Self::Located(located) => Some(located),
            Self::Unknown | Self::Unplaced => None,
        }
    }
}

/// Addresses shared by the customers of a carrier (RFC 6598): 100.64.0.0/10.
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0b1100_0000 == 64
}

/// Whether a canonical address has no location, or several.
fn is_unplaced(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_this_network = v4.octets()[0] == 0;
            is_this_network
                || v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || is_shared(v4)
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => is_unplaced_v6(v6),
    }
}

fn is_unplaced_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}
