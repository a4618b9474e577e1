//! Which forwarded requests are served, and how the others are refused.

use std::time::Duration;

use super::*;
use crate::fact::FurtherFigures;
use crate::residency::{Rule, Unknown};
use crate::route::tests::{NOW, upstream};
use crate::units::{Share, Tier, Weight};
use crate::view::Way;

/// An owner in `sgp` with one upstream that serves `gpt`, and a request for it.
struct Stage {
    region: RegionName,
    phase: Phase,
    serves_requests: bool,
    residency: Residency,
    view: UpstreamView,
    fact: UpstreamFact,
    hops: u8,
    model: Option<ModelName>,
    allow_regions: Vec<RegionName>,
    last_resort: bool,
}

impl Stage {
    fn new() -> Self {
        let name = UpstreamName::new("primary").expect("a valid name");
        Self {
            region: region("sgp"),
            phase: Phase::Ready,
            serves_requests: true,
            residency: Residency::default(),
            view: UpstreamView {
                way: Way::Local,
                in_flight_max: 1,
                admission_max: 2,
                ..upstream("sgp", 0)
            },
            fact: UpstreamFact {
                name,
                models: [(model("gpt"), None)].into(),
                standing: Standing::Ready,
                ttft: None,
                error_rate: Share::ZERO,
                break_rate: Share::ZERO,
                in_flight: 0,
                in_flight_max: 1,
                tier: Tier(1),
                weight: Weight::default(),
                dialects: crate::dialect::DialectSet::ALL,
                websocket: false,
                models_out: BTreeMap::new(),
                further: FurtherFigures::default(),
                account: None,
            },
            hops: 1,
            model: Some(model("gpt")),
            allow_regions: Vec::new(),
            last_resort: false,
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut stage = Self::new();
        change(&mut stage);
        stage
    }

    fn standing(standing: Standing) -> Self {
        Self::with(|stage| stage.view.standing = standing)
    }

    fn refusal(&self) -> Option<Refusal> {
        self.refusal_of(Some((&self.view, &self.fact)))
    }

    fn refusal_of(&self, upstream: Option<(&UpstreamView, &UpstreamFact)>) -> Option<Refusal> {
        let owner = OwnerNode {
            region: &self.region,
            phase: self.phase,
            serves_requests: self.serves_requests,
            residency: &self.residency,
            mesh_rules: &MeshRules::of_one(),
        };
        let request = Forwarded {
            hops: self.hops,
            question: ResidencyQuestion {
                model: self.model.as_ref(),
                ..ResidencyQuestion::default()
            },
            allow_regions: &self.allow_regions,
            last_resort: self.last_resort,
        };
        admit(&owner, upstream, &request, NOW)
            .err()
            .map(|refused| refused.refusal)
    }
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a valid name")
}

fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a valid name")
}

fn model(name: &str) -> ModelName {
    ModelName::new(name).expect("a valid name")
}

#[test]
fn request_for_a_healthy_upstream_is_served() {
    assert_eq!(Stage::new().refusal(), None);
    let stage = Stage::with(|stage| stage.allow_regions = vec![region("eur"), region("sgp")]);
    assert_eq!(stage.refusal(), None);
}

#[test]
fn request_that_was_forwarded_before_goes_no_further() {
    let stage = Stage::with(|stage| stage.hops = 2);
    assert_eq!(stage.refusal(), Some(Refusal::HopLimit));
}

#[test]
fn draining_node_and_one_that_serves_no_requests_refuse() {
    let stage = Stage::with(|stage| stage.phase = Phase::Draining);
    assert_eq!(stage.refusal(), Some(Refusal::Draining));
    let stage = Stage::with(|stage| stage.serves_requests = false);
    assert_eq!(stage.refusal(), Some(Refusal::UnknownUpstream));
}

#[test]
fn regions_of_the_client_and_rules_of_the_owner_are_both_kept() {
    let stage = Stage::with(|stage| stage.allow_regions = vec![region("eur")]);
    assert_eq!(stage.refusal(), Some(Refusal::Residency));
    let rule = Rule {
        clients: Vec::new(),
        keys: Vec::new(),
        models: vec![model("gpt")],
        regions: [region("eur")].into(),
    };
    let rules = Residency::new(vec![rule], Unknown::Fenced);
    let stage = Stage::with(|stage| stage.residency = rules);
    assert_eq!(stage.refusal(), Some(Refusal::Residency));
}

