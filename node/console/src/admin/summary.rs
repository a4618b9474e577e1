//! The mesh in a few counts as JSON, and what this node alone knows of its own upstreams: their checks, and how they are
//! configured.

use grapevine_core::Instant;
use grapevine_core::ids::ModelName;
use grapevine_core::latency::ByClass;
use grapevine_core::view::{MeshSummary, UpstreamChecks};
use grapevine_observe::milliseconds;
use serde_json::{Value, json};

/// The longest base URL that is shown, in characters.
const URL_SHOWN: usize = 256;

/// What every renderer shows of the mesh as a whole.
pub(super) fn to_json(summary: &MeshSummary) -> Value {
    let nodes = summary.nodes;
    let names: Vec<&str> = summary.unserved.iter().map(ModelName::as_str).collect();
    json!({
        "nodes": {
            "all": nodes.all(),
            "ready": nodes.ready,
            "joining": nodes.joining,
            "draining": nodes.draining,
            "unreachable": nodes.unreachable,
        },
        "upstreams": {
            "all": summary.upstreams,
            "usable": summary.upstreams_usable,
            "unreachable": summary.upstreams_unreachable,
        },
        "models": {
            "all": summary.models,
            "unserved": summary.models_unserved,
            "unserved_names": names,
        },
    })
}

/// Adds to an own upstream what showed its state.
pub(super) fn add_checks(upstream: &mut Value, checks: &UpstreamChecks, now: Instant) {
    let ByClass { stream, whole } = checks.recent_mean;
    upstream["mean_ms"] = json!(stream.map(milliseconds));
    upstream["answer_mean_ms"] = json!(whole.map(milliseconds));
    upstream["failures_in_row"] = json!(checks.failures_in_row);
    upstream["checked"] = json!(checks.last.map(|last| json!({
        "ms_ago": milliseconds(now.since(last.at)),
        "by": last.by.as_str(),
        "good": last.is_good,
        "outcome": last.outcome,
    })));
}

/// The node's own upstreams in `mesh` or a picture of it.
pub(super) fn own_upstreams(mesh: &mut Value) -> impl Iterator<Item = &mut Value> {
    let own = mesh["self"].clone();
    let nodes = mesh["nodes"].as_array_mut().into_iter().flatten();
    nodes
        .filter(move |node| node["name"] == own)
        .filter_map(|node| node["upstreams"].as_array_mut())
        .flatten()
}

/// Adds to the node's own upstreams, in `mesh` or a picture of it, how `config` has them: the configuration as it is
/// shown to operators, which holds no secret.
pub(super) fn add_configured(mesh: &mut Value, config: &Value) {
    let written = config["upstreams"].as_array().map(Vec::as_slice);
    for upstream in own_upstreams(mesh) {
        let mut all = written.unwrap_or_default().iter();
        if let Some(its) = all.find(|it| it["name"] == upstream["name"]) {
            upstream["configured"] = configured(its);
        }
    }
}

fn configured(written: &Value) -> Value {
    let url = written["base_url"].as_str().unwrap_or_default();
    json!({
        "provider": written["provider"],
        "base_url": bare(url).chars().take(URL_SHOWN).collect::<String>(),
        "max_retries": written["max_retries"],
        "timeout": written["timeout"],
    })
}

/// `url` without what may name or prove who asks: no user, no query, no fragment. The check of the configuration lets
/// neither in; what is shown does not rely on that.
fn bare(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let slash = rest.find('/').unwrap_or(rest.len());
    let host = rest[..slash].rsplit('@').next().unwrap_or_default();
    let path = &rest[slash..];
    match scheme {
        "" => format!("{host}{path}"),
        scheme => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_shown_without_user_query_and_fragment() {
        let shown = bare("https://me:secret@api.example.com:8443/v1?key=secret#secret");
        assert_eq!(shown, "https://api.example.com:8443/v1");
        assert_eq!(
            bare("https://api.example.com/v1"),
            "https://api.example.com/v1"
        );
        assert_eq!(bare("http://[::1]:8080"), "http://[::1]:8080");
    }

    #[test]
    fn own_upstreams_alone_get_how_they_are_configured() {
        let mut mesh = json!({"self": "usa", "nodes": [
            {"name": "usa", "upstreams": [{"name": "primary"}, {"name": "gone"}]},
            {"name": "eur", "upstreams": [{"name": "primary"}]}]});
        let config = json!({"upstreams": [{"name": "primary", "provider": "openai", "max_retries": 3,
            "base_url": "https://api.example.com/v1", "api_key": "***", "timeout": {"connect": "2s"}}]});
        add_configured(&mut mesh, &config);
        let own = &mesh["nodes"][0]["upstreams"];
        let expected = json!({"provider": "openai", "base_url": "https://api.example.com/v1", "max_retries": 3,
            "timeout": {"connect": "2s"}});
        assert_eq!(own[0]["configured"], expected);
        assert!(own[1].get("configured").is_none());
        assert!(mesh["nodes"][1]["upstreams"][0].get("configured").is_none());
    }
}
