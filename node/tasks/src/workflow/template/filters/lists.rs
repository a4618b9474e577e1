//! Filters that take lists.

use std::cmp::Ordering;

use super::super::checks;
use super::super::meter::Meter;
use super::super::output::{Output, made};
use super::super::value::Value;
use super::Arguments;

/// One end of a list or a text.
#[derive(Clone, Copy)]
pub(super) enum Side {
    First,
    Last,
}

/// The item at one end; undefined of what is empty.
pub(super) fn end<'s>(input: &Value<'s>, side: Side, meter: &Meter) -> Result<Value<'s>, String> {
    match (input, side) {
        (Value::List(list), Side::First) => Ok(list.get(0)),
        (Value::List(list), Side::Last) => Ok(list.get(list.len().wrapping_sub(1))),
        (Value::Text(text), _) => {
            let character = match side {
                Side::First => text.as_str().chars().next(),
                Side::Last => text.as_str().chars().next_back(),
            };
            character.map_or(Ok(Value::Undefined), |character| {
                Value::text(character.encode_utf8(&mut [0; 4]), meter)
            })
        }
        _ => {
            let items = input.items(meter)?;
            let item = match side {
                Side::First => items.first(),
                Side::Last => items.last(),
            };
            Ok(item.cloned().unwrap_or(Value::Undefined))
        }
    }
}

pub(super) fn apply<'s>(
    name: &str,
    input: &Value<'s>,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    match (name, input) {
        ("reverse", Value::Text(text)) => {
            meter.make(text.as_str().len())?;
            return Value::text(&text.as_str().chars().rev().collect::<String>(), meter);
        }
        ("items" | "dictsort", Value::Fields(fields)) => {
            let entries = fields.entries(meter)?.into_iter();
            let pairs =
                entries.map(|(key, value)| Value::list(vec![Value::Text(key), value], meter));
            return Value::list(pairs.collect::<Result<_, _>>()?, meter);
        }
        _ => {}
    }
    let mut items = input.items(meter)?;
    match name {
        "list" => {}
        "reverse" => items.reverse(),
        "join" => return join(&items, arguments, meter),
        "min" => return best(items, Ordering::Less, meter),
        "max" => return best(items, Ordering::Greater, meter),
        "sum" => return sum(&items, arguments, meter),
        "sort" => items = sorted(items, arguments, meter)?,
        "unique" => items = unique(items, meter)?,
        "batch" => return batch(&items, arguments, meter),
        "map" => items = mapped(items, arguments, meter)?,
        "select" | "selectattr" => items = chosen(items, name, true, arguments, meter)?,
        "reject" | "rejectattr" => items = chosen(items, name, false, arguments, meter)?,
        _ => return Err(super::unknown(name)),
    }
    Value::list(items, meter)
}

fn join<'s>(
    items: &[Value<'s>],
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let between = arguments.get(0, "d");
    let mut output = Output::new(meter);
    for (index, item) in items.iter().enumerate() {
        if let Some(between) = between.as_ref().filter(|_| index > 0) {
            output.write(between)?;
        }
        output.write(item)?;
    }
    made(output, meter)
}

/// The first item that no other comes before; undefined of none.
fn best<'s>(items: Vec<Value<'s>>, side: Ordering, meter: &Meter) -> Result<Value<'s>, String> {
    let mut best: Option<Value<'s>> = None;
    for item in items {
        let is_better = match &best {
            None => true,
            Some(best) => item.order(best, meter)? == side,
        };
        if is_better {
            best = Some(item);
        }
    }
    Ok(best.unwrap_or(Value::Undefined))
}

fn sum<'s>(
    items: &[Value<'s>],
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let path = arguments.get(0, "attribute");
    let (mut whole, mut float) = (0_i128, None);
    for item in items {
        meter.step()?;
        let item = match path.as_ref().and_then(Value::as_text) {
            Some(path) => at_path(item, path, meter)?,
            None => item.clone(),
        };
        match item {
            Value::Int(number) => {
                let sum = whole.checked_add(number);
                whole = sum.ok_or("gives a whole number that is too large")?;
            }
            Value::Float(number) => *float.get_or_insert(0.0) += number,
            other => return Err(format!("sum takes {} for a number", other.kind())),
        }
    }
    Ok(float.map_or(Value::Int(whole), |float| {
        Value::Float(float + whole as f64)
    }))
}

/// What `item` has at a path such as `choice.score`.
fn at_path<'s>(item: &Value<'s>, path: &str, meter: &Meter) -> Result<Value<'s>, String> {
    let mut value = item.clone();
    for name in path.split('.') {
        value = match name.parse() {
            Ok(index) => value.item(&Value::Int(index), meter)?,
            Err(_) => value.field(name, meter)?,
        };
    }
    Ok(value)
}

