//! The flags of the command line, which override the environment and the file.

use std::collections::BTreeMap;

use super::address::BaseUrl;
use super::problem::{ConfigReport, ValueOrigin};
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
    pub(super) fn apply(&self, tree: &mut TreeNode, report: &mut ConfigReport) {
        self.report_repeated(report);
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

    /// Reports upstreams of one name: the later would take the place of the earlier in silence.
    fn report_repeated(&self, report: &mut ConfigReport) {
        let mut first_of_name = BTreeMap::new();
        for flag in &self.0 {
            let Flag::Upstream { name, base_url } = flag else {
                continue;
            };
            match first_of_name.get(name) {
                None => drop(first_of_name.insert(name, base_url)),
                Some(first) => {
                    let (first, second) = (shown(first), shown(base_url));
                    let problem = format!("{name} is given twice, as {first} and as {second}");
                    let remedy = "give each upstream a name of its own";
                    let origin = ValueOrigin::Flag(UPSTREAM.to_owned());
                    report.problem(&origin, "upstreams", problem, remedy);
                }
            }
        }
    }
}

/// The URL as it may be shown: what is none may hold a password.
fn shown(url: &str) -> &str {
    match url.parse::<BaseUrl>() {
        Ok(_) => url,
        Err(_) => "a text that is no URL",
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