#[test]
fn upstream_that_is_not_there_or_does_not_serve_the_model_is_unknown() {
    let stage = Stage::new();
    assert_eq!(stage.refusal_of(None), Some(Refusal::UnknownUpstream));
    let stage = Stage::with(|stage| stage.model = Some(model("other")));
    assert_eq!(stage.refusal(), Some(Refusal::UnknownUpstream));
}

#[test]
fn upstream_of_any_model_serves_every_one_and_each_serves_requests_without() {
    let stage = Stage::with(|stage| {
        stage.model = Some(model("other"));
        stage.fact.models = [(model(ModelName::ANY), None)].into();
    });
    assert_eq!(stage.refusal(), None);
    assert_eq!(Stage::with(|stage| stage.model = None).refusal(), None);
}

#[test]
fn upstream_that_is_not_usable_is_called_as_a_trial_or_a_last_resort_alone() {
    let reason = crate::health::EjectionReason::Credential;
    let remaining = Duration::from_secs(5);
    let cooling = Stage::standing(Standing::CoolingDown { remaining });
    let ejected = Stage::standing(Standing::Ejected { reason });
    let mut probing = Stage::standing(Standing::Probing { reason });
    for stage in [&cooling, &ejected, &probing] {
        assert_eq!(stage.refusal(), Some(Refusal::Ejected));
    }
    probing.view.trial = true;
    assert_eq!(probing.refusal(), None);
    for mut stage in [cooling, ejected] {
        stage.last_resort = true;
        assert_eq!(stage.refusal(), None);
    }
}

#[test]
fn upstream_out_of_use_is_not_called_as_a_last_resort_either() {
    let mut stage = Stage::standing(Standing::Ejected {
        reason: crate::health::EjectionReason::Disabled,
    });
    stage.last_resort = true;
    assert_eq!(stage.refusal(), Some(Refusal::Ejected));
}

#[test]
fn cooldown_is_over_by_the_owners_clock() {
    let mut stage = Stage::standing(Standing::CoolingDown {
        remaining: Duration::from_secs(5),
    });
    stage.view.reported_at = Instant::from_start(Duration::from_secs(95));
    assert_eq!(stage.refusal(), None);
}

#[test]
fn upstream_is_full_at_its_limit_and_not_at_its_estimated_capacity() {
    let stage = Stage::new();
    let _first = stage.view.in_flight.enter();
    assert_eq!(stage.refusal(), None);
    let _second = stage.view.in_flight.enter();
    assert_eq!(stage.refusal(), Some(Refusal::Full));
}

#[test]
fn no_peer_gets_all_slots() {
    let (greedy, other) = (node("b"), node("c"));
    let upstream = UpstreamName::new("primary").expect("a valid name");
    let key = |id: u64| (Arc::from(id.to_string()), upstream.clone());
    let mut in_flight = ForwardsInFlight::default();
    let held = (0..FORWARDS_IN_FLIGHT_MAX)
        .take_while(|id| in_flight.enter(&greedy, key(*id)).is_ok())
        .count() as u64;
    assert_eq!(held, FORWARDS_IN_FLIGHT_MAX / 2);
    assert_eq!(in_flight.enter(&other, key(FORWARDS_IN_FLIGHT_MAX)), Ok(()));
    (0..held).for_each(|id| in_flight.leave(&greedy, &key(id)));
    assert_eq!(in_flight.enter(&greedy, key(0)), Ok(()));
}

#[test]
fn request_in_flight_is_not_taken_twice_until_it_is_over() {
    let peer = node("b");
    let key = (
        Arc::from("id"),
        UpstreamName::new("primary").expect("a valid name"),
    );
    let mut in_flight = ForwardsInFlight::default();
    assert_eq!(in_flight.enter(&peer, key.clone()), Ok(()));
    let again = in_flight.enter(&peer, key.clone()).map_err(|it| it.refusal);
    assert_eq!(again, Err(Refusal::Duplicate));
    in_flight.leave(&peer, &key);
    assert_eq!(in_flight.enter(&peer, key), Ok(()));
}