/// Merges halves, so that a comparison that fails ends it and each is counted.
fn sorted<'s>(
    items: Vec<Value<'s>>,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Vec<Value<'s>>, String> {
    let path = arguments
        .get(0, "attribute")
        .or(arguments.get(2, "attribute"));
    let path = path.as_ref().and_then(Value::as_text);
    meter.make(items.len() * 2 * size_of::<Value<'_>>())?;
    let keyed = items.into_iter().map(|item| {
        let key = path.map_or(Ok(item.clone()), |path| at_path(&item, path, meter))?;
        Ok((key, item))
    });
    let mut keyed = keyed.collect::<Result<Vec<_>, String>>()?;
    let mut failed = None;
    keyed.sort_by(|(one, _), (two, _)| match &failed {
        Some(_) => Ordering::Equal,
        None => one.order(two, meter).unwrap_or_else(|error| {
            failed = Some(error);
            Ordering::Equal
        }),
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let mut items: Vec<_> = keyed.into_iter().map(|(_, item)| item).collect();
    if arguments.flag(usize::MAX, "reverse")? {
        items.reverse();
    }
    Ok(items)
}

fn unique<'s>(items: Vec<Value<'s>>, meter: &Meter) -> Result<Vec<Value<'s>>, String> {
    let mut kept: Vec<Value<'s>> = Vec::new();
    'items: for item in items {
        for known in &kept {
            if known.equals(&item, meter)? {
                continue 'items;
            }
        }
        kept.push(item);
    }
    Ok(kept)
}

fn batch<'s>(
    items: &[Value<'s>],
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Value<'s>, String> {
    let count = arguments.size("batch", 0)?;
    if count == 0 {
        return Err("batch needs a count of at least 1".to_owned());
    }
    let fill = arguments.get(1, "fill_with");
    let batches = items.chunks(count).map(|some| {
        // A batch has an allocation and counters of its own.
        meter.make(64)?;
        let mut some = some.to_vec();
        if let Some(fill) = &fill {
            meter.make((count - some.len()) * size_of::<Value<'_>>())?;
            some.resize(count, fill.clone());
        }
        Value::list(some, meter)
    });
    Value::list(batches.collect::<Result<_, _>>()?, meter)
}

/// `map(attribute="a.b")`, with a `default`, or `map("upper")` with the filter's own arguments.
fn mapped<'s>(
    items: Vec<Value<'s>>,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Vec<Value<'s>>, String> {
    let path = arguments
        .names
        .iter()
        .find(|(name, _)| *name == "attribute");
    if let Some((_, path)) = path {
        let path = path.as_text().ok_or("map takes a text as its attribute")?;
        let default = arguments.get(usize::MAX, "default");
        let values = items.iter().map(|item| {
            meter.step()?;
            let value = at_path(item, path, meter)?;
            match (value, &default) {
                (Value::Undefined, Some(default)) => Ok(default.clone()),
                (value, _) => value.defined(),
            }
        });
        return values.collect();
    }
    let (filter, positional) = named(arguments, "map", "filter")?;
    if filter == "map" {
        return Err("map takes no map as its filter".to_owned());
    }
    let count = positional.len() + arguments.names.len();
    let values = items.into_iter().map(|item| {
        meter.make(count * 2 * size_of::<Value<'_>>())?;
        let arguments = Arguments {
            positional: positional.to_vec(),
            names: arguments.names.clone(),
        };
        super::apply(&filter, item, arguments, meter)?.defined()
    });
    values.collect()
}

/// The name that comes first among the arguments, and the others.
fn named<'a, 's>(
    arguments: &'a Arguments<'s, '_>,
    of: &str,
    what: &str,
) -> Result<(String, &'a [Value<'s>]), String> {
    let Some((Value::Text(name), others)) = arguments.positional.split_first() else {
        return Err(format!("{of} needs the name of a {what}"));
    };
    Ok((name.as_str().to_owned(), others))
}

/// Items for which a test holds, or not: of themselves, or of what they have at a path.
fn chosen<'s>(
    items: Vec<Value<'s>>,
    filter: &str,
    wanted: bool,
    arguments: &Arguments<'s, '_>,
    meter: &Meter,
) -> Result<Vec<Value<'s>>, String> {
    let mut positional = arguments.positional.as_slice();
    let mut path = None;
    if filter.ends_with("attr") {
        let (name, others) = named(arguments, filter, "field")?;
        (path, positional) = (Some(name), others);
    }
    let test = match positional.split_first() {
        None => None,
        Some((Value::Text(name), others)) => Some((
            name.as_str(),
            Arguments {
                positional: others.to_vec(),
                names: Vec::new(),
            },
        )),
        Some(_) => return Err(format!("{filter} needs the name of a test")),
    };
    let mut kept = Vec::new();
    for item in items {
        meter.step()?;
        let value = match &path {
            Some(path) => at_path(&item, path, meter)?,
            None => item.clone(),
        };
        let holds = match &test {
            Some((name, arguments)) => checks::holds(name, &value, arguments, meter)?,
            None => !matches!(value, Value::Undefined) && value.is_true()?,
        };
        if holds == wanted {
            kept.push(item);
        }
    }
    Ok(kept)
}
