//! What each row attacks: two nodes with an upstream each, and two clients' keys.

use std::net::SocketAddr;

use grapevine_node::config::hash::KeyHash;
use grapevine_tests::{Mesh, Mock, Node};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::{Value, json};

/// What the upstreams serve.
pub(crate) const MODEL: &str = "gpt-4o";

/// The key of the honest client.
pub(crate) const HONEST_KEY: &str = "gv-honest-client";

/// The key of the client that attacks, as good as any.
pub(crate) const HOSTILE_KEY: &str = "gv-hostile-client";

/// A mesh to be attacked.
pub(crate) struct World {
    mesh: Mesh,
    _upstreams: [Mock; 2],
}

impl World {
    /// Starts `n1`, the target, and `n2`.
    pub(crate) async fn start() -> Self {
        let upstreams = [
            Mock::start("near", &[MODEL]).await,
            Mock::start("far", &[MODEL]).await,
        ];
        let keys = json!([
            {"name": "honest", "hash": KeyHash::of(HONEST_KEY).to_string()},
            {"name": "hostile", "hash": KeyHash::of(HOSTILE_KEY).to_string()},
        ]);
        let [near, far] = &upstreams;
        let mesh = Mesh::builder()
            .node("n1", |node| {
                node.upstream(near).config("keys", keys.clone())
            })
            .node("n2", |node| node.upstream(far).config("keys", keys.clone()))
            .start()
            .await;
        Self {
            mesh,
            _upstreams: upstreams,
        }
    }

    /// The node that is attacked.
    pub(crate) fn target(&self) -> &Node {
        &self.mesh["n1"]
    }

    /// Its public port.
    pub(crate) fn public(&self) -> SocketAddr {
        self.target().addresses().public
    }

    /// Its admin port.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.target().addresses().admin
    }

    /// Where the certificates are.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.mesh.directory()
    }

    /// A URL of its public API.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target().base_url())
    }
}

/// What the hostile client sends with each request.
pub(crate) fn hostile_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {HOSTILE_KEY}")) {
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// A workflow of one step whose text is `text`.
pub(crate) fn workflow(text: &str) -> Value {
    json!({"workflow": {"steps": [{
        "id": "one",
        "request": {"model": MODEL, "messages": [{"role": "user", "content": text}]},
    }]}})
}
