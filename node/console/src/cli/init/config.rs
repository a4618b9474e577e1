//! A node's configuration, for every platform.

use std::fmt::Write as _;

use super::MeshPlatform;
use super::answers::MESH_PORT;
use super::mesh::{ADMIN_TOKEN, PlannedMesh, PlannedNode};
use super::providers::PlannedUpstream;
use crate::cli::ca::CA_CERTIFICATE;

/// Nodes that a node asks for the rest of the mesh: gossip finds the others.
const SEEDS_MAX: usize = 3;

/// The text of the file.
pub(super) fn text(mesh: &PlannedMesh, node: &PlannedNode) -> String {
    let (name, region) = (&node.name, &node.region);
    let own = match mesh.platform {
        MeshPlatform::Local => format!(
            "listen: 127.0.0.1:{}\nadmin: {{listen: \"127.0.0.1:{}\"}}\n",
            node.ports.public, node.ports.admin
        ),
        // The admin port is on loopback.
        MeshPlatform::Systemd => "listen: 0.0.0.0:8080\n".to_owned(),
        MeshPlatform::Compose | MeshPlatform::Kubernetes => format!(
            "listen: 0.0.0.0:8080\nadmin: {{listen: 0.0.0.0:9090, token: \"${{{ADMIN_TOKEN}}}\"}}\n"
        ),
    };
    let mesh_listen = match mesh.platform {
        MeshPlatform::Local => format!("  listen: 127.0.0.1:{}\n", node.ports.mesh),
        // Containers and pods listen at the usual port, whatever leads there.
        MeshPlatform::Systemd if node.mesh_port() != MESH_PORT => {
            format!("  listen: 0.0.0.0:{}\n", node.mesh_port())
        }
        _ => String::new(),
    };
    // Pods have it beside the folder of their configuration.
    let folder = match mesh.platform {
        MeshPlatform::Kubernetes => "../mesh",
        _ => "mesh",
    };
    let seeds = mesh.nodes.iter().filter(|other| other.name != *name);
    let seeds: Vec<String> = seeds
        .take(SEEDS_MAX)
        .map(|other| format!("\"{}\"", other.advertise))
        .collect();
    let mut text = format!(
        "# {name}, the node of region {region}. Written by `grapevine init`, and yours to change: `grapevine schema` has\n\
         # every key.\n\
         node: {{name: {name}, region: {region}}}\n\
         {own}\
         mesh:\n  name: {}\n{mesh_listen}  advertise: \"{}\"\n  seeds: [{}]\n  \
         tls: {{ca: {folder}/{CA_CERTIFICATE}, cert: {folder}/{name}.pem, key: {folder}/{name}.key}}\n\
         upstreams:\n",
        mesh.name,
        node.advertise,
        seeds.join(", "),
    );
    for upstream in &mesh.upstreams {
        text.push_str(&upstream_text(upstream));
    }
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "keys:\n  - {{name: app, hash: \"{}\"}}\n",
        mesh.key_hash
    );
    if mesh.platform != MeshPlatform::Local {
        text.push_str("log: {format: json}\n");
    }
    text
}

fn upstream_text(upstream: &PlannedUpstream) -> String {
    let mut text = format!("  - name: {}\n", upstream.name);
    if let Some(provider) = upstream.provider {
        text.push_str(&format!("    provider: {provider}\n"));
    }
    text.push_str(&format!("    base_url: {}\n", upstream.base_url));
    if let Some(variable) = &upstream.variable {
        text.push_str(&format!("    api_key: ${{{variable}}}\n"));
    }
    text
}
