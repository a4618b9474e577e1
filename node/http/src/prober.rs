//! Probes own upstreams when core requires it, and reports the result of each probe.
//!
//! A probe takes the way that requests take: the same connections, headers and limits. It runs off the request
//! path. Core orders one probe per upstream at a time, so that the number in flight is at most the number of
//! upstreams. No redirect is followed: it is an answer like any other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use grapevine_base::driver::{DriverHandle, ProbeOrder};
use grapevine_base::exchange::{Answer, Call, CallFailure, Caller, ProbeLocal};
use grapevine_base::headers;
use grapevine_core::engine::{Event, Probe, ProbeReport};
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::outcome::{Outcome, Stage};
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::page;
use super::upstream::HEALTH_PATH;

/// The longest list of models that is read.
const LIST_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Models taken from a list.
const LIST_MODELS_MAX: usize = 1_000;

/// The longest text about a failed probe.
const DETAIL_BYTES_MAX: usize = 256;

const MODELS_PATH: &str = "/v1/models";

const CHAT_PATH: &str = "/v1/chat/completions";

/// How an upstream is probed.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    /// How long a probe may take.
    pub timeout: Duration,
    /// The model that a chat probe asks for, by the upstream's own name; `None` uses the first of its
    /// list.
    pub chat_model: Option<String>,
}

/// The upstreams that can be probed; swapped as a whole on reload.
pub type ProbeTargets = Arc<ArcSwap<BTreeMap<UpstreamName, ProbeTarget>>>;

/// Carries out orders until the driver has ended, through a `client` of its own.
pub async fn run<C: ProbeLocal>(
    driver: DriverHandle,
    targets: ProbeTargets,
    client: C,
    mut orders: mpsc::Receiver<ProbeOrder>,
) {
    let failures = ProbeFailures::default();
    while let Some(order) = orders.recv().await {
        let targets = targets.load();
        failures.keep(|upstream| targets.contains_key(upstream));
        let Some(target) = targets.get(&order.upstream).cloned() else {
            // Removed by a reload that the engine has not handled yet; it then drops the probe too.
            continue;
        };
        let (driver, client, failures) = (driver.clone(), client.clone(), failures.clone());
        tokio::spawn(async move {
            let report = probe(&client, &target, order, &failures).await;
            driver.send(Event::ProbeEnded(report)).await;
        });
    }
}

/// What a probe found.
struct Probed {
    outcome: Outcome,
    models: Option<Vec<ModelName>>,
    /// What failed, for the operator.
    detail: Option<String>,
    /// The path that was asked for last.
    path: &'static str,
}

async fn probe<C: ProbeLocal>(
    client: &C,
    target: &ProbeTarget,
    order: ProbeOrder,
    failures: &ProbeFailures,
) -> ProbeReport {
    let began = Instant::now();
    let prober = UpstreamProber {
        client,
        target,
        upstream: &order.upstream,
        deadline: tokio::time::Instant::now() + target.timeout,
    };
    let probing = async {
        match order.probe {
            Probe::Models | Probe::Off => prober.list_models().await,
            Probe::Health => prober.health().await,
            Probe::Chat => prober.chat().await,
        }
    };
    // The first byte has its own limits; the time of the probe is for its whole answer.
    let probed = tokio::time::timeout_at(prober.deadline, probing).await;
    let probed = probed.unwrap_or_else(|_| Err(timed_out()));
    let took = began.elapsed();
    let probed = probed.unwrap_or_else(|failure| Probed {
        outcome: match failure.outcome {
            Outcome::DeadlinePassed => timed_out().outcome,
            outcome => outcome,
        },
        models: None,
        detail: Some(failure.detail),
        path: match order.probe {
            Probe::Models | Probe::Off => MODELS_PATH,
            Probe::Health => HEALTH_PATH,
            Probe::Chat => CHAT_PATH,
        },
    });
    let url = client.shown_url(&order.upstream, &PathAndQuery::from_static(probed.path));
    let url = url.unwrap_or_default();
    failures.report(&order.upstream, &url, &probed);
    let detail = probed
        .detail
        .map(|detail| format!("{url}: {detail}").into());
    let first_byte = (order.probe == Probe::Chat && probed.models.is_none()).then_some(took);
    ProbeReport {
        upstream: order.upstream,
        outcome: probed.outcome,
        first_byte,
        models: probed.models,
        detail,
    }
}

fn timed_out() -> CallFailure {
    CallFailure::new(Outcome::TimedOut(Stage::FirstByte), "no answer in time")
}

/// The calls of one probe.
struct UpstreamProber<'a, C> {
    client: &'a C,
    target: &'a ProbeTarget,
    upstream: &'a UpstreamName,
    deadline: tokio::time::Instant,
}

