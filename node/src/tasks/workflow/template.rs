//! How a step's input is made: JSON whose texts may hold expressions, in Jinja's language.
//!
//! A text that is one expression, `"{{ trigger.items }}"`, becomes its value, of whatever kind; in any other
//! text expressions become text. They see `trigger` (what the run was given), `steps.ID.output`,
//! `steps.ID.state`, `steps.ID.status` and `steps.ID.error` of steps before, and, within `for_each`, `item`
//! and `index`. What is not there is an error and not an empty text; `| default(..)` and `is defined` say
//! where that is meant. There are no loops over files, no includes, nothing but these values.
//!
//! Bound: an expression has [`FUEL`] steps, and the whole input [`BODY_BYTES_MAX`] bytes.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use serde_json::Value;

/// Instructions that one expression or text may take.
const FUEL: u64 = 100_000;

/// The longest input that a template may give, in bytes of JSON.
pub const BODY_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Objects and lists within one another.
const DEPTH_MAX: usize = 64;

/// Why a template gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {detail}")]
pub struct TemplateError {
    /// Where in the template, such as `messages[0].content`; empty is all of it.
    pub path: String,
    /// What is wrong. Names what was looked for, and never holds a value.
    pub detail: String,
}

/// What templates see. Cheap to clone: values are shared.
#[derive(Clone, Debug)]
pub struct Scope(minijinja::Value);

impl Scope {
    /// What the run was given, and how steps ended, by their ids.
    pub fn new(trigger: &Value, steps: &BTreeMap<&str, Value>) -> Self {
        Self(context! {
            trigger => minijinja::Value::from(Serde(trigger)),
            steps => minijinja::Value::from(Serde(steps)),
        })
    }

    /// The same, with an item of a list.
    #[must_use]
    pub fn with_item(&self, item: &Value, index: usize) -> Self {
        let item = minijinja::Value::from(Serde(item));
        Self(context! { item, index, ..self.0.clone() })
    }
}

/// Reads templates and expressions.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Default for Templates {
    fn default() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        Self { environment }
    }
}

impl Templates {
    /// What `template` gives in `scope`.
    ///
    /// # Errors
    /// When an expression cannot be read, refers to what is not there, or gives too much.
    pub fn fill(&self, template: &Value, scope: &Scope) -> Result<Value, TemplateError> {
        let mut bytes = 0;
        self.fill_at(template, &scope.0, &mut Place::default(), &mut bytes)
    }

    /// What the expression `text` gives in `scope`.
    ///
    /// # Errors
    /// As with [`Self::fill`].
    pub fn value(&self, text: &str, scope: &Scope) -> Result<Value, TemplateError> {
        self.evaluate(text, &scope.0)
            .map_err(|detail| at("", detail))
    }

    /// Whether the expression `text` holds in `scope`.
    ///
    /// # Errors
    /// As with [`Self::fill`].
    pub fn holds(&self, text: &str, scope: &Scope) -> Result<bool, TemplateError> {
        let expression = self.environment.compile_expression(text);
        let value = expression.and_then(|expression| expression.eval(scope.0.clone()));
        let value = value.map_err(|error| at("", told(&error)))?;
        Ok(value.is_true())
    }

    /// Everything that `template` refers to, as paths such as `steps.draft.output`, each with its place.
    ///
    /// # Errors
    /// Texts that cannot be read: all of them.
    pub fn references(
        &self,
        template: &Value,
    ) -> Result<BTreeSet<(String, String)>, Vec<TemplateError>> {
        let mut found = BTreeSet::new();
        let mut errors = Vec::new();
        let mut place = Place::default();
        visit(
            template,
            &mut place,
            &mut |place, text| match self.text_references(text) {
                Ok(names) => found.extend(names.into_iter().map(|name| (place.to_string(), name))),
                Err(detail) => errors.push(at(place, detail)),
            },
        );
        if errors.is_empty() {
            Ok(found)
        } else {
            Err(errors)
        }
    }

