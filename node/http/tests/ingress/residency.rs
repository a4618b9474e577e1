//! Where a request may be answered: what rules keep within regions and what they refuse.

use std::sync::{Arc, Mutex};

use grapevine_base::exchange::{Call, CallFailure};
use grapevine_core::country::CountryCode;
use grapevine_core::ids::RegionName;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_core::residency::{Area, ClientOrigin, Residency, Rule, Unknown};
use grapevine_http::ingress::{ClientLocation, Locate};

use super::support::{CHAT, FakePeers, MODEL_BODY, Plan, Scripted, answer, successful_answer};

fn country(code: &str) -> ClientOrigin {
    ClientOrigin::Country(CountryCode::new(code).expect("a valid code"))
}

/// A node in `usa` with the upstream `own`, where clients of the EU belong to `eur`; it reads the client's
/// country from a header, which only a test may do.
fn plan(own: &Scripted) -> Plan {
    let mut plan = Plan::with(&[own]);
    let rule = Rule {
        clients: vec!["EU".parse::<Area>().expect("a known area")],
        keys: vec![],
        models: vec![],
        regions: [RegionName::new("eur").expect("a valid name")].into(),
    };
    plan.settings.residency = Residency::new(vec![rule], Unknown::Fenced);
    plan.locate = Locate::new(|_, headers| {
        let code = headers.get("x-from").and_then(|value| value.to_str().ok());
        ClientLocation {
            origin: code.map_or(ClientOrigin::Unknown, country),
            ..ClientLocation::default()
        }
    });
    plan
}

#[tokio::test]
async fn request_that_may_not_be_answered_anywhere_is_451_and_calls_nobody() {
    let own = Scripted::start(answer(200, "", "{}")).await;
    let node = plan(&own).start().await;
    for from in ["x-from: DE\r\n", ""] {
        let reply = node.ask("POST", CHAT, from, MODEL_BODY).await;
        assert_eq!(reply.status, 451, "{reply:?}");
        let error = &reply.json()["error"];
        assert_eq!(error["code"], "residency");
        let message = error["message"].as_str().expect("a message");
        assert!(
            message.contains("residency[0]") && message.contains("eur"),
            "{message}"
        );
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    assert!(own.seen().is_empty());
}

#[tokio::test]
async fn refusal_is_in_the_list_of_requests_with_its_rule() {
    let own = Scripted::start(answer(200, "", "{}")).await;
    let node = plan(&own).start().await;
    node.ask("POST", CHAT, "x-from: FR\r\n", MODEL_BODY).await;
    let record = node.record().await.to_json();
    assert_eq!(record["status"], 451);
    assert_eq!(record["error"], "residency");
    assert_eq!(record["residency"], "residency[0]");
}

#[tokio::test]
async fn client_without_a_rule_is_served_anywhere() {
    let own = Scripted::start(answer(200, "", "{}")).await;
    let node = plan(&own).start().await;
    let reply = node.ask("POST", CHAT, "x-from: US\r\n", MODEL_BODY).await;
    assert_eq!(reply.status, 200);
    assert_eq!(node.record().await.residency, None);
}

#[tokio::test]
async fn fenced_request_is_forwarded_with_its_fence() {
    let own = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = plan(&own);
    plan.known_peers = vec![("eur", 2), ("sgp", 2)];
    let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
    let seen = Arc::clone(&calls);
    plan.peers = FakePeers::new(move |_, call| {
        seen.lock().expect("no test panics here").push(call);
        async { Ok(successful_answer("{}", None)) }
    });
    let node = plan.start().await;
    let reply = node.ask("POST", CHAT, "x-from: DE\r\n", MODEL_BODY).await;
    assert_eq!(reply.header("x-grapevine-region"), Some("eur"));
    assert_eq!(
        node.record().await.residency.as_deref(),
        Some("residency[0]")
    );
    let calls = calls.lock().expect("no test panics here");
    let regions: Vec<&str> = calls[0]
        .allow_regions
        .iter()
        .map(RegionName::as_str)
        .collect();
    assert_eq!(
        (regions, calls[0].caller.client),
        (vec!["eur"], country("DE"))
    );
    assert!(own.seen().is_empty());
}

#[tokio::test]
async fn failure_inside_the_fence_never_falls_back_outside() {
    let own = Scripted::start(answer(200, "", "{}")).await;
    let mut plan = plan(&own);
    plan.known_peers = vec![("eur", 1), ("sgp", 1)];
    plan.peers = FakePeers::new(|peer, _| async move {
        assert_eq!(peer.as_str(), "eur", "left the fence");
        Err(CallFailure::new(Outcome::ConnectFailed, "down"))
    });
    let node = plan.start().await;
    let reply = node.ask("POST", CHAT, "x-from: DE\r\n", MODEL_BODY).await;
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(own.seen().is_empty());
}

#[tokio::test]
async fn refusal_by_a_peers_own_rules_is_451() {
    let mut plan = Plan::with(&[]);
    plan.known_peers = vec![("eur", 1)];
    plan.peers = FakePeers::new(|_, _| async {
        let refused = Outcome::Refused(Refusal::Residency);
        Err(CallFailure::new(refused, "residency[0]"))
    });
    let node = plan.start().await;
    let reply = node.chat().await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["code"]),
        (451, &"residency".into())
    );
    assert_eq!(node.record().await.attempts[0].outcome, "refused_residency");
}

#[tokio::test]
async fn dry_run_shows_the_fence() {
    let mut plan = plan(&Scripted::start(vec![]).await);
    plan.known_peers = vec![("eur", 2)];
    let node = plan.start().await;
    let headers = "x-from: DE\r\nx-grapevine-dry-run: true\r\n";
    let shown = node.ask("POST", CHAT, headers, MODEL_BODY).await.json();
    assert_eq!(shown["client"]["area"], "DE");
    assert_eq!(shown["residency"]["regions"][0], "eur");
    assert_eq!(shown["choices"].as_array().map(Vec::len), Some(1));
}
