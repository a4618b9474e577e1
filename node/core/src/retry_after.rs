//! How long an answer asks to be left alone, as its headers write it.
//!
//! `Retry-After` is a number of seconds or a date; the date is measured against a wall clock, which core has none of.

use std::time::Duration;

/// A `Retry-After` of so many seconds, fractions included; `None` where the text is no such number.
pub fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(number(text)?).ok()
}

/// A `retry-after-ms`.
pub fn milliseconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(number(text)? / 1_000.0).ok()
}

fn number(text: &str) -> Option<f64> {
    let value: f64 = text.trim().parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_seconds_and_milliseconds_are_read() {
        assert_eq!(seconds(" 2 "), Some(Duration::from_secs(2)));
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!(milliseconds("250"), Some(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_span_is_no_wish() {
        for text in ["", "-1", "NaN", "inf", "soon", "1e300"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
