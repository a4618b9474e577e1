//! What handlers take out of requests, with errors in this API's shape.

use std::fmt;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::{Extension, Json};
use grapevine_base::exchange::TaskCaller;
use grapevine_config::text::parse_duration;
use grapevine_core::ids::ServiceKey;
use http::request::Parts;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::ApiError;

/// The longest span that a client may write.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(value) = Json::from_request(request, state).await?;
        Ok(Self(value))
    }
}

/// The query of the path.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let axum::extract::Query(value) =
            axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

/// The caller, as the public listener authenticated it.
pub type Who = Extension<TaskCaller>;

/// A service's key in a request.
///
/// # Errors
/// When the text is not one.
pub fn service(param: &'static str, text: &str) -> Result<ServiceKey, ApiError> {
    ServiceKey::new(text).map_err(|error| {
        let message =
            format!("'{text}' is no service key: it {error}; write one as in my-plugin:process");
        ApiError::invalid(param, message)
    })
}

/// A span: a number of seconds, or text with a unit such as `90s` or `2h`. At most a year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurationParam(pub Duration);

impl<'de> Deserialize<'de> for DurationParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = DurationParam;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of seconds from 0 to a year, or text such as \"90s\"")
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<DurationParam, E> {
        let span = Duration::try_from_secs_f64(seconds).ok();
        let span = span.filter(|span| *span <= SPAN_MAX);
        span.map(DurationParam)
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(seconds), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<DurationParam, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<DurationParam, E> {
        self.visit_f64(seconds as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<DurationParam, E> {
        let span = parse_duration(text).map_err(E::custom)?;
        self.visit_f64(span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_seconds_or_text_within_a_year() {
        let span =
            |text: &str| serde_json::from_str::<DurationParam>(text).map(|span| span.0.as_millis());
        assert_eq!(span("1.5").ok(), Some(1_500));
        assert_eq!(span("0").ok(), Some(0));
        assert_eq!(span("\"2m\"").ok(), Some(120_000));
        for text in ["-1", "1e300", "\"2\"", "\"soon\"", "null", "\"400d\"", "[]"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
