//! Looks up where a webhook goes, and lets through what may be called there.
//!
//! The client connects to exactly the addresses that this module returns: a name that changes its address after it
//! was checked, or between two attempts, is checked again. An address in the URL itself is not looked
//! up; [`DestinationGuard::check`] checks it before.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use grapevine_config::destinations::Destinations;

/// Any port: nothing is sent there.
const PORT: u16 = 9;

/// Finds the addresses of names.
#[async_trait]
pub trait LookUp: Send + Sync + 'static {
    /// The addresses of `name` now.
    ///
    /// # Errors
    /// When it has none, or that cannot be found out.
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's way.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookUp;

#[async_trait]
impl LookUp for SystemLookUp {
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, PORT)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// Why a webhook is not sent, for its owner: another attempt ends the same way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct AddressRefused(pub(super) String);

/// Which destinations may be called. Cheap to clone.
#[derive(Clone)]
pub(super) struct DestinationGuard(Arc<Parts>);

struct Parts {
    destinations: Destinations,
    /// Addresses that lead to this node though no interface has them.
    public: Vec<IpAddr>,
    look_up: Box<dyn LookUp>,
}

impl DestinationGuard {
    pub(super) fn new(
        destinations: Destinations,
        public: Vec<IpAddr>,
        look_up: Box<dyn LookUp>,
    ) -> Self {
        Self(Arc::new(Parts {
            destinations,
            public,
            look_up,
        }))
    }

    /// Whether a URL of this host and port may be called, as far as is known without looking it up.
    pub(super) fn check(&self, host: &str, port: u16) -> Result<(), String> {
        self.0.destinations.check(host, port)?;
        let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
        match unbracketed.parse() {
            Ok(address) => self.check_address(address, port),
            Err(_) => Ok(()),
        }
    }

    fn check_address(&self, address: IpAddr, port: u16) -> Result<(), String> {
        let canonical = address.to_canonical();
        let is_own = self.0.public.contains(&canonical) || is_here(canonical);
        self.0.destinations.check_address(address, port, is_own)
    }

    /// What looks names up for calls to `port`.
    pub(super) fn resolver(&self, port: u16) -> Arc<Resolver> {
        Arc::new(Resolver {
            guard: self.clone(),
            port,
        })
    }

    async fn resolve(self, name: String, port: u16) -> Result<Vec<SocketAddr>, AddressRefused> {
        let found = self.0.look_up.look_up(&name).await;
        // Nobody knows the name now: the next attempt may do better.
        let found = found.unwrap_or_default();
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.check_address(address, port) {
                Ok(()) => allowed.push(SocketAddr::new(address, port)),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if allowed.is_empty() => Err(AddressRefused(format!("host {name:?}: {why}"))),
            _ => Ok(allowed),
        }
    }
}

impl fmt::Debug for DestinationGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.destinations, formatter)
    }
}

/// Looks names up for one client.
pub(super) struct Resolver {
    guard: DestinationGuard,
    port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, name, port) = (self.guard.clone(), name.as_str().to_owned(), self.port);
        Box::pin(async move {
            let addresses = guard.resolve(name, port).await?;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether packets to `address` stay on this machine: then the system would send them from that very address.
/// Nothing is sent.
fn is_here(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, PORT))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives each answer once, and the last one forever.
    struct Rebinding(Vec<&'static [&'static str]>, AtomicUsize);

    #[async_trait]
    impl LookUp for Rebinding {
        async fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let look = self.1.fetch_add(1, Ordering::Relaxed);
            let answer = self.0[look.min(self.0.len() - 1)];
            Ok(answer
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect())
        }
    }

    fn guard(hosts: &[&str], answers: &[&'static [&'static str]]) -> DestinationGuard {
        let entry = |text: &&str| text.parse().expect("an entry");
        let destinations = Destinations::new(hosts.iter().map(entry).collect());
        let look_up = Rebinding(answers.to_vec(), AtomicUsize::new(0));
        let public = vec!["9.9.9.9".parse().expect("an address")];
        DestinationGuard::new(destinations, public, Box::new(look_up))
    }

    async fn resolve(guard: &DestinationGuard, port: u16) -> Result<usize, AddressRefused> {
        let resolved = guard.clone().resolve("a.example".to_owned(), port).await;
        resolved.map(|addresses| addresses.len())
    }

    #[tokio::test]
    async fn name_that_changes_its_address_is_refused_at_the_look_that_finds_it() {
        let guard = guard(
            &["*"],
            &[&["8.8.8.8"], &["127.0.0.1"], &["::ffff:10.0.0.1"]],
        );
        assert_eq!(guard.check("a.example", 443), Ok(()));
        assert_eq!(resolve(&guard, 443).await, Ok(1));
        for word in ["a loopback address", "a private address"] {
            let refused = resolve(&guard, 443).await.expect_err("refused");
            assert!(refused.0.contains("\"a.example\""), "{refused}");
            let is_own_here = refused.0.contains("an address of this node");
            assert!(refused.0.contains(word) || is_own_here, "{refused}");
        }
    }

    #[tokio::test]
    async fn of_several_addresses_the_permitted_ones_are_called() {
        let mixed: &[&str] = &["169.254.169.254", "8.8.8.8", "10.0.0.1", "9.9.9.9"];
        assert_eq!(resolve(&guard(&["*"], &[mixed]), 443).await, Ok(1));
        let named = guard(&["a.example", "10.0.0.0/8"], &[mixed]);
        assert_eq!(resolve(&named, 443).await, Ok(2));
        let nobody = guard(&["*"], &[&[]]);
        assert_eq!(
            resolve(&nobody, 443).await,
            Ok(0),
            "an unknown name may be known later"
        );
    }

    #[test]
    fn what_leads_to_this_node_is_its_own() {
        assert!(is_here(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_here("192.0.2.1".parse().expect("an address")));
        let guard = guard(&["*"], &[&[]]);
        let refusal = guard
            .check("9.9.9.9", 443)
            .expect_err("the node's public address");
        assert!(refusal.contains("an address of this node"), "{refusal}");
    }
}
