//! What each row attacks: three nodes, their upstreams, and the keys of clients and workers.

use std::net::SocketAddr;
use std::time::Duration;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::client::chat_body;
use grapevine_tests::memory::peak_resident_bytes;
use grapevine_tests::mesh::{MESH_NAME, issue_certificate};
use grapevine_tests::rogue::Rogue;
use grapevine_tests::view::MeshView;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::odd::Odd;

/// What the upstream of `n1` serves.
pub(crate) const MODEL: &str = "gpt-4o";

/// What the upstream of `n2` serves.
pub(crate) const FAR_MODEL: &str = "far";

/// The key of the honest client.
pub(crate) const HONEST_KEY: &str = "gv-honest-client";

/// The key of the client that attacks, as good as any.
pub(crate) const HOSTILE_KEY: &str = "gv-hostile-client";

/// The key of the honest worker.
pub(crate) const WORKER_KEY: &str = "gv-honest-worker";

/// The key of a worker that attacks.
pub(crate) const HOSTILE_WORKER_KEY: &str = "gv-hostile-worker";

/// What the workers run.
pub(crate) const SERVICE: &str = "my-plugin:process";

/// Tasks that the holder of one key may have waiting.
pub(crate) const WAITING_MAX: usize = 200;

/// The operator's token at `n1`.
pub(crate) const TOKEN: &str = "open-sesame-open-sesame";

/// The certified node that attacks.
const ROGUE: &str = "rogue";

const CONVERGENCE_LIMIT: Duration = Duration::from_secs(20);

/// A mesh to be attacked.
pub(crate) struct World {
    mesh: Mesh,
    odd: Odd,
    _upstreams: [Mock; 2],
}

impl World {
    /// Starts `n1`, the target; `n2`, which expects a PROXY header; and `n3`, with TLS for clients.
    pub(crate) async fn start() -> Self {
        let upstreams = [
            Mock::start("near", &[MODEL]).await,
            Mock::start("far", &[FAR_MODEL]).await,
        ];
        let odd = Odd::start().await;
        let [near, far] = &upstreams;
        let mesh = Mesh::builder()
            .node("n1", |node| {
                node.upstream(near)
                    .raw_upstream(odd.upstream())
                    .config("keys", keys())
                    .config("limits", limits())
                    .config("admin.token", json!(TOKEN))
                    .config("tasks.services", json!([SERVICE]))
                    .config("tasks.quota.waiting", json!(WAITING_MAX))
                    .config("tasks.webhooks", webhooks())
            })
            .node("n2", |node| {
                node.upstream(far)
                    .config("keys", keys())
                    .config("limits", limits())
                    .config("trusted_proxies", json!(["127.0.0.0/8"]))
                    .config("proxy_protocol", json!("required"))
            })
            .node("n3", |node| {
                node.config("keys", keys())
                    .config("limits", limits())
                    .config("tls", json!({"cert": "n3.pem", "key": "n3.key"}))
            })
            .launch()
            .await;
        issue_certificate(mesh.directory(), ROGUE, mesh.directory());
        let world = Self {
            mesh,
            odd,
            _upstreams: upstreams,
        };
        world.until_joined().await;
        world
    }

    /// The node that is attacked.
    pub(crate) fn target(&self) -> &Node {
        self.node("n1")
    }

    /// A node by name.
    pub(crate) fn node(&self, name: &str) -> &Node {
        &self.mesh[name]
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> &[Node] {
        self.mesh.nodes()
    }

    /// The upstream with odd answers, called `odd` at `n1`.
    pub(crate) fn odd(&self) -> &Odd {
        &self.odd
    }

    /// The target's public port.
    pub(crate) fn public(&self) -> SocketAddr {
        self.target().addresses().public
    }

    /// The target's admin port.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.target().addresses().admin
    }

    /// A URL of the target's public API.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target().base_url())
    }

    /// A connection to the target's mesh port by a certified node that greets like any other.
    pub(crate) async fn rogue(&self) -> Rogue {
        let dialled = Rogue::dial(self.mesh.directory(), ROGUE, MESH_NAME, self.target()).await;
        let rogue = must("dialling", dialled);
        rogue.greet().await;
        rogue
    }

    /// The mesh as the target sees it, read by its operator.
    pub(crate) async fn view(&self) -> MeshView {
        MeshView(must("/mesh", self.target().try_admin_as("/mesh", TOKEN).await).json())
    }

    /// What the target counts as lost of this kind.
    pub(crate) async fn lost(&self, kind: &str) -> usize {
        let page = must(
            "/metrics",
            self.target().try_admin_as("/metrics", TOKEN).await,
        )
        .text();
        let start = format!("grapevine_lost_total{{kind=\"{kind}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|count| count.parse().ok())
            .unwrap_or_default()
    }

    /// The most memory that each node which still runs has had.
    pub(crate) fn peaks(&self) -> Vec<u64> {
        let living = self.nodes().iter().filter_map(Node::id);
        let living = living.filter(|id| std::path::Path::new(&format!("/proc/{id}/exe")).exists());
        living.map(peak_resident_bytes).collect()
    }

    /// Whether every node reports that it is ready for requests.
    pub(crate) async fn is_ready(&self) -> bool {
        for node in self.nodes() {
            let page = node.try_admin("/readyz").await;
            if !page.is_ok_and(|page| page.status == 200) {
                return false;
            }
        }
        true
    }

    async fn until_joined(&self) {
        wait_until(
            "the nodes to see one another",
            CONVERGENCE_LIMIT,
            async || {
                let view = self.view_or_why().await?;
                let sees = |name: &&str| view.is_reachable(name) && view.phase(name) == "ready";
                let is_joined =
                    ["n2", "n3"].iter().all(sees) && view.state("n2", "far") == "healthy";
                match is_joined && self.is_ready().await {
                    true => Ok(()),
                    false => Err(format!("{:#}", view.0)),
                }
            },
        )
        .await;
    }

    async fn view_or_why(&self) -> Result<MeshView, String> {
        let page = self.target().try_admin_as("/mesh", TOKEN).await?;
        let view = serde_json::from_slice(&page.body).map_err(|_| page.text())?;
        Ok(MeshView(view))
    }
}

fn keys() -> Value {
    let key = |key: &str| json!({"name": key, "hash": KeyHash::of(key).to_string()});
    let worker = |name: &str| {
        let mut worker = key(name);
        worker["services"] = json!([SERVICE]);
        worker
    };
    json!([
        key(HONEST_KEY),
        key(HOSTILE_KEY),
        worker(WORKER_KEY),
        worker(HOSTILE_WORKER_KEY),
    ])
}

/// The default limits with shorter timeouts: a row holds its connections until they expire.
fn limits() -> Value {
    json!({"header_timeout": "5s", "body_timeout": "5s"})
}

/// Every public host.
fn webhooks() -> Value {
    json!({"secret": "whsec_d3JpdGUtYS13b3JkLW9mLXlvdXItb3du", "hosts": ["*"]})
}

/// What the holder of `key` sends with each request.
pub(crate) fn headers_of(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {key}")) {
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// A workflow of one step with the text `text`.
pub(crate) fn workflow(text: &str) -> Value {
    let body = chat_body(MODEL, text);
    let call = json!({"path": "/v1/chat/completions", "body": body});
    json!({"workflow": {"steps": [{"id": "one", "call": call}]}})
}
