//! Days of the calendar, in UTC, for what people read and write. Nothing is timed by them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

/// The last day that is read or written: 9999-12-31.
const DAYS_MAX: u64 = 2_932_896;

/// A day since the Unix epoch. Before it there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalendarDay(u32);

/// Not a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a day; write it as 2027-01-31")]
pub struct CalendarDayError;

impl CalendarDay {
    /// The day of `time` since the Unix epoch.
    pub fn of(time: Duration) -> Self {
        let days = (time.as_secs() / DAY_SECONDS).min(DAYS_MAX);
        Self(u32::try_from(days).unwrap_or_default())
    }

    /// Its beginning, since the Unix epoch.
    pub fn begins(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * DAY_SECONDS)
    }

    /// Year, month and day of the month. The algorithm is Howard Hinnant's `civil_from_days`.
    fn parts(self) -> (u32, u32, u32) {
        // Days since 0000-03-01, so that a leap day is the last of its year.
        let days = self.0 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (year + era * 400 + u32::from(month <= 2), month, day)
    }

    /// The algorithm is Howard Hinnant's `days_from_civil`.
    fn of_parts(year: u32, month: u32, day: u32) -> Option<Self> {
        if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let shifted = year - u32::from(month <= 2);
        let (era, of_era) = (shifted / 400, shifted % 400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        let found = Self(days.checked_sub(719_468)?);
        // The 31st of a shorter month would be a day of the next.
        (found.parts() == (year, month, day)).then_some(found)
    }
}

impl FromStr for CalendarDay {
    type Err = CalendarDayError;

    fn from_str(text: &str) -> Result<Self, CalendarDayError> {
        let is_form = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !is_form {
            return Err(CalendarDayError);
        }
        let number = |range: std::ops::Range<usize>| text[range].parse().unwrap_or_default();
        Self::of_parts(number(0..4), number(5..7), number(8..10)).ok_or(CalendarDayError)
    }
}

impl fmt::Display for CalendarDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.parts();
        write!(formatter, "{year:04}-{month:02}-{day:02}")
    }
}

/// The time since the Unix epoch that `text` names as RFC 3339 has it, such as `2027-01-31T08:30:00.5Z` or
/// `2027-01-31T08:30:00+02:00`; `None` for every other text, and before the epoch.
pub fn time_of(text: &str) -> Option<Duration> {
    let day: CalendarDay = text.get(..10)?.parse().ok()?;
    let rest = text[10..].strip_prefix(['T', 't', ' '])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone);
    let two = |text: &str, max: u64| {
        let is_form = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>()
            .ok()
            .filter(|number| is_form && *number <= max)
    };
    let minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        Some(two(hours, 23)? * 60 + two(minutes, 59)?)
    };
    let (clock, seconds) = clock.rsplit_once(':')?;
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_part = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let part = format!("0.{part}")
        .parse::<f64>()
        .ok()
        .filter(|_| is_part)?;
    // A leap second is the next one's beginning.
    let of_day = minutes(clock)? * 60 + two(whole, 60)?;
    let local = day.begins() + Duration::from_secs(of_day) + Duration::from_secs_f64(part);
    let offset = |text: &str| Some(Duration::from_secs(minutes(text)? * 60));
    match zone.split_at(1) {
        ("Z" | "z", "") => Some(local),
        ("+", east) => local.checked_sub(offset(east)?),
        ("-", west) => Some(local + offset(west)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written_by_the_calendar() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1970-03-01", 59),
            ("2000-02-29", 11_016),
            ("2026-11-30", 20_787),
            ("9999-12-31", 2_932_896),
        ] {
            let day: CalendarDay = text.parse().expect("a day");
            assert_eq!((day, day.to_string()), (CalendarDay(days), text.to_owned()));
            let noon = day.begins() + Duration::from_secs(43_200);
            assert_eq!(CalendarDay::of(noon), day);
        }
        assert_eq!(CalendarDay::of(Duration::MAX).to_string(), "9999-12-31");
    }

    #[test]
    fn every_day_is_the_one_after_the_day_before() {
        let mut before = (1970, 1, 0);
        for days in 0..100_000 {
            let (year, month, day) = CalendarDay(days).parts();
            assert_eq!(
                CalendarDay::of_parts(year, month, day),
                Some(CalendarDay(days))
            );
            let next = (before.0, before.1, before.2 + 1);
            let of_month = day == 1 && (year, month) > (before.0, before.1);
            assert!((year, month, day) == next || of_month, "{before:?}");
            before = (year, month, day);
        }
    }

    #[test]
    fn texts_that_are_no_days_are_refused() {
        for text in [
            "",
            "2027-1-31",
            "2027-02-29",
            "2027-13-01",
            "2027-00-10",
            "2027-01-00",
            "1969-12-31",
            "2027/01/31",
            "2027-01-31T",
            "２027-01-1",
        ] {
            assert_eq!(text.parse::<CalendarDay>(), Err(CalendarDayError), "{text}");
        }
    }

    #[test]
    fn times_are_read_with_their_zone() {
        let noon = "2026-11-30".parse::<CalendarDay>().expect("a day").begins();
        let noon = noon + Duration::from_secs(12 * 3_600);
        for text in [
            "2026-11-30T12:00:00Z",
            "2026-11-30t14:30:00+02:30",
            "2026-11-30 11:00:00-01:00",
        ] {
            assert_eq!(time_of(text), Some(noon), "{text}");
        }
        let half = time_of("2026-11-30T12:00:00.500Z");
        assert_eq!(half, Some(noon + Duration::from_millis(500)));
        for text in [
            "",
            "2026-11-30",
            "2026-11-30T12:00:00",
            "2026-11-30T12:00Z",
            "2026-11-30T24:00:00Z",
            "2026-11-30T12:0:00Z",
            "2026-11-30T12:00:00.Z",
            "2026-11-30T12:00:00.5e9Z",
            "2026-11-30T12:00:00Z+",
            "2026-13-30T12:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "éééééT12:00:00Z",
        ] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }
}