impl<C: ProbeLocal> UpstreamProber<'_, C> {
    /// An engine that has died lists its models all the same: its own page says so. A proxy in front of it, and engines of
    /// earlier versions, may have no such page.
    async fn health(&self) -> Result<Probed, CallFailure> {
        let answer = self.call(Method::GET, HEALTH_PATH, None, Bytes::new());
        let answer = answer.await?;
        let (status, probed) = (answer.status.as_u16(), answered(&answer, HEALTH_PATH));
        let has_page = !matches!(status, 401 | 403 | 404 | 405 | 501);
        if has_page && probed.detail.is_some() {
            return Ok(probed);
        }
        // Read to its end, so that its connection is used again.
        read_models(answer).await?;
        self.list_models().await
    }

    async fn list_models(&self) -> Result<Probed, CallFailure> {
        let answer = self.call(Method::GET, MODELS_PATH, None, Bytes::new());
        let answer = answer.await?;
        let mut probed = answered(&answer, MODELS_PATH);
        if answer.status.is_success() {
            probed.models = Some(read_models(answer).await?);
        }
        Ok(probed)
    }

    /// A completion of at most five tokens.
    async fn chat(&self) -> Result<Probed, CallFailure> {
        let model = match &self.target.chat_model {
            Some(model) => model.clone(),
            None => {
                let listed = self.list_models().await?;
                let first = listed.models.as_ref().and_then(|models| models.first());
                match first {
                    Some(model) => model.to_string(),
                    None => {
                        return Ok(Probed {
                            models: None,
                            ..listed
                        });
                    }
                }
            }
        };
        let body = serde_json::json!({
            "model": model,
            "max_tokens": 5,
            "messages": [{"role": "user", "content": "ping"}],
        });
        let body = Bytes::from(body.to_string());
        // Some providers have the model in the path.
        let model = ModelName::new(&model).ok();
        let answer = self.call(Method::POST, CHAT_PATH, model, body).await?;
        Ok(answered(&answer, CHAT_PATH))
    }

    async fn call(
        &self,
        method: Method,
        path: &'static str,
        model: Option<ModelName>,
        body: Bytes,
    ) -> Result<Answer, CallFailure> {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, json.clone());
        // Without it any coding may come (RFC 9110, 12.5.3).
        headers.insert(header::ACCEPT_ENCODING, headers::IDENTITY);
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, json);
        }
        let call = Call {
            request_id: "probe".into(),
            upstream: self.upstream.clone(),
            model,
            method,
            path: PathAndQuery::from_static(path),
            headers: Arc::new(headers),
            body: body.into(),
            stream: false,
            deadline: self.deadline,
            last_resort: true,
            allow_regions: Arc::default(),
            caller: Caller::default(),
        };
        self.client.probe(call).await
    }
}

/// What an answer's head shows.
fn answered(answer: &Answer, path: &'static str) -> Probed {
    let status = answer.status;
    let detail = (!status.is_success()).then(|| match redirected_to(answer) {
        Some(url) => format!("status {status}, to {url}; base_url must name the final address"),
        None => format!("status {status}"),
    });
    Probed {
        outcome: Outcome::status(status.as_u16()),
        models: None,
        detail,
        path,
    }
}

fn redirected_to(answer: &Answer) -> Option<&str> {
    let is_redirect = answer.status.is_redirection() && answer.status != StatusCode::NOT_MODIFIED;
    let location = answer.headers.get(header::LOCATION)?.to_str().ok()?;
    is_redirect.then(|| without_secrets(location))
}

/// The part of `url` in which no secret can be; nothing of one with a user.
fn without_secrets(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let shown = &url[..end];
    if shown.contains('@') { "" } else { shown }
}

/// Reads a list up to its limit; a longer or invalid one has no models.
async fn read_models(answer: Answer) -> Result<Vec<ModelName>, CallFailure> {
    let list = page::read(answer, LIST_BYTES_MAX).await?;
    Ok(list.map_or_else(Vec::new, |list| parse_models(&list)))
}

/// How the last probe of each upstream failed, so that each kind of failure is a warning once.
#[derive(Clone, Debug, Default)]
struct ProbeFailures(Arc<Mutex<BTreeMap<UpstreamName, ProbeFailureKind>>>);

/// What was seen, and the status.
type ProbeFailureKind = (&'static str, Option<u16>);

impl ProbeFailures {
    fn report(&self, upstream: &UpstreamName, url: &str, probed: &Probed) {
        let Some(detail) = &probed.detail else {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(upstream);
            return;
        };
        let detail = &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)];
        let outcome = probed.outcome.as_str();
        if self.is_new(upstream, &probed.outcome) {
            warn!(upstream.name = %upstream, url, outcome, detail, "probe failed");
        } else {
            debug!(upstream.name = %upstream, url, outcome, detail, "probe failed again");
        }
    }

    /// Whether the last probe of `upstream` did not fail in this way.
    fn is_new(&self, upstream: &UpstreamName, outcome: &Outcome) -> bool {
        let status = match outcome {
            Outcome::Status { status, .. } => Some(*status),
            _ => None,
        };
        let kind = (outcome.as_str(), status);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(upstream.clone(), kind) != Some(kind)
    }

    /// Forgets the upstreams that are not probed any more.
    fn keep(&self, is_probed: impl Fn(&UpstreamName) -> bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|upstream, _| is_probed(upstream));
    }
}

/// A list as OpenAI's API writes it, and most others.
#[derive(Deserialize)]
struct ModelList {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
}

/// A list as Gemini's API writes it.
#[derive(Deserialize)]
struct NamedModelList {
    models: Vec<NamedModel>,
}

#[derive(Deserialize)]
struct NamedModel {
    /// The resource: `models/` and the model.
    name: String,
}

/// What Gemini's names of models begin with, which requests leave out.
const RESOURCE_PREFIX: &str = "models/";

fn parse_models(body: &[u8]) -> Vec<ModelName> {
    let listed: Vec<String> = if let Ok(list) = serde_json::from_slice::<ModelList>(body) {
        list.data.into_iter().map(|model| model.id).collect()
    } else if let Ok(list) = serde_json::from_slice::<NamedModelList>(body) {
        let bare = |name: String| {
            name.strip_prefix(RESOURCE_PREFIX)
                .unwrap_or(&name)
                .to_owned()
        };
        list.models
            .into_iter()
            .map(|model| bare(model.name))
            .collect()
    } else {
        return Vec::new();
    };
    let names = listed.iter().filter_map(|name| ModelName::new(name).ok());
    names
        .filter(|name| !name.is_any())
        .take(LIST_MODELS_MAX)
        .collect()
}

#[cfg(test)]
mod tests;
