//! Durations as text with a unit: `250ms`, `1s`, `1.5s`, `2m`, `1h`.
//!
//! A bare `0` is the one number that needs no unit. Text is written back in the largest unit that holds the value
//! exactly, so that a knob reads as it was set.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};
use thiserror::Error;

/// The longest duration a knob takes: longer than any timeout worth testing, short enough for every clock.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// The number is missing, negative or malformed.
    #[error("`{0}` is no duration: write a number with a unit, such as 250ms, 1.5s or 2m")]
    Number(String),
    /// The number is fine, its unit is missing or unknown.
    #[error("`{0}` needs one of the units us, ms, s, m, h")]
    Unit(String),
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
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let value: f64 = number
        .parse()
        .map_err(|_| DurationError::Number(text.to_owned()))?;
    let seconds_each = match unit.trim_start() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if value == 0.0 => 1.0,
        _ => return Err(DurationError::Unit(text.to_owned())),
    };
    match Duration::try_from_secs_f64(value * seconds_each) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(DurationError::TooLong(text.to_owned())),
    }
}

/// Writes a duration in the largest unit that holds it exactly; below a microsecond it is rounded down.
pub(super) fn format(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s")];
    for (size, unit) in units {
        if micros >= size && micros.is_multiple_of(size) {
            return format!("{}{unit}", micros / size);
        }
    }
    if micros.is_multiple_of(1_000) {
        format!("{}ms", micros / 1_000)
    } else {
        format!("{micros}us")
    }
}

/// For `#[serde(with = "..")]` on a `Duration`.
pub(super) mod text {
    use super::{Deserialize, Deserializer, Duration, Serializer, de};

    pub(in crate::mock) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*duration))
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
            Some(duration) => serializer.serialize_str(&super::format(*duration)),
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
    fn every_unit_is_read_and_written_back() {
        for text in ["0ms", "250us", "250ms", "1s", "90s", "2m", "24h"] {
            let duration = parse(text).expect("a valid text");
            assert_eq!(parse(&format(duration)), Ok(duration), "{text}");
        }
        assert_eq!(parse(" 1.5s "), Ok(Duration::from_millis(1_500)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(format(Duration::from_secs(90)), "90s");
        assert_eq!(format(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn a_number_without_a_known_unit_is_refused() {
        assert!(matches!(parse("250"), Err(DurationError::Unit(_))));
        assert!(matches!(parse("250 parsecs"), Err(DurationError::Unit(_))));
    }

    #[test]
    fn malformed_and_negative_numbers_are_refused() {
        for text in ["", "ms", "-1s", "1.2.3s", "."] {
            assert!(
                matches!(parse(text), Err(DurationError::Number(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_day_is_taken_and_longer_is_refused() {
        assert_eq!(parse("24h"), Ok(DURATION_MAX));
        assert!(matches!(parse("24.1h"), Err(DurationError::TooLong(_))));
        assert!(matches!(
            parse("99999999999999999999h"),
            Err(DurationError::TooLong(_))
        ));
    }
}
