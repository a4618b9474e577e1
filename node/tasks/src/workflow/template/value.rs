//! Values of the template language: what the run holds is read in place, what a template makes is counted.

use std::collections::BTreeMap;
use std::mem::size_of;
use std::rc::Rc;
use std::sync::Arc;

use minijinja::value::ValueKind;
use serde_json::{Map, Number, Value as Json};

use super::meter::Meter;

/// Lists and objects within one another that a template may make around what it sees.
const MADE_DEPTH_MAX: u8 = 64;

/// What a field of a JSON object takes beside its text: a key, a value, and its part of the tree's nodes.
const FIELD_BYTES: usize = 128;

/// The least that a JSON object with fields takes: one node of its tree.
const OBJECT_BYTES: usize = 640;

/// A value. Cheap to clone: what is long is shared, or lies in the run.
#[derive(Clone, Debug)]
pub(super) enum Value<'s> {
    Undefined,
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text<'s>),
    List(List<'s>),
    Fields(Fields<'s>),
    Turn(Turn),
}

/// A text.
#[derive(Clone, Debug)]
pub(super) enum Text<'s> {
    Seen(&'s str),
    Made(Rc<str>),
}

/// A list.
#[derive(Clone, Debug)]
pub(super) enum List<'s> {
    Seen(&'s [Json]),
    Made(Rc<Vec<Value<'s>>>, u8),
}

/// An object.
#[derive(Clone, Debug)]
pub(super) enum Fields<'s> {
    Seen(&'s Map<String, Json>),
    /// How steps ended, by their ids.
    Steps(&'s BTreeMap<String, Arc<Json>>),
    Made(Rc<BTreeMap<String, Value<'s>>>, u8),
}

/// Where a loop is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) index: usize,
    pub(super) length: usize,
}

impl<'s> Value<'s> {
    pub(super) fn of(json: &'s Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => match (number.as_i128(), number.as_f64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, float) => Self::Float(float.unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(Text::Seen(text)),
            Json::Array(items) => Self::List(List::Seen(items)),
            Json::Object(fields) => Self::Fields(Fields::Seen(fields)),
        }
    }

    /// A constant of the syntax.
    pub(super) fn constant(value: &minijinja::Value, meter: &Meter) -> Result<Self, String> {
        Ok(match value.kind() {
            ValueKind::None => Self::Null,
            ValueKind::Bool => Self::Bool(value.is_true()),
            ValueKind::Number if value.is_integer() => {
                let whole = i128::try_from(value.clone());
                Self::Int(whole.map_err(|_| "has a number that is too large".to_owned())?)
            }
            ValueKind::Number => {
                let float = f64::try_from(value.clone());
                Self::Float(float.map_err(|_| "has a number that cannot be read".to_owned())?)
            }
            ValueKind::String => Self::text(value.as_str().unwrap_or_default(), meter)?,
            kind => {
                return Err(format!(
                    "has a constant of kind {kind}, which is not offered"
                ));
            }
        })
    }

    /// A copy of `text`.
    pub(super) fn text(text: &str, meter: &Meter) -> Result<Self, String> {
        meter.make(text.len())?;
        Ok(Self::Text(Text::Made(text.into())))
    }

    pub(super) fn list(items: Vec<Self>, meter: &Meter) -> Result<Self, String> {
        meter.make(items.len() * size_of::<Self>())?;
        let depth = depth_of(items.iter())?;
        Ok(Self::List(List::Made(Rc::new(items), depth)))
    }

    pub(super) fn fields(fields: BTreeMap<String, Self>, meter: &Meter) -> Result<Self, String> {
        let keys: usize = fields.keys().map(String::len).sum();
        meter.make(OBJECT_BYTES + fields.len() * FIELD_BYTES + keys)?;
        let depth = depth_of(fields.values())?;
        Ok(Self::Fields(Fields::Made(Rc::new(fields), depth)))
    }

    /// What kind it is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Fields(_) | Self::Turn(_) => "an object",
        }
    }

    /// What is not there is an error wherever it is used.
    pub(super) fn defined(self) -> Result<Self, String> {
        match self {
            Self::Undefined => Err(super::NOT_THERE.to_owned()),
            value => Ok(value),
        }
    }

    pub(super) fn is_true(&self) -> Result<bool, String> {
        Ok(match self {
            Self::Undefined => return Err(super::NOT_THERE.to_owned()),
            Self::Null => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.as_str().is_empty(),
            Self::List(list) => list.len() > 0,
            Self::Fields(fields) => fields.len() > 0,
            Self::Turn(_) => true,
        })
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    pub(super) const fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// What it has by this name.
    pub(super) fn field(&self, name: &str, meter: &Meter) -> Result<Self, String> {
        meter.read(name.len())?;
        Ok(match self {
            Self::Undefined => return Err(super::NOT_THERE.to_owned()),
            Self::Fields(fields) => fields.get(name),
            Self::Turn(turn) => turn.get(name),
            _ => Self::Undefined,
        })
    }

    /// What it has by this key: a name, or an index from the front or, below zero, from the back.
    pub(super) fn item(&self, key: &Self, meter: &Meter) -> Result<Self, String> {
        match (self, key) {
            (Self::List(list), Self::Int(index)) => Ok(list.at(*index)),
            (_, Self::Text(name)) => self.field(name.as_str(), meter),
            (Self::Undefined, _) => Err(super::NOT_THERE.to_owned()),
            _ => Ok(Self::Undefined),
        }
    }

    /// Its items: those of a list, the names of an object, the characters of a text.
    pub(super) fn items(&self, meter: &Meter) -> Result<Vec<Self>, String> {
        match self {
            Self::List(list) => {
                meter.make(list.len() * size_of::<Self>())?;
                Ok((0..list.len()).map(|index| list.get(index)).collect())
            }
            Self::Fields(fields) => {
                let entries = fields.entries(meter)?;
                Ok(entries
                    .into_iter()
                    .map(|(name, _)| Self::Text(name))
                    .collect())
            }
            Self::Text(text) => {
                // A character is a value with a small allocation of its own.
                meter.make(text.as_str().chars().count() * (size_of::<Self>() + 32))?;
                let character = |character: char| {
                    let mut bytes = [0; 4];
                    Self::Text(Text::Made((&*character.encode_utf8(&mut bytes)).into()))
                };
                Ok(text.as_str().chars().map(character).collect())
            }
            Self::Undefined => Err(super::NOT_THERE.to_owned()),
            other => Err(format!("takes {} for a list", other.kind())),
        }
    }

    /// The same as JSON.
    pub(super) fn json(&self, meter: &Meter) -> Result<Json, String> {
        meter.make(size_of::<Json>())?;
        Ok(match self {
            Self::Undefined => return Err(super::NOT_THERE.to_owned()),
            Self::Null => Json::Null,
            Self::Bool(flag) => Json::Bool(*flag),
            Self::Int(number) => whole(*number)?,
            Self::Float(number) => {
                let number = Number::from_f64(*number);
                Json::Number(number.ok_or("gives a number that JSON does not have")?)
            }
            Self::Text(text) => {
                meter.make(text.as_str().len())?;
                Json::String(text.as_str().to_owned())
            }
            Self::List(list) => {
                let items = (0..list.len()).map(|index| list.get(index).json(meter));
                // Grown item by item, so that no room is taken for more than was counted.
                Json::Array(items.collect::<Result<Vec<_>, _>>()?)
            }
            Self::Fields(fields) => {
                let mut object = Map::new();
                meter.make(OBJECT_BYTES.min(fields.len() * OBJECT_BYTES))?;
                for (name, value) in fields.entries(meter)? {
                    meter.make(FIELD_BYTES + name.as_str().len())?;
                    object.insert(name.as_str().to_owned(), value.json(meter)?);
                }
                Json::Object(object)
            }
            Self::Turn(_) => return Err("gives the loop itself, which is no value".to_owned()),
        })
    }
}

fn whole(number: i128) -> Result<Json, String> {
    if let Ok(number) = i64::try_from(number) {
        return Ok(number.into());
    }
    let number = u64::try_from(number);
    let number = number.map_err(|_| "gives a whole number beyond 64 bits".to_owned())?;
    Ok(number.into())
}

fn depth_of<'v, 's: 'v>(items: impl Iterator<Item = &'v Value<'s>>) -> Result<u8, String> {
    let inner = items.map(|item| match item {
        Value::List(List::Made(_, depth)) | Value::Fields(Fields::Made(_, depth)) => *depth,
        _ => 0,
    });
    let depth = inner.max().unwrap_or_default() + 1;
    match depth > MADE_DEPTH_MAX {
        true => Err(format!(
            "makes lists within one another, more than {MADE_DEPTH_MAX} deep"
        )),
        false => Ok(depth),
    }
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Seen(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl<'s> List<'s> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Seen(items) => items.len(),
            Self::Made(items, _) => items.len(),
        }
    }

    /// What is at `index`; undefined beyond the end.
    pub(super) fn get(&self, index: usize) -> Value<'s> {
        let found = match self {
            Self::Seen(items) => items.get(index).map(Value::of),
            Self::Made(items, _) => items.get(index).cloned(),
        };
        found.unwrap_or(Value::Undefined)
    }

    fn at(&self, index: i128) -> Value<'s> {
        let index = match index < 0 {
            true => index + self.len() as i128,
            false => index,
        };
        usize::try_from(index).map_or(Value::Undefined, |index| self.get(index))
    }
}

