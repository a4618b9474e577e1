//! Another program's file, read key by key: the keys that nobody took are known at the end, so that nothing can be
//! dropped in silence.

use std::collections::BTreeSet;

use grapevine_base::table::printable;
use grapevine_config::foreign::{Foreign, ForeignEntry, ForeignKind};

/// A value, its key in full and its line.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    /// Such as `model_list[2].litellm_params.rpm`.
    pub(super) key: String,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: &'a Foreign,
}

impl<'a> At<'a> {
    /// The text of a scalar; `None` for anything else, and for nothing.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.value.kind {
            ForeignKind::Text(text) => Some(text.trim()),
            ForeignKind::Nothing | ForeignKind::List(_) | ForeignKind::Map(_) => None,
        }
    }

    /// A finite number.
    pub(super) fn number(&self) -> Option<f64> {
        let number: f64 = self.text()?.parse().ok()?;
        number.is_finite().then_some(number)
    }

    /// A boolean, in the words of YAML 1.1.
    pub(super) fn truth(&self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    /// Whether nothing is written: as good as an absent key.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.value.kind, ForeignKind::Nothing)
    }

    /// The items of a list; a single value is a list of one, nothing an empty one.
    pub(super) fn items(&self) -> Vec<At<'a>> {
        let item = |(index, value): (usize, &'a Foreign)| At {
            key: format!("{}[{index}]", self.key),
            line: value.line,
            value,
        };
        match &self.value.kind {
            ForeignKind::Nothing => Vec::new(),
            ForeignKind::List(items) => items.iter().enumerate().map(item).collect(),
            ForeignKind::Text(_) | ForeignKind::Map(_) => vec![self.clone()],
        }
    }

    /// The keys of a map; `None` where it is none.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        match &self.value.kind {
            ForeignKind::Map(entries) => Some(Section {
                key: self.key.clone(),
                entries,
                taken: BTreeSet::new(),
            }),
            ForeignKind::Nothing | ForeignKind::Text(_) | ForeignKind::List(_) => None,
        }
    }
}

/// The keys of a map.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    key: String,
    entries: &'a [ForeignEntry],
    taken: BTreeSet<usize>,
}

impl<'a> Section<'a> {
    /// The value of a key, which counts as taken from then on. `None` when it is absent or null.
    pub(super) fn take(&mut self, key: &str) -> Option<At<'a>> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        self.taken.insert(index);
        Some(self.at(index)?.1).filter(|at| !at.is_nothing())
    }

    /// The value of a key, which is left. `None` when it is absent or null.
    pub(super) fn peek(&self, key: &str) -> Option<At<'a>> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.at(index)?.1).filter(|at| !at.is_nothing())
    }

    /// Each key that nobody took, by its own name.
    pub(super) fn rest(&mut self) -> Vec<(&'a str, At<'a>)> {
        let left = (0..self.entries.len()).filter(|index| !self.taken.contains(index));
        let left: Vec<_> = left.filter_map(|index| self.at(index)).collect();
        self.taken.extend(0..self.entries.len());
        left.into_iter()
            .filter(|(_, at)| !at.is_nothing())
            .collect()
    }

    fn at(&self, index: usize) -> Option<(&'a str, At<'a>)> {
        let entry = self.entries.get(index)?;
        let name = printable(&entry.key);
        let key = match self.key.as_str() {
            "" => name,
            above => format!("{above}.{name}"),
        };
        let at = At {
            key,
            line: entry.line,
            value: &entry.value,
        };
        Some((&entry.key, at))
    }
}

/// The whole of a file.
pub(super) fn whole(value: &Foreign) -> At<'_> {
    At {
        key: String::new(),
        line: value.line,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grapevine_config::foreign;

    #[test]
    fn what_nobody_took_is_left_over() {
        let file = foreign::read("a: 1\nb: {c: yes}\nd:\ne: [x, 2.5]\n", None).expect("good YAML");
        let mut section = whole(&file).section().expect("a map");
        assert_eq!(section.take("a").and_then(|at| at.number()), Some(1.0));
        assert!(section.take("d").is_none() && section.take("nowhere").is_none());
        let left: Vec<_> = section
            .rest()
            .into_iter()
            .map(|(name, at)| (name, at.line))
            .collect();
        assert_eq!(left, [("b", 2), ("e", 4)]);
        assert!(section.rest().is_empty());
    }

    #[test]
    fn items_and_keys_are_named_in_full() {
        let file = foreign::read("a: {b: [x, {c: on}]}\n", None).expect("good YAML");
        let mut whole = whole(&file).section().expect("a map");
        let mut a = whole.take("a").and_then(|at| at.section()).expect("a map");
        let items = a.take("b").expect("a list").items();
        assert_eq!(
            (items[0].key.as_str(), items[0].text()),
            ("a.b[0]", Some("x"))
        );
        let mut inner = items[1].section().expect("a map");
        let c = inner.take("c").expect("a value");
        assert_eq!((c.key.as_str(), c.truth()), ("a.b[1].c", Some(true)));
    }
}
