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
pub(super) const KINDS: [&str; 21] = [
    "upstream_ejected",
    "upstream_probing",
    "upstream_recovered",
    "upstream_cooling_down",
    "upstream_suspected",
    "upstream_cleared",
    "model_out",
    "account_nearly_spent",
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
        Notice::UpstreamSuspected { .. } => "upstream_suspected",
        Notice::UpstreamCleared { .. } => "upstream_cleared",
        Notice::ModelOut { .. } => "model_out",
        Notice::AccountNearlySpent { .. } => "account_nearly_spent",
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
        Notice::UpstreamEjected { .. }
        | Notice::UpstreamProbing { .. }
        | Notice::UpstreamRecovered { .. }
        | Notice::UpstreamCoolingDown { .. }
        | Notice::UpstreamSuspected { .. }
        | Notice::UpstreamCleared { .. }
        | Notice::ModelOut { .. }
        | Notice::AccountNearlySpent { .. } => log_upstream(notice),
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

/// What happened to an own upstream.
fn log_upstream(notice: &Notice) {
    match notice {
        Notice::UpstreamEjected {
            upstream,
            reason,
            cooldown,
            detail,
        } => {
            let (reason, error) = (reason.as_str(), detail.as_deref());
            warn!(upstream.name = %upstream, reason, ?cooldown, error, "upstream ejected");
        }
        Notice::UpstreamSuspected {
            upstream,
            reason,
            pause,
            detail,
        } => {
            let (reason, error) = (reason.as_str(), detail.as_deref());
            warn!(upstream.name = %upstream, reason, ?pause, error, "upstream suspected: others go first");
        }
        Notice::UpstreamCleared { upstream } => {
            info!(upstream.name = %upstream, "upstream no longer suspected");
        }
        Notice::ModelOut {
            upstream,
            model,
            reason,
            pause,
            detail,
        } => {
            let (reason, error) = (reason.as_str(), detail.as_deref());
            warn!(upstream.name = %upstream, %model, reason, ?pause, error, "model out at this upstream");
        }
        Notice::UpstreamProbing { upstream } => {
            debug!(upstream.name = %upstream, "upstream probing")
        }
        Notice::UpstreamRecovered { upstream } => {
            info!(upstream.name = %upstream, "upstream recovered");
        }
        Notice::UpstreamCoolingDown {
            upstream,
            cooldown,
            model,
        } => {
            let model = model.as_ref().map(tracing::field::display);
            debug!(upstream.name = %upstream, ?cooldown, model, "upstream cooling down");
        }
        Notice::AccountNearlySpent {
            upstream,
            account,
            model,
            rest,
        } => {
            let model = model.as_ref().map(tracing::field::display);
            info!(
                upstream.name = %upstream, %account, model, ?rest,
                "little is left of an account, as its provider says: other accounts go first"
            );
        }
        _ => {}
    }
}
