//! The tests of the language, `x is NAME`: those that are listed here, and no others.

use super::filters::Arguments;
use super::meter::Meter;
use super::output::text_of;
use super::value::Value;

/// What may be written behind `is`.
pub(super) const TESTS: [&str; 30] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
];

/// The one that is also known as `not defined`.
pub(super) const UNDEFINED: &str = "undefined";

/// Whether `input` is `name`.
pub(super) fn holds<'s>(
    name: &str,
    input: &Value<'s>,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<bool, String> {
    match name {
        "defined" => return Ok(!matches!(input, Value::Undefined)),
        UNDEFINED => return Ok(matches!(input, Value::Undefined)),
        _ => {}
    }
    let input = input.clone().defined()?;
    let other = || arguments.needed(name, 0);
    let is_text = |holds: fn(&str, &str) -> bool| -> Result<bool, String> {
        let other = other()?;
        match (input.as_text(), other.as_text()) {
            (Some(text), Some(part)) => {
                meter.read(part.len().min(text.len()))?;
                Ok(holds(text, part))
            }
            _ => Err(format!("{name} takes texts")),
        }
    };
    Ok(match name {
        "none" => matches!(input, Value::Null),
        "true" => matches!(input, Value::Bool(true)),
        "false" => matches!(input, Value::Bool(false)),
        "boolean" => matches!(input, Value::Bool(_)),
        "integer" => matches!(input, Value::Int(_)),
        "float" => matches!(input, Value::Float(_)),
        "number" => matches!(input, Value::Int(_) | Value::Float(_)),
        "string" => matches!(input, Value::Text(_)),
        "sequence" => matches!(input, Value::List(_)),
        "mapping" => matches!(input, Value::Fields(_)),
        "iterable" => matches!(input, Value::List(_) | Value::Fields(_) | Value::Text(_)),
        "odd" => rest(name, &input, 2)? != 0,
        "even" => rest(name, &input, 2)? == 0,
        "divisibleby" => match other()? {
            Value::Int(by) if by != 0 => rest(name, &input, by)? == 0,
            _ => return Err("divisibleby takes a whole number that is not 0".to_owned()),
        },
        "startingwith" => is_text(|text, part| text.starts_with(part))?,
        "endingwith" => is_text(|text, part| text.ends_with(part))?,
        "in" => contains(&other()?, &input, meter)?,
        "eq" | "==" => input.equals(&other()?, meter)?,
        "ne" | "!=" => !input.equals(&other()?, meter)?,
        "lt" | "<" => input.order(&other()?, meter)?.is_lt(),
        "le" | "<=" => input.order(&other()?, meter)?.is_le(),
        "gt" | ">" => input.order(&other()?, meter)?.is_gt(),
        "ge" | ">=" => input.order(&other()?, meter)?.is_ge(),
        _ => return Err(unknown(name)),
    })
}

fn rest(name: &str, input: &Value<'_>, by: i128) -> Result<i128, String> {
    match input {
        Value::Int(number) => Ok(number.wrapping_rem(by)),
        other => Err(format!(
            "{name} takes a whole number and not {}",
            other.kind()
        )),
    }
}

/// Why a test cannot be used.
pub(super) fn unknown(name: &str) -> String {
    format!(
        "uses the test {name:?}, which is not offered; there are {UNDEFINED}, {}",
        TESTS.join(", ")
    )
}

/// Whether `container` has `value`: a list an item, an object a name, a text a part.
pub(super) fn contains<'s>(
    container: &Value<'s>,
    value: &Value<'s>,
    meter: &Meter,
) -> Result<bool, String> {
    let value = value.clone().defined()?;
    match container {
        Value::Text(text) => {
            let part = text_of(&value, meter)?;
            meter.read(text.as_str().len())?;
            Ok(part
                .as_text()
                .is_some_and(|part| text.as_str().contains(part)))
        }
        Value::List(list) => {
            for index in 0..list.len() {
                if list.get(index).equals(&value, meter)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Fields(fields) => Ok(value
            .as_text()
            .is_some_and(|name| !matches!(fields.get(name), Value::Undefined))),
        Value::Undefined => Err(super::NOT_THERE.to_owned()),
        other => Err(format!("looks for something in {}", other.kind())),
    }
}
