//! Requests about what one upstream keeps.

use super::*;
use crate::seal::Owner;

fn at(region: &str, node: &str, name: &str) -> UpstreamView {
    UpstreamView {
        region: RegionName::new(region).expect("a valid name"),
        name: UpstreamName::new(name).expect("a valid name"),
        ..upstream(node, 1)
    }
}

/// Of everything that both know, `made` was made by the second.
fn mesh() -> (View, Owner) {
    let made = at("usa", "n3", "openai");
    let owner = Owner::of(&made.region, &made.name, &made.node);
    let all = vec![
        at("eur", "n1", "openai"),
        at("usa", "n2", "openai"),
        made,
        at("usa", "n2", "azure"),
    ];
    let mut view = view(all);
    view.no_model = view.models[&*MODEL].clone();
    (view, owner)
}

const STRATEGIES: [Strategy; 5] = [
    Strategy::Latency,
    Strategy::Geo,
    Strategy::Priority,
    Strategy::Weighted,
    Strategy::LeastBusy,
];

fn set(view: &mut View, node: &str, change: impl Fn(&mut UpstreamView)) {
    for routes in [
        view.models.get_mut(&*MODEL).expect("the model"),
        &mut view.no_model,
    ] {
        for tier in &mut routes.tiers {
            for one in &mut tier.usable {
                if one.upstream.node.as_str() == node {
                    change(Arc::make_mut(&mut Arc::make_mut(one).upstream));
                }
            }
        }
    }
}

#[test]
fn owner_alone_is_asked_under_every_strategy() {
    let (view, owner) = mesh();
    for strategy in STRATEGIES {
        for seed in 0..50 {
            let ask = |ask: &mut RouteQuery<'_>| {
                (ask.strategy, ask.owner) = (strategy, Some(owner));
                ask.session = (seed % 2 == 0).then_some(seed);
            };
            let plan = plan_with(&view, ask, seed).expect("a plan");
            // The node that made it, then the other one of its region with the same upstream.
            assert_eq!(nodes(&plan), ["n3", "n2"], "{strategy:?}");
            let first = &plan.choices[0];
            assert_eq!(first.reason, RouteReason::Owner);
            assert!(
                plan.choices
                    .iter()
                    .all(|one| owner.is(&one.candidate.upstream))
            );
        }
    }
}

#[test]
fn another_node_with_the_owners_upstream_answers_while_its_own_is_away() {
    let (mut view, owner) = mesh();
    set(&mut view, "n3", |upstream| upstream.reach = Reach::Down);
    let plan = plan_with(&view, |ask| ask.owner = Some(owner), 1).expect("a plan");
    assert_eq!(nodes(&plan), ["n2"]);
}

#[test]
fn owner_that_is_away_is_waited_for_and_one_that_is_gone_is_not() {
    let (mut view, owner) = mesh();
    for node in ["n2", "n3"] {
        set(&mut view, node, |upstream| upstream.reach = Reach::Down);
    }
    let error = plan_with(&view, |ask| ask.owner = Some(owner), 1).expect_err("out of reach");
    assert!(
        matches!(error, PlanError::NoneReachable { .. }),
        "{error:?}"
    );
    let other = at("usa", "n3", "removed");
    let gone = Owner::of(&other.region, &other.name, &other.node);
    let plan = |view: &View| plan_with(view, |ask| ask.owner = Some(gone), 1).expect_err("gone");
    assert_eq!(plan(&view), PlanError::OwnerGone);
    // A node that has just started does not know all of the mesh.
    view.settled = false;
    assert_eq!(plan(&view), PlanError::Joining);
}

#[test]
fn owner_that_does_not_serve_the_model_is_no_other_upstreams_turn() {
    let (mut view, _) = mesh();
    let other = at("usa", "n9", "files");
    let owner = Owner::of(&other.region, &other.name, &other.node);
    let alone = super::view(vec![other]);
    view.no_model = alone.models[&*MODEL].clone();
    let error = plan_with(&view, |ask| ask.owner = Some(owner), 1).expect_err("no model");
    assert_eq!(error, PlanError::NotAllowed { by: Bar::Owner });
}

#[test]
fn id_never_leads_out_of_a_fence() {
    let (view, owner) = mesh();
    let eur = [RegionName::new("eur").expect("a valid name")];
    let mut ask = RouteQuery {
        owner: Some(owner),
        allow_regions: &eur,
        ..RouteQuery::of(&MODEL)
    };
    let planned = |ask: &RouteQuery<'_>| plan(&view, ask, NOW, &mut rng(1));
    let refused = planned(&ask).expect_err("the client's own regions");
    let by = Bar::ClientRegions;
    assert_eq!(refused, PlanError::NotAllowed { by });
    (ask.allow_regions, ask.fence) = (&[], Some(&eur[..]));
    let refused = planned(&ask).expect_err("residency");
    assert_eq!(refused, PlanError::NotAllowed { by: Bar::Residency });
}

#[test]
fn upstream_that_the_client_names_is_the_only_one() {
    let (view, _) = mesh();
    let named = |name: &str| {
        let name = UpstreamName::new(name).expect("a valid name");
        let ask = RouteQuery {
            upstream: Some(&name),
            ..RouteQuery::of(&MODEL)
        };
        plan(&view, &ask, NOW, &mut rng(1)).map(|plan| {
            let choices = plan.choices.iter();
            choices
                .map(|one| one.candidate.upstream.name.as_str().to_owned())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(named("azure"), Ok(vec!["azure".to_owned()]));
    assert_eq!(named("openai").map(|all| all.len()), Ok(3));
    let by = Bar::Upstream;
    assert_eq!(named("other"), Err(PlanError::NotAllowed { by }));
}
