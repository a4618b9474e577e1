//! Starts the mesh, and closes it.

mod error;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallInside, CallLocal, ServeInside};
use grapevine_base::vital::Vital;
use grapevine_core::engine::Event;
use grapevine_core::ids::{Generation, NodeName};
use grapevine_observe::metrics::Metrics;
use grapevine_proto::frame::{Greeting, VERSION};
use quinn::Endpoint;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::accept;
use super::complaints::Complaints;
use super::credentials::Credentials;
use super::dial::{self, Dialler};
use super::endpoint;
use super::forward::Forwarder;
use super::forwards::SharedForwards;
use super::hub::{Hub, Swap};
use super::identity::Verifier;
use super::inside::Insider;
use super::links::Links;
use super::members::Members;
use super::opener::LinkOpener;
use super::outgoing::MeshOutgoing;
use super::pending::PendingGossip;
use super::rights::{self, RightsWay};
use super::rules::{Rules, ServingRules};
use super::signer::Signer;
use super::wire::Incoming;

pub use error::MeshStartError;

/// Gossip messages that wait for the gossip task; more are dropped, and gossip repeats them.
const GOSSIP_MAX: usize = 1_024;

/// Rumors that wait for the gossip task; more are dropped, and gossip repairs what was missed.
const RUMORS_MAX: usize = 1_024;

/// Addresses that gossip asked to dial and the dialler has not taken yet.
const STRANGERS_MAX: usize = 256;

/// How long closing waits for calls to end, and how often it checks.
const LAST_CALLS_TIMEOUT: Duration = Duration::from_secs(2);
const LAST_CALLS_LOOK: Duration = Duration::from_millis(10);

/// How long a closing endpoint waits for its last packets to be sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the mesh is started with.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    /// This node. Must be the one that its certificate names.
    pub node: NodeName,
    /// Its incarnation.
    pub generation: Generation,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where peers reach this node, `host:port`; `None` takes the listening address, or, where that
    /// is unspecified, the address of the interface that leads outside.
    pub advertise: Option<String>,
    /// Nodes to join through, `host:port`; they may resolve or come up later.
    pub seeds: Vec<String>,
    /// Time between rounds of gossip in a small mesh: how long idle links stay follows from it.
    pub gossip_interval: Duration,
    /// Who this node is.
    pub credentials: Credentials,
    /// Which requests of peers are answered here.
    pub rules: ServingRules,
    /// Where refusals by those rules are counted.
    pub metrics: Metrics,
    /// Where the end of its tasks is reported.
    pub vital: Vital,
    /// The memory that bodies may take.
    pub bodies: BodyBudget,
}

/// The running mesh, in the parts that the other crates take.
pub struct MeshParts {
    /// The handle of it.
    pub handle: MeshHandle,
    /// Sends calls to peers.
    pub forwarder: Forwarder,
    /// Calls the inside of peers.
    pub inside: Arc<dyn CallInside>,
    /// What gossip sends with.
    pub outgoing: MeshOutgoing,
    /// What gossip takes in.
    pub incoming: Incoming,
    /// The way of messages about rights.
    pub rights: RightsWay,
}

/// The handle of the running mesh. Cheap to clone; dropping it does not end the mesh.
#[derive(Clone, Debug)]
pub struct MeshHandle {
    endpoint: Endpoint,
    advertised: SocketAddr,
    links: Links,
    signer: Signer,
    verifier: Verifier,
    swaps: Arc<dyn Swap>,
    tasks: Arc<[AbortHandle]>,
}

