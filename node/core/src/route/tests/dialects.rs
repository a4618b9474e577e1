//! Upstreams that read a request's dialect, and those that a translation reaches.

use super::*;
use crate::dialect::{Dialect, DialectSet, RequestDialect};

fn reading(name: &str, rtt_ms: u64, dialects: DialectSet) -> UpstreamView {
    UpstreamView {
        dialects,
        ..upstream(name, rtt_ms)
    }
}

/// A view whose tiers know what all of theirs read, as the engine makes them.
fn view_of(upstreams: Vec<UpstreamView>) -> View {
    let mut view = view(upstreams);
    for routes in view.models.values_mut() {
        for tier in &mut routes.tiers {
            let all = tier
                .usable
                .iter()
                .chain(&tier.suspect)
                .chain(&tier.unusable);
            tier.dialects = all.fold(DialectSet::ALL, |common, one| {
                common.within(one.upstream.dialects)
            });
        }
    }
    view
}

fn planned(view: &View, path: &str) -> Result<Plan, PlanError> {
    plan_with(view, |ask| ask.dialect = RequestDialect::of_path(path), 1)
}

#[test]
fn own_dialect_goes_before_a_nearer_upstream_of_another() {
    let view = view_of(vec![
        reading("near", 1, DialectSet::CHAT),
        reading("far", 90, DialectSet::MESSAGES),
        reading("farther", 150, DialectSet::CHAT.with(DialectSet::MESSAGES)),
    ]);
    let plan = planned(&view, "/v1/messages").expect("a plan");
    assert_eq!(nodes(&plan), ["far", "farther", "near"]);
    let plan = planned(&view, "/v1/chat/completions").expect("a plan");
    assert_eq!(nodes(&plan), ["near", "farther", "far"]);
    let plan = planned(&view, "/v1/embeddings").expect("a plan");
    assert_eq!(
        nodes(&plan),
        ["near", "far", "farther"],
        "all are alike for it"
    );
}

#[test]
fn tier_goes_before_the_dialect() {
    let later = UpstreamView {
        tier: Tier(2),
        ..reading("later", 1, DialectSet::MESSAGES)
    };
    let view = view_of(vec![later, reading("first", 90, DialectSet::CHAT)]);
    let plan = planned(&view, "/v1/messages").expect("a plan");
    assert_eq!(nodes(&plan), ["first", "later"]);
}

#[test]
fn request_that_cannot_be_translated_goes_to_none_but_its_own() {
    let chat = reading("chat", 1, DialectSet::CHAT);
    let view = view_of(vec![
        chat.clone(),
        reading("own", 90, DialectSet::RESPONSES),
    ]);
    let plan = planned(&view, "/v1/responses/r_1").expect("a plan");
    assert_eq!(nodes(&plan), ["own"]);
    let view = view_of(vec![chat]);
    let failed = planned(&view, "/v1/responses/r_1");
    assert!(
        matches!(failed, Err(PlanError::NotAllowed { by: Bar::Dialect })),
        "{failed:?}"
    );
}

#[test]
fn upstream_is_asked_in_what_says_most_of_the_request() {
    let asked = |path: &str, set| RequestDialect::of_path(path).and_then(|it| it.asked_in(set));
    let both = DialectSet::CHAT.with(DialectSet::CONVERSE);
    assert_eq!(asked("/v1/messages", both), Some(Dialect::Converse));
    assert_eq!(asked("/v1/chat/completions", both), Some(Dialect::Chat));
    assert_eq!(asked("/v1/messages/count_tokens", both), None);
    assert_eq!(asked("/v1/messages", DialectSet::NONE), None);
}
