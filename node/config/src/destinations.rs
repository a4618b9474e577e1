//! The destinations that a client may have a node call: host names, and addresses outside the public Internet.
//!
//! A name permits calls of its host at public addresses alone, since the owner of a name can change its address
//! with each lookup. Other addresses are listed as such, alone or by their network.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use grapevine_core::address::{NamedBy, kind, may_call};

use super::address::Network;

/// The ports of an entry that names none: those of http and https.
const PORTS: [u16; 2] = [80, 443];

/// The destinations that clients may have this node call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations(Vec<Destination>);

/// One entry: names, or addresses, and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    hosts: Hosts,
    /// `None` stands for [`PORTS`].
    port: Option<u16>,
    written: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    Below(String),
    Name(String),
    Network(Network),
}

/// Why the text is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Neither a name nor an address.
    #[error("is not a host name, an address or a network")]
    Host,
    /// A port of 0 or over 65535.
    #[error("must have a port from 1 to 65535")]
    Port,
}

impl Destinations {
    /// These entries.
    pub fn new(entries: Vec<Destination>) -> Self {
        Self(entries)
    }

    /// The entries as they were written.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.written.as_str())
    }

    /// Whether a URL of this host and port may be called, as far as known before a name is looked up.
    ///
    /// # Errors
    /// Why not, and what to configure.
    pub fn check(&self, host: &str, port: u16) -> Result<(), String> {
        let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = unbracketed.parse().ok();
        let is_named = |entry: &&Destination| match (&entry.hosts, address) {
            (Hosts::All, _) => true,
            (Hosts::Network(network), Some(address)) => network.contains(address),
            (Hosts::Below(domain), None) => is_below(host, domain),
            (Hosts::Name(name), None) => host.eq_ignore_ascii_case(name),
            _ => false,
        };
        let mut of_host = self.0.iter().filter(is_named).peekable();
        if of_host.peek().is_none() {
            return Err(format!(
                "host {host:?} is not among tasks.webhooks.hosts of this node"
            ));
        }
        if !of_host.any(|entry| entry.has(port)) {
            return Err(format!(
                "port {port} of host {host:?} is not among tasks.webhooks.hosts of this node, where an entry \
                 without a port means 80 and 443"
            ));
        }
        address.map_or(Ok(()), |address| self.check_address(address, port, false))
    }

    /// Whether `address` may be called at `port`, by whatever name it was found; `is_own` where it is an address
    /// of this node.
    ///
    /// # Errors
    /// Why not, and what to configure.
    pub fn check_address(&self, address: IpAddr, port: u16, is_own: bool) -> Result<(), String> {
        let kind = match is_own {
            true => grapevine_core::address::AddressKind::Own,
            false => kind(address),
        };
        if may_call(kind, self.named(address, port)) {
            return Ok(());
        }
        Err(format!(
            "{address} is {}, which is called only where tasks.webhooks.hosts of this node names it: \
             \"{address}\", with the port where it is not 80 or 443",
            kind.as_str()
        ))
    }

    fn named(&self, address: IpAddr, port: u16) -> NamedBy {
        let named = |entry: &Destination| match &entry.hosts {
            Hosts::Network(network) if entry.has(port) && network.contains(address) => {
                match network.is_single() {
                    true => NamedBy::Alone,
                    false => NamedBy::InNetwork,
                }
            }
            _ => NamedBy::Not,
        };
        self.0.iter().map(named).max().unwrap_or(NamedBy::Not)
    }
}

impl Destination {
    fn has(&self, port: u16) -> bool {
        self.port
            .map_or_else(|| PORTS.contains(&port), |own| own == port)
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    let rest = host.len().checked_sub(domain.len() + 1);
    rest.is_some_and(|dot| {
        host.is_char_boundary(dot)
            && host[dot..].starts_with('.')
            && host[dot + 1..].eq_ignore_ascii_case(domain)
    })
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = split(text)?;
        Ok(Self {
            hosts: hosts(host)?,
            port,
            written: text.to_owned(),
        })
    }
}

/// `HOST`, `HOST:PORT`, `[HOST]` or `[HOST]:PORT`; an IPv6 address has its colons in itself.
fn split(text: &str) -> Result<(&str, Option<u16>), DestinationError> {
    let number = |text: &str| match text.parse() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(DestinationError::Port),
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(DestinationError::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, number(port)?)),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(DestinationError::Host),
        };
    }
    match text.rsplit_once(':') {
        Some(_) if text.parse::<Network>().is_ok() => Ok((text, None)),
        Some((_, port)) if port.contains('/') => Err(DestinationError::Host),
        Some((host, port)) => Ok((host, number(port)?)),
        None => Ok((text, None)),
    }
}

