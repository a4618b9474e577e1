//! What an answer says of its key's limits, in OpenAI's spelling, and to clients of Messages in Anthropic's too.

use std::fmt::Write;
use std::time::Duration;

use grapevine_base::clock;
use grapevine_base::head_lines::HeadLines;
use grapevine_base::limits::LimitKind;
use grapevine_core::Instant;
use grapevine_core::date::CalendarDay;
use http::HeaderName;

use super::super::problem::Shape;
use super::HeldRights;

/// The headers of one limit: the whole, what is left, and when it is whole again.
struct Names {
    kind: LimitKind,
    openai: [HeaderName; 3],
    anthropic: [HeaderName; 3],
}

const NAMES: [Names; 2] = [
    Names {
        kind: LimitKind::Requests,
        openai: [
            HeaderName::from_static("x-ratelimit-limit-requests"),
            HeaderName::from_static("x-ratelimit-remaining-requests"),
            HeaderName::from_static("x-ratelimit-reset-requests"),
        ],
        anthropic: [
            HeaderName::from_static("anthropic-ratelimit-requests-limit"),
            HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
            HeaderName::from_static("anthropic-ratelimit-requests-reset"),
        ],
    },
    Names {
        kind: LimitKind::Tokens,
        openai: [
            HeaderName::from_static("x-ratelimit-limit-tokens"),
            HeaderName::from_static("x-ratelimit-remaining-tokens"),
            HeaderName::from_static("x-ratelimit-reset-tokens"),
        ],
        anthropic: [
            HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
            HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
            HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
        ],
    },
];

/// Adds the figures of the limits that `rights` are of at `now`: of several of one kind, of that with the least left.
pub(in super::super) fn mark(
    lines: &mut HeadLines,
    rights: &HeldRights,
    now: Instant,
    shape: Shape,
) {
    let mut number = itoa::Buffer::new();
    for Names {
        kind,
        openai,
        anthropic,
    } in &NAMES
    {
        let Some(figures) = rights.figures(now, *kind) else {
            continue;
        };
        let sets = [
            Some((openai, span(figures.reset))),
            (shape == Shape::Anthropic).then(|| (anthropic, moment(clock::wall() + figures.reset))),
        ];
        for ([limit, remaining, reset], at) in sets.into_iter().flatten() {
            lines.push(limit, number.format(figures.limit));
            lines.push(remaining, number.format(figures.remaining));
            lines.push(reset, &at);
        }
    }
}

/// Whether a header speaks of limits: the upstream's are those of the operator's account, and none of the client's
/// business where its key has limits of its own.
pub(in super::super) fn is_about_limits(name: &[u8]) -> bool {
    name.starts_with(b"x-ratelimit-") || name.starts_with(b"anthropic-ratelimit-")
}

/// A span as OpenAI writes it: `120ms`, `7s`, `6m0s`. Never shorter than it is.
fn span(span: Duration) -> String {
    let millis = span.as_nanos().div_ceil(1_000_000);
    let seconds = millis.div_ceil(1_000);
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        _ if millis < 1_000 => format!("{millis}ms"),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// A time since the Unix epoch as RFC 3339 writes it, in UTC, rounded up to seconds.
fn moment(at: Duration) -> String {
    let at = at + Duration::from_nanos(999_999_999);
    let day = CalendarDay::of(at);
    let of_day = at.as_secs().saturating_sub(day.begins().as_secs());
    let mut text = day.to_string();
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    write!(text, "T{hour:02}:{minute:02}:{second:02}Z").expect("text grows");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_openai_does() {
        for (millis, text) in [
            (0, "0ms"),
            (120, "120ms"),
            (1_000, "1s"),
            (6_400, "7s"),
            (360_000, "6m0s"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn moments_are_written_as_rfc_3339_does() {
        let leap_day_noon = Duration::from_secs(1_709_208_000);
        assert_eq!(moment(leap_day_noon), "2024-02-29T12:00:00Z");
        let within = leap_day_noon - Duration::from_millis(1);
        assert_eq!(moment(within), "2024-02-29T12:00:00Z");
    }
}
