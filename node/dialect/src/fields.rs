//! Takes known keys out of a JSON object; what remains is the node's [`Rest`].
//!
//! A getter takes a value only if it has the kind that the hub holds. Anything else stays where it is and so in the
//! rest: written back at home, named as lost elsewhere. A null says nothing and becomes a blank.

use serde_json::{Map, Number, Value};

use crate::dialect::Dialect;
use crate::rest::{Rest, join};

/// Why a body is not one of its dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: must be {expected}")]
pub struct ReadError {
    /// Where, as `messages[2].content`; empty for the body itself.
    pub path: String,
    /// What must stand there.
    pub expected: &'static str,
}

impl ReadError {
    /// What stands at `path` is not what must stand there.
    pub fn new(path: impl Into<String>, expected: &'static str) -> Self {
        let path = path.into();
        Self { path, expected }
    }
}

/// The fields of one object that nobody has taken yet.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    rest: Rest,
}

impl Fields {
    /// The fields of the object at `path`.
    ///
    /// # Errors
    ///
    /// If `value` is no object.
    pub fn new(dialect: Dialect, path: impl Into<String>, value: Value) -> Result<Self, ReadError> {
        match value {
            Value::Object(map) => Ok(Self::of(dialect, path, map)),
            _ => Err(ReadError::new(path, "an object")),
        }
    }

    /// The fields of an object.
    pub fn of(dialect: Dialect, path: impl Into<String>, map: Map<String, Value>) -> Self {
        let rest = Rest::new(dialect, path);
        Self { map, rest }
    }

    /// Where the object stands.
    pub fn path(&self) -> &str {
        self.rest.path()
    }

    /// Where a field stands.
    pub fn at(&self, field: &str) -> String {
        join(self.path(), field)
    }

    /// A field, without taking it.
    pub fn peek(&self, field: &str) -> Option<&Value> {
        self.map.get(field)
    }

    /// A text, without taking it.
    pub fn peek_text(&self, field: &str) -> Option<&str> {
        self.map.get(field).and_then(Value::as_str)
    }

