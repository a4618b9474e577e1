//! Numbers in payloads: refused when negative, clamped when huge.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::dialect::DialectSet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::ValueError;

/// Times above this are clamped to it: nobody waits longer for a first byte or a cooldown.
pub(crate) const SPAN_MAX: Duration = Duration::from_secs(3_600);

const STEPS_PER_UNIT: f64 = 1_000.0;

/// A number that is written without a fraction where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figure(pub(crate) f64);

impl Figure {
    /// The finest step of a share and a weight: finer ones mean nothing and cost bytes.
    pub(crate) const STEP: f64 = 1.0 / STEPS_PER_UNIT;

    pub(crate) fn of_span(span: Duration) -> Self {
        Self(span.min(SPAN_MAX).as_micros() as f64)
    }

    pub(crate) fn stepped(value: f64) -> Self {
        Self((value * STEPS_PER_UNIT).round() / STEPS_PER_UNIT)
    }

    /// A set of dialects as a bit each; nothing where it is all of them.
    pub(crate) fn of_dialects(dialects: DialectSet) -> Option<Self> {
        (dialects != DialectSet::ALL).then(|| Self(dialects.bits().into()))
    }

    /// A set of dialects, a bit each; all of them where nothing is said. Bits of later versions are left out.
    pub(crate) fn dialects(figure: Option<Self>) -> Result<DialectSet, ValueError> {
        let bits = figure.map(|figure| figure.count("dialects")).transpose()?;
        Ok(bits.map_or(DialectSet::ALL, |bits| {
            DialectSet::from_bits((bits & 0xff) as u8)
        }))
    }

    pub(crate) fn span(self, field: &'static str) -> Result<Duration, ValueError> {
        let micros = self.at_least_zero(field)?;
        Ok(Duration::from_micros(
            micros.min(SPAN_MAX.as_micros() as f64) as u64,
        ))
    }

    pub(crate) fn count(self, field: &'static str) -> Result<u32, ValueError> {
        // A cast from a float saturates.
        Ok(self.at_least_zero(field)? as u32)
    }

    fn at_least_zero(self, field: &'static str) -> Result<f64, ValueError> {
        if self.0 >= 0.0 {
            Ok(self.0)
        } else {
            Err(ValueError::Field(field))
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && (0.0..9e15).contains(&self.0) {
            serializer.serialize_u64(self.0 as u64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self)
    }
}

/// Times by model; zero where none was measured.
pub(crate) fn by_model<S: Serializer>(
    models: &BTreeMap<String, Option<Figure>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        models
            .iter()
            .map(|(model, ttft)| (model, ttft.unwrap_or_default())),
    )
}
