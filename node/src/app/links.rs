//! The mesh as the app holds it: the links, and the gossip on them.

use std::sync::Arc;

use grapevine_base::bodies::BodyBudget;
use grapevine_base::driver::{DriverHandle, Publication};
use grapevine_base::exchange::{CallInside, InsideSlot};
use grapevine_base::vital::Vital;
use grapevine_config::Config;
use grapevine_core::ids::Generation;
use grapevine_http::accounts::AccountCalls;
use grapevine_http::upstream::UpstreamClient;
use grapevine_mesh::gossip::{Gossip, GossipConfig};
use grapevine_mesh::{MeshHandle, RightsWay};
use grapevine_observe::metrics::Metrics;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::insides::Insides;
use super::peers::Peers;
use super::traced::Traced;
use super::{NodeStartError, reload};

/// The running mesh with the gossip on it.
pub(super) struct Mesh {
    pub(super) handle: MeshHandle,
    pub(super) gossip: Gossip,
    /// The way of messages about rights, until the limits' task takes it.
    pub(super) rights: Option<RightsWay>,
    /// Calls the inside of peers.
    pub(super) inside: Arc<dyn CallInside>,
    /// Where peers' calls about background work arrive.
    pub(super) inside_slot: InsideSlot,
}

/// Starts the links and the gossip on them; a node without a mesh gets neither.
pub(super) async fn start(
    config: &Config,
    generation: Generation,
    (driver, bodies): (&DriverHandle, &BodyBudget),
    (metrics, vital): (&Metrics, &Vital),
    (local, insides): (Traced<AccountCalls<UpstreamClient>>, Insides),
    publications: mpsc::Receiver<Publication>,
) -> Result<(Option<Mesh>, Peers, Vec<AbortHandle>), NodeStartError> {
    let Some(wanted) = &config.mesh else {
        return Ok((None, Peers::default(), vec![discard(publications)]));
    };
    let credentials = reload::credentials(wanted)?;
    let mesh_name = credentials.mesh().clone();
    let inside_slot = insides.tasks.clone();
    let parts = grapevine_mesh::start(
        grapevine_mesh::MeshOptions {
            node: config.node.name.clone(),
            generation,
            listen: wanted.listen,
            advertise: wanted.advertise.as_ref().map(ToString::to_string),
            seeds: wanted.seeds.iter().map(ToString::to_string).collect(),
            gossip_interval: wanted.gossip_interval,
            credentials,
            rules: super::translate::serving_rules(config),
            metrics: metrics.clone(),
            bodies: bodies.clone(),
            vital: vital.clone(),
        },
        driver.clone(),
        local,
        Arc::new(insides),
    );
    let parts = parts.await?;
    let gossip_config = GossipConfig {
        mesh: mesh_name,
        node: config.node.name.clone(),
        generation,
        advertise: parts.handle.advertised(),
        seeds: wanted.seeds.iter().map(ToString::to_string).collect(),
        interval: wanted.gossip_interval,
        vital: vital.clone(),
    };
    let (signer, verifier) = (
        parts.handle.signer().clone(),
        parts.handle.verifier().clone(),
    );
    let (outgoing, incoming) = (parts.outgoing, parts.incoming);
    let gossip = Gossip::start(
        gossip_config,
        driver.inbox(),
        publications,
        outgoing,
        incoming,
        signer,
        verifier,
    );
    let peers = Peers::through(parts.forwarder);
    Ok((
        Some(Mesh {
            handle: parts.handle,
            gossip,
            rights: Some(parts.rights),
            inside: parts.inside,
            inside_slot,
        }),
        peers,
        Vec::new(),
    ))
}

/// A node without a mesh has nobody to publish to.
fn discard(mut tellings: mpsc::Receiver<Publication>) -> AbortHandle {
    tokio::spawn(async move { while tellings.recv().await.is_some() {} }).abort_handle()
}
