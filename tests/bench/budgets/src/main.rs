//! Does one thing that the request path does, COUNT times: `grapevine-bench-budgets NAME COUNT`.
//!
//! `run` counts the instructions of two counts and takes their difference, which leaves out what comes before.

mod frames;
mod limits;
mod mesh;

use std::hint::black_box;

use anyhow::{Context, bail};
use bytes::Bytes;
use grapevine_base::asked;
use grapevine_core::dialect::RequestDialect;
use grapevine_core::Instant;
use grapevine_core::forwarding::PathScope;
use grapevine_core::latency::RequestShape;
use grapevine_core::route::{RouteQuery, Strategy, plan};
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

const PATH: &str = "/v1/chat/completions";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("NAME COUNT must follow")?;
    let count = arguments.next().context("COUNT must follow NAME")?;
    let count: u32 = count.parse().with_context(|| format!("COUNT {count}"))?;
    match name.as_str() {
        "plan-10" => plans(10, count),
        "plan-100" => plans(100, count),
        "plan-1000" => plans(1_000, count),
        "body" => bodies(count),
        "frames" => frames::exchange(count),
        "limits" => limits::requests(count),
        _ => bail!("NAME {name}: plan-10, plan-100, plan-1000, body, frames or limits"),
    }
}

/// Plans over a mesh in which `candidates` upstreams serve the model.
fn plans(candidates: usize, count: u32) -> anyhow::Result<()> {
    let model = mesh::model()?;
    let view = mesh::view(&model, candidates)?;
    let query = RouteQuery {
            dialect: RequestDialect::of_path("/v1/chat/completions"),
            websocket: false,
        model: Some(&model),
        shape: RequestShape::default(),
        strategy: Strategy::Latency,
        session: None,
        owner: None,
        upstream: None,
        cache_weight: 0.0,
        client_place: None,
        home_regions: &[],
        prefer_region: None,
        allow_regions: &[],
        fence: None,
        attempts_max: 6,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..count {
        let planned = plan(black_box(&view), &query, Instant::START, &mut rng);
        black_box(planned.map_err(|error| anyhow::anyhow!("{error:?}"))?);
    }
    Ok(())
}

/// Reads what a chat of 1 KB asks for.
fn bodies(count: u32) -> anyhow::Result<()> {
    let text = "x".repeat(940);
    let body = format!(r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let body = Bytes::from(body);
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    for _ in 0..count {
        let scope = PathScope::Inference;
        let asked = asked::read(scope, &Method::POST, PATH, &headers, black_box(&body));
        black_box(asked?);
    }
    Ok(())
}
