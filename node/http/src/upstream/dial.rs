//! Opens TCP connections to a name with several addresses, as RFC 8305 ("happy eyeballs") has it.
//!
//! hyper-util's own connector gives each address its share of the time, one after the other: an address that
//! drops packets then costs every new connection that share, or all of it. Here the next address is tried
//! beside those that have not answered yet, and the one that worked is tried first the next time.
//!
//! A name is resolved again for every new connection: the resolver of the system keeps what may be kept.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use grapevine_base::listener::descriptors;
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tower_service::Service;

use super::target::UpstreamTargets;

/// The wait for an address before the next one is tried too (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses of a name that are tried, and so the most sockets of one connection that is being opened.
const ADDRESSES_MAX: usize = 8;

/// The hosts whose addresses are remembered; more are forgotten together.
const HOSTS_MAX: usize = 1_024;

/// The system notices a dead connection after this much silence and a few unanswered probes.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Finds the addresses of names.
#[async_trait::async_trait]
pub(super) trait ResolveHost: Send + Sync + 'static {
    /// The addresses of `host`, the preferred ones first. `host` may be an address itself.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of the system.
pub(super) struct SystemResolver;

#[async_trait::async_trait]
impl ResolveHost for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Why there is no TCP connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreachableHost {
    /// The URI names none.
    #[error("the URL names no host")]
    NoHost,
    /// The name is not known, or the resolver failed.
    #[error("the name {host} could not be resolved")]
    Unresolved {
        host: String,
        #[source]
        error: io::Error,
    },
    /// The name has no address.
    #[error("the name {0} has no address")]
    NoAddress(String),
    /// No address took the connection.
    #[error("no connection to {addresses}")]
    Refused {
        /// Those that were tried.
        addresses: String,
        /// How the last of them failed.
        #[source]
        error: io::Error,
    },
}

/// Opens TCP connections. Its clones remember together.
#[derive(Clone)]
pub(super) struct TcpDialer {
    resolver: Arc<dyn ResolveHost>,
    targets: UpstreamTargets,
    remembered: RememberedAddresses,
}

impl TcpDialer {
    pub(super) fn new(targets: UpstreamTargets, resolver: Arc<dyn ResolveHost>) -> Self {
        Self {
            resolver,
            targets,
            remembered: RememberedAddresses::default(),
        }
    }

    /// What it knows of the addresses of hosts.
    pub(super) fn remembered(&self) -> &RememberedAddresses {
        &self.remembered
    }

    async fn dial(&self, uri: Uri) -> Result<TcpStream, UnreachableHost> {
        let authority = uri.authority().ok_or(UnreachableHost::NoHost)?;
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let port = authority
            .port_u16()
            .unwrap_or(if is_tls { 443 } else { 80 });
        let resolved = self.resolver.resolve(host, port).await;
        let resolved = resolved.map_err(|error| UnreachableHost::Unresolved {
            host: host.to_owned(),
            error,
        })?;
        let addresses = self.remembered.sorted(authority, resolved);
        if addresses.is_empty() {
            return Err(UnreachableHost::NoAddress(host.to_owned()));
        }
        // Each address has its turn before the time is over.
        let turns = u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
        let delay = ATTEMPT_DELAY.min(self.targets.connect_timeout(&uri) / turns);
        let (address, stream) = race(addresses, delay).await?;
        self.remembered.opened(authority, address);
        Ok(stream)
    }
}

impl Service<Uri> for TcpDialer {
    type Response = TokioIo<TcpStream>;
    type Error = UnreachableHost;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UnreachableHost>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial(uri).await.map(TokioIo::new) })
    }
}

/// The first connection that opens. The next address is begun with after `delay`, or at once when one failed.
async fn race(
    addresses: Vec<SocketAddr>,
    delay: Duration,
) -> Result<(SocketAddr, TcpStream), UnreachableHost> {
    let mut next = addresses.into_iter();
    let mut connecting = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        connecting.extend(next.next().map(connect));
        tokio::select! {
            Some((address, connected)) = connecting.next() => match connected {
                Ok(stream) => return Ok((address, stream)),
                Err(error) => failures.push((address, error)),
            },
            () = tokio::time::sleep(delay), if next.len() > 0 => {}
            else => return Err(refused(failures)),
        }
    }
}

