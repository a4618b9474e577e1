//! OpenTelemetry's metrics of generative AI: how long requests and calls took, and what they used.
//!
//! Source: the semantic conventions for generative AI metrics, with their names, attributes and buckets; dots
//! are underscores. This node is a server to its clients, and a client of its upstreams and peers.
//!
//! The only label that a client can choose is the model: those that some upstream of the mesh lists have
//! a label of their own, up to [`MODELS_MAX`]; all others share one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use grapevine_base::families::Families;
use grapevine_core::ids::ModelName;
use grapevine_core::view::View;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::gen_ai;
use super::record::{AttemptRecord, RequestRecord};

/// Models with labels of their own.
pub(super) const MODELS_MAX: usize = 64;

/// The label of all others.
const OTHER: &str = "other";

/// The conventions' buckets for durations.
const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// The conventions' buckets for the time to the first token.
const FIRST_TOKEN_SECONDS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The conventions' buckets for tokens: powers of four.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: String,
    /// Empty, which is as good as absent, where it succeeded.
    error_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

/// Durations and token usage of requests.
#[derive(Debug)]
pub(super) struct Usage {
    models: Mutex<BTreeSet<ModelName>>,
    requests: Family<EndLabels, Histogram>,
    first_token: Family<CallLabels, Histogram>,
    calls: Family<EndLabels, Histogram>,
    tokens: Family<TokenLabels, Histogram>,
}

impl Usage {
    pub(super) fn register(families: &mut Families) -> Self {
        let seconds = || Histogram::new(SECONDS);
        let usage = Self {
            models: Mutex::default(),
            requests: Family::new_with_constructor(seconds),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_SECONDS)),
            calls: Family::new_with_constructor(seconds),
            tokens: Family::new_with_constructor(|| Histogram::new(TOKENS)),
        };
        families.register_open_telemetry(
            "gen_ai_server_request_duration",
            "Time from a request's arrival at this node to its end",
            Some(Unit::Seconds),
            usage.requests.clone(),
        );
        families.register_open_telemetry(
            "gen_ai_server_time_to_first_token",
            "Time from the receipt of a whole request to the first byte of its streamed answer",
            Some(Unit::Seconds),
            usage.first_token.clone(),
        );
        families.register_open_telemetry(
            "gen_ai_client_operation_duration",
            "Time that an attempt at an upstream took, its own or a peer's",
            Some(Unit::Seconds),
            usage.calls.clone(),
        );
        families.register_open_telemetry(
            "gen_ai_client_token_usage",
            "Tokens of a request, as the upstream counted them",
            None,
            usage.tokens.clone(),
        );
        usage
    }

    /// Counts a finished request; one that is about no model is not one of generative AI.
    pub(super) fn request(&self, record: &RequestRecord, view: &View) {
        let Some(model) = &record.model else { return };
        let path = record.path.as_str();
        let labels = CallLabels {
            gen_ai_operation_name: gen_ai::operation(path),
            gen_ai_provider_name: gen_ai::provider(path),
            gen_ai_request_model: self.label(model, view).to_owned(),
        };
        let error = record.error.or(status_error(record.status));
        let ended = labels.ending(error);
        let total = record.total.as_secs_f64();
        self.requests.get_or_create(&ended).observe(total);
        if record.stream && error.is_none() && record.served.is_some() {
            let waited = (record.overhead + record.first_byte).as_secs_f64();
            self.first_token.get_or_create(&labels).observe(waited);
        }
        for attempt in &record.attempts {
            let ended = labels.ending(attempt_error(attempt));
            let took = attempt.took.as_secs_f64();
            self.calls.get_or_create(&ended).observe(took);
        }
        let tokens = [
            ("input", record.tokens.input),
            ("output", record.tokens.output),
        ];
        for (kind, count) in tokens {
            if let Some(count) = count {
                let labels = labels.of_tokens(kind);
                self.tokens.get_or_create(&labels).observe(count as f64);
            }
        }
    }

    fn label<'a>(&self, model: &'a ModelName, view: &View) -> &'a str {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.contains(model) {
            return model.as_str();
        }
        if models.len() >= MODELS_MAX || !view.models.contains_key(model) {
            return OTHER;
        }
        models.insert(model.clone());
        model.as_str()
    }
}

impl CallLabels {
    fn ending(&self, error: Option<&'static str>) -> EndLabels {
        EndLabels {
            gen_ai_operation_name: self.gen_ai_operation_name,
            gen_ai_provider_name: self.gen_ai_provider_name,
            gen_ai_request_model: self.gen_ai_request_model.clone(),
            error_type: error.unwrap_or_default(),
        }
    }

    fn of_tokens(&self, kind: &'static str) -> TokenLabels {
        TokenLabels {
            gen_ai_operation_name: self.gen_ai_operation_name,
            gen_ai_provider_name: self.gen_ai_provider_name,
            gen_ai_request_model: self.gen_ai_request_model.clone(),
            gen_ai_token_type: kind,
        }
    }
}

/// The word for an upstream's own error, which was passed to the client unchanged.
const fn status_error(status: u16) -> Option<&'static str> {
    match status {
        429 => Some("rate_limited"),
        400..=499 => Some("client_error"),
        500.. => Some("server_error"),
        _ => None,
    }
}

fn attempt_error(attempt: &AttemptRecord) -> Option<&'static str> {
    (attempt.outcome != "answered").then_some(attempt.outcome)
}