    /// Everything that the expression `text` refers to.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn expression_references(&self, text: &str) -> Result<BTreeSet<String>, TemplateError> {
        let expression = self.environment.compile_expression(text);
        let expression = expression.map_err(|error| at("", told(&error)))?;
        Ok(expression.undeclared_variables(true).into_iter().collect())
    }

    fn text_references(&self, text: &str) -> Result<BTreeSet<String>, String> {
        if let Some(expression) = self.sole_expression(text) {
            return Ok(expression.undeclared_variables(true).into_iter().collect());
        }
        let template = self.environment.template_from_str(text);
        let template = template.map_err(|error| told(&error))?;
        Ok(template.undeclared_variables(true).into_iter().collect())
    }

    fn fill_at(
        &self,
        template: &Value,
        scope: &minijinja::Value,
        place: &mut Place,
        bytes: &mut usize,
    ) -> Result<Value, TemplateError> {
        let filled = match template {
            Value::String(text) if is_plain(text) => Value::String(text.clone()),
            Value::String(text) => self
                .text(text, scope)
                .map_err(|detail| at(&*place, detail))?,
            Value::Array(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let length = place.enter(&format!("[{index}]"));
                    filled.push(self.fill_at(item, scope, place, bytes)?);
                    place.leave(length);
                }
                return Ok(Value::Array(filled));
            }
            Value::Object(fields) => {
                let mut filled = serde_json::Map::new();
                for (name, field) in fields {
                    let length = place.enter_field(name);
                    filled.insert(name.clone(), self.fill_at(field, scope, place, bytes)?);
                    place.leave(length);
                }
                return Ok(Value::Object(filled));
            }
            other => other.clone(),
        };
        *bytes += length_of(&filled);
        if *bytes > BODY_BYTES_MAX {
            let detail = format!("gives more than the {BODY_BYTES_MAX} bytes that a call may have");
            return Err(at(&*place, detail));
        }
        Ok(filled)
    }

    fn text(&self, text: &str, scope: &minijinja::Value) -> Result<Value, String> {
        if let Some(expression) = self.sole_expression(text) {
            let value = expression
                .eval(scope.clone())
                .map_err(|error| told(&error))?;
            return to_json(&value);
        }
        let rendered = self.environment.render_str(text, scope.clone());
        rendered.map(Value::String).map_err(|error| told(&error))
    }

    fn evaluate(&self, text: &str, scope: &minijinja::Value) -> Result<Value, String> {
        let expression = self.environment.compile_expression(text);
        let value = expression.and_then(|expression| expression.eval(scope.clone()));
        to_json(&value.map_err(|error| told(&error))?)
    }

    /// The expression that `text` consists of, if it is one alone.
    fn sole_expression<'a>(&'a self, text: &'a str) -> Option<minijinja::Expression<'a, 'a>> {
        let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
        let inner = inner.strip_prefix('-').unwrap_or(inner);
        let inner = inner.strip_suffix('-').unwrap_or(inner);
        self.environment.compile_expression(inner).ok()
    }
}

fn is_plain(text: &str) -> bool {
    !text.contains("{{") && !text.contains("{%") && !text.contains("{#")
}

fn to_json(value: &minijinja::Value) -> Result<Value, String> {
    if value.is_undefined() {
        return Err("refers to what is not there".to_owned());
    }
    serde_json::to_value(value).map_err(|_| "gives no JSON value".to_owned())
}

/// What the language's error says, without the values that it may show.
fn told(error: &minijinja::Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, _) => "refers to what is not there".to_owned(),
        (ErrorKind::OutOfFuel, _) => "takes too long".to_owned(),
        (ErrorKind::SyntaxError | ErrorKind::UnknownFilter, Some(detail)) => {
            format!("cannot be read: {detail}")
        }
        (ErrorKind::UnknownTest | ErrorKind::UnknownFunction, Some(detail)) => {
            format!("cannot be read: {detail}")
        }
        (kind, _) => kind.to_string(),
    }
}

fn length_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(_) | Value::Object(_) => serde_json::to_string(value).map_or(0, |it| it.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// Calls `found` for every text of `value` that holds an expression. Deeper than [`DEPTH_MAX`] nothing is
/// looked at: JSON's reader allows no more than twice of it, and checks refuse it.
fn visit(value: &Value, place: &mut Place, found: &mut impl FnMut(&Place, &str)) {
    match value {
        Value::String(text) if !is_plain(text) => found(place, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let length = place.enter(&format!("[{index}]"));
                visit(item, place, found);
                place.leave(length);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let length = place.enter_field(name);
                visit(field, place, found);
                place.leave(length);
            }
        }
        _ => {}
    }
}

/// Whether objects and lists are within one another deeper than is taken.
pub fn is_too_deep(value: &Value) -> bool {
    fn depth(value: &Value, left: usize) -> bool {
        match value {
            _ if left == 0 => true,
            Value::Array(items) => items.iter().any(|item| depth(item, left - 1)),
            Value::Object(fields) => fields.values().any(|field| depth(field, left - 1)),
            _ => false,
        }
    }
    depth(value, DEPTH_MAX)
}

/// Where in a value one is.
#[derive(Default)]
struct Place(String);

