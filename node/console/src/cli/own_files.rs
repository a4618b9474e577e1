//! The configuration and certificates of a node as lines of text.

use std::time::Duration;

use grapevine_base::own_files::{expiry_text, rough};
use grapevine_base::page::{CertificateEntry, ConfigEntry, MeshPage};
use grapevine_base::table::printable;

use super::paint::Tone;

/// A line for the configuration that runs, one for each thing that differs from it, and one for each certificate.
pub(super) fn lines(page: &MeshPage) -> Vec<(String, Tone)> {
    let config = page.config.iter().flat_map(config_lines);
    let certificates = page.certificates.iter().map(certificate_line);
    let nodes = page.nodes.iter();
    let differing = nodes.filter_map(|node| {
        let since = rough(milliseconds(node.residency_differs_since_ms?));
        let name = printable(&node.name);
        let line = format!("{name} has had other residency rules than this node for {since}");
        Some((line, Tone::Warning))
    });
    config.chain(differing).chain(certificates).collect()
}

fn config_lines(config: &ConfigEntry) -> Vec<(String, Tone)> {
    let hash = |hash: &Option<String>| hash.as_deref().map(printable);
    let loaded = rough(milliseconds(config.loaded_ms_ago));
    let running = match hash(&config.file_hash) {
        Some(hash) => format!("config {hash}, loaded {loaded} ago"),
        None => format!("config without a file, loaded {loaded} ago"),
    };
    let mut lines = vec![(running, Tone::Plain)];
    if let Some(failed) = &config.last_reload_failed {
        let ago = rough(milliseconds(failed.ms_ago));
        let tried = hash(&failed.file_hash).map_or_else(String::new, |hash| format!(" {hash}"));
        let line =
            format!("config{tried} on disk was refused {ago} ago: the next restart may fail by it");
        lines.push((line, Tone::Bad));
        let problems = failed.error.lines();
        lines.extend(problems.map(|it| (format!("  {}", printable(it)), Tone::Bad)));
    }
    if !config.pending_restart.is_empty() {
        let keys: Vec<String> = config
            .pending_restart
            .iter()
            .map(|it| printable(it))
            .collect();
        let line = format!("config on disk waits for a restart: {}", keys.join(", "));
        lines.push((line, Tone::Warning));
    }
    lines
}

fn certificate_line(certificate: &CertificateEntry) -> (String, Tone) {
    let end = Duration::from_secs(certificate.not_after);
    let left = certificate.expires_in_ms;
    // The node's clock counts, not that of the machine where this runs.
    let wall = if left < 0.0 {
        end + milliseconds(-left)
    } else {
        end.saturating_sub(milliseconds(left))
    };
    let tone = match (certificate.ending, left <= 0.0) {
        (_, true) => Tone::Bad,
        (true, false) => Tone::Warning,
        (false, false) => Tone::Plain,
    };
    let used_for = printable(&certificate.used_for);
    (
        format!("certificate {used_for} {}", expiry_text(end, wall)),
        tone,
    )
}

fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_file_pending_changes_and_certificates_have_lines() {
        let page = r#"{"self": "a",
            "nodes": [{"name": "a"}, {"name": "eur", "residency_differs_since_ms": 200000}],
            "config": {"file_hash": "0123456789ab", "loaded_ms_ago": 7300000,
              "last_reload_failed": {"error": "c.yaml:1: listen: x\nc.yaml:2: admin: y", "ms_ago": 61000, "file_hash": "fedcba987654"},
              "pending_restart": ["mesh", "tasks"]},
            "certificates": [
              {"used_for": "mesh", "not_after": 1790000000, "expires_in_ms": 259200000, "ending": true},
              {"used_for": "public", "not_after": 1790000000, "expires_in_ms": -7200000, "ending": true},
              {"used_for": "mesh_ca", "not_after": 2000000000, "expires_in_ms": 8640000000, "ending": false}]}"#;
        let page: MeshPage = serde_json::from_str(page).unwrap();
        let (bad, warning, plain) = (Tone::Bad, Tone::Warning, Tone::Plain);
        let expected = [
            ("config 0123456789ab, loaded 2h ago", plain),
            (
                "config fedcba987654 on disk was refused 61s ago: the next restart may fail by it",
                bad,
            ),
            ("  c.yaml:1: listen: x", bad),
            ("  c.yaml:2: admin: y", bad),
            ("config on disk waits for a restart: mesh, tasks", warning),
            (
                "eur has had other residency rules than this node for 3m",
                warning,
            ),
            ("certificate mesh expires on 2026-09-21, in 3d", warning),
            ("certificate public expired on 2026-09-21, 2h ago", bad),
            ("certificate mesh_ca expires on 2033-05-18, in 100d", plain),
        ];
        let lines = lines(&page);
        let lines: Vec<_> = lines
            .iter()
            .map(|(text, tone)| (text.as_str(), *tone))
            .collect();
        assert_eq!(lines, expected);
        assert!(
            lines.iter().all(|(text, _)| text.len() <= 80),
            "they fit a terminal"
        );
    }

    #[test]
    fn page_of_an_older_node_has_no_lines() {
        let page: MeshPage = serde_json::from_str(r#"{"self": "a", "nodes": []}"#).unwrap();
        assert_eq!(lines(&page), []);
    }
}
