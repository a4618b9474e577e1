//! A DNS server that directs clients to the nearest ready nodes: authoritative for one zone, whose records
//! are made from the view.
//!
//! Reading order: [`DnsSettings`], `respond` (one message in, one out: what is refused, the limits of an
//! answer), `subnet` (the client's subnet), `zone` (its names and their records), `serve` (the sockets).
//!
//! Each query is answered in one pass over the nodes; nothing is cached, so that a node that drains or dies is
//! left out from the next view on, and from resolvers' caches after the TTL. The codec is hickory-proto's. Its
//! server is not used: that bounds neither TCP connections nor datagrams in flight, logs every name queried,
//! and answers malformed messages by itself, uncounted.
//!
//! What this module does not know: how nodes learn of one another, and where addresses are ([`LocateAddress`] does).
//!
//! Invariants: it never recurses and never transfers the zone; bytes from outside never panic; an answer
//! over UDP is at most 1,232 bytes, so that it can neither be fragmented nor amplify much.

#[doc(hidden)]
pub mod probes;
mod respond;
mod serve;
mod subnet;
#[cfg(test)]
mod tests;
mod zone;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::geo_point::GeoPoint;
use grapevine_core::homes::Homes;
use grapevine_core::residency::{ClientOrigin, Residency};
use hickory_proto::rr::Name;

use grapevine_config::domain::DomainName;

pub use serve::{CONVERSATIONS_MAX, Server, Sockets};

/// The settings of the server; replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// The zone that it answers for.
    zone: Name,
    /// How long answers may be kept, in seconds.
    ttl: u32,
    /// The zone's servers; empty names the nodes that answer DNS.
    name_servers: Vec<Name>,
    /// Which regions serve which clients.
    homes: Homes,
    /// Which regions may serve whom.
    residency: Residency,
}

impl DnsSettings {
    /// Settings for `zone`, served by `name_servers` or, where those are empty, by the nodes that publish that they
    /// answer DNS.
    pub fn new(
        zone: &DomainName,
        ttl: Duration,
        name_servers: &[DomainName],
        homes: Homes,
        residency: Residency,
    ) -> Self {
        Self {
            zone: name(zone),
            ttl: u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX),
            name_servers: name_servers.iter().map(name).collect(),
            homes,
            residency,
        }
    }
}

fn name(domain: &DomainName) -> Name {
    let absolute = format!("{domain}.");
    Name::from_ascii(absolute).expect("what was checked as a domain name is one")
}

/// Locates addresses.
#[derive(Clone)]
pub struct LocateAddress(Arc<Locating>);

type Locating = dyn Fn(IpAddr) -> (ClientOrigin, Option<GeoPoint>) + Send + Sync;

impl LocateAddress {
    /// Uses `locate`, which is called once for each query and must not block.
    pub fn new(
        locate: impl Fn(IpAddr) -> (ClientOrigin, Option<GeoPoint>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(locate))
    }

    fn locate(&self, address: IpAddr) -> (ClientOrigin, Option<GeoPoint>) {
        (self.0)(address)
    }
}

impl fmt::Debug for LocateAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LocateAddress")
    }
}
