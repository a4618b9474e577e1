//! The mesh as JSON.

use std::time::SystemTime;

use grapevine_core::Instant;
use grapevine_core::account::{AccountFact, QuotaScope};
use grapevine_core::dialect::Dialect;
use grapevine_core::fact::{Public, ServicesFact, Standing};
use grapevine_core::ids::{ModelName, StoreName};
use grapevine_core::latency::ByClass;
use grapevine_core::mode::Mode;
use grapevine_core::view::{MeshSummary, NodeState, NodeView, Reach, UpstreamStatus, View};
use grapevine_core::work;
use serde_json::{Map, Value, json};

use grapevine_observe::credentials::CredentialReport;
use grapevine_observe::{milliseconds, reported};

use super::summary;

/// `view` for the operator, as of `now`, with the node's own mode.
pub(super) fn to_json(view: &View, mode: &Mode, now: Instant) -> Value {
    let nodes: Vec<Value> = view
        .nodes
        .iter()
        .map(|node| node_to_json(node, now))
        .collect();
    let unserved = work::unserved(view).into_iter().map(|tasks| {
        json!({
            "service": tasks.service.as_str(),
            "node": tasks.node.as_str(),
            "waiting": tasks.waiting,
            "store": tasks.store.map(StoreName::as_str),
        })
    });
    // Each task counts once, also where nodes share a store.
    let waiting = work::waiting(view).into_iter();
    let waiting = waiting.map(|(service, count)| (service.to_string(), json!(count)));
    json!({
        "self": view.node.as_str(),
        "worker_mode": mode.to_string(),
        "settled": view.settled,
        "nodes": nodes,
        "tasks_waiting": waiting.collect::<Map<_, _>>(),
        "unserved": unserved.collect::<Vec<_>>(),
        "summary": summary::to_json(&MeshSummary::of(view)),
    })
}

/// Adds to the node's own upstreams, in `mesh` or a picture of it, what is known of their credentials.
pub(super) fn add_credentials(mesh: &mut Value, credentials: &[CredentialReport]) {
    let now = SystemTime::now();
    for upstream in summary::own_upstreams(mesh) {
        let mut all = credentials.iter();
        let its = all.find(|it| upstream["name"] == it.upstream.as_str());
        if let Some(credential) = its {
            upstream["credential"] = credential.to_json(now);
        }
    }
}

/// One node of the mesh.
pub(super) fn node_to_json(node: &NodeView, now: Instant) -> Value {
    let fact = node.fact.as_ref();
    let upstreams: Vec<Value> = node
        .upstreams
        .iter()
        .map(|status| upstream_to_json(node, status, now))
        .collect();
    let services = node.services.as_deref();
    let keys = |services: &ServicesFact| -> Vec<String> {
        services.serves.iter().map(ToString::to_string).collect()
    };
    let waiting = |services: &ServicesFact| -> Map<String, Value> {
        let tasks = services.waiting.iter();
        tasks
            .map(|(key, count)| (key.to_string(), json!(count)))
            .collect()
    };
    json!({
        "name": node.name.as_str(),
        "region": fact.map(|fact| fact.region.as_str()),
        "state": node.state().as_str(),
        "live": node.live,
        "phase": node.phase.as_str(),
        "reach": reach(node.reach),
        "rtt_ms": node.rtt.map(milliseconds),
        "build": fact.map(|fact| fact.build.as_str()),
        "protocol": fact.map(|fact| fact.protocol),
        "generation": node.generation.0,
        "location": fact.and_then(|fact| fact.place).map(|place| {
            json!({"lat": place.latitude(), "lon": place.longitude()})
        }),
        "serves_requests": fact.map(|fact| fact.serves_requests),
        "public": fact.map(|fact| public(&fact.public)),
        "services": services.map(keys),
        "tasks_waiting": services.map(waiting),
        "tasks_store": services.and_then(|it| it.store.as_ref()).map(StoreName::as_str),
        "residency_differs": node.rules_differ_since.is_some(),
        "residency_differs_since_ms": node.rules_differ_since.map(|at| milliseconds(now.since(at))),
        "upstreams": upstreams,
    })
}

