//! The mesh in a few counts, as the node that is asked made them.

use serde::Deserialize;

use crate::table::{listed, printable};

/// The mesh in a few counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SummaryEntry {
    /// Nodes by state.
    pub nodes: NodeTotalsEntry,
    /// Upstreams.
    pub upstreams: UpstreamTotals,
    /// Models that some upstream lists by name.
    pub models: ModelTotals,
}

/// Nodes by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeTotalsEntry {
    /// All of them.
    pub all: usize,
    /// Those that take work.
    pub ready: usize,
    /// Those that do not yet.
    pub joining: usize,
    /// Those that do not any more.
    pub draining: usize,
    /// Those that nothing comes from.
    pub unreachable: usize,
}

/// Upstreams of all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UpstreamTotals {
    /// All of them.
    pub all: usize,
    /// Those that new requests may be sent to.
    pub usable: usize,
    /// Those of unreachable nodes.
    pub unreachable: usize,
}

/// Models that some upstream lists by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ModelTotals {
    /// All of them.
    pub all: usize,
    /// Those that no upstream may be used for.
    pub unserved: usize,
    /// The first of those by name.
    pub unserved_names: Vec<String>,
}

impl SummaryEntry {
    /// It in one line, such as `3 of 4 nodes ready, 1 unreachable; 2 of 4 upstreams usable`.
    pub fn line(&self) -> String {
        let NodeTotalsEntry {
            all,
            ready,
            joining,
            draining,
            unreachable,
        } = self.nodes;
        let rest = [
            (joining, "joining"),
            (draining, "draining"),
            (unreachable, "unreachable"),
        ];
        let rest = rest.into_iter().filter(|(count, _)| *count > 0);
        let rest: String = rest
            .map(|(count, word)| format!(", {count} {word}"))
            .collect();
        let UpstreamTotals {
            all: upstreams,
            usable,
            ..
        } = self.upstreams;
        format!("{ready} of {all} nodes ready{rest}; {usable} of {upstreams} upstreams usable")
    }

    /// The models that nobody serves now, in one line; `None` where there are none.
    pub fn unserved_line(&self) -> Option<String> {
        let models = &self.models;
        if models.unserved == 0 {
            return None;
        }
        let named: Vec<String> = models
            .unserved_names
            .iter()
            .map(|it| printable(it))
            .collect();
        let names = listed(&named, models.unserved);
        Some(format!("no usable upstream for {names}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_without_nodes_are_left_out() {
        let mut summary = SummaryEntry::default();
        summary.nodes.all = 4;
        summary.nodes.ready = 3;
        summary.nodes.unreachable = 1;
        summary.upstreams.all = 4;
        summary.upstreams.usable = 2;
        let expected = "3 of 4 nodes ready, 1 unreachable; 2 of 4 upstreams usable";
        assert_eq!(summary.line(), expected);
        assert_eq!(summary.unserved_line(), None);
        summary.models.unserved = 3;
        summary.models.unserved_names = vec!["a".to_owned(), "b".to_owned()];
        let line = "no usable upstream for a, b and 1 more";
        assert_eq!(summary.unserved_line().as_deref(), Some(line));
    }
}