/// Starts the mesh on the current tokio runtime. `local` answers the requests that peers forward,
/// `inside` their calls to the inside of this node.
///
/// # Errors
/// See [`MeshStartError`].
pub async fn start<L: CallLocal>(
    config: MeshOptions,
    driver: DriverHandle,
    local: L,
    inside: Arc<dyn ServeInside>,
) -> Result<MeshParts, MeshStartError> {
    let credentials = &config.credentials;
    let (signer, verifier) = identity(credentials, &config.node)?;
    let endpoint = endpoint::open(config.listen, credentials)?;
    let (host, advertised) = advertised(&endpoint, config.advertise.as_deref()).await?;
    let greeting = greeting(&config, host, advertised)?;
    let (links, events) = Links::new(config.node.clone());
    let (gossip, gossip_in) = mpsc::channel(GOSSIP_MAX);
    let (rumors, rumors_in) = mpsc::channel(RUMORS_MAX);
    let (strangers, strangers_in) = mpsc::channel(STRANGERS_MAX);
    let (members, members_in) = watch::channel(Members::new());
    let link_counts = config.metrics.links();
    let ways = (&links, &members_in, &strangers);
    let opener = LinkOpener::new(&config.node, ways, &link_counts);
    let insider = Insider::new(opener.clone(), config.bodies.clone());
    let (rights, rights_way) = rights::open(opener.clone());
    let pending = PendingGossip::new(strangers);
    let own_addresses = own_addresses(&endpoint, advertised);
    let hub = Arc::new(Hub {
        mesh: credentials.mesh().clone(),
        me: config.node,
        driver: driver.clone(),
        local,
        inside,
        endpoint: endpoint.clone(),
        client: ArcSwap::from_pointee(endpoint::client_config(credentials)?),
        brief_server: ArcSwap::from_pointee(endpoint::brief_server(credentials)?),
        verifier: verifier.clone(),
        greeting,
        own_addresses: own_addresses.clone(),
        links: links.clone(),
        link_counts,
        gossip_interval: config.gossip_interval,
        serials: AtomicU64::new(1),
        gossip,
        rumors,
        rights,
        pending: pending.clone(),
        forwards: SharedForwards::default(),
        bodies: config.bodies,
        complaints: Complaints::default(),
        rules: Rules::new(config.rules, config.metrics),
    });
    let dialler = Dialler::new(Arc::clone(&hub), config.seeds, members_in, strangers_in);
    tokio::spawn((config.vital).keep("link events", report(driver, events)));
    let tasks = run_tasks(&hub, dialler, &config.vital);
    let handle = MeshHandle {
        endpoint,
        advertised,
        links: links.clone(),
        signer,
        verifier,
        swaps: hub,
        tasks,
    };
    Ok(MeshParts {
        handle,
        forwarder: Forwarder::new(opener),
        inside: Arc::new(insider),
        outgoing: MeshOutgoing::new(links, pending, own_addresses, members),
        incoming: Incoming::new(gossip_in, rumors_in),
        rights: rights_way,
    })
}

fn run_tasks<L: CallLocal>(
    hub: &Arc<Hub<L>>,
    dialler: Dialler<L>,
    vital: &Vital,
) -> Arc<[AbortHandle]> {
    let accepting = accept::accept(Arc::clone(hub));
    Arc::new([
        tokio::spawn(vital.keep("mesh listener", accepting)).abort_handle(),
        tokio::spawn(vital.keep("mesh dialler", dialler.run())).abort_handle(),
    ])
}

/// This node's greeting, as a frame.
fn greeting(
    config: &MeshOptions,
    host: String,
    address: SocketAddr,
) -> Result<Bytes, MeshStartError> {
    let greeting = Greeting {
        node: config.node.clone(),
        generation: config.generation,
        address,
        host,
        version_min: VERSION,
        version_max: VERSION,
    };
    Ok(greeting.encode()?.into())
}

/// What signs for the node and checks others; refuses another node's certificate.
fn identity(
    credentials: &Credentials,
    node: &NodeName,
) -> Result<(Signer, Verifier), MeshStartError> {
    if credentials.node() != node {
        return Err(MeshStartError::OtherNode {
            certified: credentials.node().clone(),
            configured: node.clone(),
        });
    }
    let verifier = Verifier::new(credentials.mesh().clone(), credentials.authorities())?;
    Ok((Signer::new(credentials)?, verifier))
}

/// Reports the links' events to the engine, in their order; never aborted, so that the last end is reported too.
async fn report(driver: DriverHandle, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        driver.send(event).await;
    }
}

