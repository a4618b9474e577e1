//! What is known of a request when it is let in.

use std::sync::Arc;

use super::FallbackModels;
use crate::Instant;
use crate::forwarding::PathScope;
use crate::hedge_budget::HedgeBudget;
use crate::ids::ModelName;
use crate::latency::RequestShape;
use crate::outcome::RetryOn;
use crate::view::{UpstreamView, Way};

/// How far a request may go to find an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverPolicy {
    /// Attempts within one request; at least 1.
    pub attempts_max: u32,
    /// Which failures go on to the next candidate.
    pub retry_on: RetryOn,
}

/// Who has precedence when room is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestPriority {
    /// A client waits for the answer.
    #[default]
    Interactive,
    /// Background work of this node: it leaves half of every upstream's room to clients.
    Background,
}

impl RequestPriority {
    /// How many requests may be in flight at `upstream` when one of this priority enters; `None` where nothing is
    /// checked here, since the peer that owns the upstream decides.
    pub(super) fn in_flight_max(self, upstream: &UpstreamView) -> Option<u32> {
        match (self, upstream.way) {
            (Self::Background, _) => {
                Some((upstream.in_flight_max.min(upstream.admission_max) / 2).max(1))
            }
            (Self::Interactive, Way::Local) => Some(upstream.admission_max),
            (Self::Interactive, Way::Peer) => None,
        }
    }
}

/// Whether a request may be sent a second time beside an attempt that is late.
#[derive(Clone, Debug, Default)]
pub enum HedgeTerms {
    /// No request may.
    #[default]
    Off,
    /// Others may: it adds its share to their budget.
    Once(HedgeBudget),
    /// It may, out of this budget.
    Twice(HedgeBudget),
}

/// What is known of a request when it is let in.
#[derive(Clone, Debug)]
pub struct RequestTerms {
    /// How far it may go.
    pub policy: Arc<FailoverPolicy>,
    /// Who has precedence.
    pub priority: RequestPriority,
    /// The client states that it is itself retrying.
    pub is_client_retrying: bool,
    /// What kind of a path it asks for.
    pub scope: PathScope,
    /// The model that it asks for, where it names one.
    pub model: Option<ModelName>,
    /// The models that stand in for that one, which its key may use; the default is none.
    pub fallbacks: FallbackModels,
    /// Whether it asks for a stream: one that waits for its first byte may be taken back.
    pub is_stream: bool,
    /// What its answer's time depends on.
    pub shape: RequestShape,
    /// Whether it may be sent a second time beside an attempt that is late.
    pub hedge: HedgeTerms,
    /// When it arrived.
    pub arrived_at: Instant,
    /// Names it among all that upstreams fail ([`Witness`](crate::health::Witness)).
    pub number: u64,
    /// Its client, as far as it can be told from others.
    pub client: u64,
}
