//! Reads the load that own upstreams report, when core asks for it.
//!
//! A reading takes the way of a probe: the same connections, credentials, TLS and limits, off the request path. Core asks
//! for one reading of an upstream at a time, so that the number in flight is at most the number of upstreams. A page is
//! read up to [`PAGE_BYTES_MAX`], and whatever is in it: see [`exposition`].

mod exposition;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{Answer, Call, Caller, ProbeLocal};
use grapevine_base::headers;
use grapevine_core::engine::{Event, LoadReport};
use grapevine_core::ids::UpstreamName;
use grapevine_core::reported::LoadReading;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::page;
use super::upstream::METRICS_PATH;

/// The longest page that is read; that of vLLM with eight engines has some 400 KiB.
const PAGE_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// The longest time of a reading: figures are worth little later.
const READING_TIMEOUT: Duration = Duration::from_secs(2);

/// Carries out orders until the driver has ended, through a `client` of its own.
pub async fn run<C: ProbeLocal>(
    driver: DriverHandle,
    client: C,
    mut orders: mpsc::Receiver<UpstreamName>,
) {
    let missing = MissingLoads::default();
    while let Some(upstream) = orders.recv().await {
        let (driver, client, missing) = (driver.clone(), client.clone(), missing.clone());
        tokio::spawn(async move {
            let reading = read(&client, &upstream).await;
            missing.report(&upstream, &reading);
            let report = LoadReport { upstream, reading };
            driver.send(Event::LoadRead(report)).await;
        });
    }
}

async fn read<C: ProbeLocal>(client: &C, upstream: &UpstreamName) -> LoadReading {
    let deadline = tokio::time::Instant::now() + READING_TIMEOUT;
    let mut headers = HeaderMap::new();
    let text = HeaderValue::from_static("text/plain;version=0.0.4;q=1,*/*;q=0.1");
    headers.insert(header::ACCEPT, text);
    // Without it any coding may come (RFC 9110, 12.5.3).
    headers.insert(header::ACCEPT_ENCODING, headers::IDENTITY);
    let call = Call {
        request_id: "load".into(),
        upstream: upstream.clone(),
        model: None,
        method: Method::GET,
        path: PathAndQuery::from_static(METRICS_PATH),
        headers: Arc::new(headers),
        body: Bytes::new().into(),
        stream: false,
        deadline,
        last_resort: true,
        allow_regions: Arc::default(),
        caller: Caller::default(),
    };
    let reading = async {
        match client.probe(call).await {
            Ok(answer) => of_answer(answer).await,
            Err(_) => LoadReading::Failed,
        }
    };
    let reading = tokio::time::timeout_at(deadline, reading).await;
    reading.unwrap_or(LoadReading::Failed)
}

async fn of_answer(answer: Answer) -> LoadReading {
    match answer.status {
        StatusCode::OK => {}
        // Busy, or starting.
        status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
            return LoadReading::Failed;
        }
        StatusCode::TOO_MANY_REQUESTS => return LoadReading::Failed,
        _ => return LoadReading::Absent,
    }
    match page::read(answer, PAGE_BYTES_MAX).await {
        Ok(Some(page)) => exposition::metrics(&String::from_utf8_lossy(&page))
            .map_or(LoadReading::Absent, LoadReading::Read),
        Ok(None) | Err(_) => LoadReading::Failed,
    }
}

/// The upstreams that report no load, so that each is a line of the log once.
#[derive(Clone, Debug, Default)]
struct MissingLoads(Arc<Mutex<BTreeSet<UpstreamName>>>);

impl MissingLoads {
    fn report(&self, upstream: &UpstreamName, reading: &LoadReading) {
        let mut missing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match reading {
            LoadReading::Read(_) => {
                if missing.remove(upstream) {
                    info!(upstream.name = %upstream, "load is reported");
                }
            }
            LoadReading::Absent => {
                if missing.insert(upstream.clone()) {
                    info!(
                        upstream.name = %upstream,
                        "no load is reported; requests in flight count instead"
                    );
                }
            }
            LoadReading::Failed => debug!(upstream.name = %upstream, "load could not be read"),
        }
    }
}

#[cfg(test)]
mod tests;
