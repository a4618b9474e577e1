//! YAML as a tree with the position of each value.
//!
//! Not read straight into the types of [`super::file`], since that stops at the first mistake, and guesses
//! types: here a value stays the text that was written until the schema gives its type, so that a version
//! `1.10` stays one and a country `no` is not a boolean.

mod stop;

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::problem::{ConfigReport, ValueOrigin};
use super::shield::{shield, unshield};
use stop::{Stop, unexpected};

/// Values in one file, aliases counted as often as they are used: far more than a person writes, and
/// the end of a file that multiplies itself.
const NODES_MAX: usize = 50_000;

/// Lists and maps inside one another: far more than a person writes, and little enough for any stack.
const DEPTH_MAX: usize = 64;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct TreeNode {
    pub(super) origin: ValueOrigin,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`: as good as not written.
    Null,
    /// A text or a number.
    Scalar(Scalar),
    /// A list.
    List(Vec<TreeNode>),
    /// Keys and values, in the order of the file.
    Map(Vec<TreeEntry>),
}

/// A text or a number.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    /// What counts.
    pub(super) text: String,
    /// What was written, where it held variables; for messages.
    pub(super) written: Option<String>,
    /// Whether it was written in quotes, and so meant as a text.
    pub(super) quoted: bool,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct TreeEntry {
    pub(super) key: String,
    pub(super) key_origin: ValueOrigin,
    pub(super) value: TreeNode,
}

impl TreeNode {
    pub(super) fn map(origin: ValueOrigin) -> Self {
        Self {
            origin,
            kind: Kind::Map(Vec::new()),
        }
    }

    pub(super) fn scalar(origin: ValueOrigin, text: &str) -> Self {
        // As good as quoted by the shell: the schema alone decides what it is.
        let scalar = Scalar {
            text: text.to_owned(),
            written: None,
            quoted: false,
        };
        Self {
            origin,
            kind: Kind::Scalar(scalar),
        }
    }

    /// The value of `key` in a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value),
            _ => None,
        }
    }

    /// Puts `value` under `keys`, over what was written there.
    pub(super) fn set(&mut self, keys: &[&str], value: Self) {
        let Some((key, rest)) = keys.split_first() else {
            *self = value;
            return;
        };
        self.entry(key, &value.origin).set(rest, value);
    }

    /// The value of `key`, made when there is none; what is not a map becomes one.
    pub(super) fn entry(&mut self, key: &str, origin: &ValueOrigin) -> &mut Self {
        if !matches!(self.kind, Kind::Map(_)) {
            self.kind = Kind::Map(Vec::new());
        }
        let Kind::Map(entries) = &mut self.kind else {
            unreachable!("made a map above")
        };
        let index = entries
            .iter()
            .position(|entry| entry.key == key)
            .unwrap_or_else(|| {
                let value = Self {
                    origin: origin.clone(),
                    kind: Kind::Null,
                };
                entries.push(TreeEntry {
                    key: key.to_owned(),
                    key_origin: origin.clone(),
                    value,
                });
                entries.len() - 1
            });
        &mut entries[index].value
    }

    fn count(&self) -> usize {
        match &self.kind {
            Kind::Null | Kind::Scalar(_) => 1,
            Kind::List(items) => items.iter().map(Self::count).sum::<usize>() + 1,
            Kind::Map(entries) => {
                entries
                    .iter()
                    .map(|entry| entry.value.count())
                    .sum::<usize>()
                    + 1
            }
        }
    }
}

/// Reads one YAML document. A mistake in the YAML itself is reported to `report`, and there is no tree.
pub(super) fn parse(text: &str, report: &mut ConfigReport) -> Option<TreeNode> {
    let shielded = shield(text);
    let mut reader = Reader {
        text: &shielded,
        parser: Parser::new_from_str(&shielded),
        anchors: BTreeMap::new(),
        nodes: 0,
        depth: 0,
        report,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Stop {
            origin,
            problem,
            remedy,
        }) => {
            report.problem(&origin, "", problem, remedy);
            None
        }
    }
}

struct Reader<'text, 'report> {
    text: &'text str,
    parser: Parser<'text, StrInput<'text>>,
    anchors: BTreeMap<usize, TreeNode>,
    nodes: usize,
    depth: usize,
    report: &'report mut ConfigReport,
}

impl<'text> Reader<'text, '_> {
    /// The next event that is not a comment.
    fn next(&mut self) -> Result<(Event<'text>, ValueOrigin), Stop> {
        loop {
            let next = self.parser.next().transpose();
            match next.map_err(|error| Stop::at(&error, self.text))? {
                Some((Event::Comment(..), _)) => {}
                Some((event, span)) => return Ok((event, origin(&span))),
                None => return Ok((Event::StreamEnd, ValueOrigin::Nowhere)),
            }
        }
    }

    fn document(&mut self) -> Result<TreeNode, Stop> {
        let mut document = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), origin) if document.is_some() => {
                    return Err(Stop {
                        origin,
                        problem: "holds a second document".to_owned(),
                        remedy: "write one document, without ---",
                    });
                }
                (Event::DocumentStart(..), _) => {
                    let first = self.next()?;
                    document = Some(self.node(first)?);
                }
                (_, origin) => return Err(unexpected(origin)),
            }
        }
        Ok(document.unwrap_or(TreeNode {
            origin: ValueOrigin::Nowhere,
            kind: Kind::Null,
        }))
    }

    fn node(&mut self, (event, origin): (Event<'text>, ValueOrigin)) -> Result<TreeNode, Stop> {
        self.count(1, &origin)?;
        let (anchor, kind) = match event {
            // `worker_mode: !` would be a tag without a value, and mean the default.
            Event::Scalar(_, ScalarStyle::Plain, _, Some(_)) => {
                return Err(Stop {
                    origin,
                    problem: "is a YAML tag, which has no meaning here".to_owned(),
                    remedy: "put a text that begins with ! in quotes",
                });
            }
            Event::Scalar(text, style, anchor, _) => (anchor, scalar(unshield(&text), style)),
            Event::SequenceStart(_, anchor, _) => (anchor, self.within(&origin, Self::list)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.within(&origin, Self::map)?),
            Event::Alias(anchor) => {
                let node = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| unexpected(origin.clone()))?;
                self.count(node.count(), &origin)?;
                return Ok(node);
            }
            _ => return Err(unexpected(origin)),
        };
        let node = TreeNode { origin, kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    /// Reads a list or a map one level further in.
    fn within(
        &mut self,
        origin: &ValueOrigin,
        read: impl FnOnce(&mut Self) -> Result<Kind, Stop>,
    ) -> Result<Kind, Stop> {
        if self.depth == DEPTH_MAX {
            return Err(Stop {
                origin: origin.clone(),
                problem: format!("is nested more than {DEPTH_MAX} levels deep"),
                remedy: "write it flatter",
            });
        }
        self.depth += 1;
        let kind = read(self);
        self.depth -= 1;
        kind
    }

    fn list(&mut self) -> Result<Kind, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                first => items.push(self.node(first)?),
            }
        }
    }

    fn map(&mut self) -> Result<Kind, Stop> {
        let mut entries: Vec<TreeEntry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (key, key_origin) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(key, ..), origin) => (unshield(&key), origin),
                (_, origin) => {
                    return Err(Stop {
                        origin,
                        problem: "has a key that is not a text".to_owned(),
                        remedy: "write keys as plain words",
                    });
                }
            };
            let first = self.next()?;
            let value = self.node(first)?;
            if key == MERGE {
                merged.push(value);
                continue;
            }
            if let Some(earlier) = entries.iter().find(|entry| entry.key == key) {
                let problem = format!("is written twice (first {})", line(&earlier.key_origin));
                self.report
                    .problem(&key_origin, &key, problem, "keep one of them");
            } else {
                entries.push(TreeEntry {
                    key,
                    key_origin,
                    value,
                });
            }
        }
        merged
            .into_iter()
            .for_each(|node| merge(&mut entries, node));
        Ok(Kind::Map(entries))
    }

    fn count(&mut self, nodes: usize, origin: &ValueOrigin) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        Err(Stop {
            origin: origin.clone(),
            problem: format!("holds more than {NODES_MAX} values"),
            remedy: "write fewer, or use fewer aliases",
        })
    }
}

/// The key whose value, a map or a list of maps, is merged under the keys beside it.
const MERGE: &str = "<<";

fn merge(entries: &mut Vec<TreeEntry>, node: TreeNode) {
    match node.kind {
        Kind::Map(others) => {
            for other in others {
                if !entries.iter().any(|entry| entry.key == other.key) {
                    entries.push(other);
                }
            }
        }
        Kind::List(items) => items.into_iter().for_each(|item| merge(entries, item)),
        Kind::Null | Kind::Scalar(_) => {}
    }
}

fn scalar(text: String, style: ScalarStyle) -> Kind {
    let quoted = style != ScalarStyle::Plain;
    if !quoted && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Kind::Null;
    }
    Kind::Scalar(Scalar {
        text,
        written: None,
        quoted,
    })
}

fn origin(span: &Span) -> ValueOrigin {
    ValueOrigin::File {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

fn line(origin: &ValueOrigin) -> String {
    match origin {
        ValueOrigin::File { line, .. } => format!("in line {line}"),
        _ => "elsewhere".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<TreeNode>, Vec<String>) {
        let mut report = ConfigReport::new(None);
        let node = parse(text, &mut report);
        (
            node,
            report.problems.iter().map(ToString::to_string).collect(),
        )
    }

    fn text_at(node: &TreeNode, keys: &[&str]) -> Option<String> {
        let found = keys.iter().try_fold(node, |node, key| node.get(key))?;
        match &found.kind {
            Kind::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        }
    }

    #[test]
    fn text_that_begins_with_a_sign_of_yaml_is_to_be_quoted() {
        for (text, sign) in [
            ("a: 1\nworker_mode: *\n", '*'),
            ("worker_mode: *", '*'),
            ("worker_mode: *,!\n", '*'),
            ("worker_mode: *  # all\n", '*'),
            ("models: [*]\n", '*'),
            ("models: [a, *]\n", '*'),
            ("models:\n- *\n", '*'),
            ("models:\n- *.example.net\n", '*'),
            ("models: *gpt\n", '*'),
            ("name: @team\n", '@'),
            ("name: `x`\n", '`'),
            ("name: %x\n", '%'),
            ("name: &\n", '&'),
        ] {
            let (_, problems) = read(text);
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            let remedy = match sign {
                '*' | '&' => format!("put it in quotes: \"{sign}\""),
                _ => "put the whole text in quotes".to_owned(),
            };
            assert!(problems[0].ends_with(&remedy), "{text}: {problems:?}");
        }
        let (node, problems) = read("worker_mode: \"*\"\n");
        assert_eq!(problems, [""; 0]);
        let node = node.expect("a good document");
        assert_eq!(text_at(&node, &["worker_mode"]).as_deref(), Some("*"));
        // What is wrong for another reason keeps its own message.
        let (_, problems) = read("a: [1\nb: *x\n");
        assert!(!problems[0].contains("put it in quotes"), "{problems:?}");
    }

    #[test]
    fn value_knows_its_line_and_column() {
        let (node, problems) = read("a:\n  b: [x, y]\n");
        let node = node.expect("a good document");
        let list = node.get("a").and_then(|a| a.get("b")).expect("a list");
        let Kind::List(items) = &list.kind else {
            panic!("not a list: {list:?}")
        };
        assert_eq!(
            items[1].origin,
            ValueOrigin::File {
                line: 2,
                column: 10
            }
        );
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn plain_texts_are_not_guessed_at() {
        let (node, _) = read("version: 1.10\ncountry: no\nnothing: ~\nempty:\nword: 'null'\n");
        let node = node.expect("a good document");
        assert_eq!(text_at(&node, &["version"]).as_deref(), Some("1.10"));
        assert_eq!(text_at(&node, &["country"]).as_deref(), Some("no"));
        assert_eq!(text_at(&node, &["word"]).as_deref(), Some("null"));
        for key in ["nothing", "empty"] {
            assert!(
                matches!(node.get(key).map(|node| &node.kind), Some(Kind::Null)),
                "{key}"
            );
        }
    }

    #[test]
    fn merged_keys_come_under_written_ones() {
        let (node, _) = read("base: &base {x: 1, y: 2}\nown: {<<: *base, y: 3}\n");
        let node = node.expect("a good document");
        assert_eq!(text_at(&node, &["own", "x"]).as_deref(), Some("1"));
        assert_eq!(text_at(&node, &["own", "y"]).as_deref(), Some("3"));
    }

    #[test]
    fn key_written_twice_is_reported_with_both_lines() {
        let (_, problems) = read("listen: a\nlog: {}\nlisten: b\n");
        assert_eq!(
            problems,
            ["3:1: listen: is written twice (first in line 1); keep one of them"]
        );
    }

    #[test]
    fn file_that_multiplies_itself_ends() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        let (node, problems) = read(&text);
        assert!(node.is_none());
        assert!(
            problems[0].contains("holds more than 50000 values"),
            "{problems:?}"
        );
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let (node, _) = read(&format!("{}{}", "[".repeat(64), "]".repeat(64)));
        assert!(node.is_some());
        for opening in ["[", "{a: ", "- "] {
            let (node, problems) = read(&opening.repeat(200_000));
            assert!(node.is_none() && problems.len() == 1, "{problems:?}");
        }
    }

    #[test]
    fn second_document_and_odd_keys_are_refused() {
        let (_, problems) = read("a: 1\n---\nb: 2\n");
        assert_eq!(
            problems,
            ["2:1: holds a second document; write one document, without ---"]
        );
        let (_, problems) = read("? [a]\n: 1\n");
        assert_eq!(
            problems,
            ["1:3: has a key that is not a text; write keys as plain words"]
        );
    }

    #[test]
    fn empty_file_is_an_empty_tree() {
        for text in ["", "# only a comment\n", "---\n"] {
            let (node, problems) = read(text);
            assert!(
                matches!(node.map(|node| node.kind), Some(Kind::Null)),
                "{text:?}"
            );
            assert_eq!(problems, [""; 0]);
        }
    }
}
