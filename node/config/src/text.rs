//! Durations and sizes as texts with a unit: `250ms`, `2s`, `10m`, `32MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a text is not a duration or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// No number in front.
    #[error("must begin with a number")]
    Number,
    /// A number alone.
    #[error("must have a unit")]
    NoUnit,
    /// A unit that is not known.
    #[error("has an unknown unit")]
    Unit,
    /// More than can be represented.
    #[error("is too large")]
    TooLarge,
}

/// Splits `text` into its number and its unit.
fn split(text: &str) -> Result<(f64, &str), TextError> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number = number.parse().map_err(|_| TextError::Number)?;
    Ok((number, unit.trim_start()))
}

/// The longest accepted duration: a year. Longer ones are typing mistakes, and would overflow clocks.
const DURATION_MAX_SECONDS: f64 = 365.0 * 86_400.0;

/// Reads a duration such as `250ms`, `1.5s`, `10m`, `2h`, `1d`. A bare `0` needs no unit.
///
/// # Errors
/// When there is no number, no unit, an unknown one, or more than a year.
pub fn parse_duration(text: &str) -> Result<Duration, TextError> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "" if number == 0.0 => 1.0,
        "" => return Err(TextError::NoUnit),
        _ => return Err(TextError::Unit),
    };
    let total = number * seconds;
    if total > DURATION_MAX_SECONDS {
        return Err(TextError::TooLarge);
    }
    // Whole nanoseconds of a value that a person wrote in tenths: rounding to microseconds loses nothing.
    Ok(Duration::from_micros((total * 1e6).round() as u64))
}

/// Writes a duration in the largest unit that loses nothing.
pub fn format_duration(span: Duration) -> String {
    let micros = span.as_micros();
    let units = [
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ];
    let exact = units
        .into_iter()
        .find(|(_, size)| micros != 0 && micros.is_multiple_of(*size));
    let (unit, size) = exact.unwrap_or(("s", 1_000_000));
    format!("{}{unit}", micros / size)
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// So many times 1,024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count * 1_024)
    }

    /// So many times 1,024 x 1,024 bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count * 1_024 * 1_024)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; saturates where a length is shorter.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The largest accepted size: 1 TiB. Larger ones are typing mistakes.
const BYTES_MAX: f64 = (1_u64 << 40) as f64;

impl FromStr for ByteSize {
    type Err = TextError;

    /// Reads a size such as `512B`, `64KiB`, `32MiB`, `1GiB`, or with `kB`, `MB`, `GB` for powers of ten.
    fn from_str(text: &str) -> Result<Self, TextError> {
        let (number, unit) = split(text)?;
        let factor = match unit {
            "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1_024.0,
            "MiB" => 1_048_576.0,
            "GiB" => 1_073_741_824.0,
            "" if number == 0.0 => 1.0,
            "" => return Err(TextError::NoUnit),
            _ => return Err(TextError::Unit),
        };
        let total = number * factor;
        if total > BYTES_MAX {
            Err(TextError::TooLarge)
        } else {
            Ok(Self(total.round() as u64))
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let exact = units
            .into_iter()
            .find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size));
        let (unit, size) = exact.unwrap_or(("B", 1));
        write!(formatter, "{}{unit}", self.0 / size)
    }
}

/// Reads a count such as `600`, `200k` or `2M`.
///
/// # Errors
/// When there is no number, an unknown unit, or more than 10^12.
pub fn parse_count(text: &str) -> Result<u64, TextError> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        _ => return Err(TextError::Unit),
    };
    let total = number * factor;
    if total > 1e12 {
        Err(TextError::TooLarge)
    } else {
        Ok(total.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_written_as_it_was_read() {
        for text in ["250ms", "2s", "10m", "1h", "90s", "1500us", "0s"] {
            let span = parse_duration(text).expect("a good duration");
            assert_eq!(parse_duration(&format_duration(span)), Ok(span), "{text}");
        }
        assert_eq!(format_duration(Duration::from_secs(600)), "10m");
        assert_eq!(format_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1_500)));
    }

    #[test]
    fn duration_without_a_known_unit_is_refused() {
        assert_eq!(parse_duration("30"), Err(TextError::NoUnit));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("3 fortnights"), Err(TextError::Unit));
        assert_eq!(parse_duration("s"), Err(TextError::Number));
        assert_eq!(parse_duration("1.2.3s"), Err(TextError::Number));
        assert_eq!(parse_duration("-1s"), Err(TextError::Number));
        assert_eq!(parse_duration(""), Err(TextError::Number));
    }

    #[test]
    fn duration_of_more_than_a_year_is_refused() {
        assert_eq!(parse_duration("365d"), Ok(Duration::from_secs(31_536_000)));
        assert_eq!(parse_duration("366d"), Err(TextError::TooLarge));
        assert_eq!(
            parse_duration(&format!("{}s", "9".repeat(400))),
            Err(TextError::TooLarge)
        );
    }

    #[test]
    fn size_is_written_as_it_was_read() {
        for text in ["512B", "64KiB", "32MiB", "1GiB", "1500B"] {
            assert_eq!(
                text.parse::<ByteSize>().map(|size| size.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!("1.5kB".parse(), Ok(ByteSize::bytes(1_500)));
        assert_eq!("32".parse::<ByteSize>(), Err(TextError::NoUnit));
        assert_eq!("32mb".parse::<ByteSize>(), Err(TextError::Unit));
        assert_eq!("9999GiB".parse::<ByteSize>(), Err(TextError::TooLarge));
    }

    #[test]
    fn count_may_be_in_thousands() {
        assert_eq!(parse_count("600"), Ok(600));
        assert_eq!(parse_count("200k"), Ok(200_000));
        assert_eq!(parse_count("2 parsecs"), Err(TextError::Unit));
    }
}