impl Place {
    fn enter(&mut self, part: &str) -> usize {
        let length = self.0.len();
        self.0.push_str(part);
        length
    }

    fn enter_field(&mut self, name: &str) -> usize {
        let length = self.0.len();
        if length > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        length
    }

    fn leave(&mut self, length: usize) {
        self.0.truncate(length);
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn at(place: impl std::fmt::Display, detail: impl Into<String>) -> TemplateError {
    TemplateError {
        path: place.to_string(),
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        let trigger = json!({"items": [1, {"a": null}], "name": "Ada", "big": "x".repeat(1_000)});
        let draft = json!({"state": "completed", "output": {"text": "hi", "score": 0.75}});
        Scope::new(&trigger, &BTreeMap::from([("draft", draft)]))
    }

    fn fill(template: &Value) -> Result<Value, TemplateError> {
        Templates::default().fill(template, &scope())
    }

    #[test]
    fn sole_expression_keeps_its_kind() {
        let template = json!({
            "list": "{{ trigger.items }}",
            "half": " {{- steps.draft.output.score -}} ",
            "text": "{{ steps.draft.output.text }}, {{ trigger.name }}!",
            "none": "{{ trigger.items[1].a }}",
            "plain": "{ not } a template",
            "brace": "{{ '{{' }}",
        });
        assert_eq!(
            fill(&template).expect("filled"),
            json!({
                "list": [1, {"a": null}],
                "half": 0.75,
                "text": "hi, Ada!",
                "none": null,
                "plain": "{ not } a template",
                "brace": "{{",
            })
        );
    }

    #[test]
    fn markup_in_values_is_left_alone() {
        let templates = Templates::default();
        let trigger = json!({"text": "<b> {{ trigger.text }} & \"q\""});
        let scope = Scope::new(&trigger, &BTreeMap::new());
        let filled = templates.fill(&json!("say {{ trigger.text }}"), &scope);
        assert_eq!(
            filled.expect("filled"),
            json!("say <b> {{ trigger.text }} & \"q\"")
        );
    }

    #[test]
    fn what_is_not_there_is_an_error_with_its_place() {
        let error = fill(&json!({"messages": [{"content": "{{ trigger.nobody.name }}"}]}));
        let error = error.expect_err("not there");
        assert_eq!(error.path, "messages[0].content");
        assert_eq!(error.detail, "refers to what is not there");
        assert!(fill(&json!("{{ trigger.nobody }}")).is_err());
        let filled = fill(&json!("{{ trigger.nobody | default('no') }}"));
        assert_eq!(filled.expect("filled"), json!("no"));
    }

    #[test]
    fn endless_work_and_endless_texts_are_broken_off() {
        let error = fill(&json!(
            "{% for a in range(9999) %}{% for b in range(9999) %}.{% endfor %}{% endfor %}"
        ));
        assert_eq!(error.expect_err("too long").detail, "takes too long");
        let many: Vec<Value> = vec![json!("{{ trigger.big * 1000 }}"); 20];
        let error = fill(&json!(many)).expect_err("too much");
        assert!(error.detail.contains("gives more than"), "{error}");
    }

    #[test]
    fn references_are_known_before_a_run() {
        let templates = Templates::default();
        let found = templates.references(&json!({
            "a": "{{ steps.draft.output.text }} and {{ trigger.name }}",
            "b": ["{{ item }}"],
            "c": "{% set x = steps.other.output %}{{ x.y }}",
        }));
        let found = found.expect("readable");
        let names: BTreeSet<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert!(names.contains("steps.draft.output.text"));
        assert!(names.contains("trigger.name") && names.contains("item"));
        assert!(names.iter().any(|name| name.starts_with("steps.other")));
        let errors = templates.references(&json!({"x": "{{ a b }}", "y": "{% if %}"}));
        assert_eq!(errors.expect_err("unreadable").len(), 2);
    }

    #[test]
    fn item_is_seen_beside_the_rest() {
        let scope = scope().with_item(&json!({"id": 7}), 2);
        let filled = Templates::default().fill(
            &json!("{{ index }}: {{ item.id }} {{ trigger.name }}"),
            &scope,
        );
        assert_eq!(filled.expect("filled"), json!("2: 7 Ada"));
    }

    #[test]
    fn conditions_hold_or_not() {
        let templates = Templates::default();
        let holds = |text| templates.holds(text, &scope());
        assert_eq!(holds("steps.draft.output.score > 0.5"), Ok(true));
        assert_eq!(
            holds("'hi' in steps.draft.output.text and trigger.items | length == 3"),
            Ok(false)
        );
        assert!(holds("nobody.x").is_err());
    }
}
