//! Web pages that call the API from a browser (the Fetch standard's CORS protocol).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

/// Which web origins may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// None.
    Off,
    /// All.
    Any,
    /// Those of these origins, such as `https://app.example.net`.
    Listed(Vec<HeaderValue>),
}

/// Headers that a page may read in addition to the safelisted ones.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-grapevine-node, x-grapevine-region, x-grapevine-upstream, x-grapevine-model, \
     x-grapevine-path, x-grapevine-hops, x-grapevine-attempts, x-grapevine-overhead-ms, \
     x-grapevine-upstream-ms, x-grapevine-reason, x-grapevine-cost-usd, x-grapevine-upstream-request-id, retry-after, \
     retry-after-ms, x-should-retry, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, \
     x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, \
     x-ratelimit-reset-tokens, openai-processing-ms, request-id",
);

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");

/// A browser may remember the permission for a day.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// The header of a browser's preflight.
const REQUEST_HEADERS: HeaderName = header::ACCESS_CONTROL_REQUEST_HEADERS;

impl Cors {
    /// The origin to allow for a request from `origin`; `None` when it is not allowed.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Self::Off => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Listed(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }

    /// Whether pages of `origin` may call.
    pub(super) fn permits(&self, origin: &HeaderValue) -> bool {
        self.allowed(origin).is_some()
    }

    /// Adds the headers that a page of `origin` needs to read the answer.
    pub(super) fn mark(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        let Some(allowed) = self.allowed(origin) else {
            return;
        };
        if matches!(self, Self::Listed(_)) {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }

    /// The answer to a browser's preflight; `None` when `headers` are not of one.
    pub(super) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<(StatusCode, HeaderMap)> {
        if *method != Method::OPTIONS
            || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let origin = headers.get(header::ORIGIN)?;
        let mut answer = HeaderMap::new();
        if self.allowed(origin).is_some() {
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
            if let Some(asked) = headers.get(REQUEST_HEADERS) {
                answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
        Some((StatusCode::NO_CONTENT, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(cors: &Cors, origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        cors.mark(&HeaderValue::from_static(origin), &mut headers);
        headers
    }

    #[test]
    fn only_listed_origins_may_read_answers() {
        let cors = Cors::Listed(vec![HeaderValue::from_static("https://a.example")]);
        let allowed = marked(&cors, "https://a.example");
        assert_eq!(
            allowed[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example"
        );
        assert_eq!(allowed[header::VARY], "origin");
        assert!(marked(&cors, "https://b.example").is_empty());
        assert!(marked(&Cors::Off, "https://a.example").is_empty());
        assert_eq!(
            marked(&Cors::Any, "https://b.example")[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "*"
        );
    }
}