fn hosts(host: &str) -> Result<Hosts, DestinationError> {
    let is_name = |name: &str| {
        let is_in_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !name.is_empty() && name.chars().all(is_in_names)
    };
    if let Ok(network) = host.parse() {
        return Ok(Hosts::Network(network));
    }
    match host.strip_prefix("*.") {
        _ if host == "*" => Ok(Hosts::All),
        Some(domain) if is_name(domain) => Ok(Hosts::Below(domain.to_owned())),
        None if is_name(host) => Ok(Hosts::Name(host.to_owned())),
        _ => Err(DestinationError::Host),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations(entries: &[&str]) -> Destinations {
        let entry = |text: &&str| {
            text.parse()
                .unwrap_or_else(|error| panic!("{text} {error}"))
        };
        Destinations::new(entries.iter().map(entry).collect())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_listed_hosts_and_ports_are_called() {
        let rules = destinations(&["hooks.example.com", "*.internal.example:8080"]);
        for (host, port) in [
            ("hooks.example.com", 443),
            ("HOOKS.example.com", 80),
            ("a.b.internal.example", 8080),
        ] {
            assert_eq!(rules.check(host, port), Ok(()), "{host}:{port}");
        }
        for (host, port) in [
            ("hooks.example.com", 8080),
            ("a.internal.example", 443),
            ("internal.example", 8080),
            ("evilinternal.example", 8080),
            ("hooks.example.com.evil.net", 443),
            ("example.com", 443),
            ("8.8.8.8", 443),
            ("", 443),
        ] {
            assert!(rules.check(host, port).is_err(), "{host}:{port}");
        }
        assert!(destinations(&[]).check("anywhere.example", 443).is_err());
    }

    #[test]
    fn all_hosts_are_all_public_ones_at_the_ports_of_http() {
        let rules = destinations(&["*"]);
        assert_eq!(rules.check("anywhere.example", 443), Ok(()));
        assert_eq!(rules.check("8.8.8.8", 80), Ok(()));
        assert!(rules.check("anywhere.example", 9090).is_err());
        for host in [
            "127.0.0.1",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "169.254.169.254",
            "[::1]",
        ] {
            let error = rules.check(host, 80).expect_err("refused");
            assert!(error.contains("tasks.webhooks.hosts"), "{error}");
        }
    }

    #[test]
    fn address_is_named_by_itself_or_by_its_network_and_never_by_a_host_name() {
        let rules = destinations(&[
            "receiver.internal:8080",
            "10.1.0.0/16:8080",
            "127.0.0.1:9000",
            "fd00::/8",
        ]);
        let check = |text, port| rules.check_address(address(text), port, false);
        assert_eq!(check("10.1.2.3", 8080), Ok(()));
        assert_eq!(check("127.0.0.1", 9000), Ok(()));
        assert_eq!(check("::ffff:127.0.0.1", 9000), Ok(()));
        assert_eq!(check("fd12::1", 443), Ok(()));
        assert_eq!(check("8.8.8.8", 8080), Ok(()));
        for (text, port) in [
            ("10.2.0.1", 8080),
            ("10.1.2.3", 80),
            ("127.0.0.2", 9000),
            ("127.0.0.1", 80),
            ("fd00:ec2::254", 443),
        ] {
            assert!(check(text, port).is_err(), "{text}:{port}");
        }
        assert_eq!(rules.check("127.0.0.1", 9000), Ok(()));
        assert!(rules.check("127.0.0.1", 9001).is_err());
        // What is this node's own is named by itself alone.
        let own = |text, port| rules.check_address(address(text), port, true);
        assert!(own("10.1.2.3", 8080).is_err() && own("8.8.8.8", 443).is_err());
        assert_eq!(own("127.0.0.1", 9000), Ok(()));
    }

    #[test]
    fn entries_that_are_none_are_refused() {
        for text in [
            "",
            "*.",
            "https://b.example/x",
            "a b",
            "[::1",
            "[::1]x",
            "10.0.0.0/33",
        ] {
            assert_eq!(
                text.parse::<Destination>().err(),
                Some(DestinationError::Host),
                "{text}"
            );
        }
        for text in ["a:0", "a:65536", "[::1]:x", "*:"] {
            assert_eq!(
                text.parse::<Destination>().err(),
                Some(DestinationError::Port),
                "{text}"
            );
        }
    }
}
