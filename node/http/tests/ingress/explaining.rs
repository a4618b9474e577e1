//! The plan as shown by a dry run and by an operator's query.

use std::sync::Arc;

use arc_swap::ArcSwap;
use grapevine_core::country::CountryCode;
use grapevine_core::dialect::{Dialect, DialectSet};
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;
use grapevine_core::residency::{ClientOrigin, Residency, Rule, Unknown};
use grapevine_core::route::Strategy;
use grapevine_http::ingress::{ClientLocation, Explainer, Keys, Supposed};
use serde_json::Value;

use crate::support::*;

const DRY_RUN: &str = "x-grapevine-dry-run: true\r\n";

/// Keeps everything in `eur`.
fn fence() -> Residency {
    let rule = Rule {
        clients: vec![],
        keys: vec![],
        models: vec![],
        regions: [RegionName::new("eur").expect("a valid name")].into(),
    };
    Residency::new(vec![rule], Unknown::Fenced)
}

/// (node, reason) of each candidate in a list.
fn listed(plan: &Value, list: &str) -> Vec<(String, String)> {
    let all = plan[list].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|one| (text(&one["node"]), text(&one["reason"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(node, reason): &(&str, &str)| (node.to_string(), reason.to_string());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn dry_run_shows_every_candidate_and_why_others_are_left_out() {
    let own = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&own]);
    plan.known_peers = vec![("eur", 1), ("sgp", 2)];
    plan.settings.residency = fence();
    let node = plan.start().await;
    let shown = node.ask("POST", CHAT, DRY_RUN, MODEL_BODY).await.json();
    assert_eq!(listed(&shown, "choices"), pairs(&[("eur", "only")]));
    let outside = pairs(&[("usa-1", "residency"), ("sgp", "residency")]);
    assert_eq!(listed(&shown, "left_out"), outside);
    let left_out = &shown["left_out"][0];
    assert!(
        left_out["cost_ms"]["total"].as_f64().is_some(),
        "{left_out}"
    );
    assert_eq!(
        (&left_out["state"], &left_out["hops"]),
        (&"untested".into(), &0.into())
    );
}

#[tokio::test]
async fn dry_run_without_a_plan_is_the_error_with_all_candidates_left_out() {
    let own = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = Plan::with(&[&own]);
    plan.known_peers = vec![("sgp", 2)];
    plan.settings.residency = fence();
    let node = plan.start().await;
    node.until_settled().await;
    let reply = node.ask("POST", CHAT, DRY_RUN, MODEL_BODY).await;
    assert_eq!(reply.status, 451);
    let body = reply.json();
    assert_eq!(body["error"]["code"], "residency");
    let outside = pairs(&[("usa-1", "residency"), ("sgp", "residency")]);
    assert_eq!(listed(&body["plan"], "left_out"), outside);
    let unknown = MODEL_BODY.replace("gpt-4o", "gtp-4o");
    let reply = node.ask("POST", CHAT, DRY_RUN, &unknown).await;
    let body = reply.json();
    assert_eq!(
        (reply.status, &body["error"]["code"]),
        (404, &"model_not_found".into())
    );
    assert_eq!(listed(&body["plan"], "left_out"), []);
    assert!(own.seen().is_empty());
}

/// (dialect, whether translated) of each candidate of the plan.
fn dialects(plan: &Value) -> Vec<(Value, Value)> {
    let all = plan["choices"].as_array().cloned().unwrap_or_default();
    let each = all
        .iter()
        .map(|one| (one["dialect"].clone(), one["translated"].clone()));
    each.collect()
}

#[tokio::test]
async fn plan_names_the_dialect_in_which_each_candidate_is_asked() {
    let mut plan = Plan::with(&[
        &Scripted::start(vec![]).await,
        &Scripted::start(vec![]).await,
    ]);
    plan.specs[0].dialects = DialectSet::MESSAGES;
    plan.specs[1].dialects = DialectSet::CHAT;
    let settings = Arc::new(ArcSwap::from_pointee(plan.settings.clone()));
    let node = plan.start().await;
    let pair = |dialect: &str, translated: bool| (dialect.into(), translated.into());
    let as_chat = [pair("messages", true), pair("chat", false)];
    let dry = node.ask("POST", CHAT, DRY_RUN, MODEL_BODY).await.json();
    assert_eq!(dialects(&dry), as_chat, "{dry}");
    assert_eq!(dry["client"]["dialect"], "chat");

    let explainer = Explainer {
        limits: grapevine_base::limits::LimitsHandle::out_of_use(),
        settings,
        driver: node.driver.clone(),
    };
    let mut supposed = Supposed {
        model: Some(model("gpt-4o")),
        ..Supposed::default()
    };
    let mut explain = |dialect| {
        supposed.dialect = dialect;
        explainer.explain(&supposed).expect("no key is named")
    };
    let as_messages = [pair("messages", false), pair("chat", true)];
    assert_eq!(dialects(&explain(Some(Dialect::Messages))), as_messages);
    assert_eq!(dialects(&explain(Some(Dialect::Chat))), as_chat);
    let unsaid = (Value::Null, Value::Null);
    assert_eq!(dialects(&explain(None)), [unsaid.clone(), unsaid]);
}

#[tokio::test]
async fn operator_sees_the_plan_of_any_client() {
    let mut plan = Plan::with(&[&Scripted::start(vec![]).await]);
    plan.known_peers = vec![("eur", 1), ("sgp", 1)];
    plan.settings.strategy = Strategy::Geo;
    plan.settings.keys = Keys::new([static_key("app", "secret", &["claude"])]);
    let settings = Arc::new(ArcSwap::from_pointee(plan.settings.clone()));
    let node = plan.start().await;
    let explainer = Explainer {
        limits: grapevine_base::limits::LimitsHandle::out_of_use(),
        settings,
        driver: node.driver.clone(),
    };
    let mut supposed = Supposed {
        location: ClientLocation {
            origin: ClientOrigin::Country(CountryCode::new("DE").expect("a code")),
            place: GeoPoint::new(51.0, 10.0),
            address: None,
        },
        model: Some(model("gpt-4o")),
        session: Some("talk".to_owned()),
        ..Supposed::default()
    };
    let shown = explainer.explain(&supposed).expect("no key is named");
    assert_eq!(listed(&shown, "choices").len(), 3);
    assert_eq!(
        (&shown["client"]["area"], &shown["strategy"]),
        (&"DE".into(), &"geo".into())
    );
    assert_eq!(
        (&shown["node"], &shown["client"]["session"]),
        (&"usa-1".into(), &true.into())
    );
    assert!(shown.get("error").is_none());

    supposed.key = Some("app".to_owned());
    let shown = explainer.explain(&supposed).expect("a known key");
    assert_eq!(shown["error"]["code"], "model_not_allowed");
    assert_eq!(shown["error"]["status"], 403);

    supposed.key = Some("other".to_owned());
    let error = explainer.explain(&supposed).expect_err("no such key");
    assert_eq!(
        error.to_string(),
        "no key is called 'other'; there are: app"
    );
}
