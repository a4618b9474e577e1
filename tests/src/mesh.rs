//! Several nodes with certificates of one CA, each with its config, started until all see one another.

use std::ops::Index;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::mock::Mock;
use crate::network::Network;
use crate::node::{Addresses, Node};
use crate::ports::free_address;
use crate::program::grapevine;
use crate::scratch::Scratch;
use crate::wait::must;

/// How long all nodes may take to see one another.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(20);

/// The name of the mesh unless a test chooses another.
pub const MESH_NAME: &str = "test";

/// The API key that a node sends to every mock. Tests search for it where it must not be.
pub const SECRET: &str = "sk-never-to-be-seen-4d1c9a";

/// Running nodes. `mesh["sgp"]` is one of them.
#[derive(Debug)]
pub struct Mesh {
    nodes: Vec<Node>,
    network: Option<Network>,
    // Dropped last: the nodes write there.
    scratch: Scratch,
}

/// What the nodes of a mesh will be.
#[derive(Debug)]
#[must_use]
pub struct MeshBuilder {
    name: String,
    nodes: Vec<NodeBuilder>,
    behind_network: bool,
}

/// What one node will be.
#[derive(Debug)]
#[must_use]
pub struct NodeBuilder {
    name: String,
    program: PathBuf,
    config: Value,
}

impl NodeBuilder {
    fn new(name: &str) -> Self {
        let config = json!({
            "node": {"name": name, "region": name},
            "upstreams": [],
        });
        Self {
            name: name.to_string(),
            program: grapevine(),
            config,
        }
    }

    /// Runs another program, with the same command line as `grapevine`.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_path_buf();
        self
    }

    /// Sets the region; it is the node's name otherwise.
    pub fn region(self, region: &str) -> Self {
        self.config("node.region", json!(region))
    }

    /// Adds a mock as an upstream, probed every second.
    pub fn upstream(self, mock: &Mock) -> Self {
        self.upstream_with(mock, json!({}))
    }

    /// Adds a mock as an upstream, with keys of the config's upstream put over the usual ones.
    pub fn upstream_with(self, mock: &Mock, over: Value) -> Self {
        let mut upstream = json!({
            "name": mock.name(),
            "base_url": mock.base_url(),
            "api_key": SECRET,
            "models": mock.models(),
            "health": {"interval": "1s", "timeout": "500ms", "failure_threshold": 3, "recovery_threshold": 2},
        });
        merge(&mut upstream, over);
        self.raw_upstream(upstream)
    }

    /// Adds any upstream, as it would be written in the config.
    ///
    /// # Panics
    ///
    /// When `upstreams` was set to something else than a list before.
    pub fn raw_upstream(mut self, upstream: Value) -> Self {
        let Some(upstreams) = self.config["upstreams"].as_array_mut() else {
            panic!("upstreams of {} is no list", self.name);
        };
        upstreams.push(upstream);
        self
    }

    /// Puts `value` at a dotted path of the config, such as `routing.attempts`.
    pub fn config(mut self, path: &str, value: Value) -> Self {
        let mut over = value;
        for key in path.rsplit('.') {
            over = json!({ key: over });
        }
        merge(&mut self.config, over);
        self
    }
}

impl MeshBuilder {
    /// Adds a node.
    pub fn node(mut self, name: &str, build: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        self.nodes.push(build(NodeBuilder::new(name)));
        self
    }

    /// Puts a [`Network`] between the nodes: a test can delay, thin out and cut its links.
    pub fn behind_network(mut self) -> Self {
        self.behind_network = true;
        self
    }

    /// Names the mesh otherwise than [`MESH_NAME`].
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_string();
        self
    }

    /// Makes certificates, starts every node, and waits until each is ready and sees all others with
    /// their upstreams.
    ///
    /// # Panics
    ///
    /// When that takes longer than 20 seconds or a node ends.
    pub async fn start(self) -> Mesh {
        let mesh = self.launch().await;
        mesh.wait_until_converged().await;
        mesh
    }

    /// As [`MeshBuilder::start`] but without waiting for anything.
    ///
    /// # Panics
    ///
    /// When certificates cannot be made or a node cannot be started.
    pub async fn launch(self) -> Mesh {
        let scratch = Scratch::new("mesh");
        let directory = scratch.path();
        create_authority(directory, &self.name);
        let addresses: Vec<Addresses> = self.nodes.iter().map(|_| free_addresses()).collect();
        let network = if self.behind_network {
            let names = self.nodes.iter().map(|node| node.name.clone());
            let mesh_addresses: Vec<_> = names
                .zip(addresses.iter().map(|address| address.mesh))
                .collect();
            Some(Network::start(&mesh_addresses).await)
        } else {
            None
        };
        let advertised: Vec<String> = (self.nodes.iter().zip(&addresses))
            .map(|(node, address)| match &network {
                Some(network) => network.address_of(&node.name).to_string(),
                None => address.mesh.to_string(),
            })
            .collect();
        let mut nodes = Vec::new();
        for (index, node) in self.nodes.into_iter().enumerate() {
            let address = addresses[index];
            let mut config = node_config(
                directory,
                &self.name,
                &node.name,
                address,
                &advertised,
                index,
            );
            issue_certificate(directory, &node.name, directory);
            merge(&mut config, node.config);
            nodes.push(Node::start_as(
                &node.program,
                directory,
                &node.name,
                address,
                config,
            ));
        }
        Mesh {
            nodes,
            network,
            scratch,
        }
    }
}

