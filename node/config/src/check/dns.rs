//! Checks of the DNS server.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::checked::{DNS_LISTEN, DNS_TTL, DnsConfig, MESH_LISTEN, NodeConfig};
use super::super::domain::DomainName;
use super::super::file::{ConfigFile, DnsFile};
use super::{Checker, LISTEN_FORM, items};

/// The remedy for domain names.
const DOMAIN_FORM: &str = "write a domain name such as api.example.net";

/// Name servers at most: more would not fit in one small answer.
const NAME_SERVERS_MAX: usize = 8;

impl Checker<'_> {
    /// `taken` are the other TCP addresses of the node, each with its key.
    pub(super) fn dns(
        &mut self,
        file: &ConfigFile,
        node: Option<&NodeConfig>,
        taken: &[(&str, SocketAddr)],
    ) -> Option<DnsConfig> {
        let dns = file.dns.as_ref()?;
        let listen = self
            .parse("dns.listen", dns.listen.as_deref(), LISTEN_FORM)
            .unwrap_or(DNS_LISTEN);
        let zone: Option<DomainName> = self.parse("dns.zone", dns.zone.as_deref(), DOMAIN_FORM);
        let range = Duration::from_secs(1)..=Duration::from_secs(86_400);
        let ttl = self.duration("dns.ttl", dns.ttl.as_ref(), DNS_TTL, range);
        if ttl.subsec_nanos() != 0 {
            let problem = format!("{} is not in whole seconds", self.shown("dns.ttl"));
            self.problem("dns.ttl", problem, "write a duration such as 30s");
        }
        let mesh = file.mesh.as_ref().map(|mesh| mesh.listen.as_deref());
        let mesh = mesh.map(|text| text.map_or(Some(MESH_LISTEN), |text| text.parse().ok()));
        let taken = taken.iter().copied();
        let taken = taken.chain(mesh.flatten().map(|address| ("mesh.listen", address)));
        for other in taken {
            self.differs("dns.listen", listen, other);
        }
        let name_servers = self.name_servers(dns, zone.as_ref());
        if node.is_some_and(|node| node.public_addresses.is_empty()) {
            self.warning(
                "dns",
                "answers with other nodes only, since node.public.addresses is missing",
                "write the addresses at which clients and resolvers reach this node",
            );
        }
        Some(DnsConfig {
            listen,
            zone: zone?,
            ttl,
            name_servers,
        })
    }

    fn name_servers(&mut self, file: &DnsFile, zone: Option<&DomainName>) -> Vec<DomainName> {
        let list = &file.name_servers;
        let mut names = Vec::new();
        for (key, text) in items("dns.name_servers", list) {
            let name: Option<DomainName> = self.parse(&key, Some(text), DOMAIN_FORM);
            let nodes = zone.and_then(|zone| format!("node.{zone}").parse().ok());
            let is_unknown = |name: &DomainName| {
                let is_node = nodes.as_ref().is_some_and(|nodes| name.is_within(nodes));
                zone.is_some_and(|zone| name.is_within(zone)) && !is_node
            };
            if name.as_ref().is_some_and(is_unknown) {
                let problem = format!(
                    "{} lies in the zone, which has no address for it",
                    self.shown(&key)
                );
                let remedy = "name NODE.node.ZONE, or a name outside of the zone";
                self.problem(&key, problem, remedy);
            }
            names.extend(name);
        }
        let is_empty = list.as_ref().is_some_and(Vec::is_empty);
        if is_empty || names.len() > NAME_SERVERS_MAX {
            let problem = format!("has {} names", names.len());
            let remedy = "list 1 to 8 names, or remove the list";
            self.problem("dns.name_servers", problem, remedy);
        }
        names
    }
}
