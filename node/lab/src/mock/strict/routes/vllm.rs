//! vLLM: OpenAI's API with or without a key, Anthropic's messages, and the server's own pages.

use std::fmt::Write as _;

use http::Method;
use serde_json::json;

use crate::mock::strict::chat::Flavor;
use crate::mock::strict::exchange::{Call, Outcome};
use crate::mock::strict::messages::Host;
use crate::mock::strict::refusal::{Refusal, Shape};
use crate::mock::strict::upstream::{Failure, Routed, Upstream};

/// The most requests that run at once, as `--max-num-seqs` has it; others wait.
const RUNNING_MAX: u64 = 256;

pub(in crate::mock::strict) fn serve(upstream: &Upstream, call: &Call<'_>) -> Routed {
    match (call.method, call.path) {
        (&Method::GET, "/health" | "/ping") => {
            return Ok(Some(Outcome::text(200, "text/plain", "")));
        }
        (&Method::GET, "/version") => {
            return Ok(Some(Outcome::json(&json!({"version": "0.11.0"}))));
        }
        (&Method::GET, "/metrics") => return Ok(Some(metrics(upstream, call))),
        _ => {}
    }
    if let Some(own) = &upstream.api_key
        && call.bearer() != Some(own)
    {
        let mut outcome = Outcome::json(&json!({"error": "Unauthorized"}));
        outcome.status = 401;
        return Ok(Some(outcome));
    }
    let known = |model: &str| {
        let found = upstream.serves(model).then_some(());
        found.ok_or_else(|| {
            Refusal::new(404, format!("The model `{model}` does not exist.")).code("NotFoundError")
        })
    };
    let routed = match (call.method, call.path) {
        (&Method::POST, "/v1/chat/completions") => upstream.chat(call, Flavor::Vllm, known),
        (&Method::POST, "/v1/responses") => upstream.response(call, known),
        (&Method::GET, "/v1/models") => Ok(upstream.openai_models(call, "vllm")),
        (&Method::POST, "/v1/completions" | "/v1/embeddings") => return Ok(None),
        (&Method::POST, "/v1/messages") => {
            let routed = upstream.message(call, Host::Api, None, known).map(Some);
            return routed.map_err(|refusal| Shape::Anthropic.failure(refusal));
        }
        _ => Err(Refusal::new(404, "Not Found")),
    };
    routed.map(Some).map_err(failure)
}

fn failure(refusal: Refusal) -> Failure {
    Shape::OpenAi.failure(refusal)
}

fn metrics(upstream: &Upstream, call: &Call<'_>) -> Outcome {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    let model = upstream.named_models().next();
    let model = model.map_or("mock", String::as_str);
    if let Some(engine) = &upstream.engine {
        return Outcome::text(200, content_type, engine.metrics(model));
    }
    // This request is none of the model's.
    let requests = call.in_flight.saturating_sub(1);
    let running = requests.min(RUNNING_MAX);
    let share = running as f64 / RUNNING_MAX as f64;
    let gauges = [
        ("num_requests_running", running as f64),
        ("num_requests_waiting", (requests - running) as f64),
        ("kv_cache_usage_perc", share),
        ("gpu_cache_usage_perc", share),
    ];
    let mut text = String::new();
    for (name, value) in gauges {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "# HELP vllm:{name} As the mock has it.\n# TYPE vllm:{name} gauge\nvllm:{name}{{engine=\"0\",model_name=\"{model}\"}} {value:?}\n"
        );
    }
    Outcome::text(200, content_type, text)
}
