//! Checks of the secrets of sealed ids, and of the weight of caches.

use grapevine_core::route::CACHE_WEIGHT_MAX;

use super::super::checked::{MeshConfig, NodeConfig, SealSource};
use super::super::file::RoutingFile;
use super::super::secret::Secret;
use super::{Checker, items};

/// The shortest secret, in bytes: 128 bits as hexadecimal digits.
const SECRET_BYTES_MIN: usize = 32;

/// Secrets at once: one, and those that it replaces.
const SECRETS_MAX: usize = 8;

impl Checker<'_> {
    /// The secrets as written, else what the nodes of the mesh share, else a file of this node's own.
    pub(super) fn seal(
        &mut self,
        file: Option<&RoutingFile>,
        node: Option<&NodeConfig>,
        mesh: Option<&MeshConfig>,
    ) -> SealSource {
        let key = "routing.seal_keys";
        let Some(written) = file.and_then(|file| file.seal_keys.as_ref()) else {
            if let Some(mesh) = mesh {
                return SealSource::Authority(mesh.tls.ca.clone());
            }
            let name = node.map_or("node", |node| node.name.as_str());
            return SealSource::Kept(self.folder.join(format!("grapevine-seal-{name}.key")));
        };
        let remedy =
            "write the output of `openssl rand -hex 32`, the same at every node of the mesh";
        if written.is_empty() {
            self.problem(key, "is empty", "list one secret, or remove the key");
        }
        if written.len() > SECRETS_MAX {
            let problem = format!("lists {} secrets, more than {SECRETS_MAX}", written.len());
            self.problem(key, problem, "remove those whose ids nobody keeps any more");
        }
        let mut secrets = Vec::new();
        for (at, text) in items(key, &file.and_then(|file| file.seal_keys.clone())) {
            if text.0.len() < SECRET_BYTES_MIN {
                let problem = format!("must be at least {SECRET_BYTES_MIN} bytes");
                self.problem(&at, problem, remedy);
            }
            secrets.push(Secret::new(&text.0));
        }
        SealSource::Written(secrets)
    }

    /// How much of what a warm cache saves counts against a nearer upstream.
    pub(super) fn cache_weight(&mut self, file: Option<&RoutingFile>) -> f64 {
        let written = file.and_then(|file| file.cache_weight).unwrap_or(0.0);
        if (0.0..=CACHE_WEIGHT_MAX).contains(&written) {
            return written;
        }
        let problem = format!("{written} must be from 0 to {CACHE_WEIGHT_MAX}");
        let remedy = "write 0 to route by speed alone, 1 to count the time that a warm cache saves";
        self.problem("routing.cache_weight", problem, remedy);
        0.0
    }
}
