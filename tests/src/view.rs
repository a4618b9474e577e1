//! A node's `/mesh`: the mesh as that node sees it.

use std::time::Duration;

use serde_json::Value;

/// The answer of `/mesh`.
#[derive(Clone, Debug)]
pub struct MeshView(pub Value);

impl MeshView {
    /// The entry of a node, if it is known.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Value> {
        let nodes = self.0["nodes"].as_array()?;
        nodes.iter().find(|node| node["name"] == name)
    }

    /// Whether a node is known and held to be alive.
    #[must_use]
    pub fn is_live(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| node["live"] == true)
    }

    /// Whether the node knows all of the mesh, so that it says of what it does not know that it does not exist.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0["settled"] != false
    }

    /// The phase that a node has announced; empty when it is unknown.
    #[must_use]
    pub fn phase(&self, node: &str) -> &str {
        self.node(node)
            .and_then(|node| node["phase"].as_str())
            .unwrap_or_default()
    }

    /// The measured round trip to a node, once there is one.
    #[must_use]
    pub fn rtt(&self, node: &str) -> Option<Duration> {
        let milliseconds = self.node(node)?["rtt_ms"].as_f64()?;
        Duration::try_from_secs_f64(milliseconds / 1e3).ok()
    }

    /// Whether work can be sent to a node now.
    #[must_use]
    pub fn is_reachable(&self, node: &str) -> bool {
        self.node(node).is_some_and(|node| node["reach"] == "open")
    }

    /// The entry of a node's upstream.
    #[must_use]
    pub fn upstream(&self, node: &str, upstream: &str) -> Option<&Value> {
        let upstreams = self.node(node)?["upstreams"].as_array()?;
        upstreams.iter().find(|entry| entry["name"] == upstream)
    }

    /// The health of a node's upstream in lower case, such as `healthy`; empty when it is unknown.
    #[must_use]
    pub fn state(&self, node: &str, upstream: &str) -> String {
        let state = self
            .upstream(node, upstream)
            .and_then(|entry| entry["state"].as_str());
        state.unwrap_or_default().to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_unknown_is_neither_live_nor_healthy() {
        let view = MeshView(json!({"self": "a", "nodes": [
            {"name": "a", "live": true, "phase": "ready", "rtt_ms": null, "upstreams": [{"name": "u", "state": "Healthy"}]},
            {"name": "b", "live": false, "reach": "open", "rtt_ms": 1.5, "upstreams": []},
        ]}));
        assert!(view.is_live("a") && !view.is_live("b") && !view.is_live("c"));
        assert_eq!(
            (view.rtt("a"), view.rtt("b")),
            (None, Some(Duration::from_micros(1500)))
        );
        assert_eq!((view.phase("a"), view.phase("c")), ("ready", ""));
        assert_eq!(
            (view.state("a", "u"), view.state("b", "u")),
            ("healthy".to_string(), String::new())
        );
    }
}
