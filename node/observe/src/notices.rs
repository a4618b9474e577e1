//! Turns core's notices into log lines and counts.

use grapevine_core::notice::Notice;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

/// Logs notices until the driver has ended, and calls `count` with the kind of each.
pub async fn run(mut notices: mpsc::Receiver<Notice>, count: impl Fn(&'static str)) {
    while let Some(notice) = notices.recv().await {
        count(kind(&notice));
        log(&notice);
    }
}

/// All labels of `grapevine_transitions_total`.
pub(super) const KINDS: [&str; 17] = [
    "upstream_ejected",
    "upstream_probing",
    "upstream_recovered",
    "upstream_cooling_down",
    "models_cut_off",
    "rules_differ",
    "rules_agree",
    "peer_joined",
    "peer_died",
    "peer_revived",
    "peer_forgotten",
    "link_up",
    "link_down",
    "link_silent",
    "peer_draining",
    "too_many_peers",
    "clock_went_back",
];

/// The label of a notice in `grapevine_transitions_total`.
pub(super) const fn kind(notice: &Notice) -> &'static str {
    match notice {
        Notice::UpstreamEjected { .. } => "upstream_ejected",
        Notice::UpstreamProbing { .. } => "upstream_probing",
        Notice::UpstreamRecovered { .. } => "upstream_recovered",
        Notice::UpstreamCoolingDown { .. } => "upstream_cooling_down",
        Notice::ModelsCutOff { .. } => "models_cut_off",
        Notice::RulesDiffer { .. } => "rules_differ",
        Notice::RulesAgree { .. } => "rules_agree",
        Notice::PeerJoined { .. } => "peer_joined",
        Notice::PeerDied { .. } => "peer_died",
        Notice::PeerRevived { .. } => "peer_revived",
        Notice::PeerForgotten { .. } => "peer_forgotten",
        Notice::LinkUp { .. } => "link_up",
        Notice::LinkDown { .. } => "link_down",
        Notice::LinkSilent { .. } => "link_silent",
        Notice::PeerDraining { .. } => "peer_draining",
        Notice::TooManyPeers { .. } => "too_many_peers",
        Notice::ClockWentBack { .. } => "clock_went_back",
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::UpstreamEjected {
            upstream,
            reason,
            cooldown,
        } => {
            let reason = reason.as_str();
            warn!(upstream.name = %upstream, reason, ?cooldown, "upstream ejected");
        }
        Notice::UpstreamProbing { upstream } => {
            debug!(upstream.name = %upstream, "upstream probing")
        }
        Notice::UpstreamRecovered { upstream } => {
            info!(upstream.name = %upstream, "upstream recovered");
        }
        Notice::UpstreamCoolingDown { upstream, cooldown } => {
            debug!(upstream.name = %upstream, ?cooldown, "upstream cooling down");
        }
        Notice::ModelsCutOff {
            upstream,
            published: told,
            all,
        } => {
            warn!(
                upstream.name = %upstream, published = told, all,
                "upstream has more models than are published to the mesh; list those that peers need under its models"
            );
        }
        Notice::RulesDiffer { peer } => {
            warn!(
                peer.name = %peer,
                "a peer has other residency rules; they bind this node where most nodes agree"
            );
        }
        Notice::RulesAgree { peer } => info!(peer.name = %peer, "residency rules agree again"),
        Notice::PeerJoined { peer } => info!(peer.name = %peer, "peer joined"),
        Notice::PeerDied { peer } => warn!(peer.name = %peer, "peer died"),
        Notice::PeerRevived { peer } => info!(peer.name = %peer, "peer is live"),
        Notice::PeerForgotten { peer } => info!(peer.name = %peer, "dead peer forgotten"),
        Notice::LinkUp { peer } => info!(peer.name = %peer, "link up"),
        Notice::LinkDown { peer } => warn!(peer.name = %peer, "link down"),
        Notice::LinkSilent { peer } => warn!(peer.name = %peer, "link silent"),
        Notice::PeerDraining { peer } => info!(peer.name = %peer, "peer draining"),
        Notice::TooManyPeers { peer } => warn!(peer.name = %peer, "too many peers, one ignored"),
        Notice::ClockWentBack { former, now } => {
            warn!(
                former = former.0,
                now = now.0,
                "an earlier incarnation of this node began later than this one: the wall clock went back; \
                 all values are published again above it; check the clock (NTP) of this host"
            );
        }
    }
}
