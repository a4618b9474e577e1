//! The texts and lists of the file that have a form of their own, each with its schema.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::secret::REDACTED;

/// An item of a list; `None` when it was refused, so that the items after it keep their numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Item<T>(pub(crate) Option<T>);

impl<T: JsonSchema> JsonSchema for Item<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A text type of the file, with its schema.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub(in crate) String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text!(
    /// A duration with its unit.
    DurationText,
    { "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(us|µs|ms|s|m|min|h|d)|0|.*\$\{.*)$", "examples": ["250ms", "2s", "10m"] }
);
text!(
    /// A duration with its unit, or `off`.
    DurationOrOffText,
    { "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(us|µs|ms|s|m|min|h|d)|off|.*\$\{.*)$", "examples": ["5m", "1h", "off"] }
);
text!(
    /// A size with its unit.
    SizeText,
    { "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(B|[kK]B|MB|GB|KiB|MiB|GiB)|0|.*\$\{.*)$", "examples": ["64KiB", "32MiB"] }
);
text!(
    /// A count, in thousands or millions where it ends with `k` or `M`.
    CountText,
    { "type": ["string", "integer"], "examples": [600, "200k"] }
);
text!(
    /// US dollars.
    DollarsText,
    { "type": ["string", "number"], "examples": [2.5, "0.15"] }
);
text!(
    /// A day.
    DayText,
    { "type": "string", "pattern": r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|.*\$\{.*)$", "examples": ["2027-01-31"] }
);
text!(
    /// A kind of failure.
    RetryText,
    { "type": ["string", "integer"], "examples": ["connect", "timeout", 429, "5xx"] }
);

/// A text that must not be shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub(crate) String);

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl JsonSchema for SecretText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}
