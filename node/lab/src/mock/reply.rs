//! A response in the making: its head, and the body that plays its script.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::Knobs;
use super::api::{ApiError, Dialect};
use super::engine::RunningRequest;
use super::script::{Answer, ScriptBody, ScriptStep, script};
use super::stats::Ticket;
use super::strict::Outcome;
use super::usage::MockUsage;

/// A response in the making.
pub(super) struct Reply {
    pub(super) dialect: Dialect,
    pub(super) request_id: String,
    /// The header that names the request, where the dialect does not decide it.
    pub(super) id_header: Option<&'static str>,
    pub(super) ticket: Ticket,
    /// The engine's slot, which is free when the body ends.
    pub(super) running: Option<RunningRequest>,
}

impl Reply {
    pub(super) fn answer(
        mut self,
        answer: Answer,
        usage: MockUsage,
        knobs: &Knobs,
    ) -> Response<ScriptBody> {
        self.bill(&answer, usage, knobs);
        let length = match &answer {
            Answer::Json(parts) => Some(parts.iter().map(Bytes::len).sum()),
            Answer::Stream(_) => None,
        };
        self.response(StatusCode::OK, length, script(answer, knobs))
    }

    /// The answer of a strict upstream.
    pub(super) fn outcome(
        mut self,
        outcome: Outcome,
        knobs: &Knobs,
        retry_after: Option<Duration>,
    ) -> Response<ScriptBody> {
        self.bill(&outcome.answer, outcome.usage, knobs);
        let length = match &outcome.answer {
            Answer::Json(parts) => Some(parts.iter().map(Bytes::len).sum()),
            Answer::Stream(_) => None,
        };
        let status =
            StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = self.response(status, length, script(outcome.answer, knobs));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(outcome.content_type));
        for (name, value) in outcome.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        set_retry_after(&mut response, retry_after);
        response
    }

    /// An answer without its last events reports nothing.
    fn bill(&mut self, answer: &Answer, usage: MockUsage, knobs: &Knobs) {
        let ends_early =
            knobs.clean_end_after_chunks.is_some() || knobs.stream_error_after_chunks.is_some();
        if !(ends_early && matches!(answer, Answer::Stream(_))) {
            self.ticket.bill(usage);
        }
    }

    pub(super) fn error(
        self,
        error: &ApiError,
        retry_after: Option<Duration>,
    ) -> Response<ScriptBody> {
        let body = error.body(self.dialect, &self.request_id);
        let status =
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let length = Some(body.len());
        let mut response = self.response(status, length, vec![ScriptStep::Send(Bytes::from(body))]);
        set_retry_after(&mut response, retry_after);
        response
    }

    /// `length` is that of a JSON document; without one the body is an event stream.
    fn response(
        self,
        status: StatusCode,
        length: Option<usize>,
        steps: Vec<ScriptStep>,
    ) -> Response<ScriptBody> {
        let mut response = Response::new(ScriptBody::new(steps, Some(self.ticket), self.running));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        // The name was checked at start to hold nothing that a header cannot.
        if let Ok(id) = HeaderValue::try_from(self.request_id) {
            let name = self.id_header.unwrap_or(self.dialect.request_id_header());
            headers.insert(HeaderName::from_static(name), id);
        }
        match length {
            Some(length) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            None => {
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("text/event-stream; charset=utf-8"),
                );
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
        }
        response
    }
}

fn set_retry_after(response: &mut Response<ScriptBody>, retry_after: Option<Duration>) {
    if let Some(after) = retry_after {
        let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1_000)));
        headers.insert("retry-after-ms", HeaderValue::from(milliseconds));
    }
}
