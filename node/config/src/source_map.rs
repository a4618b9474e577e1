//! Where each key was written, and how its value may be shown.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::ValueOrigin;
use super::secret::REDACTED;
use super::tree::{Kind, TreeNode};

/// A value in a message is cut to this many characters.
const SHOWN_MAX: usize = 60;

/// Where each key was written, and how to show its value.
#[derive(Debug)]
pub(super) struct SourceMap {
    written: BTreeMap<String, SourceEntry>,
    refused: BTreeSet<String>,
}

#[derive(Debug)]
struct SourceEntry {
    origin: ValueOrigin,
    shown: String,
}

impl SourceMap {
    /// An empty map; `refused` are keys reported already.
    pub(super) fn new(refused: BTreeSet<String>) -> Self {
        Self {
            written: BTreeMap::new(),
            refused,
        }
    }

    /// Records where `key` was written, and its value unless that is secret.
    pub(super) fn write(&mut self, key: &str, node: &TreeNode, is_secret: bool) {
        let entry = SourceEntry {
            origin: node.origin.clone(),
            shown: shown(node, is_secret),
        };
        self.written.insert(key.to_owned(), entry);
    }

    /// Records that a problem was reported about `key`.
    pub(super) fn refuse(&mut self, key: &str) {
        self.refused.insert(key.to_owned());
    }

    /// Where `key` was written; for a missing key where its parent was.
    pub(super) fn origin(&self, key: &str) -> ValueOrigin {
        let mut key = key;
        loop {
            if let Some(entry) = self.written.get(key) {
                return entry.origin.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return ValueOrigin::Nowhere,
            }
        }
    }

    /// The value of `key` as it may be shown: as written, cut, and without what is secret.
    pub(super) fn shown(&self, key: &str) -> &str {
        self.written.get(key).map_or("", |entry| &entry.shown)
    }

    /// Whether `key` was written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.written.contains_key(key)
    }

    /// Whether a problem was reported about `key` already.
    pub(super) fn was_refused(&self, key: &str) -> bool {
        self.refused.contains(key)
    }
}

/// What `node` is, in words.
pub(super) fn kind(node: &TreeNode) -> &'static str {
    match node.kind {
        Kind::Null => "empty",
        Kind::Scalar(_) => "a single value",
        Kind::List(_) => "a list",
        Kind::Map(_) => "a map",
    }
}

fn shown(node: &TreeNode, is_secret: bool) -> String {
    let Kind::Scalar(scalar) = &node.kind else {
        return kind(node).to_owned();
    };
    if is_secret {
        return REDACTED.to_owned();
    }
    let text = scalar.written.as_ref().unwrap_or(&scalar.text);
    let text = without_credentials(text);
    let mut cut: String = text
        .chars()
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        cut.push_str("..");
    }
    if cut.is_empty() {
        "\"\"".to_owned()
    } else {
        cut
    }
}

/// A URL without its user, password and query; any other text as it is.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    // The last @ of all, since a password may hold a slash by mistake.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_shown_without_its_password_and_query() {
        assert_eq!(
            without_credentials("https://u:p/q@host/v1?key=k"),
            "https://***@host/v1?***"
        );
        assert_eq!(without_credentials("https://host/v1"), "https://host/v1");
        assert_eq!(without_credentials("plain"), "plain");
    }
}