impl<'s> Fields<'s> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Seen(fields) => fields.len(),
            Self::Steps(steps) => steps.len(),
            Self::Made(fields, _) => fields.len(),
        }
    }

    /// What has this name; undefined where nothing has.
    pub(super) fn get(&self, name: &str) -> Value<'s> {
        let found = match self {
            Self::Seen(fields) => fields.get(name).map(Value::of),
            Self::Steps(steps) => steps.get(name).map(|step| Value::of(step)),
            Self::Made(fields, _) => fields.get(name).cloned(),
        };
        found.unwrap_or(Value::Undefined)
    }

    /// Names and values, in the order of the names.
    pub(super) fn entries(&self, meter: &Meter) -> Result<Vec<(Text<'s>, Value<'s>)>, String> {
        meter.make(self.len() * size_of::<(Text<'_>, Value<'_>)>())?;
        Ok(match self {
            Self::Seen(fields) => fields
                .iter()
                .map(|(name, value)| (Text::Seen(name.as_str()), Value::of(value)))
                .collect(),
            Self::Steps(steps) => steps
                .iter()
                .map(|(name, value)| (Text::Seen(name.as_str()), Value::of(value)))
                .collect(),
            Self::Made(fields, _) => {
                let mut entries = Vec::with_capacity(fields.len());
                for (name, value) in fields.iter() {
                    meter.make(name.len())?;
                    entries.push((Text::Made(name.as_str().into()), value.clone()));
                }
                entries
            }
        })
    }
}

impl Turn {
    fn get<'s>(self, name: &str) -> Value<'s> {
        let left = self.length - self.index;
        match name {
            "index" => Value::Int(self.index as i128 + 1),
            "index0" => Value::Int(self.index as i128),
            "revindex" => Value::Int(left as i128),
            "revindex0" => Value::Int(left as i128 - 1),
            "first" => Value::Bool(self.index == 0),
            "last" => Value::Bool(left == 1),
            "length" => Value::Int(self.length as i128),
            _ => Value::Undefined,
        }
    }
}
