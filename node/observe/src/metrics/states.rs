//! States of upstreams, models and peers: read from the view at each scrape.

use grapevine_base::families::Families;
use grapevine_core::view::{NodeView, View};

use super::super::labels::{ModelLabels, PeerLabels, UpstreamLabels};
use super::super::usage::MODELS_MAX;
use super::Inner;

impl Inner {
    /// How many upstreams may be used for each model that is listed by name.
    pub(super) fn read_models(&self, view: &View) {
        self.model_upstreams.clear();
        for (model, routes) in view.models.iter().take(MODELS_MAX) {
            let gen_ai_request_model = model.to_string();
            let labels = ModelLabels {
                gen_ai_request_model,
            };
            let usable = i64::try_from(routes.usable()).unwrap_or(i64::MAX);
            self.model_upstreams.get_or_create(&labels).set(usable);
        }
    }

    pub(super) fn read_upstreams(&self, node: &NodeView) {
        for status in &node.upstreams {
            let labels = UpstreamLabels {
                node: node.name.to_string(),
                upstream: status.fact.name.to_string(),
            };
            let usable = node.may_use(status);
            self.upstream_usable
                .get_or_create(&labels)
                .set(i64::from(usable));
            self.upstream_in_flight
                .get_or_create(&labels)
                .set(i64::from(status.in_flight));
            self.cache.read(&labels, &status.cache);
            self.reported.read(&labels, status);
            let expected = [
                (&self.upstream_first_byte, status.fact.ttft),
                (&self.upstream_answer, status.fact.further.all.whole),
            ];
            for (gauge, time) in expected {
                if let Some(time) = time {
                    gauge.get_or_create(&labels).set(time.as_secs_f64());
                }
            }
        }
    }

    pub(super) fn read_peer(&self, node: &NodeView) {
        let labels = PeerLabels {
            peer: node.name.to_string(),
        };
        self.peer_live
            .get_or_create(&labels)
            .set(i64::from(node.live));
        let reachable = node.reach.takes_work();
        self.peer_reachable
            .get_or_create(&labels)
            .set(i64::from(reachable));
        self.peer_residency_differs
            .get_or_create(&labels)
            .set(i64::from(node.rules_differ_since.is_some()));
        if let Some(rtt) = node.rtt {
            self.peer_rtt.get_or_create(&labels).set(rtt.as_secs_f64());
        }
    }

    pub(super) fn register_states(&self, families: &mut Families) {
        families.register(
            "upstream_usable",
            "Whether an upstream may be used as this node sees it: 1 or 0",
            self.upstream_usable.clone(),
        );
        families.register(
            "model_upstreams_usable",
            "Upstreams of the mesh that may be used for a model, as this node sees them",
            self.model_upstreams.clone(),
        );
        families.register(
            "upstream_in_flight",
            "Requests in flight at an upstream, as far as this node knows",
            self.upstream_in_flight.clone(),
        );
        families.register_seconds(
            "upstream_first_byte_expected",
            "Expected time to the first byte of a stream at an upstream, seen from its own node",
            self.upstream_first_byte.clone(),
        );
        families.register_seconds(
            "upstream_answer_expected",
            "Expected time to an answer that is not streamed at an upstream, seen from its own node",
            self.upstream_answer.clone(),
        );
        families.register(
            "peer_live",
            "Whether membership considers a peer alive: 1 or 0",
            self.peer_live.clone(),
        );
        families.register(
            "peer_reachable",
            "Whether work can be sent to a peer: 1 or 0",
            self.peer_reachable.clone(),
        );
        families.register_seconds(
            "peer_rtt",
            "Round trip to a peer over the mesh port",
            self.peer_rtt.clone(),
        );
        families.register(
            "peer_residency_differs",
            "Whether a peer applies other residency rules than this node: 1 or 0",
            self.peer_residency_differs.clone(),
        );
    }
}
