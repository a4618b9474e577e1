//! What a hub node keeps beside what the hub models, so that its own dialect can be written again without loss.
//!
//! Three things are kept apart, since another dialect treats them differently: *fields* that the hub does not know
//! (lost elsewhere, and named), *blanks* that say nothing (nulls, empty lists, constants: written back at home, left
//! out elsewhere), and the *form* of what the hub does know (a string where a list could stand).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::dialect::Dialect;
use crate::loss::{LossList, is_harmless};

/// What one JSON object of a dialect says beyond its hub node.
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    from: Dialect,
    path: String,
    pub(crate) fields: Map<String, Value>,
    pub(crate) blanks: Map<String, Value>,
    form: BTreeMap<&'static str, &'static str>,
    names: BTreeMap<&'static str, &'static str>,
    nested: BTreeMap<&'static str, Rest>,
}

impl Rest {
    /// Nothing beyond the hub node that stands at `path` of a body in `from`.
    pub fn new(from: Dialect, path: impl Into<String>) -> Self {
        Self {
            from,
            path: path.into(),
            fields: Map::new(),
            blanks: Map::new(),
            form: BTreeMap::new(),
            names: BTreeMap::new(),
            nested: BTreeMap::new(),
        }
    }

    /// The dialect that the node came in.
    pub const fn from(&self) -> Dialect {
        self.from
    }

    /// Whether the node came in `dialect`.
    pub fn is_from(&self, dialect: Dialect) -> bool {
        self.from == dialect
    }

    /// Where the node stands in the body that came.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where a field of the node stands, by the hub's name for it.
    pub fn at(&self, field: &'static str) -> String {
        let name = self.names.get(field).copied().unwrap_or(field);
        join(&self.path, name)
    }

    /// Where a field of the node stands if the dialect has a name for it, and where the node itself does if not.
    pub fn place(&self, field: &'static str) -> String {
        match self.names.get(field) {
            Some(name) => join(&self.path, name),
            None => self.path.clone(),
        }
    }

    /// How the dialect names what the hub calls `field`, where it has several names.
    pub fn name(&self, dialect: Dialect, field: &'static str) -> Option<&'static str> {
        self.names
            .get(field)
            .copied()
            .filter(|_| self.is_from(dialect))
    }

    /// Records the name of a field, or a path below the node such as `output_config.effort`.
    pub fn set_name(&mut self, field: &'static str, name: &'static str) {
        self.names.insert(field, name);
    }

    /// How `dialect` wrote `field`; nothing if the node came in another.
    pub fn form(&self, dialect: Dialect, field: &'static str) -> Option<&'static str> {
        self.form
            .get(field)
            .copied()
            .filter(|_| self.is_from(dialect))
    }

    /// Records how a field was written.
    pub fn set_form(&mut self, field: &'static str, form: &'static str) {
        self.form.insert(field, form);
    }

    /// A field that says nothing, as `dialect` wrote it.
    pub fn blank(&self, dialect: Dialect, field: &str) -> Option<&Value> {
        self.blanks.get(field).filter(|_| self.is_from(dialect))
    }

    /// Keeps a field that says nothing elsewhere.
    pub fn set_blank(&mut self, field: &str, value: Value) {
        self.blanks.insert(field.to_string(), value);
    }

    /// An unknown field, as `dialect` wrote it.
    pub fn field(&self, dialect: Dialect, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|_| self.is_from(dialect))
    }

    /// What is kept of the object under `key`.
    pub fn nested(&self, key: &str) -> Option<&Self> {
        self.nested.get(key)
    }

    pub(crate) fn set_nested(&mut self, key: &'static str, rest: Self) {
        self.nested.insert(key, rest);
    }

    pub(crate) fn remove_nested(&mut self, key: &str) {
        self.nested.remove(key);
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
            && self.blanks.is_empty()
            && self.form.is_empty()
            && self.nested.is_empty()
    }

    /// Writes what is kept into the object that the node became, or names each field that `dialect` cannot say.
    ///
    /// Fields that stand in `object` already are left as they are.
    pub fn write(&self, dialect: Dialect, object: &mut Map<String, Value>, losses: &mut LossList) {
        if !self.is_from(dialect) {
            self.lose(losses);
            return;
        }
        for (key, value) in self.fields.iter().chain(&self.blanks) {
            object.entry(key).or_insert_with(|| value.clone());
        }
        for (key, rest) in &self.nested {
            let inside = object
                .entry(*key)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inside) = inside {
                rest.write(dialect, inside, losses);
            }
        }
    }

    /// Takes over what a later report of the same node keeps.
    pub(crate) fn update(&mut self, later: Self) {
        if self.from != later.from {
            return;
        }
        for key in later.fields.keys().chain(later.blanks.keys()) {
            self.fields.remove(key);
            self.blanks.remove(key);
        }
        self.fields.extend(later.fields);
        self.blanks.extend(later.blanks);
        self.form.extend(later.form);
        for (key, rest) in later.nested {
            match self.nested.get_mut(key) {
                Some(earlier) => earlier.update(rest),
                None => self.set_nested(key, rest),
            }
        }
    }

    /// Names each unknown field as lost, unless the node came in `dialect`.
    pub(crate) fn lose_elsewhere(&self, dialect: Dialect, losses: &mut LossList) {
        if !self.is_from(dialect) {
            self.lose(losses);
        }
    }

    /// Names each unknown field as lost.
    pub fn lose(&self, losses: &mut LossList) {
        for (key, value) in &self.fields {
            if !value.is_null() && !is_harmless(self.from, key) {
                losses.add(join(&self.path, key), "the other dialect has no such field");
            }
        }
        for rest in self.nested.values() {
            rest.lose(losses);
        }
    }
}

/// The path of a field of the object at `path`.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_string()
    } else {
        format!("{path}.{field}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rest() -> Rest {
        let mut rest = Rest::new(Dialect::Chat, "messages[0]");
        rest.fields
            .insert("logit_bias".to_string(), json!({"1": 2}));
        rest.set_blank("refusal", Value::Null);
        rest.set_name("max_tokens", "max_completion_tokens");
        let mut inner = Rest::new(Dialect::Chat, "messages[0].image_url");
        inner.fields.insert("quality".to_string(), json!("high"));
        rest.set_nested("image_url", inner);
        rest
    }

    #[test]
    fn everything_is_written_at_home() {
        let mut object = Map::new();
        let mut losses = LossList::default();
        rest().write(Dialect::Chat, &mut object, &mut losses);
        let expected =
            json!({"logit_bias": {"1": 2}, "refusal": null, "image_url": {"quality": "high"}});
        assert_eq!(Value::Object(object), expected);
        assert!(losses.as_slice().is_empty());
    }

    #[test]
    fn fields_are_named_as_lost_elsewhere_and_blanks_are_not() {
        let mut object = Map::new();
        let mut losses = LossList::default();
        rest().write(Dialect::Messages, &mut object, &mut losses);
        assert!(object.is_empty());
        let paths: Vec<_> = losses.as_slice().iter().map(|loss| &loss.path).collect();
        assert_eq!(
            paths,
            ["messages[0].logit_bias", "messages[0].image_url.quality"]
        );
    }

    #[test]
    fn path_of_a_field_is_the_one_the_client_wrote() {
        assert_eq!(rest().at("max_tokens"), "messages[0].max_completion_tokens");
        assert_eq!(rest().at("stop"), "messages[0].stop");
    }
}
