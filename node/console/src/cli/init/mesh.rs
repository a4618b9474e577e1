//! A mesh with all that is made for it: names, addresses, certificates, secrets.

use std::path::{Path, PathBuf};

use grapevine_base::authority::{self, Authority, Issued, NODE_VALID};
use grapevine_config::Environment;
use grapevine_config::hash::KeyHash;
use grapevine_core::ids::{MeshName, NodeName};

use super::answers::{Answers, MESH_PORT, node_name};
use super::files::FolderUser;
use super::providers::PlannedUpstream;
use super::{MeshInitError, MeshPlatform};
use crate::cli::key;

/// The first node's public port on this machine. Those of the demo are the same.
pub(super) const PORT: u16 = 8081;

/// From a node's public port on this machine to its admin port, and back to its port of the mesh.
const TO_ADMIN_PORT: u16 = 1_010;
const TO_MESH_PORT: u16 = 910;

/// The user of containers, where the folder is root's: that of the image.
const IMAGE_USER: FolderUser = FolderUser {
    user: 65_532,
    group: 65_532,
};

/// The variable of the admin port's token, where that is not on loopback.
pub(super) const ADMIN_TOKEN: &str = "GRAPEVINE_ADMIN_TOKEN";

/// The key of the first client.
pub(super) const CLIENT_KEY: &str = "app.key";

/// A node with its certificate.
pub(super) struct PlannedNode {
    pub(super) region: String,
    pub(super) name: NodeName,
    /// Where others reach it: `HOST:PORT`.
    pub(super) advertise: String,
    /// Its ports on this machine, for local and compose.
    pub(super) ports: NodePorts,
    pub(super) certificate: Issued,
}

impl PlannedNode {
    /// The port at which others reach it.
    pub(super) fn mesh_port(&self) -> u16 {
        let port = self
            .advertise
            .rsplit_once(':')
            .map(|(_, port)| port.parse());
        port.and_then(Result::ok).unwrap_or(MESH_PORT)
    }
}

/// Ports on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodePorts {
    pub(super) public: u16,
    pub(super) admin: u16,
    pub(super) mesh: u16,
}

/// A mesh that can be written.
pub(super) struct PlannedMesh {
    pub(super) folder: PathBuf,
    pub(super) platform: MeshPlatform,
    pub(super) name: MeshName,
    pub(super) nodes: Vec<PlannedNode>,
    pub(super) upstreams: Vec<PlannedUpstream>,
    /// The hash of the first client's key.
    pub(super) key_hash: String,
    /// A secret.
    pub(super) admin_token: String,
    /// Who reads the nodes' files.
    pub(super) user: FolderUser,
    environment: Environment,
    /// A secret.
    pub(super) client_key: String,
    pub(super) ca: Issued,
}

impl PlannedMesh {
    /// Makes certificates, a client's key and a token.
    ///
    /// # Errors
    /// When the system gives no randomness, or a name fits no certificate.
    pub(super) fn make(
        folder: &Path,
        answers: Answers,
        user: FolderUser,
        environment: &Environment,
    ) -> Result<Self, MeshInitError> {
        let ca = authority::create(&answers.mesh)?;
        let issuer = Authority::from_pem(&ca.certificate, &ca.key)?;
        let mut nodes = Vec::new();
        for (number, region) in answers.regions.into_iter().enumerate() {
            let name = node_name(&region.name, answers.platform)?;
            // Regions are far fewer than ports.
            let public = answers.port + number as u16;
            let ports = NodePorts {
                public,
                admin: public + TO_ADMIN_PORT,
                mesh: public - TO_MESH_PORT,
            };
            let advertise = match (answers.platform, region.address) {
                (_, Some(address)) => address.to_string(),
                (MeshPlatform::Local, None) => format!("127.0.0.1:{}", ports.mesh),
                (_, None) => format!("{name}:7171"),
            };
            let certificate = issuer.issue(&name, &[], NODE_VALID)?;
            nodes.push(PlannedNode {
                region: region.name,
                name,
                advertise,
                ports,
                certificate,
            });
        }
        let client_key = key::generate().map_err(MeshInitError::Random)?;
        Ok(Self {
            folder: folder.to_owned(),
            platform: answers.platform,
            name: answers.mesh,
            nodes,
            upstreams: answers.upstreams,
            key_hash: KeyHash::of(&client_key).to_string(),
            admin_token: key::generate().map_err(MeshInitError::Random)?,
            user: if user.user == 0 { IMAGE_USER } else { user },
            environment: environment.clone(),
            client_key,
            ca,
        })
    }

    /// The name of a node's configuration, as the files of `deploy/` have it.
    pub(super) const fn config_name(&self) -> &'static str {
        match self.platform {
            MeshPlatform::Systemd => "grapevine.yaml",
            MeshPlatform::Local | MeshPlatform::Compose | MeshPlatform::Kubernetes => "node.yaml",
        }
    }

    /// The names of all nodes, separated by blanks.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        names.join(" ")
    }

    /// The variables of providers' keys, each once.
    pub(super) fn variables(&self) -> Vec<&str> {
        let mut variables: Vec<&str> = Vec::new();
        for variable in self
            .upstreams
            .iter()
            .filter_map(|one| one.variable.as_deref())
        {
            if !variables.contains(&variable) {
                variables.push(variable);
            }
        }
        variables
    }

    /// The variables of providers' keys that this process does not have either.
    pub(super) fn variables_without_value(&self) -> impl Iterator<Item = &str> {
        let all = self.variables().into_iter();
        all.filter(|variable| self.value(variable).is_none())
    }

    /// Lines `NAME=VALUE` of the providers' keys that this process has, and comments for the others.
    pub(super) fn key_lines(&self) -> String {
        let line = |variable: &str| match self.value(variable) {
            Some(value) => format!("{variable}={value}\n"),
            None => format!("# {variable}=\n"),
        };
        self.variables().into_iter().map(line).collect()
    }

    /// A key of this process's environment that stands in a file of variables as it is, without quotes.
    fn value(&self, variable: &str) -> Option<&str> {
        let value = self.environment.get(variable)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=~@,".contains(&byte);
        (!value.is_empty() && value.bytes().all(is_plain)).then_some(value)
    }
}
