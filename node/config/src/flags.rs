//! The flags of the command line, which override the environment and the file.

use super::problem::ValueOrigin;
use super::tree::{Kind, TreeNode};

/// Flags of the command line and the keys they set.
#[derive(Clone, Debug, Default)]
pub struct Flags(Vec<Flag>);

#[derive(Clone, Debug)]
enum Flag {
    One {
        flag: &'static str,
        keys: &'static [&'static str],
        text: String,
    },
    List {
        flag: &'static str,
        keys: &'static [&'static str],
        texts: Vec<String>,
    },
    Upstream {
        name: String,
        base_url: String,
    },
}

/// The flag that adds an upstream.
const UPSTREAM: &str = "--upstream";

impl Flags {
    /// `flag` sets the value of `keys` to `text`, when it was given.
    #[must_use]
    pub fn with(
        mut self,
        flag: &'static str,
        keys: &'static [&'static str],
        text: Option<String>,
    ) -> Self {
        self.0
            .extend(text.map(|text| Flag::One { flag, keys, text }));
        self
    }

    /// `flag` sets the list of `keys` to `texts`, when it was given at all.
    #[must_use]
    pub fn with_list(
        mut self,
        flag: &'static str,
        keys: &'static [&'static str],
        texts: Vec<String>,
    ) -> Self {
        if !texts.is_empty() {
            self.0.push(Flag::List { flag, keys, texts });
        }
        self
    }

    /// `--upstream NAME=URL` adds an upstream, or moves the one of that name to another URL.
    #[must_use]
    pub fn with_upstream(mut self, name: String, base_url: String) -> Self {
        self.0.push(Flag::Upstream { name, base_url });
        self
    }

    /// Applies the flags over the values of the tree.
    pub(super) fn apply(&self, tree: &mut TreeNode) {
        for flag in &self.0 {
            match flag {
                Flag::One { flag, keys, text } => {
                    tree.set(
                        keys,
                        TreeNode::scalar(ValueOrigin::Flag((*flag).to_owned()), text),
                    );
                }
                Flag::List { flag, keys, texts } => {
                    let origin = ValueOrigin::Flag((*flag).to_owned());
                    let items = texts
                        .iter()
                        .map(|text| TreeNode::scalar(origin.clone(), text))
                        .collect();
                    tree.set(
                        keys,
                        TreeNode {
                            origin,
                            kind: Kind::List(items),
                        },
                    );
                }
                Flag::Upstream { name, base_url } => set_upstream(tree, name, base_url),
            }
        }
    }
}

fn set_upstream(tree: &mut TreeNode, name: &str, base_url: &str) {
    let origin = ValueOrigin::Flag(UPSTREAM.to_owned());
    let list = tree.entry("upstreams", &origin);
    if matches!(list.kind, Kind::Null) {
        *list = TreeNode {
            origin: origin.clone(),
            kind: Kind::List(Vec::new()),
        };
    }
    // Anything but a list is a mistake of the file, and reported as one.
    let Kind::List(items) = &mut list.kind else {
        return;
    };
    let is_named = |node: &&mut TreeNode| match node.get("name").map(|name| &name.kind) {
        Some(Kind::Scalar(scalar)) => scalar.text == name,
        _ => false,
    };
    let base_url = TreeNode::scalar(origin.clone(), base_url);
    match items.iter_mut().find(is_named) {
        Some(node) => node.set(&["base_url"], base_url),
        None => {
            let mut node = TreeNode::map(origin.clone());
            node.set(&["name"], TreeNode::scalar(origin, name));
            node.set(&["base_url"], base_url);
            items.push(node);
        }
    }
}
