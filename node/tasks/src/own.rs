//! From a task to the requests that are made for it: its submitter's rules hold for them.

use std::sync::Arc;

use bytes::Bytes;
use grapevine_base::exchange::{Caller, OwnRequest, TaskCaller};
use grapevine_base::headers::retry_after;
use grapevine_core::residency::ClientOrigin;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

use super::carried::CarriedLimits;
use super::lenient;
use super::service::{TaskError, Work};
use super::task::{CheckedText, NewTask, Submitter, Task, TaskFault};

/// The longest answer that is taken whole, in bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1_024 * 1_024;

impl Submitter {
    /// The submitter that `caller` is, for the record.
    pub fn of(caller: &TaskCaller) -> Self {
        Self {
            key: caller.key.clone(),
            network: caller.network.clone(),
            origin: match caller.client {
                ClientOrigin::Unknown => None,
                ClientOrigin::Continent(continent) => Some(continent.to_string()),
                ClientOrigin::Country(country) => Some(country.to_string()),
            },
            models: caller
                .models
                .as_deref()
                .map(|models| models.iter().cloned().map(CheckedText).collect()),
            limits: CarriedLimits::of(&caller.limits),
        }
    }

    /// Whether it may see what came with the key of this name: a payload may name anything. Without keys
    /// everybody sees all.
    pub fn may_see(&self, key: Option<&str>) -> bool {
        self.key.is_none() || self.key.as_deref() == key
    }

    /// Its recorded location; what cannot be read is unknown, which restricts it where residency rules
    /// require that.
    pub fn client(&self) -> ClientOrigin {
        let Some(text) = &self.origin else {
            return ClientOrigin::Unknown;
        };
        match (text.parse(), text.parse()) {
            (Ok(country), _) => ClientOrigin::Country(country),
            (_, Ok(continent)) => ClientOrigin::Continent(continent),
            _ => ClientOrigin::Unknown,
        }
    }
}

/// A request with a JSON `body` on behalf of the submitter of `task`.
pub fn request(task: &NewTask, method: Method, path: PathAndQuery, body: Bytes) -> OwnRequest {
    let mut headers = HeaderMap::new();
    if !body.is_empty() {
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    let models = task.submitter.models.as_ref();
    let limits = task.submitter.limits.as_ref();
    OwnRequest {
        method,
        path,
        headers,
        body,
        caller: Caller {
            client: task.submitter.client(),
            key: task.submitter.key.clone(),
            mark: 0,
            lossy: None,
        },
        allow_regions: task.regions.iter().map(|region| region.0.clone()).collect(),
        allow_models: models.map(|models| Arc::new(models.iter().map(|it| it.0.clone()).collect())),
        limits: limits.map(CarriedLimits::read).unwrap_or_default(),
        session: None,
        timeout: None,
    }
}

impl Work {
    /// Posts a JSON `body` to `path`, such as `/v1/chat/completions`, on behalf of the task's submitter, and
    /// returns the JSON of the answer.
    ///
    /// # Errors
    /// What went wrong, as the error of an attempt: what the API refused for good is fatal.
    pub async fn post(
        &self,
        task: &Task,
        path: &'static str,
        body: &Value,
    ) -> Result<Value, TaskError> {
        let path = PathAndQuery::from_static(path);
        let request = request(&task.new, Method::POST, path, body.to_string().into());
        let answer = self.api().call(request).await;
        let (status, headers) = (answer.status, answer.headers);
        let body = Limited::new(answer.body, ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| TaskError::Retry(TaskFault::new("api", error.to_string())))?;
        let fault = |code| TaskFault::new(code, format!("the API answered {status}"));
        match status.as_u16() {
            200..=299 => lenient::parse(&body.to_bytes())
                .map_err(|error| TaskError::Retry(TaskFault::new("api", error.to_string()))),
            408 | 409 | 425 | 429 | 500.. => {
                Err(match retry_after(&headers, std::time::SystemTime::now()) {
                    Some(wait) => TaskError::RetryAfter(fault("api_busy"), wait),
                    None => TaskError::Retry(fault("api_busy")),
                })
            }
            _ => Err(TaskError::Fatal(fault("api_refused"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_location_comes_back_from_the_record() {
        let back = |origin| {
            let caller = TaskCaller {
                client: origin,
                ..TaskCaller::default()
            };
            Submitter::of(&caller).client()
        };
        let germany = ClientOrigin::Country("DE".parse().expect("a country"));
        let asia = ClientOrigin::Continent("asia".parse().expect("a continent"));
        assert_eq!(
            [back(germany), back(asia), back(ClientOrigin::Unknown)],
            [germany, asia, ClientOrigin::Unknown]
        );
    }
}
