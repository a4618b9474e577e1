//! How a step's input is made: JSON whose texts may hold expressions, in Jinja's language.
//!
//! A text that is one expression, `"{{ trigger.items }}"`, becomes its value, of whatever kind; in any other
//! text expressions become text. They see `trigger` (what the run was given), `steps.ID.output`,
//! `steps.ID.state`, `steps.ID.status` and `steps.ID.error` of steps before, and, within `for_each`, `item`
//! and `index`. A value that does not exist is an error and not an empty text, except with `| default(..)` and
//! `is defined`. There are no loops over files, no includes, nothing but these values.
//!
//! Bounds, of one filling (the input of one call, the output of a run, one `if` or one `for_each`), enforced while
//! it is made and not afterwards:
//!
//! | what | at most |
//! | --- | --- |
//! | what comes out | [`BODY_BYTES_MAX`] |
//! | all values that are made on the way, kept or not | [`MADE_BYTES_MAX`] |
//! | steps | [`STEPS_MAX`] |
//! | a text's tokens, its tags, brackets and operators within one another | see `syntax` |
//! | a number that sizes something | its filter's own, see `filters`; `range`'s, see `evaluate` |
//!
//! Texts come from clients and runs are durable: a text that ended the process would end it again after each
//! restart. So every value is counted before it is made, by an evaluator of our own over MiniJinja's syntax;
//! `evaluate` explains why MiniJinja's own is not used. What a run holds is read in place and not copied.
//!
//! Reading order: `meter` (what is counted), `value`, `compare`, `output` (texts), `syntax` (reading), `evaluate`,
//! `arithmetic`, `filters`, `checks` (what may be used), `review` (what is known before a run).

mod arithmetic;
mod checks;
mod compare;
mod evaluate;
mod filters;
mod meter;
mod output;
mod review;
mod syntax;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use self::evaluate::Evaluator;
use self::meter::Meter;
pub use self::meter::{MADE_BYTES_MAX, STEPS_MAX};
pub use self::review::probe;
use self::syntax::Parsed;

/// The longest input that a template may give, in bytes of JSON.
pub const BODY_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Objects and lists within one another.
const DEPTH_MAX: usize = 64;

const NOT_THERE: &str = "refers to a value that does not exist";

const UNOFFERED_STATEMENT: &str =
    "uses a statement that is not offered; there are for, if, set and with";

const UNOFFERED_CALL: &str = "calls a function that is not offered; the only one is range";

/// Why a template gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {detail}")]
pub struct TemplateError {
    /// Where in the template, such as `messages[0].content`; empty is all of it.
    pub path: String,
    /// What is wrong, and what to write instead. Names what was looked for, and of the run's values at most a
    /// number that sizes something.
    pub detail: String,
}

/// What templates see. Cheap to clone: values are shared.
#[derive(Clone, Debug)]
pub struct TemplateScope<'a> {
    trigger: &'a Value,
    steps: Arc<BTreeMap<String, Arc<Value>>>,
    item: Option<(&'a Value, usize)>,
}

impl<'a> TemplateScope<'a> {
    /// What the run was given, and how steps ended, by their ids.
    pub fn new(trigger: &'a Value, steps: BTreeMap<String, Arc<Value>>) -> Self {
        Self {
            trigger,
            steps: Arc::new(steps),
            item: None,
        }
    }

    /// The same, with an item of a list.
    #[must_use]
    pub fn with_item<'b>(&'b self, item: &'b Value, index: usize) -> TemplateScope<'b> {
        TemplateScope {
            trigger: self.trigger,
            steps: Arc::clone(&self.steps),
            item: Some((item, index)),
        }
    }
}

/// Reads templates and expressions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Templates;

impl Templates {
    /// What `template` gives in `scope`.
    ///
    /// # Errors
    /// When an expression cannot be read, refers to a value that does not exist, or exceeds a bound.
    pub fn fill(
        &self,
        template: &Value,
        scope: &TemplateScope<'_>,
    ) -> Result<Value, TemplateError> {
        let filling = Filling {
            scope,
            meter: Meter::default(),
        };
        filling.fill(template, &mut TemplateName::default(), &mut 0)
    }

    /// What the expression `text` gives in `scope`.
    ///
    /// # Errors
    /// As with [`Self::fill`].
    pub fn value(&self, text: &str, scope: &TemplateScope<'_>) -> Result<Value, TemplateError> {
        let meter = Meter::default();
        let value = || {
            let expression = syntax::expression(text)?;
            Evaluator::new(scope, &meter)
                .value(&expression)?
                .json(&meter)
        };
        value().map_err(|detail: String| at("", detail))
    }

