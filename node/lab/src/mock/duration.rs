//! Durations of the knobs: texts as in the config, held below [`DURATION_MAX`].

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};
use thiserror::Error;

use grapevine_config::text::{TextError, format_duration, parse_duration};

/// The longest duration a knob takes: longer than any timeout worth testing, short enough for every clock.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a text is no duration of a knob.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not a number with a unit.
    #[error("`{text}` {problem}; write a number with a unit, such as 250ms, 1.5s or 2m")]
    Text {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: TextError,
    },
    /// Longer than [`DURATION_MAX`].
    #[error("`{0}` is longer than 24h")]
    TooLong(String),
}

/// Reads a duration such as `250ms`; blanks around it are ignored.
///
/// # Errors
/// When the number or its unit is missing or unknown, or above [`DURATION_MAX`].
pub(super) fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    match parse_duration(text) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        Ok(_) | Err(TextError::TooLarge) => Err(DurationError::TooLong(text.to_owned())),
        Err(problem) => Err(DurationError::Text {
            text: text.to_owned(),
            problem,
        }),
    }
}

/// For `#[serde(with = "..")]` on a `Duration`.
pub(super) mod text {
    use super::{Deserialize, Deserializer, Duration, Serializer, de};

    pub(in crate::mock) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    pub(in crate::mock) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).map_err(de::Error::custom)
    }
}

/// For `#[serde(with = "..")]` on an `Option<Duration>`.
pub(super) mod optional_text {
    use super::{Deserialize, Deserializer, Duration, Serializer, de};

    pub(in crate::mock) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::text::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::mock) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_duration_are_ignored() {
        assert_eq!(parse(" 1.5s "), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_text_that_is_no_duration_is_named_with_its_problem() {
        for (text, problem) in [
            ("250", "must have a unit"),
            ("250 parsecs", "has an unknown unit"),
            ("-1s", "must begin with a number"),
        ] {
            let error = parse(text).expect_err("no duration").to_string();
            assert_eq!(
                error,
                format!(
                    "`{text}` {problem}; write a number with a unit, such as 250ms, 1.5s or 2m"
                )
            );
        }
    }

    #[test]
    fn a_day_is_taken_and_longer_is_refused() {
        assert_eq!(parse("24h"), Ok(DURATION_MAX));
        for text in ["24.1h", "99999999999999999999h"] {
            assert_eq!(parse(text), Err(DurationError::TooLong(text.to_owned())));
        }
    }
}
