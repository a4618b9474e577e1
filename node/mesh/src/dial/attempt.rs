//! One dial: the addresses of a target, one after the other.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_base::exchange::CallLocal;
use grapevine_core::ids::NodeName;
use tokio::time::timeout;

use crate::endpoint::{HANDSHAKE_TIMEOUT, brief_client};
use crate::hub::Hub;
use crate::session::{self, EstablishError};

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("name cannot be resolved: {0}")]
    Unresolved(std::io::Error),
    #[error("name took too long to resolve")]
    ResolveTimedOut,
    #[error("name has no address but this node's own")]
    NoAddress,
    #[error("cannot be dialled: {0}")]
    Connect(#[from] quinn::ConnectError),
    #[error(transparent)]
    Establish(#[from] EstablishError),
}

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Where to dial.
#[derive(Clone, Debug)]
pub(super) enum DialLocation {
    /// An address.
    Address(SocketAddr),
    /// `host:port`.
    Host(String),
}

/// What a connection is dialled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialPurpose {
    /// To stay.
    Stay,
    /// For an exchange of gossip or a request in a large mesh.
    Exchange,
}

/// Dials one location after the other until one answers.
pub(super) async fn dial<L: CallLocal>(
    hub: &Arc<Hub<L>>,
    locations: Vec<DialLocation>,
    purpose: DialPurpose,
) -> Result<NodeName, DialError> {
    let mut last = DialError::NoAddress;
    let mut tried = BTreeSet::new();
    for location in locations {
        let addresses = match location {
            DialLocation::Address(address) => vec![address],
            DialLocation::Host(host) => match resolve(&host).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    last = error;
                    continue;
                }
            },
        };
        for address in addresses {
            if hub.own_addresses.contains(&address) || !tried.insert(address) {
                continue;
            }
            if let Some(link) = hub.links.table().at(address) {
                return Ok(link.peer.clone());
            }
            match dial_address(hub, address, purpose).await {
                Ok(peer) => return Ok(peer),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// The addresses of `host:port`, at most [`ADDRESSES_MAX`].
async fn resolve(host: &str) -> Result<Vec<SocketAddr>, DialError> {
    let resolved = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(host))
        .await
        .map_err(|_| DialError::ResolveTimedOut)?
        .map_err(DialError::Unresolved)?;
    Ok(resolved.take(ADDRESSES_MAX).collect())
}

async fn dial_address<L: CallLocal>(
    hub: &Arc<Hub<L>>,
    address: SocketAddr,
    purpose: DialPurpose,
) -> Result<NodeName, DialError> {
    let config = match purpose {
        DialPurpose::Stay => quinn::ClientConfig::clone(&hub.client.load()),
        DialPurpose::Exchange => brief_client(&hub.client.load()),
    };
    let name = hub.mesh.common_dns_name();
    let connecting = hub.endpoint.connect_with(config, address, &name)?;
    let established = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => session::establish(hub, connection, Some(address)).await,
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(EstablishError::TimedOut),
    };
    match established {
        Ok(link) => Ok(link.peer.clone()),
        Err(error) => {
            session::complain(hub, address, &error);
            Err(error.into())
        }
    }
}
