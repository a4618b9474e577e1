//! The names of the zone, and their records.
//!
//! | name | holds |
//! | --- | --- |
//! | the zone itself | SOA, NS, and the addresses of the nearest ready nodes |
//! | `REGION.region.` below it | the addresses of the nearest ready nodes of that region |
//! | `NODE.node.` below it | the addresses of that node, whatever its state: a host's name |
//!
//! An answer holds nodes of one region, the nearest that has any ready: resolvers and clients shuffle
//! addresses, so that those of a second region would draw a part of the traffic there. For the same
//! reason the region is chosen before the family: where it has no IPv6, IPv6 gets no answer rather than
//! another region's. Another region is used when the nearest has no ready node left.
//!
//! With none left at all the answer is SERVFAIL: the name exists, so that NXDOMAIN or NODATA would be wrong,
//! and resolvers would cache it; a failure they cache for a moment only, and ask another server or use a stale
//! answer. The same where residency permits no region that is ready.

use std::collections::BTreeSet;
use std::net::IpAddr;

use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;
use grapevine_core::residency::{ClientOrigin, ResidencyQuestion};
use grapevine_core::steer::{self, NODES_MAX, SteeredClient};
use grapevine_core::view::{NodeView, View};
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::DnsSettings;

/// Nodes of one answer: enough to outlive one of them until resolvers ask again.
const ANSWER_NODES_MAX: usize = 3;

/// Addresses of one answer.
const ADDRESSES_MAX: usize = 8;

/// Name servers of one answer.
const SERVERS_MAX: usize = 8;

/// The shortest TTL of the servers' names, in seconds: resolvers find out which of them are up.
const SERVERS_TTL: u32 = 3_600;

/// The labels above the names of nodes and regions.
const NODE_LABEL: &str = "node";
const REGION_LABEL: &str = "region";

/// The zone is not transferred, so that its serial number is meaningless; the same on every node.
const SERIAL: u32 = 1;

/// For secondaries, of which there are none; common values, in seconds.
const REFRESH: i32 = 7_200;
const RETRY: i32 = 900;
const EXPIRE: i32 = 1_209_600;

/// The mailbox responsible for the zone, below it (RFC 2142).
const CONTACT: &str = "hostmaster";

/// The zone by one view.
pub(super) struct Zone<'a> {
    pub(super) settings: &'a DnsSettings,
    pub(super) view: &'a View,
}

/// The result of a question.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The name is not in the zone.
    Outside,
    /// The name does not exist.
    NoName,
    /// The name exists, without records of this type.
    NoRecord,
    /// These records.
    Records(Records),
    /// No node is available for now.
    NoNode,
}

/// The records for a question.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Records {
    pub(super) answers: Vec<Record>,
    /// Addresses of name servers.
    pub(super) glue: Vec<Record>,
    /// Whether they depend on the client.
    pub(super) is_tailored: bool,
}

