//! What a scrape reads in addition to the view: what was dropped, the peers whose gossip is ignored, and the
//! credentials that are renewed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use grapevine_base::families::Families;
use grapevine_core::ids::NodeName;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};

use super::credentials::CredentialReport;
use super::labels::{KindLabels, PeerLabels};

/// What a scrape reads in addition to the view.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// What was dropped at a limit or refused by a check since the start, by kind.
    pub counts: Vec<(&'static str, u64)>,
    /// Peers whose gossip is ignored, and for how much longer.
    pub quarantined: Vec<(NodeName, Duration)>,
    /// The issued credentials of own upstreams.
    pub credentials: Vec<CredentialReport>,
}

/// The metrics that are set from it.
#[derive(Debug)]
pub(super) struct LossMetrics {
    lost: Family<KindLabels, Counter>,
    quarantined: Family<PeerLabels, Gauge>,
}

impl LossMetrics {
    pub(super) fn register(families: &mut Families) -> Self {
        let metrics = Self {
            lost: Family::default(),
            quarantined: Family::default(),
        };
        families.register(
            "lost",
            "What was dropped at a limit or refused by a check since the start, by kind",
            metrics.lost.clone(),
        );
        families.register(
            "peer_gossip_quarantined",
            "A peer whose gossip is ignored because of what it sent; always 1",
            metrics.quarantined.clone(),
        );
        metrics
    }

    pub(super) fn read(&self, losses: &Losses) {
        for (kind, count) in &losses.counts {
            let lost = self.lost.get_or_create(&KindLabels { kind });
            lost.inner().store(*count, Ordering::Relaxed);
        }
        self.quarantined.clear();
        for (peer, _) in &losses.quarantined {
            let peer = peer.to_string();
            self.quarantined.get_or_create(&PeerLabels { peer }).set(1);
        }
    }
}

impl Losses {
    /// The peers in quarantine, for an operator.
    pub fn quarantined_to_json(&self) -> Value {
        let quarantined = self
            .quarantined
            .iter()
            .map(|(peer, left)| json!({ "peer": peer.as_str(), "seconds_left": left.as_secs() }));
        quarantined.collect()
    }
}
