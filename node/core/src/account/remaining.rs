//! What a provider says is left of an account, and when that is so little that the account should rest.
//!
//! OpenAI and those that follow it say it as `x-ratelimit-remaining-requests` and `-tokens`, Anthropic as
//! `anthropic-ratelimit-requests-remaining` and its kin, each beside the limit and the time until all of it is back. Both
//! fill up evenly (a token bucket, as Anthropic documents it), so that the reset is an upper bound of the time until there
//! is enough again.

use std::time::Duration;

use super::{ACCOUNT_REST_MAX, ACCOUNT_REST_MIN};

/// Below one part in so many of its limit, a quota is nearly spent. At 2 % the requests that other nodes send before
/// they know of it are still answered: knowledge crosses a mesh within half a second, in which a minute's quota at a
/// steady rate loses less than 1 %.
const SPENT_PART: u64 = 50;

/// Above one part in so many, and above [`WATCHED_REQUESTS`], nothing is near its end whatever is in flight.
const WATCHED_PART: u64 = 10;

/// Requests in flight at one account beyond which what is left is not compared with them.
const WATCHED_REQUESTS: u64 = 512;

/// What is left of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemainingQuota {
    /// What there may be; `None` where the answer does not say.
    pub limit: Option<u64>,
    /// What is left.
    pub remaining: u64,
    /// How long until all of it is back; `None` where the answer does not say.
    pub reset: Option<Duration>,
}

/// What is left as one answer says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderQuota {
    /// Of requests.
    pub requests: Option<RemainingQuota>,
    /// Of tokens: where there are several limits, the one with the least left.
    pub tokens: Option<RemainingQuota>,
}

impl RemainingQuota {
    fn is_below(&self, part: u64) -> bool {
        let limit = self.limit.unwrap_or_default();
        self.remaining == 0 || self.remaining < limit / part
    }

    /// The one with less left of its limit.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        let share = |it: &Self| {
            let limit = it.limit.unwrap_or(u64::MAX).max(1);
            u128::from(it.remaining) * u128::from(u64::MAX) / u128::from(limit)
        };
        match share(&other) < share(&self) {
            true => other,
            false => self,
        }
    }
}

impl ProviderQuota {
    /// Whether it may matter: far from its end no answer is worth an event.
    pub fn may_be_nearly_spent(&self) -> bool {
        let requests = self.requests.is_some_and(|it| {
            it.is_below(WATCHED_PART) || it.remaining < WATCHED_REQUESTS.min(it.limit.unwrap_or(0))
        });
        requests || self.tokens.is_some_and(|it| it.is_below(WATCHED_PART))
    }

    /// How long the account should rest where requests in flight at it are so many; `None` where it need not.
    ///
    /// Where fewer requests are left than are in flight, those of other nodes may have taken the last one. The answer
    /// that says so has been counted.
    pub fn rest(&self, in_flight: u64) -> Option<Duration> {
        let requests = self.requests.filter(|it| {
            let in_flight = in_flight.saturating_sub(1).min(WATCHED_REQUESTS);
            it.is_below(SPENT_PART) || it.remaining < in_flight
        });
        let tokens = self.tokens.filter(|it| it.is_below(SPENT_PART));
        let spent = requests.into_iter().chain(tokens);
        let rest = spent.filter_map(|it| it.reset).max()?;
        (rest >= ACCOUNT_REST_MIN).then_some(rest.min(ACCOUNT_REST_MAX))
    }

    /// How long to wait for what is used up, where an answer says "too much" and not for how long.
    pub fn wait(&self) -> Option<Duration> {
        let quotas = self.requests.into_iter().chain(self.tokens);
        let used_up = quotas.filter(|it| it.remaining == 0);
        used_up.filter_map(|it| it.reset).max()
    }
}

