//! A machine for each node: the unit of `deploy/systemd`, and the program that installs it.

use std::path::PathBuf;

use super::files::PlannedFile;
use super::mesh::PlannedMesh;

/// The unit, its account and what installs them.
const UNIT: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/systemd/grapevine.service"
));
const ACCOUNT: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/systemd/grapevine.sysusers"
));
const INSTALL: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/systemd/install"
));

/// Where keys of providers are.
const VARIABLES: &str = "grapevine.env";

pub(super) fn files(mesh: &PlannedMesh) -> Vec<PlannedFile> {
    let mut files = Vec::new();
    for node in &mesh.nodes {
        let folder = PathBuf::from(node.name.as_str());
        let variables = format!(
            "# /etc/grapevine/grapevine.env, root:root 0600: what grapevine.yaml names as ${{NAME}}. No quotes are needed.\n\
             GRAPEVINE_TASKS_QUEUE=sqlite:/var/lib/grapevine/tasks.db\n{}",
            mesh.key_lines()
        );
        files.extend([
            PlannedFile::secret(folder.join(VARIABLES), variables),
            PlannedFile::plain(folder.join("grapevine.service"), UNIT),
            PlannedFile::plain(folder.join("grapevine.sysusers"), ACCOUNT),
            PlannedFile::program(folder.join("install"), INSTALL),
        ]);
    }
    files
}

pub(super) fn next(mesh: &PlannedMesh) -> [String; 3] {
    let folder = mesh.folder.display();
    let each = mesh.folder.join("NODE").join(VARIABLES);
    [
        super::keys_step(mesh, &each),
        format!(
            "copy {folder}/NODE and the program to the machine of each of {}, and run there as root: NODE/install",
            mesh.names()
        ),
        "grapevine status, on any of them; open UDP port 7171 between them".to_owned(),
    ]
}