    /// Takes whatever stands there, except for null.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.take_if(field, |value| !value.is_null())
    }

    /// Takes a text.
    pub fn text(&mut self, field: &str) -> Option<String> {
        match self.take_if(field, Value::is_string) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Takes a number of any kind.
    pub fn number(&mut self, field: &str) -> Option<Number> {
        match self.take_if(field, Value::is_number) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// Takes a whole number that is not negative.
    pub fn count(&mut self, field: &str) -> Option<u64> {
        self.take_if(field, Value::is_u64)?.as_u64()
    }

    /// Takes a truth value.
    pub fn flag(&mut self, field: &str) -> Option<bool> {
        self.take_if(field, Value::is_boolean)?.as_bool()
    }

    /// Takes a list.
    pub fn list(&mut self, field: &str) -> Option<Vec<Value>> {
        match self.take_if(field, Value::is_array) {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        }
    }

    /// Takes a list of texts; a list that holds anything else stays.
    pub fn texts(&mut self, field: &str) -> Option<Vec<String>> {
        let are_texts = |value: &Value| match value {
            Value::Array(list) => list.iter().all(Value::is_string),
            _ => false,
        };
        let Some(Value::Array(list)) = self.take_if(field, are_texts) else {
            return None;
        };
        let text = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        Some(list.into_iter().filter_map(text).collect())
    }

    /// Takes an object.
    pub fn object(&mut self, field: &str) -> Option<Map<String, Value>> {
        match self.take_if(field, Value::is_object) {
            Some(Value::Object(map)) => Some(map),
            _ => None,
        }
    }

    /// Takes a text that must be there.
    ///
    /// # Errors
    ///
    /// If none is.
    pub fn need_text(&mut self, field: &str) -> Result<String, ReadError> {
        self.text(field)
            .ok_or_else(|| ReadError::new(self.at(field), "a string"))
    }

    /// Takes a list that must be there.
    ///
    /// # Errors
    ///
    /// If none is.
    pub fn need_list(&mut self, field: &str) -> Result<Vec<Value>, ReadError> {
        self.list(field)
            .ok_or_else(|| ReadError::new(self.at(field), "a list"))
    }

    /// Takes an object whose own fields are taken one by one; [`Fields::leave`] puts what remains back.
    pub fn enter(&mut self, field: &'static str) -> Option<Self> {
        let map = self.object(field)?;
        Some(Self::of(self.rest.from(), self.at(field), map))
    }

    /// Keeps what remains of an object that was entered.
    pub fn leave(&mut self, field: &'static str, inside: Self) {
        self.rest.set_nested(field, inside.finish());
    }

    /// Keeps a field that says nothing elsewhere.
    pub fn keep_blank(&mut self, field: &str, value: Value) {
        self.rest.set_blank(field, value);
    }

    /// Keeps a field as one that says nothing elsewhere, if it is `value`.
    pub fn blank_if(&mut self, field: &str, value: &Value) {
        if let Some(found) = self.take_if(field, |found| found == value) {
            self.rest.set_blank(field, found);
        }
    }

    /// Keeps a field as one that says nothing elsewhere, whatever it is.
    pub fn blank(&mut self, field: &str) {
        if let Some(value) = self.map.remove(field) {
            self.rest.set_blank(field, value);
        }
    }

    /// Puts a value back among those that the hub does not know.
    pub fn put_back(&mut self, field: &str, value: Value) {
        self.map.insert(field.to_string(), value);
    }

    /// Records how a field was written.
    pub fn set_form(&mut self, field: &'static str, form: &'static str) {
        self.rest.set_form(field, form);
    }

    /// Records how the dialect names what the hub calls `field`.
    pub fn set_name(&mut self, field: &'static str, name: &'static str) {
        self.rest.set_name(field, name);
    }

    /// What nobody took.
    pub fn finish(mut self) -> Rest {
        self.rest.fields = self.map;
        self.rest
    }

    /// The object without what was taken, with what says nothing.
    pub fn into_object(self) -> Map<String, Value> {
        let mut object = self.map;
        object.extend(self.rest.blanks);
        object
    }

    fn take_if(&mut self, field: &str, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let value = self.map.get(field)?;
        if wanted(value) {
            return self.map.remove(field);
        }
        if value.is_null() {
            self.map.remove(field);
            self.rest.set_blank(field, Value::Null);
        }
        None
    }
}

/// The path of the element `index` of the list at `path`.
pub(crate) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// Writes a field if there is something to say.
pub(crate) fn put(object: &mut Map<String, Value>, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(field.to_string(), value.into());
    }
}

/// The object under `field`, made if it is not there.
pub(crate) fn inside<'a>(
    object: &'a mut Map<String, Value>,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    object
        .entry(field)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::new(Dialect::Chat, "body", value).unwrap()
    }

    #[test]
    fn value_of_another_kind_stays_in_the_rest() {
        let mut fields = fields(json!({"n": 1.0, "stop": ["a", 1]}));
        assert_eq!(fields.count("n"), None);
        assert_eq!(fields.texts("stop"), None);
        let rest = fields.finish();
        assert_eq!(rest.field(Dialect::Chat, "n"), Some(&json!(1.0)));
        assert_eq!(rest.field(Dialect::Chat, "stop"), Some(&json!(["a", 1])));
    }

    #[test]
    fn null_is_kept_as_a_blank() {
        let mut fields = fields(json!({"n": null}));
        assert_eq!(fields.count("n"), None);
        let rest = fields.finish();
        assert_eq!(rest.blank(Dialect::Chat, "n"), Some(&Value::Null));
        assert_eq!(rest.blank(Dialect::Messages, "n"), None);
    }

    #[test]
    fn missing_field_is_named_with_its_path() {
        let error = fields(json!({"model": 1})).need_text("model").unwrap_err();
        assert_eq!(error.to_string(), "body.model: must be a string");
    }
}
