//! Texts of records that are checked when they are read.

use std::fmt;

use grapevine_core::ids::{ModelName, RegionName, ServiceKey};
use serde::{Deserialize, Serialize};

/// A service's key in records, checked when it is read.
pub type ServiceKeyText = CheckedText<ServiceKey>;

/// A model's name in records, checked when it is read.
pub type ModelText = CheckedText<ModelName>;

/// A region's name in records, checked when it is read.
pub type RegionText = CheckedText<RegionName>;

/// A name of core's that is written as text and checked when it is read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckedText<T>(pub T);

impl<T: fmt::Debug> fmt::Debug for CheckedText<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<T: fmt::Display> Serialize for CheckedText<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: std::str::FromStr<Err: fmt::Display>> Deserialize<'de> for CheckedText<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}
