//! Who is in the mesh, as gossip knows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use grapevine_core::ids::NodeName;

/// The members that gossip knows, with their advertised addresses.
pub type Members = BTreeMap<NodeName, SocketAddr>;