/// What is published to clients about a node.
fn public(public: &Public) -> Value {
    let addresses: Vec<String> = public.addresses.iter().map(ToString::to_string).collect();
    json!({"url": public.url, "addresses": addresses, "dns": public.answers_dns})
}

fn upstream_to_json(node: &NodeView, status: &UpstreamStatus, now: Instant) -> Value {
    let fact = &status.fact;
    let reported_state = fact.standing.as_str();
    let is_unreachable = node.state() == NodeState::Unreachable;
    let ByClass {
        stream: streams,
        whole,
    } = status.percentiles;
    let models: Vec<&str> = fact.models.keys().map(|model| model.as_str()).collect();
    let mut shown = json!({
        "name": fact.name.as_str(),
        "state": if is_unreachable { NodeState::Unreachable.as_str() } else { reported_state },
        "reported_state": reported_state,
        "usable": node.may_use(status),
        "reason": fact.standing.reason().map(|reason| reason.as_str()),
        "since_ms": milliseconds(now.since(status.stands_since)),
        "again_in_ms": status.again_at.map(|at| milliseconds(now.until(at))),
        "models": models,
        "dialects": fact.dialects.iter().map(Dialect::name).collect::<Vec<_>>(),
        "websocket": fact.websocket,
        "ttft_ms": fact.ttft.map(milliseconds),
        "p50_ms": streams.map(|(p50, _)| milliseconds(p50)),
        "p99_ms": streams.map(|(_, p99)| milliseconds(p99)),
        "answer_ms": fact.further.all.whole.map(milliseconds),
        "answer_p50_ms": whole.map(|(p50, _)| milliseconds(p50)),
        "answer_p99_ms": whole.map(|(_, p99)| milliseconds(p99)),
        "per_kib_ms": milliseconds(fact.further.all.per_kib),
        "last_error": status.last_failure,
        "models_out": fact.models_out.iter().map(model_out).collect::<Map<_, _>>(),
        "account": fact.account.as_ref().map(|account| account_to_json(account, status, now)),
        "error_rate": fact.error_rate.get(),
        "break_rate": fact.break_rate.get(),
        "in_flight": status.in_flight,
        "reported": reported::to_json(
            fact.further.load.as_deref().copied(),
            status.engine,
            now.since(status.reported_at),
            (status.in_flight, fact.in_flight_max),
        ),
        "prompt_tokens": status.cache.totals().input,
        "cached_tokens": status.cache.totals().cached,
        "cached_share": status.cache.share().get(),
        "in_flight_max": fact.in_flight_max,
        "tier": fact.tier.0,
        "weight": fact.weight.get(),
        "age_ms": milliseconds(now.since(status.reported_at)),
    });
    if let Some(checks) = &status.checks {
        summary::add_checks(&mut shown, checks, now);
    }
    shown
}

/// A model that stands otherwise than its upstream.
fn model_out((model, standing): (&ModelName, &Standing)) -> (String, Value) {
    let reason = standing.reason().map(|reason| reason.as_str());
    let shown = json!({"state": standing.as_str(), "reason": reason});
    (model.to_string(), shown)
}

/// The account of an upstream; it rests for models, or for all of them under the empty name.
fn account_to_json(account: &AccountFact, status: &UpstreamStatus, now: Instant) -> Value {
    let age = now.since(status.reported_at);
    let rests = account.rests.iter().filter_map(|(model, left)| {
        let left = left.checked_sub(age)?;
        let model = model.as_ref().map_or("", ModelName::as_str);
        Some((model.to_owned(), json!(milliseconds(left))))
    });
    json!({
        "name": account.spec.name.as_str(),
        "quota": match account.spec.quota {
            QuotaScope::Account => "account",
            QuotaScope::Upstream => "upstream",
        },
        "rests_ms": rests.collect::<Map<_, _>>(),
    })
}

const fn reach(reach: Reach) -> &'static str {
    match reach {
        Reach::Open => "open",
        Reach::Unlinked => "unlinked",
        Reach::Silent => "silent",
        Reach::Down => "down",
        Reach::Closed => "closed",
    }
}
