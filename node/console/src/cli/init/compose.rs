//! All nodes on one machine, in containers.

use super::files::PlannedFile;
use super::mesh::{ADMIN_TOKEN, CLIENT_KEY, PlannedMesh};

/// What every node has in common, as in the layouts of `deploy/compose`.
const BASE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/compose/base.yaml"
));

/// The image, from a program that is there.
const DOCKERFILE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/docker/Dockerfile"
));

pub(super) fn files(mesh: &PlannedMesh) -> Vec<PlannedFile> {
    let environment = format!(
        "# Written by `grapevine init`, and yours to change.\n\
         # The user of the containers: the owner of the nodes' folders. With rootless Docker: 0:0.\n\
         GRAPEVINE_USER={}:{}\n{ADMIN_TOKEN}={}\n{}",
        mesh.user.user,
        mesh.user.group,
        mesh.admin_token,
        mesh.key_lines()
    );
    vec![
        PlannedFile::plain("compose.yaml", project(mesh)),
        PlannedFile::plain("base.yaml", BASE),
        PlannedFile::plain("Dockerfile", DOCKERFILE),
        // Secrets must not be sent to the builder.
        PlannedFile::plain(".dockerignore", "*\n!grapevine\n"),
        PlannedFile::secret(".env", environment),
    ]
}

fn project(mesh: &PlannedMesh) -> String {
    let mut text = format!(
        "# The nodes of the mesh {0} on one machine. Written by `grapevine init`, and yours to change.\n\
         name: grapevine-{0}\n\nservices:\n",
        mesh.name
    );
    for node in &mesh.nodes {
        let (name, ports) = (&node.name, node.ports);
        text.push_str(&format!(
            "  {name}:\n    \
               extends: {{file: base.yaml, service: node}}\n    \
               build: {{context: ., args: {{PROGRAM: given}}}}\n    \
               environment:\n      \
                 {ADMIN_TOKEN}: ${{{ADMIN_TOKEN}}}\n"
        ));
        for variable in mesh.variables() {
            text.push_str(&format!(
                "      {variable}: ${{{variable}:?write it into .env}}\n"
            ));
        }
        text.push_str(&format!(
            "    ports: [\"127.0.0.1:{}:8080\", \"127.0.0.1:{}:9090\"]\n    \
             volumes: [\"./{name}:/etc/grapevine:ro\", \"{name}:/var/lib/grapevine\"]\n\n",
            ports.public, ports.admin
        ));
    }
    text.push_str("volumes:\n");
    for node in &mesh.nodes {
        text.push_str(&format!("  {}: {{}}\n", node.name));
    }
    text
}

pub(super) fn next(mesh: &PlannedMesh) -> [String; 3] {
    let folder = mesh.folder.display();
    let port = mesh.nodes.first().map_or(0, |node| node.ports.public);
    [
        super::keys_step(mesh, &mesh.folder.join(".env")),
        format!(
            "cp \"$(command -v grapevine)\" {folder}/ && (cd {folder} && docker compose up --build --wait)    # a static program"
        ),
        format!(
            "curl -H \"authorization: Bearer $(cat {folder}/{CLIENT_KEY})\" http://127.0.0.1:{port}/v1/models"
        ),
    ]
}
