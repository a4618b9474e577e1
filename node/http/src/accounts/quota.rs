//! What an answer's headers say is left of the account.
//!
//! - OpenAI, and after it Azure OpenAI, Groq, Together and others: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`,
//!   resets as spans (<https://platform.openai.com/docs/guides/rate-limits>, "Rate limits in headers").
//! - Anthropic: `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, resets as times
//!   of RFC 3339 (<https://docs.anthropic.com/en/api/rate-limits>, "Response headers").

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grapevine_core::account::{ProviderQuota, RemainingQuota, reset_span};
use grapevine_core::date;
use http::HeaderMap;

/// What of `headers` is about quotas; `None` where they say nothing.
pub(super) fn read(headers: &HeaderMap, now: SystemTime) -> Option<ProviderQuota> {
    let open_ai = |kind: &str| {
        let name = |part: &str| format!("x-ratelimit-{part}-{kind}");
        of(
            headers,
            [name("limit"), name("remaining"), name("reset")],
            now,
        )
    };
    let anthropic = |kind: &str| {
        let name = |part: &str| format!("anthropic-ratelimit-{kind}-{part}");
        of(
            headers,
            [name("limit"), name("remaining"), name("reset")],
            now,
        )
    };
    let requests = open_ai("requests").or_else(|| anthropic("requests"));
    let tokens = open_ai("tokens").or_else(|| {
        let kinds = ["tokens", "input-tokens", "output-tokens"];
        let found = kinds.into_iter().filter_map(anthropic);
        found.reduce(RemainingQuota::least)
    });
    let quota = ProviderQuota { requests, tokens };
    (quota != ProviderQuota::default()).then_some(quota)
}

/// The quota under the names of its limit, of what is left, and of its reset.
fn of(headers: &HeaderMap, names: [String; 3], now: SystemTime) -> Option<RemainingQuota> {
    let text = |name: &String| headers.get(name)?.to_str().ok().map(str::trim);
    let [limit, remaining, reset] = &names;
    let remaining = text(remaining)?.parse().ok()?;
    let reset = text(reset);
    Some(RemainingQuota {
        limit: text(limit).and_then(|limit| limit.parse().ok()),
        remaining,
        reset: reset.and_then(|reset| reset_span(reset).or_else(|| until(reset, now))),
    })
}

/// The span until the time that `text` names; zero where it has passed.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    let at = date::time_of(text)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(at.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn quota(pairs: &[(&str, &str)]) -> Option<ProviderQuota> {
        let pairs = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        // 2026-11-30T12:00:00Z
        let now = UNIX_EPOCH + Duration::from_secs(1_796_040_000);
        read(&pairs.collect(), now)
    }

    const fn left(limit: u64, remaining: u64, seconds: u64) -> Option<RemainingQuota> {
        Some(RemainingQuota {
            limit: Some(limit),
            remaining,
            reset: Some(Duration::from_secs(seconds)),
        })
    }

    #[test]
    fn headers_of_openai_are_read() {
        let quota = quota(&[
            ("x-ratelimit-limit-requests", "5000"),
            ("x-ratelimit-remaining-requests", "4999"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "800000"),
            ("x-ratelimit-remaining-tokens", "12"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        let expected = ProviderQuota {
            requests: left(5_000, 4_999, 1),
            tokens: left(800_000, 12, 360),
        };
        assert_eq!(quota, Some(expected));
    }

    #[test]
    fn headers_of_anthropic_are_read_and_the_scarcest_tokens_count() {
        let quota = quota(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "1"),
            ("anthropic-ratelimit-requests-reset", "2026-11-30T12:00:30Z"),
            ("anthropic-ratelimit-input-tokens-limit", "50000"),
            ("anthropic-ratelimit-input-tokens-remaining", "40000"),
            (
                "anthropic-ratelimit-input-tokens-reset",
                "2026-11-30T12:00:12Z",
            ),
            ("anthropic-ratelimit-output-tokens-limit", "10000"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            (
                "anthropic-ratelimit-output-tokens-reset",
                "2026-11-30T12:01:00+00:00",
            ),
        ]);
        let expected = ProviderQuota {
            requests: left(50, 1, 30),
            tokens: left(10_000, 0, 60),
        };
        assert_eq!(quota, Some(expected));
    }

    #[test]
    fn what_is_no_quota_says_nothing() {
        assert_eq!(quota(&[("retry-after", "5")]), None);
        assert_eq!(quota(&[("x-ratelimit-remaining-requests", "-1")]), None);
        assert_eq!(quota(&[("x-ratelimit-limit-requests", "5")]), None);
        let bare = quota(&[("x-ratelimit-remaining-requests", "0")]).and_then(|it| it.requests);
        let expected = RemainingQuota {
            limit: None,
            remaining: 0,
            reset: None,
        };
        assert_eq!(bare, Some(expected));
    }
}
