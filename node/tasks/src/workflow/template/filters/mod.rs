//! The filters of the language, `x | NAME`: those that are listed here, and no others.
//!
//! Each is our own and counts what it makes before it makes it. Left out of MiniJinja's are those whose number
//! sizes a text that nobody needs so (`format`), those that mark texts as safe for HTML (`escape`, `safe`), and
//! those that a list's own items do as well (`slice`, `chain`, `zip`, `groupby`, `pprint`).

mod lists;
mod texts;

use super::meter::Meter;
use super::output::text_of;
use super::value::Value;

/// What may be written behind `|`.
pub(super) const FILTERS: [&str; 40] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
];

/// What a filter or a test is given beside its input.
#[derive(Default)]
pub(super) struct Arguments<'s, 'a> {
    pub(super) positional: Vec<Value<'s>>,
    pub(super) names: Vec<(&'a str, Value<'s>)>,
}

/// A number that sizes something: what it is called, where it stands, and how large it may be.
pub(super) struct Size {
    pub(super) name: &'static str,
    pub(super) position: usize,
    pub(super) max: usize,
}

/// The number of a filter that sizes what it gives, where it takes one.
pub(super) const fn size_of_filter(filter: &str) -> Option<Size> {
    let (name, max) = match filter.as_bytes() {
        b"indent" => ("width", 1_000),
        b"batch" => ("count", 10_000),
        b"round" => ("precision", 15),
        b"truncate" => ("length", super::BODY_BYTES_MAX),
        _ => return None,
    };
    Some(Size {
        name,
        position: 0,
        max,
    })
}

impl<'s> Arguments<'s, '_> {
    /// The argument at `position`, or by `name`.
    fn get(&self, position: usize, name: &str) -> Option<Value<'s>> {
        let named = self.names.iter().find(|(found, _)| *found == name);
        let found = self
            .positional
            .get(position)
            .or(named.map(|(_, value)| value));
        found.cloned()
    }

    /// An argument that there must be.
    pub(super) fn needed(&self, of: &str, position: usize) -> Result<Value<'s>, String> {
        let found = self.positional.get(position).cloned();
        found.ok_or_else(|| format!("{of} needs an argument"))
    }

    fn flag(&self, position: usize, name: &str) -> Result<bool, String> {
        self.get(position, name)
            .map_or(Ok(false), |value| value.is_true())
    }

    /// The number that sizes what `filter` gives.
    fn size(&self, filter: &str, default: usize) -> Result<usize, String> {
        let Some(size) = size_of_filter(filter) else {
            return Ok(default);
        };
        match self.get(size.position, size.name) {
            None => Ok(default),
            Some(value) => size.check(filter, &value),
        }
    }
}

impl Size {
    /// `value` as this size.
    pub(super) fn check(&self, filter: &str, value: &Value<'_>) -> Result<usize, String> {
        let (name, max) = (self.name, self.max);
        match value {
            Value::Int(number) => usize::try_from(*number)
                .ok()
                .filter(|number| *number <= max)
                .ok_or_else(|| format!("{filter} has the {name} {number}; write 0 to {max}")),
            _ => Err(format!("{filter} takes a whole number as its {name}")),
        }
    }
}

/// Why a filter cannot be used.
pub(super) fn unknown(name: &str) -> String {
    format!(
        "uses the filter {name:?}, which is not offered; there are {}",
        FILTERS.join(", ")
    )
}

/// What the filter `name` makes of `input`.
pub(super) fn apply<'s>(
    name: &str,
    input: Value<'s>,
    arguments: Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    meter.step()?;
    if matches!(name, "default" | "d") {
        return default(input, &arguments, meter);
    }
    let input = input.defined()?;
    match name {
        "length" | "count" => length(&input, meter),
        "first" => lists::end(&input, lists::Side::First, meter),
        "last" => lists::end(&input, lists::Side::Last, meter),
        "attr" => input.item(&arguments.needed(name, 0)?, meter),
        "bool" => input.is_true().map(Value::Bool),
        "string" => text_of(&input, meter),
        "abs" | "int" | "float" | "round" => number(name, &input, &arguments),
        "lower" | "upper" | "title" | "capitalize" | "trim" | "replace" | "split" | "lines"
        | "indent" | "truncate" | "tojson" => texts::apply(name, &input, &arguments, meter),
        _ => lists::apply(name, &input, &arguments, meter),
    }
}

fn default<'s>(
    input: Value<'s>,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let is_there = match &input {
        Value::Undefined => false,
        value => !arguments.flag(1, "boolean")? || value.is_true()?,
    };
    match is_there {
        true => Ok(input),
        false => match arguments.get(0, "default_value") {
            Some(value) => Ok(value),
            None => Value::text("", meter),
        },
    }
}

fn length<'s>(input: &Value<'s>, meter: &Meter) -> Result<Value<'s>, String> {
    let length = match input {
        Value::Text(text) => {
            meter.read(text.as_str().len())?;
            text.as_str().chars().count()
        }
        Value::List(list) => list.len(),
        Value::Fields(fields) => fields.len(),
        other => return Err(format!("length takes no {}", other.kind())),
    };
    Ok(Value::Int(length as i128))
}

fn number<'s>(
    name: &str,
    input: &Value<'s>,
    arguments: &Arguments<'s, '_>,
) -> Result<Value<'s>, String> {
    let no_number = || format!("{name} takes {} for a number", input.kind());
    match (name, input) {
        ("abs", Value::Int(number)) => {
            let number = number.checked_abs();
            Ok(Value::Int(number.ok_or("has a number that is too large")?))
        }
        ("abs", Value::Float(number)) => Ok(Value::Float(number.abs())),
        ("int", Value::Int(_)) | ("float", Value::Float(_)) => Ok(input.clone()),
        ("int", Value::Bool(flag)) => Ok(Value::Int(i128::from(*flag))),
        ("int", Value::Float(number)) => Ok(Value::Int(number.trunc() as i128)),
        ("int", Value::Text(text)) => {
            let text = text.as_str().trim();
            let whole = text.parse::<i128>().map(Value::Int);
            let float = || text.parse::<f64>().map(|it| Value::Int(it.trunc() as i128));
            whole.or_else(|_| float()).map_err(|_| no_number())
        }
        ("float", Value::Text(text)) => {
            let number = text.as_str().trim().parse();
            number.map(Value::Float).map_err(|_| no_number())
        }
        ("float", _) => input.as_float().map(Value::Float).ok_or_else(no_number),
        ("round", Value::Int(_)) => {
            arguments.size(name, 0)?;
            Ok(input.clone())
        }
        ("round", Value::Float(number)) => {
            let scale = 10_f64.powi(i32::try_from(arguments.size(name, 0)?).unwrap_or_default());
            let rounded = (number * scale).round() / scale;
            Ok(Value::Float(if rounded.is_finite() {
                rounded
            } else {
                *number
            }))
        }
        _ => Err(no_number()),
    }
}
