//! What nodes publish, and when a part of it is worth publishing again.
//!
//! A fact is about the node that publishes it and nobody else. Times in a fact are spans, since nodes
//! share no clock.

mod further;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use further::{AnswerFigures, FurtherFigures};
pub use standing::Standing;

use crate::account::AccountFact;
use crate::dialect::DialectSet;
use crate::geo_point::GeoPoint;
use crate::ids::{ModelName, RegionName, ServiceKey, StoreName, UpstreamName};
use crate::residency::RulesFact;
use crate::units::{Share, Tier, Weight};

/// One statement of a node about itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Who and where the node is.
    Node(NodeFact),
    /// Its phase.
    Phase(Phase),
    /// The background work it does, and the tasks that wait there.
    Services(ServicesFact),
    /// One of its upstreams.
    Upstream(UpstreamFact),
    /// It no longer has this upstream.
    UpstreamGone(UpstreamName),
    /// The residency rules it applies.
    Rules(Arc<RulesFact>),
}

/// Which statement a fact replaces: the newest of each key counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactKey {
    /// `node`
    Node,
    /// `phase`
    Phase,
    /// `svc`
    Services,
    /// `up.<name>`
    Upstream(UpstreamName),
    /// `rules`
    Rules,
}

/// Who and where a node is.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFact {
    /// Its region.
    pub region: RegionName,
    /// Its place, where known.
    pub place: Option<GeoPoint>,
    /// The newest version of the mesh protocol it speaks.
    pub protocol: u16,
    /// Its build, for the operator. At most 64 bytes.
    pub build: String,
    /// Whether it answers API requests at all.
    pub serves_requests: bool,
    /// Where clients reach it.
    pub public: Public,
}

/// The longest public URL in bytes.
pub const PUBLIC_URL_BYTES_MAX: usize = 256;

/// Public addresses of one node at most.
pub const PUBLIC_ADDRESSES_MAX: usize = 8;

/// What a node publishes so that clients can reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Public {
    /// Its base URL, at most [`PUBLIC_URL_BYTES_MAX`]; `None` where it has none of its own.
    pub url: Option<Arc<str>>,
    /// Its addresses, at most [`PUBLIC_ADDRESSES_MAX`].
    pub addresses: Arc<[IpAddr]>,
    /// Whether it answers DNS for the mesh's zone at them.
    pub answers_dns: bool,
}

impl Public {
    /// Whether there is anything to publish.
    pub fn is_published(&self) -> bool {
        self.url.is_some() || !self.addresses.is_empty()
    }
}

/// The phase of a node, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Started, not ready yet.
    Joining,
    /// Takes work.
    Ready,
    /// Finishes what it has and takes no more.
    Draining,
}

impl Phase {
    /// One word for gossip and the operator.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The background work of a node. At most [`SERVICES_MAX`](crate::mode::SERVICES_MAX) keys in each list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicesFact {
    /// The services whose tasks it runs.
    pub serves: BTreeSet<ServiceKey>,
    /// Tasks that wait in its queue, by service; services with none are left out.
    pub waiting: BTreeMap<ServiceKey, u32>,
    /// The engine that keeps this queue for several nodes, which all report the same tasks; `None` when the
    /// queue is the node's own.
    pub store: Option<StoreName>,
}

/// What a node publishes of one of its upstreams.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamFact {
    /// The upstream's name at its node.
    pub name: UpstreamName,
    /// The models it serves, each with its expected time to the first byte of a stream where measured.
    pub models: BTreeMap<ModelName, Option<Duration>>,
    /// Whether it may be used.
    pub standing: Standing,
    /// Expected time to the first byte of a stream over all models, seen from its own node.
    pub ttft: Option<Duration>,
    /// The share of recent attempts that failed.
    pub error_rate: Share,
    /// The share of recent answers that broke off ([`crate::health::Health::break_rate`]), in whole percents.
    pub break_rate: Share,
    /// Requests in flight there, from all nodes.
    pub in_flight: u32,
    /// How many requests it is estimated to carry at once ([`crate::capacity`]).
    pub in_flight_max: u32,
    /// Its tier.
    pub tier: Tier,
    /// Its weight within its tier.
    pub weight: Weight,
    /// The dialects that it reads; all of them where its owner does not say.
    pub dialects: DialectSet,
    /// Whether it takes WebSockets; an owner of an earlier version says nothing, and does not.
    pub websocket: bool,
    /// Models that stand otherwise than the upstream as a whole, at most [`MODELS_OUT_MAX`]. Models that it takes
    /// without listing them are among these too.
    pub models_out: BTreeMap<ModelName, Standing>,
    /// Whole answers, sizes of prompts, and the age of it all.
    pub further: FurtherFigures,
    /// The account that it draws on, where that is named.
    pub account: Option<Box<AccountFact>>,
}

