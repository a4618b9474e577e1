//! All nodes on this machine, on loopback.

use super::files::PlannedFile;
use super::mesh::{CLIENT_KEY, PlannedMesh};

/// Where keys of providers are, unless the environment has them.
const KEYS: &str = "keys.env";

/// Starts the nodes; what differs is put in front.
const RUN: &str = include_str!("run.sh");

pub(super) fn files(mesh: &PlannedMesh) -> Vec<PlannedFile> {
    let head = format!(
        "#!/bin/sh\n# Starts {} and their mesh on this machine, until Ctrl-C. Written by `grapevine init`.\n\
         nodes='{}'\n",
        mesh.names(),
        nodes(mesh),
    );
    let keys = format!(
        "# Keys of providers, for ./run; those of the environment hold where none is written here.\n{}",
        mesh.key_lines()
    );
    vec![
        PlannedFile::program("run", head + RUN),
        PlannedFile::secret(KEYS, keys),
    ]
}

/// `NAME PUBLIC-PORT ADMIN-PORT` of each, separated by commas.
fn nodes(mesh: &PlannedMesh) -> String {
    let each = mesh.nodes.iter().map(|node| {
        let ports = node.ports;
        format!("{}:{}:{}", node.name, ports.public, ports.admin)
    });
    each.collect::<Vec<_>>().join(" ")
}

pub(super) fn next(mesh: &PlannedMesh) -> [String; 3] {
    let folder = mesh.folder.display();
    let port = mesh.nodes.first().map_or(0, |node| node.ports.public);
    [
        super::keys_step(mesh, &mesh.folder.join(KEYS)),
        format!("{folder}/run"),
        format!(
            "curl -H \"authorization: Bearer $(cat {folder}/{CLIENT_KEY})\" http://127.0.0.1:{port}/v1/models"
        ),
    ]
}
