//! What token endpoints answer (RFC 6749, 5.1), and files that hold a token.

use std::path::Path;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use serde::Deserialize;

use super::CredentialFailure;
use super::issue::{Issue, Issued};

/// The longest token in a file.
const FILE_BYTES_MAX: usize = 64 * 1_024;

/// The longest lifetime that is believed: a day, as the longest of managed identities.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);

/// The lifetime where an endpoint names none: short, so that a wrong guess does little.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(300);

/// A number that some endpoints write as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn get(&self) -> Option<f64> {
        let seconds = match self {
            Self::Number(seconds) => *seconds,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
    }
}

/// What a token endpoint answers.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    access_token: String,
    expires_in: Option<Seconds>,
    /// Seconds since 1970, in the answers of App Service.
    expires_on: Option<Seconds>,
}

impl TokenAnswer {
    /// The token as it is sent.
    pub(super) fn issue(self) -> Result<Issue, CredentialFailure> {
        let value = HeaderValue::try_from(format!("Bearer {}", self.access_token));
        let mut value = value.map_err(|_| CredentialFailure::NotUnderstood)?;
        if self.access_token.is_empty() {
            return Err(CredentialFailure::NotUnderstood);
        }
        value.set_sensitive(true);
        let until = self.expires_on.as_ref().and_then(Seconds::get);
        let left = until.map(|until| until - seconds_since_1970());
        let seconds = self.expires_in.as_ref().and_then(Seconds::get).or(left);
        Ok(Issue {
            issued: Issued::Bearer(value),
            lifetime: Some(seconds.map_or(LIFETIME_DEFAULT, bounded)),
        })
    }
}

/// A lifetime within the bounds that are believed.
pub(super) fn bounded(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, LIFETIME_MAX.as_secs_f64()))
}

/// The time by the system's clock.
pub(super) fn seconds_since_1970() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The token in a file, which another program renews.
pub(super) async fn of_file(path: &Path) -> Result<String, CredentialFailure> {
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|_| CredentialFailure::FileUnreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(CredentialFailure::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| CredentialFailure::FileUnreadable)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(answer: &str) -> Option<Duration> {
        let answer: TokenAnswer = serde_json::from_str(answer).ok()?;
        answer.issue().ok()?.lifetime
    }

    #[test]
    fn lifetime_may_be_a_number_a_text_or_a_time() {
        let seconds = |answer: &str| lifetime(answer).map(|lifetime| lifetime.as_secs());
        assert_eq!(
            seconds(r#"{"access_token":"t","expires_in":3599}"#),
            Some(3_599)
        );
        assert_eq!(
            seconds(r#"{"access_token":"t","expires_in":"3599"}"#),
            Some(3_599)
        );
        let until = seconds_since_1970() + 1_000.0;
        let left = seconds(&format!(
            r#"{{"access_token":"t","expires_on":"{until:.0}"}}"#
        ));
        assert!(
            left.is_some_and(|left| (990..=1_001).contains(&left)),
            "{left:?}"
        );
        assert_eq!(seconds(r#"{"access_token":"t"}"#), Some(300));
        assert_eq!(
            seconds(r#"{"access_token":"t","expires_in":1e300}"#),
            Some(86_400)
        );
    }

    #[test]
    fn answer_without_a_token_that_can_be_sent_is_refused() {
        for answer in [
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a\nb"}"#,
            "[]",
        ] {
            assert_eq!(lifetime(answer), None, "{answer}");
        }
    }
}