/// Models of one upstream at most that are published with a standing of their own.
pub const MODELS_OUT_MAX: usize = 8;

/// The load of one upstream, small enough to ride on every answer and ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which upstream.
    pub upstream: UpstreamName,
    /// Requests in flight there, from all nodes.
    pub in_flight: u32,
    /// Expected time to the first byte of a stream; zero when unmeasured.
    pub ttft: Duration,
}

impl Fact {
    /// The key this fact is kept under.
    pub fn key(&self) -> FactKey {
        match self {
            Self::Node(_) => FactKey::Node,
            Self::Phase(_) => FactKey::Phase,
            Self::Services(_) => FactKey::Services,
            Self::Upstream(fact) => FactKey::Upstream(fact.name.clone()),
            Self::UpstreamGone(name) => FactKey::Upstream(name.clone()),
            Self::Rules(_) => FactKey::Rules,
        }
    }
}

impl fmt::Display for FactKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => formatter.write_str("node"),
            Self::Phase => formatter.write_str("phase"),
            Self::Services => formatter.write_str("svc"),
            Self::Upstream(name) => write!(formatter, "up.{name}"),
            Self::Rules => formatter.write_str("rules"),
        }
    }
}

/// A number is worth publishing again once it changed by over a tenth.
const CHANGE_MIN: f64 = 0.1;

/// Requests in flight below this difference are noise.
const IN_FLIGHT_CHANGE_MIN: u32 = 2;

/// An error rate below this difference is noise.
const ERROR_RATE_CHANGE_MIN: f64 = 0.05;

/// A rate of broken answers below this difference is noise: two percents, less a rounding error.
const BREAK_RATE_CHANGE_MIN: f64 = 0.019;

/// How much a fact differs from what was last published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactChange {
    /// Not worth publishing.
    Little,
    /// Worth publishing at the next occasion.
    Figures,
    /// To be published at once.
    Transition,
}

impl ServicesFact {
    /// How much this differs from what was `published`: what is served, or waits at all, is published at once.
    pub fn change_since(&self, published: &Self) -> FactChange {
        if self.serves != published.serves
            || self.store != published.store
            || !self.waiting.keys().eq(published.waiting.keys())
        {
            return FactChange::Transition;
        }
        let differs = |(new, published): (&u32, &u32)| {
            f64::from(new.abs_diff(*published)) > f64::from(*published) * CHANGE_MIN
        };
        match self
            .waiting
            .values()
            .zip(published.waiting.values())
            .any(differs)
        {
            true => FactChange::Figures,
            false => FactChange::Little,
        }
    }
}

impl UpstreamFact {
    /// Whether one of `which` models stands otherwise than it did in what was `published`.
    fn models_differ(&self, published: &Self, which: impl Fn(&ModelName) -> bool) -> bool {
        let kinds = |fact: &Self| {
            let out = fact.models_out.iter().filter(|(model, _)| which(model));
            let kinds = out.map(|(model, it)| (model.clone(), it.as_str(), it.reason()));
            kinds.collect::<Vec<_>>()
        };
        (!self.models_out.is_empty() || !published.models_out.is_empty())
            && kinds(self) != kinds(published)
    }

    /// Whether its account is another one, or rests for other models.
    pub(crate) fn account_differs(&self, published: &Self) -> bool {
        match (&self.account, &published.account) {
            (Some(own), Some(published)) => {
                own.spec != published.spec || !own.rests.keys().eq(published.rests.keys())
            }
            (own, published) => own.is_some() != published.is_some(),
        }
    }