/// A reset as OpenAI, Azure and Groq write it: `6m0s`, `1.5s`, `120ms`, or a plain number of seconds.
pub fn reset_span(text: &str) -> Option<Duration> {
    const DAYS_MAX: f64 = 366.0 * 86_400.0;
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        let is_span = seconds.is_finite() && (0.0..=DAYS_MAX).contains(&seconds);
        return is_span.then(|| Duration::from_secs_f64(seconds));
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|digit: char| !digit.is_ascii_digit() && digit != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|digit: char| digit.is_ascii_digit());
        let (unit, next) = after.split_at(unit.unwrap_or(after.len()));
        let factor = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 0.000_001,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = next;
    }
    let is_span = !text.is_empty() && (0.0..=DAYS_MAX).contains(&seconds);
    is_span.then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(limit: u64, remaining: u64, reset: u64) -> RemainingQuota {
        RemainingQuota {
            limit: Some(limit),
            remaining,
            reset: Some(Duration::from_secs(reset)),
        }
    }

    fn requests(quota: RemainingQuota) -> ProviderQuota {
        ProviderQuota {
            requests: Some(quota),
            tokens: None,
        }
    }

    #[test]
    fn resets_are_read_as_they_are_written() {
        for (text, millis) in [
            ("6m0s", 360_000),
            ("1h2m3s", 3_723_000),
            ("2m59.56s", 179_560),
            ("120ms", 120),
            ("8.64s", 8_640),
            ("10", 10_000),
            ("0", 0),
        ] {
            assert_eq!(
                reset_span(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "soon",
            "-1",
            "1x",
            "s",
            "1.2.3s",
            "NaN",
            "9e99",
            "999999999h",
        ] {
            assert_eq!(reset_span(text), None, "{text}");
        }
    }

    #[test]
    fn account_rests_below_two_percent_and_not_at_it() {
        let rest = |remaining| requests(of(1_000, remaining, 40)).rest(0);
        assert_eq!(rest(20), None);
        assert_eq!(rest(19), Some(Duration::from_secs(40)));
        let tokens = ProviderQuota {
            tokens: Some(of(30_000, 599, 12)),
            ..ProviderQuota::default()
        };
        assert_eq!(tokens.rest(0), Some(Duration::from_secs(12)));
    }

    #[test]
    fn account_rests_where_more_requests_are_in_flight_than_are_left() {
        let left = requests(of(60, 10, 9));
        assert!(left.may_be_nearly_spent());
        // The one that was just answered is still counted.
        assert_eq!(left.rest(11), None);
        assert_eq!(left.rest(12), Some(Duration::from_secs(9)));
    }

    #[test]
    fn small_limits_rest_when_nothing_is_left() {
        assert_eq!(requests(of(20, 1, 5)).rest(1), None);
        assert_eq!(requests(of(20, 0, 5)).rest(1), Some(Duration::from_secs(5)));
        let no_limit = RemainingQuota {
            limit: None,
            ..of(1, 0, 5)
        };
        assert_eq!(requests(no_limit).rest(1), Some(Duration::from_secs(5)));
    }

    #[test]
    fn rest_has_limits_and_none_without_a_reset() {
        assert_eq!(requests(of(20, 0, 86_400)).rest(1), Some(ACCOUNT_REST_MAX));
        let soon = RemainingQuota {
            reset: Some(ACCOUNT_REST_MIN / 2),
            ..of(20, 0, 5)
        };
        assert_eq!(requests(soon).rest(1), None);
        let never = RemainingQuota {
            reset: None,
            ..of(20, 0, 5)
        };
        assert_eq!(requests(never).rest(1), None);
    }

    #[test]
    fn plenty_is_worth_no_event() {
        assert!(!requests(of(10_000, 5_000, 1)).may_be_nearly_spent());
        assert!(requests(of(10_000, 999, 1)).may_be_nearly_spent());
        assert!(!ProviderQuota::default().may_be_nearly_spent());
    }

    #[test]
    fn scarcest_of_several_limits_counts() {
        assert_eq!(of(100, 50, 1).least(of(1_000, 100, 2)), of(1_000, 100, 2));
        assert_eq!(of(100, 0, 1).least(of(1_000, 0, 2)), of(100, 0, 1));
    }
}