/// What a name stands for.
enum Owner<'a> {
    Outside,
    Nothing,
    /// Only names below it hold anything.
    Between,
    Zone,
    Node(&'a NodeView),
    Region(&'a RegionName),
}

impl Zone<'_> {
    /// The records of `kind` at `name`, for a client at `location`.
    pub(super) fn find(
        &self,
        name: &Name,
        kind: RecordType,
        location: impl FnOnce() -> (ClientOrigin, Option<GeoPoint>),
    ) -> Found {
        let is_address = matches!(kind, RecordType::A | RecordType::AAAA);
        match (self.owner(name), kind) {
            (Owner::Outside, _) => Found::Outside,
            (Owner::Nothing, _) => Found::NoName,
            (Owner::Zone, RecordType::SOA) => self.records(vec![self.soa()]),
            (Owner::Zone, RecordType::NS) => Found::Records(self.servers()),
            (Owner::Zone, _) if is_address => self.nearest(name, kind, None, location()),
            (Owner::Region(region), _) if is_address => {
                self.nearest(name, kind, Some(region), location())
            }
            (Owner::Node(node), _) if is_address => {
                self.records(self.addresses(name, kind, [node]))
            }
            _ => Found::NoRecord,
        }
    }

    /// The start of authority, which also limits how long an absence may be cached.
    pub(super) fn soa(&self) -> Record {
        let zone = &self.settings.zone;
        let primary = self.server_names().into_iter().next();
        let contact = Name::from_ascii(CONTACT).and_then(|name| name.append_domain(zone));
        let soa = SOA::new(
            primary.unwrap_or_else(|| zone.clone()),
            contact.unwrap_or_else(|_| zone.clone()),
            SERIAL,
            REFRESH,
            RETRY,
            EXPIRE,
            self.settings.ttl,
        );
        Record::from_rdata(zone.clone(), self.settings.ttl, RData::SOA(soa))
    }

    fn records(&self, answers: Vec<Record>) -> Found {
        if answers.is_empty() {
            return Found::NoRecord;
        }
        Found::Records(Records {
            answers,
            ..Records::default()
        })
    }

    fn nearest(
        &self,
        name: &Name,
        kind: RecordType,
        region: Option<&RegionName>,
        (origin, place): (ClientOrigin, Option<GeoPoint>),
    ) -> Found {
        let settings = self.settings;
        let question = ResidencyQuestion {
            client: origin,
            ..ResidencyQuestion::default()
        };
        let peers = &self.view.mesh_rules;
        let permitted = settings.residency.permits_with(peers, &question);
        let asked = region.map(std::slice::from_ref);
        let client = SteeredClient {
            place,
            homes: &settings.homes.of(origin),
            regions: match region {
                Some(region) if !permitted.allows(region) => Some(&[]),
                Some(_) => asked,
                None => permitted.regions(),
            },
        };
        let steering = steer::nearest(self.view, client, NODES_MAX, |public| {
            !public.addresses.is_empty()
        });
        let Some(first) = steering.nodes.first() else {
            return Found::NoNode;
        };
        let nodes = steering.nodes.iter();
        let nodes = nodes.filter(|near| near.fact.region == first.fact.region);
        let nodes = nodes.take(ANSWER_NODES_MAX).map(|near| near.node);
        Found::Records(Records {
            answers: self.addresses(name, kind, nodes),
            is_tailored: true,
            ..Records::default()
        })
    }

    /// The addresses of `nodes` that are of `kind`, in their order, each once.
    fn addresses<'n>(
        &self,
        name: &Name,
        kind: RecordType,
        nodes: impl IntoIterator<Item = &'n NodeView>,
    ) -> Vec<Record> {
        let facts = nodes.into_iter().filter_map(|node| node.fact.as_ref());
        let addresses = facts.flat_map(|fact| fact.public.addresses.iter());
        let mut seen = BTreeSet::new();
        let data = addresses.filter(|address| seen.insert(**address));
        let data = data.map(|address| match address.to_canonical() {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        });
        let data = data.filter(|data| data.record_type() == kind);
        data.take(ADDRESSES_MAX)
            .map(|data| Record::from_rdata(name.clone(), self.settings.ttl, data))
            .collect()
    }

    /// The name servers, with the addresses of those that are nodes.
    fn servers(&self) -> Records {
        let names = self.server_names();
        let ttl = self.settings.ttl.max(SERVERS_TTL);
        let mut records = Records::default();
        for name in names {
            if let Owner::Node(node) = self.owner(&name) {
                for kind in [RecordType::A, RecordType::AAAA] {
                    let glue = self.addresses(&name, kind, [node]);
                    records.glue.extend(glue);
                }
            }
            let zone = self.settings.zone.clone();
            let server = Record::from_rdata(zone, ttl, RData::NS(NS(name)));
            records.answers.push(server);
        }
        records
    }

    /// The configured ones, else the live nodes that answer DNS at public addresses, else this node.
    fn server_names(&self) -> Vec<Name> {
        if !self.settings.name_servers.is_empty() {
            return self.settings.name_servers.clone();
        }
        let serves = |node: &&NodeView| {
            let public = node.fact.as_ref().map(|fact| &fact.public);
            node.live && public.is_some_and(|it| it.answers_dns && !it.addresses.is_empty())
        };
        let nodes = self.view.nodes.iter().filter(serves);
        let names = nodes.filter_map(|node| self.node_name(node.name.as_str()));
        // Sorted, so that all servers answer the same.
        let names: BTreeSet<Name> = names.collect();
        let names: Vec<Name> = names.into_iter().take(SERVERS_MAX).collect();
        if names.is_empty() {
            let own = self.node_name(self.view.node.as_str());
            return own.into_iter().collect();
        }
        names
    }

    /// `NODE.node.ZONE`; `None` for a node's name that no domain name can hold.
    fn node_name(&self, node: &str) -> Option<Name> {
        let name = Name::from_ascii(format!("{node}.{NODE_LABEL}")).ok()?;
        name.append_domain(&self.settings.zone).ok()
    }

    fn owner(&self, name: &Name) -> Owner<'_> {
        if !self.settings.zone.zone_of(name) {
            return Owner::Outside;
        }
        let depth = usize::from(name.num_labels() - self.settings.zone.num_labels());
        let mut labels = Vec::with_capacity(depth);
        for label in name.iter().take(depth) {
            match std::str::from_utf8(label) {
                // A dot inside a label would be taken for one between two.
                Ok(label) if !label.contains('.') => labels.push(label.to_ascii_lowercase()),
                _ => return Owner::Nothing,
            }
        }
        let Some(group) = labels.pop() else {
            return Owner::Zone;
        };
        let member = labels.join(".");
        match group.as_str() {
            NODE_LABEL | REGION_LABEL if member.is_empty() => Owner::Between,
            NODE_LABEL => {
                let nodes = || self.view.nodes.iter();
                let names = || nodes().map(|node| node.name.as_str());
                let mut nodes = nodes();
                let node = nodes.find(|it| it.name.as_str().eq_ignore_ascii_case(&member));
                node.map_or_else(|| between(names(), &member), Owner::Node)
            }
            REGION_LABEL => {
                let facts = self.view.nodes.iter().filter_map(|it| it.fact.as_ref());
                let regions: BTreeSet<&RegionName> = facts.map(|fact| &fact.region).collect();
                let mut found = regions.iter();
                let region = found.find(|it| it.as_str().eq_ignore_ascii_case(&member));
                let names = || regions.iter().map(|region| region.as_str());
                region.map_or_else(|| between(names(), &member), |region| Owner::Region(region))
            }
            _ => Owner::Nothing,
        }
    }
}

/// A name that is no member's, but is above the dotted name of one (RFC 8020).
fn between<'a>(names: impl Iterator<Item = &'a str>, member: &str) -> Owner<'a> {
    let below = format!(".{member}");
    let mut names = names.map(str::to_ascii_lowercase);
    match names.any(|name| name.ends_with(&below)) {
        true => Owner::Between,
        false => Owner::Nothing,
    }
}