async fn connect(address: SocketAddr) -> (SocketAddr, io::Result<TcpStream>) {
    let connected = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let keep_alive = TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
        Ok(stream)
    };
    (address, connected.await)
}

/// A lack of descriptors is no fault of any address, so that it is the cause where there was one.
fn refused(mut failures: Vec<(SocketAddr, io::Error)>) -> UnreachableHost {
    let addresses: Vec<String> = failures
        .iter()
        .map(|(address, _)| address.to_string())
        .collect();
    let is_own = |(_, error): &(SocketAddr, io::Error)| descriptors::are_exhausted(error);
    let cause = failures.iter().position(is_own);
    let cause = cause.or_else(|| failures.len().checked_sub(1));
    let error = cause.map(|index| failures.swap_remove(index).1);
    UnreachableHost::Refused {
        addresses: addresses.join(", "),
        error: error.unwrap_or_else(|| io::ErrorKind::NotConnected.into()),
    }
}

/// Which addresses of hosts worked, and which did not.
#[derive(Clone, Debug, Default)]
pub(super) struct RememberedAddresses(Arc<Mutex<BTreeMap<String, HostAddresses>>>);

#[derive(Clone, Copy, Debug, Default)]
struct HostAddresses {
    /// The last that a connection was opened to; whether it works is not known before TLS is up.
    opened: Option<SocketAddr>,
    /// The last that worked.
    good: Option<SocketAddr>,
    /// The last that took a connection and did not work.
    bad: Option<SocketAddr>,
}

impl RememberedAddresses {
    /// The connection that was opened last works.
    pub(super) fn worked(&self, authority: &Authority) {
        self.update(authority, |known| {
            if let Some(opened) = known.opened.take() {
                known.good = Some(opened);
                known.bad = known.bad.filter(|bad| *bad != opened);
            }
        });
    }

    /// There is no connection: none was opened, or TLS failed on it.
    pub(super) fn failed(&self, authority: &Authority) {
        self.update(authority, |known| {
            known.good = None;
            known.bad = known.opened.take().or(known.bad);
        });
    }

    fn opened(&self, authority: &Authority, address: SocketAddr) {
        self.update(authority, |known| known.opened = Some(address));
    }

    /// At most [`ADDRESSES_MAX`] of `addresses`: the good one first, the bad one last, and the others by turns of
    /// their families, in the resolver's order (RFC 8305, section 4).
    fn sorted(&self, authority: &Authority, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let known = {
            let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            hosts.get(authority.as_str()).copied().unwrap_or_default()
        };
        let mut seen = Vec::new();
        for address in addresses {
            // A resolver gives a handful; the bound holds what is compared, not what is tried.
            if !seen.contains(&address) && seen.len() < 4 * ADDRESSES_MAX {
                seen.push(address);
            }
        }
        let begins_with_ipv6 = seen.first().is_some_and(SocketAddr::is_ipv6);
        let mut turns = [0, 0];
        let mut placed: Vec<(u8, usize, SocketAddr)> = Vec::new();
        for address in seen {
            let family = usize::from(address.is_ipv6() != begins_with_ipv6);
            let class = match Some(address) {
                good if good == known.good => 0,
                bad if bad == known.bad => 2,
                _ => 1,
            };
            placed.push((class, 2 * turns[family] + family, address));
            turns[family] += 1;
        }
        placed.sort_by_key(|(class, turn, _)| (*class, *turn));
        placed.truncate(ADDRESSES_MAX);
        placed.into_iter().map(|(_, _, address)| address).collect()
    }

    fn update(&self, authority: &Authority, change: impl FnOnce(&mut HostAddresses)) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !hosts.contains_key(authority.as_str()) {
            if hosts.len() >= HOSTS_MAX {
                hosts.clear();
            }
            hosts.insert(authority.to_string(), HostAddresses::default());
        }
        if let Some(known) = hosts.get_mut(authority.as_str()) {
            change(known);
        }
    }
}

#[cfg(test)]
mod tests;