    /// Whether the expression `text` holds in `scope`.
    ///
    /// # Errors
    /// As with [`Self::fill`].
    pub fn holds(&self, text: &str, scope: &TemplateScope<'_>) -> Result<bool, TemplateError> {
        let meter = Meter::default();
        let holds = || {
            let expression = syntax::expression(text)?;
            Evaluator::new(scope, &meter).value(&expression)?.is_true()
        };
        holds().map_err(|detail: String| at("", detail))
    }
}

/// Reports what is known of templates before a run. One of these for a whole workflow: what constants take is
/// bounded over all of its texts.
#[derive(Debug, Default)]
pub struct Reviewer {
    meter: Meter,
}

impl Reviewer {
    /// Everything that `template` refers to, as paths such as `steps.draft.output`, each with where it stands.
    ///
    /// # Errors
    /// Texts that cannot be read, or can be seen to go beyond a bound: all of them.
    pub fn references(
        &self,
        template: &Value,
    ) -> Result<BTreeSet<(String, String)>, Vec<TemplateError>> {
        let mut found = BTreeSet::new();
        let mut errors = Vec::new();
        let mut path = TemplateName::default();
        visit(
            template,
            &mut path,
            &mut |path, text| match syntax::read(text)
                .and_then(|it| review::review(&it, &self.meter))
            {
                Ok(names) => found.extend(names.into_iter().map(|name| (path.to_string(), name))),
                Err(detail) => errors.push(at(path, detail)),
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
    /// When it cannot be read, or can be seen to go beyond a bound.
    pub fn expression_references(&self, text: &str) -> Result<BTreeSet<String>, TemplateError> {
        let found = || review::review(&Parsed::Value(syntax::expression(text)?), &self.meter);
        found().map_err(|detail| at("", detail))
    }
}

/// One filling.
struct Filling<'a> {
    scope: &'a TemplateScope<'a>,
    meter: Meter,
}

impl Filling<'_> {
    fn fill(
        &self,
        template: &Value,
        path: &mut TemplateName,
        bytes: &mut usize,
    ) -> Result<Value, TemplateError> {
        let filled = match template {
            Value::String(text) if is_plain(text) => Value::String(text.clone()),
            Value::String(text) => self.text(text).map_err(|detail| at(&*path, detail))?,
            Value::Array(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let length = path.enter(&format!("[{index}]"));
                    filled.push(self.fill(item, path, bytes)?);
                    path.leave(length);
                }
                return Ok(Value::Array(filled));
            }
            Value::Object(fields) => {
                let mut filled = serde_json::Map::new();
                for (name, field) in fields {
                    let length = path.enter_field(name);
                    filled.insert(name.clone(), self.fill(field, path, bytes)?);
                    path.leave(length);
                }
                return Ok(Value::Object(filled));
            }
            other => other.clone(),
        };
        *bytes += length_of(&filled);
        if *bytes > BODY_BYTES_MAX {
            return Err(at(&*path, too_long()));
        }
        Ok(filled)
    }

    fn text(&self, text: &str) -> Result<Value, String> {
        self.meter.read(text.len())?;
        let parsed = syntax::read(text)?;
        let mut evaluator = Evaluator::new(self.scope, &self.meter);
        match parsed {
            Parsed::Value(expression) => evaluator.value(&expression)?.json(&self.meter),
            Parsed::Text(body) => evaluator.text(body.parts()).map(Value::String),
        }
    }
}

fn too_long() -> String {
    format!("gives more than the {BODY_BYTES_MAX} bytes that a call may have")
}

fn is_plain(text: &str) -> bool {
    !text.contains("{{") && !text.contains("{%") && !text.contains("{#")
}

fn length_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| length_of(item) + 1).sum(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| name.len() + length_of(value) + 4)
                .sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// Calls `found` for every text of `value` that holds an expression. Deeper than [`DEPTH_MAX`] nothing is
/// looked at: JSON's reader allows no more than twice of it, and checks refuse it.
fn visit(value: &Value, path: &mut TemplateName, found: &mut impl FnMut(&TemplateName, &str)) {
    match value {
        Value::String(text) if !is_plain(text) => found(path, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let length = path.enter(&format!("[{index}]"));
                visit(item, path, found);
                path.leave(length);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let length = path.enter_field(name);
                visit(field, path, found);
                path.leave(length);
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

/// A path within a value.
#[derive(Default)]
struct TemplateName(String);

impl TemplateName {
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

impl std::fmt::Display for TemplateName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn at(path: impl std::fmt::Display, detail: impl Into<String>) -> TemplateError {
    TemplateError {
        path: path.to_string(),
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests;
