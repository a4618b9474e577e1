//! Which of two values is the same, or comes first. Each part that is looked at is a step.

use std::cmp::Ordering;

use super::meter::Meter;
use super::value::Value;

impl Value<'_> {
    /// Whether two are the same.
    pub(super) fn equals(&self, other: &Self, meter: &Meter) -> Result<bool, String> {
        meter.step()?;
        Ok(match (self, other) {
            (Self::Undefined, _) | (_, Self::Undefined) => return Err(super::NOT_THERE.to_owned()),
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            (Self::Int(one), Self::Int(two)) => one == two,
            (Self::Text(one), Self::Text(two)) => {
                meter.read(one.as_str().len().min(two.as_str().len()))?;
                one.as_str() == two.as_str()
            }
            (Self::List(one), Self::List(two)) if one.len() == two.len() => {
                for index in 0..one.len() {
                    if !one.get(index).equals(&two.get(index), meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Fields(one), Self::Fields(two)) if one.len() == two.len() => {
                for (name, value) in one.entries(meter)? {
                    match two.get(name.as_str()) {
                        Self::Undefined => return Ok(false),
                        found if !value.equals(&found, meter)? => return Ok(false),
                        _ => {}
                    }
                }
                true
            }
            _ => match (self.as_float(), other.as_float()) {
                (Some(one), Some(two)) => one == two,
                _ => false,
            },
        })
    }

    /// Which of two comes first.
    pub(super) fn order(&self, other: &Self, meter: &Meter) -> Result<Ordering, String> {
        meter.step()?;
        let order = match (self, other) {
            (Self::Undefined, _) | (_, Self::Undefined) => return Err(super::NOT_THERE.to_owned()),
            (Self::Int(one), Self::Int(two)) => Some(one.cmp(two)),
            (Self::Bool(one), Self::Bool(two)) => Some(one.cmp(two)),
            (Self::Text(one), Self::Text(two)) => {
                meter.read(one.as_str().len().min(two.as_str().len()))?;
                Some(one.as_str().cmp(two.as_str()))
            }
            (Self::List(one), Self::List(two)) => {
                for index in 0..one.len().min(two.len()) {
                    let order = one.get(index).order(&two.get(index), meter)?;
                    if order != Ordering::Equal {
                        return Ok(order);
                    }
                }
                Some(one.len().cmp(&two.len()))
            }
            _ => match (self.as_float(), other.as_float()) {
                (Some(one), Some(two)) => one.partial_cmp(&two),
                _ => None,
            },
        };
        order.ok_or_else(|| format!("compares {} with {}", self.kind(), other.kind()))
    }
}
