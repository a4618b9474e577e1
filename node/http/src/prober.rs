//! Probes own upstreams when core requires it, and reports the result of each probe.
//!
//! Off the request path, so that a plain HTTP client suffices. Core orders one probe per upstream at a time, so
//! that the number in flight is at most the number of upstreams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use grapevine_base::causes;
use grapevine_core::engine::{Event, Probe, ProbeReport};
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::outcome::{Outcome, Refusal, Stage};
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::debug;

use grapevine_base::driver::{DriverHandle, ProbeOrder};
use grapevine_base::listener::descriptors;

/// The longest list of models that is read.
const LIST_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// Models taken from a list.
const LIST_MODELS_MAX: usize = 1_000;

/// How an upstream is probed.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    /// Base URL, `/v1` included, without a slash at the end.
    pub base_url: String,
    /// Credential and extra headers.
    pub headers: HeaderMap,
    /// How long a probe may take.
    pub timeout: Duration,
    /// The model that a chat probe asks for, by the upstream's own name; `None` uses the first of its
    /// list.
    pub chat_model: Option<String>,
}

/// The upstreams that can be probed; swapped as a whole on reload.
pub type ProbeTargets = Arc<ArcSwap<BTreeMap<UpstreamName, ProbeTarget>>>;

/// Carries out orders until the driver has ended.
pub async fn run(
    driver: DriverHandle,
    targets: ProbeTargets,
    client: Client,
    mut orders: mpsc::Receiver<ProbeOrder>,
) {
    while let Some(order) = orders.recv().await {
        let Some(target) = targets.load().get(&order.upstream).cloned() else {
            // Removed by a reload that the engine has not handled yet; it then drops the probe too.
            continue;
        };
        let (driver, client) = (driver.clone(), client.clone());
        tokio::spawn(async move {
            let report = probe(&client, &target, order).await;
            driver.send(Event::ProbeEnded(report)).await;
        });
    }
}

async fn probe(client: &Client, target: &ProbeTarget, order: ProbeOrder) -> ProbeReport {
    let began = Instant::now();
    let answer = match order.probe {
        Probe::Models | Probe::Off => list_models(client, target).await,
        Probe::Chat => chat(client, target).await,
    };
    let took = began.elapsed();
    let (outcome, models) = match answer {
        Ok((outcome, models)) => (outcome, models),
        Err(error) => {
            debug!(upstream.name = %order.upstream, error = %described(&error), "probe failed");
            (failure(&error), None)
        }
    };
    let first_byte = (order.probe == Probe::Chat && models.is_none()).then_some(took);
    ProbeReport {
        upstream: order.upstream,
        outcome,
        first_byte,
        models,
    }
}

/// The error and its causes without the address, which the upstream's name identifies.
fn described(error: &reqwest::Error) -> String {
    let what = match error.is_timeout() {
        true => "timed out",
        false => "failed",
    };
    let causes = causes::each(error).skip(1).map(ToString::to_string);
    let texts: Vec<String> = std::iter::once(what.to_owned()).chain(causes).collect();
    texts.join(": ")
}

type Probed = Result<(Outcome, Option<Vec<ModelName>>), reqwest::Error>;

async fn list_models(client: &Client, target: &ProbeTarget) -> Probed {
    let request = client.get(format!("{}/models", target.base_url));
    let response = send(request, target).await?;
    let outcome = status(&response);
    if !response.status().is_success() {
        return Ok((outcome, None));
    }
    let models = read_models(response).await?;
    Ok((outcome, Some(models)))
}

/// A completion of at most five tokens.
async fn chat(client: &Client, target: &ProbeTarget) -> Probed {
    let model = match &target.chat_model {
        Some(model) => model.clone(),
        None => match first_model(client, target).await? {
            Ok(model) => model,
            Err(outcome) => return Ok((outcome, None)),
        },
    };
    let body = serde_json::json!({
        "model": model,
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "ping"}],
    });
    let request = client
        .post(format!("{}/chat/completions", target.base_url))
        .json(&body);
    let response = send(request, target).await?;
    Ok((status(&response), None))
}

async fn first_model(
    client: &Client,
    target: &ProbeTarget,
) -> Result<Result<String, Outcome>, reqwest::Error> {
    let (outcome, models) = list_models(client, target).await?;
    let first = models.and_then(|models| models.into_iter().next());
    Ok(first.map(|model| model.to_string()).ok_or(outcome))
}

async fn send(request: RequestBuilder, target: &ProbeTarget) -> Result<Response, reqwest::Error> {
    request
        .headers(target.headers.clone())
        .timeout(target.timeout)
        .send()
        .await
}

/// Reads a list up to its limit; a longer or invalid one has no models.
async fn read_models(mut response: Response) -> Result<Vec<ModelName>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LIST_BYTES_MAX {
            return Ok(Vec::new());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(parse_models(&body))
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    id: String,
}

fn parse_models(body: &[u8]) -> Vec<ModelName> {
    let Ok(list) = serde_json::from_slice::<ModelList>(body) else {
        return Vec::new();
    };
    let names = list
        .data
        .iter()
        .filter_map(|model| ModelName::new(&model.id).ok());
    names
        .filter(|name| !name.is_any())
        .take(LIST_MODELS_MAX)
        .collect()
}

fn status(response: &Response) -> Outcome {
    Outcome::status(response.status().as_u16())
}

fn failure(error: &reqwest::Error) -> Outcome {
    if descriptors::lack(error) {
        Outcome::Refused(Refusal::Full)
    } else if error.is_connect() {
        Outcome::ConnectFailed
    } else if error.is_timeout() {
        Outcome::TimedOut(Stage::FirstByte)
    } else {
        Outcome::Reset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_models_is_read_by_id() {
        let body = br#"{"object":"list","data":[{"id":"gpt-4o","owned_by":"x"},{"id":"two words"},{"id":"*"}]}"#;
        let names: Vec<_> = parse_models(body).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["gpt-4o"]);
    }

    #[test]
    fn what_is_no_list_names_no_models() {
        assert!(parse_models(b"<html>").is_empty());
        assert!(parse_models(b"{}").is_empty());
    }
}
