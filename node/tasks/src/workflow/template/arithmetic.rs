//! Operators on numbers, and those that make texts and lists longer.

use minijinja::machinery::ast::BinOpKind;

use super::meter::Meter;
use super::output::{Output, made};
use super::value::Value;

/// What `op` makes of two values.
pub(super) fn apply<'s>(
    op: BinOpKind,
    left: &Value<'s>,
    right: &Value<'s>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    match (op, left, right) {
        (BinOpKind::Add, Value::Text(_), Value::Text(_)) => {
            let mut output = Output::new(meter);
            output.write(left)?;
            output.write(right)?;
            made(output, meter)
        }
        (BinOpKind::Add, Value::List(_), Value::List(_)) => {
            let mut items = left.items(meter)?;
            items.append(&mut right.items(meter)?);
            Value::list(items, meter)
        }
        (BinOpKind::Mul, Value::Text(_) | Value::List(_), Value::Int(count)) => {
            repeated(left, *count, meter)
        }
        (BinOpKind::Mul, Value::Int(count), Value::Text(_) | Value::List(_)) => {
            repeated(right, *count, meter)
        }
        (_, Value::Int(left), Value::Int(right)) => whole(op, *left, *right),
        _ => match (left.as_float(), right.as_float()) {
            (Some(left), Some(right)) => float(op, left, right),
            _ => Err(format!(
                "cannot calculate with {} and {}",
                left.kind(),
                right.kind()
            )),
        },
    }
}

/// `count` times the same. The length is checked before anything is made.
fn repeated<'s>(value: &Value<'s>, count: i128, meter: &Meter) -> Result<Value<'s>, String> {
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Text(text) => {
            let length = text.as_str().len().saturating_mul(count);
            if length > super::BODY_BYTES_MAX {
                return Err(format!(
                    "repeats a text {count} times: {}",
                    super::too_long()
                ));
            }
            meter.make(length)?;
            Value::text(&text.as_str().repeat(count), meter)
        }
        list => {
            let items = list.items(meter)?;
            meter.make(
                items
                    .len()
                    .saturating_mul(count)
                    .saturating_mul(size_of::<Value<'_>>()),
            )?;
            let all = (0..count.min(count.saturating_mul(items.len())))
                .flat_map(|_| items.iter().cloned());
            Value::list(all.collect(), meter)
        }
    }
}

fn whole<'s>(op: BinOpKind, left: i128, right: i128) -> Result<Value<'s>, String> {
    let result = match op {
        BinOpKind::Add => left.checked_add(right),
        BinOpKind::Sub => left.checked_sub(right),
        BinOpKind::Mul => left.checked_mul(right),
        BinOpKind::Div => return float(op, left as f64, right as f64),
        BinOpKind::FloorDiv => floored(left, right).map(|(quotient, _)| quotient),
        BinOpKind::Rem => floored(left, right).map(|(_, rest)| rest),
        BinOpKind::Pow if right < 0 => return float(op, left as f64, right as f64),
        BinOpKind::Pow => u32::try_from(right)
            .ok()
            .and_then(|right| left.checked_pow(right)),
        _ => None,
    };
    let result = result.ok_or("divides by zero, or gives a whole number that is too large")?;
    Ok(Value::Int(result))
}

/// Quotient and rest, rounded down as in Python.
fn floored(left: i128, right: i128) -> Option<(i128, i128)> {
    let (quotient, rest) = (left.checked_div(right)?, left.checked_rem(right)?);
    match rest != 0 && (rest < 0) != (right < 0) {
        true => Some((quotient.checked_sub(1)?, rest.checked_add(right)?)),
        false => Some((quotient, rest)),
    }
}

fn float<'s>(op: BinOpKind, left: f64, right: f64) -> Result<Value<'s>, String> {
    let divides = matches!(op, BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem);
    if divides && right == 0.0 {
        return Err("divides by zero".to_owned());
    }
    Ok(Value::Float(match op {
        BinOpKind::Add => left + right,
        BinOpKind::Sub => left - right,
        BinOpKind::Mul => left * right,
        BinOpKind::Div => left / right,
        BinOpKind::FloorDiv => (left / right).floor(),
        BinOpKind::Rem => left - right * (left / right).floor(),
        BinOpKind::Pow => left.powf(right),
        _ => return Err("cannot calculate with these".to_owned()),
    }))
}

/// The same below zero.
pub(super) fn negative<'s>(value: &Value<'s>) -> Result<Value<'s>, String> {
    match value {
        Value::Int(number) => {
            let negative = number.checked_neg();
            Ok(Value::Int(
                negative.ok_or("has a number that is too large")?,
            ))
        }
        Value::Float(number) => Ok(Value::Float(-number)),
        other => Err(format!("takes {} for a number", other.kind())),
    }
}

/// The indices of `[start:stop:step]` in something of `length`, as in Python.
pub(super) fn indices(
    length: usize,
    start: Option<i128>,
    stop: Option<i128>,
    step: i128,
) -> Result<impl Iterator<Item = usize>, String> {
    if step == 0 {
        return Err("slices by steps of 0".to_owned());
    }
    let end = length as i128;
    let (low, high) = match step > 0 {
        true => (0, end),
        false => (-1, end - 1),
    };
    let index = |index: i128| match index < 0 {
        true => index.saturating_add(end).clamp(low, high),
        false => index.clamp(low, high),
    };
    let (first, last) = match step > 0 {
        true => (low, high),
        false => (high, low),
    };
    let stop = stop.map_or(last, index);
    let next = move |at: &i128| at.checked_add(step);
    let is_before = move |at: &i128| if step > 0 { *at < stop } else { *at > stop };
    let all = std::iter::successors(Some(start.map_or(first, index)), next);
    Ok(all
        .take_while(is_before)
        .filter_map(|at| usize::try_from(at).ok()))
}

/// A slice of a text, by characters.
pub(super) fn cut<'s>(
    text: &str,
    start: Option<i128>,
    stop: Option<i128>,
    step: i128,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    meter.make(text.len().saturating_mul(size_of::<char>()))?;
    let characters: Vec<char> = text.chars().collect();
    let indices = indices(characters.len(), start, stop, step)?;
    let kept = indices.filter_map(|index| characters.get(index));
    meter.make(text.len())?;
    Value::text(&kept.collect::<String>(), meter)
}
