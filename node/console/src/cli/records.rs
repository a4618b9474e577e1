//! The entries of a node's `/requests`, read tolerantly, and how the terminal words them.

use serde::Deserialize;

use grapevine_base::table::printable;

/// The last requests, the newest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RequestsPage {
    pub(super) requests: Vec<RequestEntry>,
}

/// One finished request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct RequestEntry {
    pub(super) id: String,
    /// Seconds since the Unix epoch.
    pub(super) time: f64,
    pub(super) path: String,
    /// `None` where the request names none.
    pub(super) model: Option<String>,
    pub(super) status: u16,
    /// The node that served it; `None` where nobody did.
    pub(super) node: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) attempts: Vec<AttemptEntry>,
    /// Of the last attempt; 0 where none came.
    pub(super) first_byte_ms: f64,
    pub(super) total_ms: f64,
    pub(super) tokens_in: Option<u64>,
    pub(super) tokens_out: Option<u64>,
    /// The name of the client's key.
    pub(super) key: Option<String>,
    /// The id of that key, where it was issued.
    pub(super) key_id: Option<String>,
    /// Why it failed.
    pub(super) error: Option<String>,
    /// How it ended for its client: `answered`, `refused`, `failed`, `broken_off` or `left`.
    pub(super) end: String,
    /// Whether it failed: with a 5xx, or broken off by an upstream or a node.
    pub(super) failed: bool,
}

/// One attempt of a request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct AttemptEntry {
    pub(super) node: String,
    pub(super) upstream: String,
    pub(super) outcome: String,
    /// Why this candidate.
    pub(super) reason: String,
}

impl RequestEntry {
    /// The time of day in UTC.
    pub(super) fn clock(&self) -> String {
        // A float out of range saturates, and is no time of day anyway.
        let seconds = self.time as u64 % 86_400;
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    /// From the entry node over the owner to the upstream: `usa > eur/primary`, or `usa/primary` at home.
    pub(super) fn way(&self, entry: &str) -> String {
        let last = self.attempts.last();
        let node = self
            .node
            .as_deref()
            .or(last.map(|attempt| attempt.node.as_str()));
        let upstream = self
            .upstream
            .as_deref()
            .or(last.map(|attempt| attempt.upstream.as_str()));
        let way = match (node, upstream) {
            (None, _) => entry.to_owned(),
            (Some(node), Some(upstream)) if node == entry => format!("{entry}/{upstream}"),
            (Some(node), Some(upstream)) => format!("{entry} > {node}/{upstream}"),
            (Some(node), None) => format!("{entry} > {node}"),
        };
        printable(&way)
    }

    /// Why it went there, or why it failed.
    pub(super) fn why(&self) -> String {
        let reason = self.attempts.last().map(|attempt| attempt.reason.as_str());
        let why = self.error.as_deref().or(reason).unwrap_or("-");
        printable(why)
    }

    /// Whether one of its attempts was at the upstream called `name`, which may be `NODE/NAME`.
    pub(super) fn was_tried_at(&self, name: &str) -> bool {
        let owned = name.split_once('/');
        self.attempts.iter().any(|attempt| match owned {
            Some((node, upstream)) => attempt.node == node && attempt.upstream == upstream,
            None => attempt.upstream == name,
        })
    }

    /// What failed on the way: `connect at usa/primary`, each with the next.
    pub(super) fn failures(&self) -> String {
        let failed = self
            .attempts
            .iter()
            .filter(|attempt| attempt.outcome != "answered");
        let failed = failed.map(|attempt| {
            format!(
                "{} at {}/{}",
                attempt.outcome, attempt.node, attempt.upstream
            )
        });
        printable(&failed.collect::<Vec<_>>().join(", "))
    }

    /// Tokens in and out, as far as they are known.
    pub(super) fn tokens(&self) -> String {
        let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        match (self.tokens_in, self.tokens_out) {
            (None, None) => "-".to_owned(),
            (tokens_in, tokens_out) => format!("{}/{}", count(tokens_in), count(tokens_out)),
        }
    }

    /// The model, or the path where there is none.
    pub(super) fn subject(&self) -> String {
        printable(self.model.as_deref().unwrap_or(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> RequestEntry {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn way_names_the_owner_only_where_it_is_another_node() {
        let own = entry(r#"{"node": "usa", "upstream": "a", "time": 1764036305.9}"#);
        assert_eq!(
            (own.way("usa").as_str(), own.clock().as_str()),
            ("usa/a", "02:05:05")
        );
        let other = entry(r#"{"node": "eur", "upstream": "b"}"#);
        assert_eq!(other.way("usa"), "usa > eur/b");
        assert_eq!(entry("{}").way("usa"), "usa");
    }

    #[test]
    fn failures_name_their_upstream() {
        let moved = entry(
            r#"{"status": 200, "node": "eur", "attempts": [
                {"node": "usa", "upstream": "a", "outcome": "connect", "reason": "least-cost"},
                {"node": "eur", "upstream": "b", "outcome": "answered", "reason": "fallback"}]}"#,
        );
        assert_eq!(
            (moved.failures().as_str(), moved.why().as_str()),
            ("connect at usa/a", "fallback")
        );
        let failed = entry(r#"{"error": "upstream_timeout", "status": 504}"#);
        assert_eq!(failed.why(), "upstream_timeout");
        assert_eq!(entry(r#"{"tokens_in": 5}"#).tokens(), "5/-");
    }

    #[test]
    fn times_beyond_any_clock_are_no_panic() {
        for time in [f64::MAX, -1.0] {
            let entry = RequestEntry {
                time,
                ..RequestEntry::default()
            };
            assert_eq!(entry.clock().len(), 8);
        }
    }
}
