//! Checks that what is published of the upstreams and the residency rules fits into gossip.
//!
//! Measured with the encoder itself, on the longest fact that an upstream can have: what does not fit is left
//! out of gossip, and other nodes then do not send requests for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::account::{AccountFact, AccountSpec};
use grapevine_core::fact::{Fact, FactKey, FurtherFigures, Standing, UpstreamFact};
use grapevine_core::health::EjectionReason;
use grapevine_core::residency::{Residency, RulesFact};
use grapevine_core::units::Share;
use grapevine_proto::value::envelope::SEAL_BYTES_MAX;
use grapevine_proto::value::{PAYLOAD_BYTES_MAX, STATE_BYTES_MAX, encode};

use super::super::checked::{UpstreamConfig, UpstreamModels};
use super::Checker;
use super::upstreams::IN_FLIGHT_MAX;

/// The most that a node publishes in addition to its upstreams, in bytes.
const BESIDE_BYTES: usize = 704;

impl Checker<'_> {
    /// `upstreams` are given with their keys.
    pub(super) fn gossip_fits(&mut self, upstreams: &[(String, UpstreamConfig)]) {
        let mut state = BESIDE_BYTES;
        for (key, upstream) in upstreams {
            let fact = longest_fact(upstream);
            let name = FactKey::Upstream(upstream.name.clone()).to_string();
            let Ok(payload) = encode(&Fact::Upstream(fact), PAYLOAD_BYTES_MAX) else {
                continue;
            };
            state += name.len() + payload.json.len() + SEAL_BYTES_MAX;
            if payload.models_left_out > 0 {
                let problem = format!(
                    "has {} names more than gossip carries",
                    payload.models_left_out
                );
                let remedy =
                    "split the upstream in two with half of the models each, or write [\"*\"]";
                self.problem(&format!("{key}.models"), problem, remedy);
            }
        }
        if state > STATE_BYTES_MAX {
            let problem =
                format!("has {state} bytes to publish, and gossip carries {STATE_BYTES_MAX}");
            let remedy = "list fewer models, write [\"*\"], or spread the upstreams over more nodes; \
                          what is left out is served at this node alone";
            self.warning("upstreams", problem, remedy);
        }
    }

    /// Rules that do not fit are published as stricter ones.
    pub(super) fn rules_fit(&mut self, residency: &Residency) {
        let fact = Fact::Rules(Arc::new(RulesFact {
            digest: residency.digest(),
            rules: residency.clone(),
        }));
        let bytes = encode(&fact, usize::MAX).map_or(0, |payload| payload.json.len());
        if bytes > PAYLOAD_BYTES_MAX {
            let problem =
                format!("has {bytes} bytes to publish, and gossip carries {PAYLOAD_BYTES_MAX}");
            let remedy = "bring all nodes to the same rules at once, or write fewer; while rules \
                          differ, peers apply stricter ones than these";
            self.warning("residency", problem, remedy);
        }
    }
}

/// The longest fact that an upstream can have; the latencies of its models are the first to be left out.
fn longest_fact(upstream: &UpstreamConfig) -> UpstreamFact {
    let models = match &upstream.models {
        UpstreamModels::Discovered => &[][..],
        UpstreamModels::Listed(models) => models,
    };
    UpstreamFact {
        name: upstream.name.clone(),
        models: models
            .iter()
            .map(|model| (model.name.clone(), None))
            .collect(),
        standing: Standing::Ejected {
            reason: EjectionReason::Credential,
        },
        ttft: Some(Duration::from_millis(99_999)),
        error_rate: Share::clamped(0.999),
        break_rate: Share::clamped(0.99),
        in_flight: IN_FLIGHT_MAX,
        in_flight_max: upstream.in_flight_max.unwrap_or(IN_FLIGHT_MAX),
        tier: upstream.tier,
        weight: upstream.weight,
        dialects: grapevine_core::dialect::DialectSet::ALL,
        websocket: upstream.websocket,
        // The first to be left out.
        models_out: BTreeMap::new(),
        further: FurtherFigures::default(),
        account: upstream.account.as_ref().map(|name| {
            Box::new(AccountFact {
                spec: AccountSpec {
                    name: name.clone(),
                    quota: upstream.provider.provider.quota_scope(),
                },
                // They are left out before any model is.
                rests: BTreeMap::new(),
            })
        }),
    }
}
