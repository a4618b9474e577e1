//! OpenTelemetry's metrics of generative AI: how long requests and calls took, and what they used.
//!
//! Source: the semantic conventions for generative AI metrics, with their names, attributes and buckets; dots
//! are underscores. This node is a server to its clients, and a client of its upstreams and peers.
//!
//! The only label that a client can choose is the model: those that some upstream of the mesh lists have
//! a label of their own, up to [`MODELS_MAX`]; all others share one.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use grapevine_base::families::Families;
use grapevine_core::ids::ModelName;
use grapevine_core::view::View;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::gen_ai;
use super::labels::ModelLabels;
use super::recent::RecentFamily;
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
    #[prometheus(flatten)]
    call: CallLabels,
    /// Empty, which is as good as absent, where it succeeded.
    error_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    #[prometheus(flatten)]
    call: CallLabels,
    gen_ai_token_type: &'static str,
}

/// Durations and token usage of requests.
#[derive(Debug)]
pub(super) struct Usage {
    models: Mutex<BTreeSet<ModelName>>,
    requests: Histograms<EndLabels>,
    first_token: Histograms<CallLabels>,
    calls: Histograms<EndLabels>,
    tokens: Histograms<TokenLabels>,
    cost: RecentFamily<ModelLabels, Counter<f64, AtomicU64>>,
}

type Histograms<L> = RecentFamily<L, Histogram, fn() -> Histogram>;

/// What a request's labels have in common.
#[derive(Clone, Copy)]
struct Call<'a> {
    operation: &'static str,
    provider: &'static str,
    model: &'a str,
}

impl Usage {
    pub(super) fn register(families: &mut Families) -> Self {
        let requests = family(|| Histogram::new(SECONDS));
        families.register_open_telemetry(
            "gen_ai_server_request_duration",
            "Time from a request's arrival at this node to its end",
            Some(Unit::Seconds),
            requests.clone(),
        );
        let first_token = family(|| Histogram::new(FIRST_TOKEN_SECONDS));
        families.register_open_telemetry(
            "gen_ai_server_time_to_first_token",
            "Time from the receipt of a whole request to the first byte of its streamed answer",
            Some(Unit::Seconds),
            first_token.clone(),
        );
        let calls = family(|| Histogram::new(SECONDS));
        families.register_open_telemetry(
            "gen_ai_client_operation_duration",
            "Time that an attempt at an upstream took, its own or a peer's",
            Some(Unit::Seconds),
            calls.clone(),
        );
        let tokens = family(|| Histogram::new(TOKENS));
        families.register_open_telemetry(
            "gen_ai_client_token_usage",
            "Tokens of a request, as the upstream counted them",
            None,
            tokens.clone(),
        );
        let cost = Family::<ModelLabels, Counter<f64, AtomicU64>>::default();
        families.register(
            "cost_usd",
            "Cost of the requests of this node's clients in US dollars, by model, as far as their models have prices",
            cost.clone(),
        );
        Self {
            models: Mutex::default(),
            requests: RecentFamily::new(requests),
            first_token: RecentFamily::new(first_token),
            calls: RecentFamily::new(calls),
            tokens: RecentFamily::new(tokens),
            cost: RecentFamily::new(cost),
        }
    }

    /// Counts a finished request; one that is about no model is not one of generative AI.
    pub(super) fn request<'a>(&self, record: &'a RequestRecord, view: &View) {
        let Some(model) = &record.model else { return };
        let path = record.path.as_str();
        let call = Call {
            operation: gen_ai::operation(path),
            provider: gen_ai::provider(path),
            model: self.label(model, view),
        };
        // Nearly always the same one.
        let call_of = |other: &'a ModelName| match other == model {
            true => call,
            false => Call {
                model: self.label(other, view),
                ..call
            },
        };
        let error = record.error.or(status_error(record.status));
        let total = record.total.as_secs_f64();
        observe_end(&self.requests, call, error, total);
        if record.stream && error.is_none() && record.served.is_some() {
            let waited = (record.overhead + record.first_byte).as_secs_f64();
            let labels = || call.labels();
            let observe = |known: &Histogram| known.observe(waited);
            self.first_token
                .count(|known| call.is_of(known), labels, observe);
        }
        for attempt in &record.attempts {
            let took = attempt.took.as_secs_f64();
            let called = attempt.model.as_ref().map_or(call, call_of);
            observe_end(&self.calls, called, attempt_error(attempt), took);
        }
        // Who pays for tokens, pays for those of the model that counted them.
        let call = record.served_model().map_or(call, call_of);
        if let Some(cost) = record.cost {
            let is_its = |known: &ModelLabels| known.gen_ai_request_model == call.model;
            let labels = || ModelLabels {
                gen_ai_request_model: call.model.to_owned(),
            };
            let add = |known: &Counter<_, _>| known.inc_by(cost.as_dollars());
            self.cost.count(is_its, labels, add);
        }
        let tokens = [
            ("input", record.tokens.input),
            ("output", record.tokens.output),
        ];
        for (kind, count) in tokens {
            if let Some(count) = count {
                let is_its = |known: &TokenLabels| {
                    known.gen_ai_token_type == kind && call.is_of(&known.call)
                };
                let labels = || TokenLabels {
                    call: call.labels(),
                    gen_ai_token_type: kind,
                };
                let observe = |known: &Histogram| known.observe(count as f64);
                self.tokens.count(is_its, labels, observe);
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

fn family<L: Clone + Eq + Hash>(
    histogram: fn() -> Histogram,
) -> Family<L, Histogram, fn() -> Histogram> {
    Family::new_with_constructor(histogram)
}

fn observe_end(
    family: &Histograms<EndLabels>,
    call: Call<'_>,
    error: Option<&'static str>,
    seconds: f64,
) {
    let error_type = error.unwrap_or_default();
    let is_its = |known: &EndLabels| known.error_type == error_type && call.is_of(&known.call);
    let labels = || EndLabels {
        call: call.labels(),
        error_type,
    };
    family.count(is_its, labels, |known| known.observe(seconds));
}

impl Call<'_> {
    fn is_of(&self, known: &CallLabels) -> bool {
        self.model == known.gen_ai_request_model
            && self.operation == known.gen_ai_operation_name
            && self.provider == known.gen_ai_provider_name
    }

    fn labels(&self) -> CallLabels {
        CallLabels {
            gen_ai_operation_name: self.operation,
            gen_ai_provider_name: self.provider,
            gen_ai_request_model: self.model.to_owned(),
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