/// The advertised address: `host:port` as configured, and what it resolves to now.
async fn advertised(
    endpoint: &Endpoint,
    configured: Option<&str>,
) -> Result<(String, SocketAddr), MeshStartError> {
    if let Some(host) = configured {
        let failed = |source| MeshStartError::Advertise {
            host: host.to_owned(),
            source,
        };
        let mut addresses = tokio::net::lookup_host(host).await.map_err(failed)?;
        let none = || failed(io::Error::new(io::ErrorKind::NotFound, "no address"));
        let address = addresses.next().ok_or_else(none)?;
        return Ok((host.to_owned(), address));
    }
    let mut address = endpoint
        .local_addr()
        .map_err(|source| endpoint::EndpointError::Bind {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            source,
        })?;
    if address.ip().is_unspecified() {
        address.set_ip(outward_ip(address.is_ipv4()));
    }
    Ok((address.to_string(), address))
}

/// The address of the interface that leads outside, or loopback. Connecting a UDP socket sends
/// nothing; the addresses are those reserved for documentation (RFC 5737, RFC 3849).
fn outward_ip(v4: bool) -> IpAddr {
    let (any, outside, loopback): (IpAddr, IpAddr, IpAddr) = if v4 {
        let outside = Ipv4Addr::new(192, 0, 2, 1);
        (
            Ipv4Addr::UNSPECIFIED.into(),
            outside.into(),
            Ipv4Addr::LOCALHOST.into(),
        )
    } else {
        let outside = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        (
            Ipv6Addr::UNSPECIFIED.into(),
            outside.into(),
            Ipv6Addr::LOCALHOST.into(),
        )
    };
    let found = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((outside, 9))?;
        socket.local_addr()
    };
    found().map_or(loopback, |address| address.ip())
}

fn own_addresses(endpoint: &Endpoint, advertised: SocketAddr) -> Vec<SocketAddr> {
    let mut own = vec![advertised];
    if let Ok(local) = endpoint.local_addr() {
        own.push(local);
        if local.ip().is_unspecified() {
            own.push((Ipv4Addr::LOCALHOST, local.port()).into());
            own.push((Ipv6Addr::LOCALHOST, local.port()).into());
        }
    }
    own
}

impl MeshHandle {
    async fn calls_ended(&self) {
        let busy = |links: &Links| {
            let table = links.table();
            table.by_name.values().any(|link| link.calls.count() > 0)
        };
        while busy(&self.links) {
            tokio::time::sleep(LAST_CALLS_LOOK).await;
        }
    }

    /// The address that the endpoint is bound to.
    ///
    /// # Errors
    /// When the operating system does not return it.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The address that peers receive: chitchat's own address.
    pub const fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// Signs with this node's key.
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Checks other nodes' certificates and signatures.
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The links in use, by peer.
    pub const fn links(&self) -> &Links {
        &self.links
    }

    /// The number of open connections, used or not.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Uses other certificates for connections that are opened from now on; those that are open stay.
    ///
    /// # Errors
    /// When they cannot be used, or are another node's; then the old ones stay.
    pub fn reload(&self, credentials: &Credentials) -> Result<(), MeshStartError> {
        let current = self.signer.current();
        if credentials.node() != current.node() {
            return Err(MeshStartError::OtherNode {
                certified: credentials.node().clone(),
                configured: current.node().clone(),
            });
        }
        let server = endpoint::server_config(credentials)?;
        let client = endpoint::client_config(credentials)?;
        let mesh = credentials.mesh().clone();
        self.verifier.replace(mesh, credentials.authorities())?;
        self.signer.replace(credentials)?;
        self.swaps
            .swap(client, endpoint::brief_server(credentials)?);
        self.endpoint.set_server_config(Some(server));
        Ok(())
    }

    /// From now on `rules` decide which requests of peers are answered here.
    pub fn set_rules(&self, rules: ServingRules) {
        self.swaps.swap_rules(rules);
    }

    /// Ends every link in a way that peers see at once, and stops the mesh's tasks. Calls that are
    /// still in flight break off, unless the last of them ends within two seconds; a node that drains
    /// waits for its calls before.
    pub async fn close(&self) {
        for task in self.tasks.iter() {
            task.abort();
        }
        // Calls that exceed the limit break off, and the peers see that.
        let _ = tokio::time::timeout(LAST_CALLS_TIMEOUT, self.calls_ended()).await;
        self.endpoint
            .close(dial::shutdown_code(), b"node shuts down");
        // Does not wait for a peer that does not acknowledge.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}
