//! How the product gossips: the settings that both implementations share, and what it adds to chitchat.

use std::time::Duration;

use grapevine_core::links::idle;

/// Peers that chitchat gossips with in each round (`GOSSIP_COUNT` of its `server.rs`).
pub(super) const FAN_OUT: usize = idle::GOSSIP_FAN_OUT as usize;

/// The weight of the prior in the mean of heartbeat intervals (its `failure_detector.rs`).
pub(super) const PRIOR_WEIGHT: f64 = 5.0;

/// How often the product tries a seed that is not a member (`seeds.rs` of its gossip).
pub(super) const SEED_RETRY: Duration = Duration::from_millis(500);

/// How often a node that has other members tries it.
pub(super) const SEED_PATIENCE: Duration = Duration::from_secs(2);

/// The longest message: what one UDP datagram could hold.
pub(super) const MESSAGE_BYTES_MAX: usize = 65_507;

/// Settings of gossip; by default the product's (`chat.rs` and `codec.rs` of its gossip).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Time between rounds.
    pub interval: Duration,
    /// Mean intervals of silence that count as death.
    pub phi: f64,
    /// Heartbeat intervals whose mean is taken; at most 255.
    pub samples: u8,
    /// Heartbeats further apart than this do not count in the mean. At most 6.5 s.
    pub sample_max: Duration,
    /// How long the dead are remembered; digests name them for half of it.
    pub grace: Duration,
    /// Nodes up to which every round is sent; of N beyond it, this share of N.
    pub full_pace_nodes: usize,
    /// Where rounds are left out, a death must last for the detection time that this adds before it is
    /// believed, times this. The product has 1.
    pub patience: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self::at_interval(Duration::from_millis(200))
    }
}

impl Settings {
    /// The product's settings at another interval.
    pub const fn at_interval(interval: Duration) -> Self {
        Self {
            interval,
            phi: 6.0,
            samples: 100,
            sample_max: interval.saturating_mul(15),
            grace: Duration::from_secs(600),
            full_pace_nodes: idle::GOSSIP_FULL_PACE as usize,
            patience: 1.0,
        }
    }

    /// The share of rounds that a node sends which counts `nodes`, itself included.
    pub(super) fn share(&self, nodes: usize) -> f64 {
        self.full_pace_nodes as f64 / nodes.max(self.full_pace_nodes) as f64
    }

    /// How long a death must last before it is believed: where rounds are rarer than the detector's
    /// interval, the detection time that this adds.
    pub(super) fn patience(&self, share: f64) -> Duration {
        self.interval
            .mul_f64(self.patience * self.phi * (1.0 / share - 1.0).max(0.0))
    }
}