    /// How much this differs from what was `published`.
    pub fn change_since(&self, published: &Self) -> FactChange {
        let kinds_differ = self.standing.differs_in_kind(published.standing)
            || self.tier != published.tier
            || self.weight != published.weight
            || !self.models.keys().eq(published.models.keys())
            || self.account_differs(published)
            || self.models_differ(published, |model| self.models.contains_key(model));
        if kinds_differ {
            return FactChange::Transition;
        }
        let in_flight = self.in_flight.abs_diff(published.in_flight);
        let capacity = self.in_flight_max.abs_diff(published.in_flight_max);
        // Clients may name any model at an upstream that takes all: what comes of it is published like figures.
        let figures_differ = differs(self.ttft, published.ttft)
            || self.further.differ_from(&published.further)
            || self.models_differ(published, |_| true)
            || f64::from(capacity) > f64::from(published.in_flight_max) * CHANGE_MIN
            || (in_flight >= IN_FLIGHT_CHANGE_MIN
                && f64::from(in_flight) > f64::from(published.in_flight) * CHANGE_MIN)
            || (self.error_rate.get() - published.error_rate.get()).abs() > ERROR_RATE_CHANGE_MIN
            || (self.break_rate.get() - published.break_rate.get()).abs() > BREAK_RATE_CHANGE_MIN
            || self.models.iter().any(|(model, ttft)| {
                differs(*ttft, published.models.get(model).copied().flatten())
            });
        if figures_differ {
            FactChange::Figures
        } else {
            FactChange::Little
        }
    }
}

fn differs(new: Option<Duration>, published: Option<Duration>) -> bool {
    match (new, published) {
        (Some(new), Some(published)) => new.abs_diff(published) > published.mul_f64(CHANGE_MIN),
        (new, published) => new.is_some() != published.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::EjectionReason;

    fn published() -> UpstreamFact {
        UpstreamFact {
            name: UpstreamName::new("primary").expect("a valid name"),
            models: BTreeMap::from([(ModelName::new("gpt-4o").expect("a valid name"), None)]),
            standing: Standing::Ready,
            ttft: Some(Duration::from_millis(300)),
            error_rate: Share::ZERO,
            break_rate: Share::ZERO,
            in_flight: 40,
            in_flight_max: 256,
            tier: Tier::default(),
            weight: Weight::default(),
            dialects: DialectSet::ALL,
            websocket: false,
            models_out: BTreeMap::new(),
            further: FurtherFigures::default(),
            account: None,
        }
    }

    #[test]
    fn tenth_more_latency_is_not_published() {
        let fact = UpstreamFact {
            ttft: Some(Duration::from_millis(330)),
            ..published()
        };
        assert_eq!(fact.change_since(&published()), FactChange::Little);
        let fact = UpstreamFact {
            ttft: Some(Duration::from_millis(331)),
            ..published()
        };
        assert_eq!(fact.change_since(&published()), FactChange::Figures);
    }

    #[test]
    fn single_request_more_is_not_published() {
        let idle = UpstreamFact {
            in_flight: 0,
            ..published()
        };
        assert_eq!(
            UpstreamFact {
                in_flight: 1,
                ..published()
            }
            .change_since(&idle),
            FactChange::Little
        );
        assert_eq!(
            UpstreamFact {
                in_flight: 2,
                ..published()
            }
            .change_since(&idle),
            FactChange::Figures
        );
    }

    #[test]
    fn ejection_is_published_at_once() {
        let standing = Standing::Ejected {
            reason: EjectionReason::ErrorRate,
        };
        let fact = UpstreamFact {
            standing,
            ..published()
        };
        assert_eq!(fact.change_since(&published()), FactChange::Transition);
    }

    #[test]
    fn rate_of_breaks_is_published_in_its_time_and_by_two_percents() {
        let at = |percent: f64| UpstreamFact {
            break_rate: Share::clamped(percent / 100.0),
            ..published()
        };
        for before in 0..90 {
            let before = f64::from(before);
            let change = |after: f64| at(after).change_since(&at(before));
            assert_eq!(change(before + 1.0), FactChange::Little, "{before}");
            assert_eq!(change(before + 2.0), FactChange::Figures, "{before}");
        }
        assert_eq!(at(0.0).change_since(&at(9.0)), FactChange::Figures);
    }

    #[test]
    fn passing_of_a_cooldown_is_not_a_change() {
        let cooling = |seconds| UpstreamFact {
            standing: Standing::CoolingDown {
                remaining: Duration::from_secs(seconds),
            },
            ..published()
        };
        assert_eq!(cooling(3).change_since(&cooling(9)), FactChange::Little);
    }
}
