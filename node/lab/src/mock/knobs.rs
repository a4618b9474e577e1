//! The fault knobs: what can be turned, its limits, and how a change given as JSON is checked.
//!
//! A change is applied to the JSON form of the knobs and read back as a whole, so that `null` means "off" in a patch
//! without a second type, and every problem of every key is reported at once.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};
use thiserror::Error;

use super::duration;

/// The most chunks an answer may have.
pub const CHUNKS_MAX: u32 = 10_000;

/// The largest answer `body_bytes` can ask for.
pub const BODY_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Everything that can be turned while the mock runs. The default is a fast upstream without faults.
///
/// Faults are judged in this order, and the first that strikes decides: `down`, `refuse`, `hang`,
/// `hang_probability`, `rate_limit`, `error_rate`. The models endpoints are spared all but `down`, unless
/// `fail_models_probe` is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Time before the head of an answer or of an injected error.
    #[serde(with = "duration::text")]
    pub latency: Duration,
    /// Added to `latency`, drawn evenly from zero to this.
    #[serde(with = "duration::text")]
    pub jitter: Duration,
    /// Time between two chunks of a stream.
    #[serde(with = "duration::text")]
    pub chunk_interval: Duration,
    /// Words in an answer, and so chunks in a stream: 1 to [`CHUNKS_MAX`]. The client's `max_tokens` may lower it.
    pub chunks: u32,
    /// Share of requests answered with `error_status`: 0 to 1.
    pub error_rate: f64,
    /// Status of an injected error: 400 to 599.
    pub error_status: u16,
    /// Whether and when requests are answered 429.
    pub rate_limit: RateLimit,
    /// `Retry-After` of every injected 429, 503 and 529. `None`: only 429 carries one, the time until the limit frees
    /// a slot (1 s when it never does).
    #[serde(with = "duration::optional_text")]
    pub retry_after: Option<Duration>,
    /// Accept every request and never answer.
    pub hang: bool,
    /// Share of requests that are accepted and never answered: 0 to 1.
    pub hang_probability: f64,
    /// Break the connection after this many chunks of a stream (0: after the head); a JSON answer is broken at half
    /// of its bytes. `None`: off.
    pub cut_after_chunks: Option<u32>,
    /// End a stream cleanly after this many chunks, without a finish reason. JSON answers are unaffected. `None`: off.
    pub clean_end_after_chunks: Option<u32>,
    /// Extra delay before the middle chunk of a stream.
    #[serde(with = "duration::text")]
    pub slow_chunk: Duration,
    /// Close the connection after reading a request, before any byte of the response.
    pub refuse: bool,
    /// Let the models endpoints suffer too: the fault that is set, else `error_status`.
    pub fail_models_probe: bool,
    /// Pad a JSON answer to exactly this many bytes, and the text of a stream to about this many; 0: no padding.
    pub body_bytes: u32,
    /// End a stream with the error that the API sends inside of one, after this many chunks. JSON answers are
    /// unaffected. `None`: off.
    pub stream_error_after_chunks: Option<u32>,
    /// How the token endpoints fail.
    pub token_fault: TokenFault,
    /// Time before the answer of a token endpoint.
    #[serde(with = "duration::text")]
    pub token_latency: Duration,
    /// Emulate a dead server: open connections are broken, every request's connection is closed at its head.
    pub down: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            chunk_interval: Duration::ZERO,
            chunks: 16,
            error_rate: 0.0,
            error_status: 500,
            rate_limit: RateLimit::Off,
            retry_after: None,
            hang: false,
            hang_probability: 0.0,
            cut_after_chunks: None,
            clean_end_after_chunks: None,
            slow_chunk: Duration::ZERO,
            refuse: false,
            fail_models_probe: false,
            body_bytes: 0,
            stream_error_after_chunks: None,
            token_fault: TokenFault::Off,
            token_latency: Duration::ZERO,
            down: false,
        }
    }
}