impl Mesh {
    /// Begins to describe a mesh.
    pub fn builder() -> MeshBuilder {
        MeshBuilder {
            name: MESH_NAME.to_string(),
            nodes: Vec::new(),
            behind_network: false,
        }
    }

    /// All nodes, in the order of their description.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The network between the nodes.
    ///
    /// # Panics
    ///
    /// When the mesh was built without [`MeshBuilder::behind_network`].
    #[must_use]
    pub fn network(&self) -> &Network {
        match &self.network {
            Some(network) => network,
            None => panic!("this mesh was built without behind_network()"),
        }
    }

    /// The directory with the CA (`mesh-ca.pem`, `mesh-ca.key`), certificates, configs and logs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Waits until every running node is ready and sees every running node live and ready, with the
    /// upstreams that it reports itself, has an open link to every other, and knows that these are all.
    ///
    /// # Panics
    ///
    /// When that takes longer than 20 seconds or a node ends.
    pub async fn wait_until_converged(&self) {
        let running: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|node| node.id().is_some())
            .collect();
        for node in &running {
            node.wait_until_ready().await;
        }
        let mut expected = Vec::new();
        for node in &running {
            let view = node.view().await;
            let own = view
                .node(node.name())
                .and_then(|own| own["upstreams"].as_array())
                .cloned();
            let names = own
                .unwrap_or_default()
                .iter()
                .map(|entry| entry["name"].clone())
                .collect();
            expected.push((node.name(), names));
        }
        for node in &running {
            node.wait_for_view(
                "all nodes with their upstreams",
                CONVERGENCE_LIMIT,
                |view| {
                    let is_settled = running.len() == 1 || view.is_settled();
                    is_settled
                        && expected
                            .iter()
                            .all(|(name, upstreams): &(&str, Vec<Value>)| {
                                let seen = |upstream: &Value| {
                                    upstream.as_str().is_some_and(|upstream| {
                                        view.upstream(name, upstream).is_some()
                                    })
                                };
                                // Nothing is sent to a node that answers no requests.
                                let is_closed = view
                                    .node(name)
                                    .is_some_and(|it| it["serves_requests"] == false);
                                let reachable =
                                    *name == node.name() || view.is_reachable(name) || is_closed;
                                view.is_live(name)
                                    && view.phase(name) == "ready"
                                    && reachable
                                    && upstreams.iter().all(seen)
                            })
                },
            )
            .await;
        }
    }
}

impl Index<&str> for Mesh {
    type Output = Node;

    fn index(&self, name: &str) -> &Node {
        match self.nodes.iter().find(|node| node.name() == name) {
            Some(node) => node,
            None => panic!("no node {name} in this mesh"),
        }
    }
}

/// Makes a mesh CA: `mesh-ca.pem` and `mesh-ca.key` in `directory`.
///
/// # Panics
///
/// When the program fails.
pub fn create_authority(directory: &Path, mesh: &str) {
    run_grapevine(&["ca", "init", "--out", &text(directory), "--mesh", mesh]);
}

/// Makes `NODE.pem` and `NODE.key` in `directory`, signed by the CA in `authority`.
///
/// # Panics
///
/// When the program fails.
pub fn issue_certificate(authority: &Path, node: &str, directory: &Path) {
    run_grapevine(&[
        "ca",
        "issue",
        "--ca",
        &text(authority),
        "--name",
        node,
        "--out",
        &text(directory),
    ]);
}

/// Puts every key of `over` into `value`, going into objects that both have. `null` removes a key.
pub fn merge(value: &mut Value, over: Value) {
    match (value, over) {
        (Value::Object(map), Value::Object(over)) => {
            for (key, entry) in over {
                if entry.is_null() {
                    map.remove(&key);
                } else {
                    merge(map.entry(key).or_insert(Value::Null), entry);
                }
            }
        }
        (value, over) => *value = over,
    }
}

fn free_addresses() -> Addresses {
    Addresses {
        public: free_address(),
        mesh: free_address(),
        admin: free_address(),
    }
}

fn node_config(
    directory: &Path,
    mesh: &str,
    name: &str,
    addresses: Addresses,
    advertised: &[String],
    own: usize,
) -> Value {
    let others = advertised
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != own);
    let seeds: Vec<&String> = others.map(|(_, address)| address).collect();
    let file = |name: String| -> PathBuf { directory.join(name) };
    json!({
        "listen": addresses.public.to_string(),
        "admin": {"listen": addresses.admin.to_string()},
        "mesh": {
            "name": mesh,
            "listen": addresses.mesh.to_string(),
            "advertise": advertised[own],
            "seeds": seeds,
            "tls": {
                "ca": file("mesh-ca.pem".to_string()),
                "cert": file(format!("{name}.pem")),
                "key": file(format!("{name}.key")),
            },
        },
    })
}

fn run_grapevine(arguments: &[&str]) {
    let output = must(
        "running grapevine",
        Command::new(grapevine()).args(arguments).output(),
    );
    assert!(
        output.status.success(),
        "grapevine {}: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_goes_into_objects_and_null_removes() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(
            &mut value,
            json!({"a": {"b": 3, "c": null}, "d": [2, 3], "e": {"f": 4}}),
        );
        assert_eq!(value, json!({"a": {"b": 3}, "d": [2, 3], "e": {"f": 4}}));
    }

    #[test]
    fn a_dotted_path_reaches_into_the_config() {
        let node = NodeBuilder::new("sgp")
            .config("routing.retry.limit", json!(3))
            .region("asia");
        assert_eq!(node.config["routing"]["retry"]["limit"], 3);
        assert_eq!(
            node.config["node"],
            json!({"name": "sgp", "region": "asia"})
        );
    }
}
