//! What was dropped at limits or refused by checks, for metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use grapevine_base::bodies::BodyBudget;
use grapevine_core::ids::UpstreamName;
use grapevine_http::ingress::Workers;
use grapevine_http::upstream::{CredentialState, UpstreamTargets};
use grapevine_mesh::gossip::{Counters, Quarantined, Rejection};
use grapevine_observe::credentials::CredentialReport;
use grapevine_observe::losses::Losses;
use grapevine_observe::otlp::Tracer;
use grapevine_observe::record::Recorder;

use super::keys::KeyKeeper;
use super::usage::UsageDesk;

/// What was dropped so far, read at each scrape.
pub(super) fn losses(
    recorder: Recorder,
    bodies: BodyBudget,
    gossip: Option<(Arc<Counters>, Arc<Quarantined>)>,
    workers: Option<&Workers>,
    (tracer, keys, usage): (Option<Tracer>, KeyKeeper, UsageDesk),
    targets: UpstreamTargets,
) -> Arc<dyn Fn() -> Losses + Send + Sync> {
    let unintroduced = workers.map_or_else(Arc::default, Workers::without_proxy_header);
    Arc::new(move || {
        let (body_memory_full, body_share_full) = bodies.refused();
        let mut losses = vec![
            ("records", recorder.dropped()),
            ("body_memory_full", body_memory_full),
            ("body_share_full", body_share_full),
            ("unintroduced", unintroduced.load(Ordering::Relaxed)),
            ("ledger_rows", usage.lost()),
            (
                "key_statements_refused",
                keys.counts().refused.load(Ordering::Relaxed),
            ),
            (
                "key_statements_unsaved",
                keys.counts().unsaved.load(Ordering::Relaxed),
            ),
        ];
        if let Some(tracer) = &tracer {
            losses.push(("spans", tracer.dropped()));
        }
        let mut quarantined = Vec::new();
        if let Some((counters, held)) = &gossip {
            quarantined = held.held();
            let gossip = [
                ("gossip_restarts", &counters.restarts),
                ("models_left_out", &counters.models_left_out),
                ("upstreams_left_out", &counters.upstreams_left_out),
            ];
            losses.extend(gossip.map(|(kind, count)| (kind, count.load(Ordering::Relaxed))));
            losses
                .extend(Rejection::ALL.map(|reason| (rejected(reason), counters.rejected(reason))));
        }
        Losses {
            counts: losses,
            quarantined,
            credentials: targets.credentials().into_iter().map(credential).collect(),
        }
    })
}

/// What an operator sees of a credential.
fn credential((upstream, state): (UpstreamName, CredentialState)) -> CredentialReport {
    let failure = state.last_failure;
    CredentialReport {
        upstream,
        kind: state.kind,
        expires_at: state.expires_at,
        renewed_at: state.renewed_at,
        last_failure: failure.map(|(at, failure)| (at, failure.as_str())),
        renewals: state.renewals,
    }
}

/// The label of a refusal in `grapevine_lost_total`.
const fn rejected(reason: Rejection) -> &'static str {
    match reason {
        Rejection::Message => "gossip_message",
        Rejection::Malformed => "gossip_malformed",
        Rejection::Oversize => "gossip_oversize",
        Rejection::Certificate => "gossip_certificate",
        Rejection::Signature => "gossip_signature",
        Rejection::Generation => "gossip_generation",
        Rejection::Crowded => "gossip_crowded",
        Rejection::Throttled => "gossip_throttled",
        Rejection::ForeignWrite => "gossip_foreign_write",
        Rejection::Quarantined => "gossip_quarantined",
    }
}