impl Knobs {
    /// Checks every limit.
    ///
    /// # Errors
    /// All problems at once, each by its key.
    pub fn check(&self) -> Result<(), KnobsError> {
        let mut problems = Vec::new();
        let durations = [
            ("latency", self.latency),
            ("jitter", self.jitter),
            ("chunk_interval", self.chunk_interval),
            ("slow_chunk", self.slow_chunk),
            ("token_latency", self.token_latency),
            ("retry_after", self.retry_after.unwrap_or_default()),
        ];
        for (key, duration) in durations {
            if duration > duration::DURATION_MAX {
                problems.push(format!("{key}: must be at most 24h"));
            }
        }
        let shares = [
            ("error_rate", self.error_rate),
            ("hang_probability", self.hang_probability),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                problems.push(format!("{key}: must be from 0 to 1"));
            }
        }
        if !(1..=CHUNKS_MAX).contains(&self.chunks) {
            problems.push(format!("chunks: must be from 1 to {CHUNKS_MAX}"));
        }
        if !(400..=599).contains(&self.error_status) {
            problems.push("error_status: must be from 400 to 599".to_owned());
        }
        if self.body_bytes > BODY_BYTES_MAX {
            problems.push(format!("body_bytes: must be at most {BODY_BYTES_MAX}"));
        }
        if self.cut_after_chunks.is_some() && self.clean_end_after_chunks.is_some() {
            problems.push(
                "cut_after_chunks: excludes clean_end_after_chunks; set one of them to null"
                    .to_owned(),
            );
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(KnobsError::Invalid(problems))
        }
    }

    /// The knobs that `body`, a JSON object, describes; a key that is absent has its default.
    ///
    /// # Errors
    /// When `body` is no JSON object, or with all problems of its keys.
    pub fn replaced(body: &[u8]) -> Result<Self, KnobsError> {
        Self::default().merged(body)
    }

    /// These knobs with the keys of `body`, a JSON object, put over them; `null` turns an optional knob off.
    ///
    /// # Errors
    /// When `body` is no JSON object, or with all problems of its keys; these knobs are unchanged then.
    pub fn merged(&self, body: &[u8]) -> Result<Self, KnobsError> {
        let change: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| KnobsError::NotAnObject(error.to_string()))?;
        let mut written = match serde_json::to_value(self) {
            Ok(Value::Object(written)) => written,
            _ => Map::new(),
        };
        let mut problems = Vec::new();
        for (key, value) in change {
            if !written.contains_key(&key) {
                let known: Vec<&str> = written.keys().map(String::as_str).collect();
                problems.push(format!(
                    "{key}: unknown knob; there are {}",
                    known.join(", ")
                ));
                continue;
            }
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            match serde_json::from_value::<Self>(Value::Object(alone)) {
                Ok(_) => {
                    written.insert(key, value);
                }
                Err(error) => problems.push(format!("{key}: {error}")),
            }
        }
        if !problems.is_empty() {
            return Err(KnobsError::Invalid(problems));
        }
        let knobs: Self = serde_json::from_value(Value::Object(written))
            .map_err(|error| KnobsError::Invalid(vec![error.to_string()]))?;
        knobs.check()?;
        Ok(knobs)
    }
}

/// Why a change of the knobs is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KnobsError {
    /// The body is not a JSON object.
    #[error("the knobs are a JSON object: {0}")]
    NotAnObject(String),
    /// Keys that are unknown or have a value they cannot take, one text each.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// When requests are answered 429. As text: `off`, `always`, or a rate such as `5/s`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RateLimit {
    /// Never.
    #[default]
    Off,
    /// Every request.
    Always,
    /// Above this many requests per second (over 0, at most a million); a burst of one second's worth passes.
    PerSecond(f64),
}

impl std::str::FromStr for RateLimit {
    type Err = RateLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "off" => return Ok(Self::Off),
            "always" => return Ok(Self::Always),
            _ => {}
        }
        let rate = text.trim().strip_suffix("/s").ok_or(RateLimitError)?;
        let rate: f64 = rate.trim().parse().map_err(|_| RateLimitError)?;
        // NaN fails the first comparison.
        if rate > 0.0 && rate <= 1e6 {
            Ok(Self::PerSecond(rate))
        } else {
            Err(RateLimitError)
        }
    }
}

/// A text that is no rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a rate limit is `off`, `always`, or requests per second such as `5/s` (over 0, at most 1000000/s)"
)]
pub struct RateLimitError;

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Always => f.write_str("always"),
            Self::PerSecond(rate) => write!(f, "{rate}/s"),
        }
    }
}

