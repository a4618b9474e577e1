//! What a plan does not hold, and why.

use super::*;
use crate::health::EjectionReason as Cause;

/// Whom the plan for `ask` holds, and why it does not hold the others.
fn explained(
    upstreams: Vec<UpstreamView>,
    ask: &RouteQuery<'_>,
) -> (Vec<String>, Vec<(String, Absence)>) {
    let view = view(upstreams);
    let planned = plan(&view, ask, NOW, &mut rng(7));
    let choices = planned.map(|plan| plan.choices).unwrap_or_default();
    let name = |candidate: &Candidate| candidate.upstream.node.to_string();
    let absent = left_out(&view, ask, &choices, NOW);
    let absent = absent
        .iter()
        .map(|one| (name(&one.candidate), one.absence))
        .collect();
    let chosen = choices.iter().map(|choice| name(&choice.candidate));
    (chosen.collect(), absent)
}

fn region(name: &str) -> RegionName {
    RegionName::new(name).expect("a valid name")
}

fn one(name: &str, absence: Absence) -> (String, Absence) {
    (name.to_owned(), absence)
}

#[test]
fn every_state_that_keeps_a_candidate_out_is_returned() {
    let standing = |name, standing| UpstreamView {
        standing,
        ..upstream(name, 10)
    };
    let reach = |name, reach| UpstreamView {
        reach,
        ..upstream(name, 10)
    };
    let reason = Cause::ErrorRate;
    let remaining = Duration::from_secs(3);
    let (full, _calls) = behind_a_full_link(upstream("full", 10));
    let upstreams = vec![
        upstream("healthy", 10),
        standing("ejected", Standing::Ejected { reason }),
        standing("probing", Standing::Probing { reason }),
        standing("cooling", Standing::CoolingDown { remaining }),
        reach("silent", Reach::Silent),
        reach("down", Reach::Down),
        reach("draining", Reach::Closed),
        full,
    ];
    let (chosen, absent) = explained(upstreams, &RouteQuery::of(&MODEL));
    assert_eq!(chosen, ["healthy"]);
    let expected = [
        one("full", Absence::LinkFull),
        one("ejected", Absence::Ejected),
        one("probing", Absence::Probing),
        one("cooling", Absence::CoolingDown),
        one("silent", Absence::Silent),
        one("down", Absence::Down),
        one("draining", Absence::Closed),
    ];
    assert_eq!(absent, expected);
}

#[test]
fn residency_comes_before_the_clients_regions_and_those_before_a_state() {
    let ejected = |name| UpstreamView {
        standing: Standing::Ejected {
            reason: Cause::ErrorRate,
        },
        ..upstream(name, 10)
    };
    let fence = [region("eur"), region("sgp")];
    let allowed = [region("eur")];
    let ask = RouteQuery {
        fence: Some(&fence),
        allow_regions: &allowed,
        ..RouteQuery::of(&MODEL)
    };
    let upstreams = vec![ejected("usa"), ejected("sgp"), ejected("eur")];
    let (chosen, absent) = explained(upstreams.clone(), &ask);
    assert_eq!(chosen, ["eur"], "the last resort");
    let outside = [
        one("usa", Absence::Residency),
        one("sgp", Absence::NotAllowed),
    ];
    assert_eq!(absent, outside);
    // The same where there is no plan at all.
    let (chosen, absent) = explained(upstreams[..2].to_vec(), &ask);
    assert_eq!((chosen, absent), (vec![], outside.to_vec()));
}

#[test]
fn healthy_ones_are_left_out_for_attempts_or_for_the_window() {
    let many = |count| (0..count).map(|index| upstream(&format!("n{index:02}"), 10 + index));
    let ask = RouteQuery {
        attempts_max: 2,
        ..RouteQuery::of(&MODEL)
    };
    let (chosen, absent) = explained(many(3).collect(), &ask);
    assert_eq!(chosen.len(), 2);
    assert!(matches!(&absent[..], [(_, Absence::AttemptsSpent)]));
    let ask = RouteQuery {
        attempts_max: 32,
        ..ask
    };
    let (chosen, absent) = explained(many(30).collect(), &ask);
    assert!((16..=18).contains(&chosen.len()), "{}", chosen.len());
    assert_eq!(absent.len(), 30 - chosen.len());
    assert!(absent.iter().all(|(_, why)| *why == Absence::OutsideWindow));
}

#[test]
fn unknown_model_leaves_out_nobody() {
    let unknown = ModelName::new("other").expect("a valid name");
    let ask = RouteQuery {
        model: Some(&unknown),
        ..RouteQuery::of(&MODEL)
    };
    assert!(left_out(&view(vec![upstream("a", 1)]), &ask, &[], NOW).is_empty());
}