impl Serialize for RateLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// How the token endpoints fail. As text: `off`, `error`, `down`, `nonsense` or `huge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFault {
    /// Not at all.
    #[default]
    Off,
    /// They answer 503.
    Error,
    /// They close the connection.
    Down,
    /// They answer 200 with what is neither JSON nor XML.
    Nonsense,
    /// They answer 200 with 16 MiB.
    Huge,
}

impl std::str::FromStr for TokenFault {
    type Err = TokenFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "error" => Ok(Self::Error),
            "down" => Ok(Self::Down),
            "nonsense" => Ok(Self::Nonsense),
            "huge" => Ok(Self::Huge),
            _ => Err(TokenFaultError),
        }
    }
}

/// A text that is no fault of the token endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a fault of the token endpoints is off, error, down, nonsense or huge")]
pub struct TokenFaultError;

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Down => "down",
            Self::Nonsense => "nonsense",
            Self::Huge => "huge",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(result: Result<Knobs, KnobsError>) -> Vec<String> {
        match result {
            Err(KnobsError::Invalid(problems)) => problems,
            other => panic!("expected problems, got {other:?}"),
        }
    }

    #[test]
    fn knobs_read_back_what_they_write() {
        let knobs = Knobs {
            latency: Duration::from_millis(250),
            rate_limit: RateLimit::PerSecond(2.5),
            retry_after: Some(Duration::from_secs(2)),
            cut_after_chunks: Some(3),
            ..Knobs::default()
        };
        let written = serde_json::to_vec(&knobs).expect("knobs are plain data");
        assert_eq!(Knobs::replaced(&written), Ok(knobs));
    }

    #[test]
    fn a_patch_keeps_the_other_knobs_and_null_turns_one_off() {
        let before = Knobs::default()
            .merged(br#"{"latency": "10ms", "cut_after_chunks": 2}"#)
            .expect("a valid patch");
        let after = before
            .merged(br#"{"cut_after_chunks": null, "hang": true}"#)
            .expect("a valid patch");
        assert_eq!(after.latency, Duration::from_millis(10));
        assert_eq!(after.cut_after_chunks, None);
        assert!(after.hang);
    }

    #[test]
    fn a_replacement_puts_absent_keys_to_their_defaults() {
        assert_eq!(Knobs::replaced(b"{}"), Ok(Knobs::default()));
    }

    #[test]
    fn every_problem_is_reported_at_once_by_its_key() {
        let body = br#"{"latencyy": "1s", "jitter": 5, "rate_limit": "fast", "down": true}"#;
        let problems = problems(Knobs::default().merged(body));
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems
                .iter()
                .any(|p| p.starts_with("latencyy: unknown knob"))
        );
        assert!(problems.iter().any(|p| p.starts_with("jitter: ")));
        assert!(problems.iter().any(|p| p.starts_with("rate_limit: ")));
    }

    #[test]
    fn values_out_of_their_limits_are_refused_and_the_edges_taken() {
        let body =
            br#"{"error_rate": 1.01, "hang_probability": -0.1, "chunks": 0, "error_status": 399,
            "body_bytes": 67108865, "cut_after_chunks": 1, "clean_end_after_chunks": 1}"#;
        assert_eq!(problems(Knobs::replaced(body)).len(), 6);
        let edges =
            br#"{"error_rate": 1, "hang_probability": 0, "chunks": 10000, "error_status": 599,
            "body_bytes": 67108864, "latency": "24h"}"#;
        assert!(Knobs::replaced(edges).is_ok());
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in [&b"[]"[..], b"", b"{", b"\xff"] {
            assert!(matches!(
                Knobs::replaced(body),
                Err(KnobsError::NotAnObject(_))
            ));
        }
    }

    #[test]
    fn a_rate_limit_is_off_always_or_a_positive_rate() {
        assert_eq!("0.5/s".parse(), Ok(RateLimit::PerSecond(0.5)));
        for text in ["0/s", "-1/s", "NaN/s", "5", "inf/s", ""] {
            assert_eq!(text.parse::<RateLimit>(), Err(RateLimitError), "{text}");
        }
    }
}
