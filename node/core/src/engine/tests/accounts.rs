//! Upstreams of one account: what one of them is told holds for all.

use super::*;
use crate::account::{AccountFact, AccountSpec, ProviderQuota, QuotaScope, RemainingQuota};
use crate::ids::AccountName;

const MINUTE: Duration = Duration::from_secs(60);

fn account(name: &str, quota: QuotaScope) -> AccountSpec {
    AccountSpec {
        name: AccountName::new(name).expect("a valid name"),
        quota,
    }
}

/// This node and `jpn` draw on the account `main`, `sgp` farther away on another one. All serve `gpt` and `o3`.
fn with_account(quota: QuotaScope) -> Bench {
    let mut bench = Bench::new();
    bench.handle(Event::Configured(vec![UpstreamSpec {
        models: Models::Listed(vec![model("gpt"), model("o3")]),
        account: Some(Arc::new(account("main", quota))),
        ..spec(Probe::Models)
    }]));
    bench.handle(Event::PhaseChanged(Phase::Ready));
    bench.probe(Outcome::status(200));
    for (name, drawn, rtt) in [("jpn", "main", NEAR), ("sgp", "other", FAR)] {
        bench.meet(name, rtt, TTFT);
        bench.publish(name, 4, account(drawn, quota), &[]);
    }
    bench
}

fn limited(seconds: u64) -> Outcome {
    Outcome::Status {
        status: 429,
        retry_after: Some(Duration::from_secs(seconds)),
        finding: Finding::RateOfModel,
    }
}

fn requests_left(remaining: u64, reset: Duration) -> ProviderQuota {
    ProviderQuota {
        requests: Some(RemainingQuota {
            limit: Some(1_000),
            remaining,
            reset: Some(reset),
        }),
        tokens: None,
    }
}

impl Bench {
    /// `name` publishes its upstream with its account, which rests for these models.
    fn publish(
        &mut self,
        name: &str,
        version: u64,
        spec: AccountSpec,
        rests: &[(Option<&str>, Duration)],
    ) {
        let models = ["gpt", "o3"].map(|name| (model(name), Some(TTFT)));
        let rests = rests.iter().map(|(name, left)| (name.map(model), *left));
        let fact = UpstreamFact {
            models: BTreeMap::from(models),
            account: Some(Box::new(AccountFact {
                spec,
                rests: rests.collect(),
            })),
            ..upstream_fact(Standing::Ready, TTFT)
        };
        self.receive(name, version, Fact::Upstream(fact));
    }

    fn quota(&mut self, quota: ProviderQuota) -> Vec<Effect> {
        self.handle(Event::QuotaReported(QuotaReport {
            upstream: upstream("primary"),
            model: Some(model("gpt")),
            quota,
        }))
    }

    /// The nodes of a plan for `name` in its order.
    fn nodes_for(&mut self, name: &str) -> Vec<String> {
        let plan = self.plan_for(name).expect("a plan");
        let nodes = plan.choices.iter();
        nodes
            .map(|it| it.candidate.upstream.node.to_string())
            .collect()
    }
}

fn published_rests(effects: &[Effect]) -> Option<BTreeMap<Option<ModelName>, Duration>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Publish {
            fact: Fact::Upstream(fact),
            urgent: true,
            ..
        } => Some(fact.account.clone()?.rests),
        _ => None,
    })
}

#[test]
fn limit_of_one_upstream_is_published_at_once_as_one_of_its_account_and_model() {
    let mut bench = with_account(QuotaScope::Account);
    let effects = bench.attempt(limited(60));
    let rests = published_rests(&effects).expect("published at once");
    assert_eq!(rests, BTreeMap::from([(Some(model("gpt")), MINUTE)]));
    // Nobody is left to publish it a second time.
    let effects = bench.wait(MINUTE);
    assert_eq!(published_rests(&effects), Some(BTreeMap::new()));
}

#[test]
fn other_upstreams_of_a_limited_account_come_after_those_of_others() {
    let mut bench = with_account(QuotaScope::Account);
    assert_eq!(bench.nodes_for("gpt"), ["usa", "jpn", "sgp"]);
    bench.attempt(limited(60));
    assert_eq!(bench.nodes_for("gpt"), ["sgp", "jpn"]);
    assert_eq!(bench.nodes_for("o3"), ["usa", "jpn", "sgp"]);
    bench.wait(MINUTE);
    assert_eq!(bench.nodes_for("gpt"), ["usa", "jpn", "sgp"]);
}

#[test]
fn limit_at_a_peer_keeps_requests_from_the_own_upstream_until_it_ends() {
    let mut bench = with_account(QuotaScope::Account);
    let rests = [(Some("gpt"), MINUTE)];
    bench.publish("jpn", 5, account("main", QuotaScope::Account), &rests);
    assert_eq!(bench.nodes_for("gpt")[0], "sgp");
    assert_eq!(bench.nodes_for("o3")[0], "usa");
    // The peer may be gone by then: time alone ends it, and a view is due.
    assert!(
        bench
            .engine
            .next_wake()
            .is_some_and(|at| at <= bench.now + MINUTE)
    );
    bench.wait(MINUTE);
    assert!(bench.engine.view_is_due(bench.now));
    assert_eq!(bench.nodes_for("gpt")[0], "usa");
}

#[test]
fn rest_of_every_model_holds_for_each() {
    let mut bench = with_account(QuotaScope::Account);
    let rests = [(None, MINUTE)];
    bench.publish("jpn", 5, account("main", QuotaScope::Account), &rests);
    assert_eq!(bench.nodes_for("gpt")[0], "sgp");
    assert_eq!(bench.nodes_for("o3")[0], "sgp");
}

#[test]
fn account_alone_is_still_tried() {
    let mut bench = with_account(QuotaScope::Account);
    bench.handle(Event::LinkDown { peer: node("sgp") });
    let rests = [(Some("gpt"), MINUTE)];
    bench.publish("jpn", 5, account("main", QuotaScope::Account), &rests);
    assert_eq!(bench.nodes_for("gpt"), ["usa", "jpn"]);
    // What was limited itself gets its rest, and the other one speaks for itself.
    bench.attempt(limited(60));
    assert_eq!(bench.nodes_for("gpt"), ["jpn"]);
}

#[test]
fn where_a_provider_counts_by_region_others_are_not_concerned() {
    let mut bench = with_account(QuotaScope::Upstream);
    bench.attempt(limited(60));
    assert_eq!(bench.nodes_for("gpt"), ["jpn", "sgp"]);
    let rests = [(Some("o3"), MINUTE)];
    bench.publish("jpn", 5, account("main", QuotaScope::Upstream), &rests);
    assert_eq!(bench.nodes_for("o3"), ["usa", "sgp", "jpn"]);
}

#[test]
fn overload_and_limits_of_a_deployment_say_nothing_of_the_account() {
    let mut bench = with_account(QuotaScope::Account);
    bench.attempt(Outcome::Status {
        status: 429,
        retry_after: None,
        finding: Finding::RateOfPlace,
    });
    assert_eq!(bench.nodes_for("gpt"), ["jpn", "sgp"]);
}

#[test]
fn nearly_spent_account_is_left_before_it_is_limited_until_its_reset() {
    let mut bench = with_account(QuotaScope::Account);
    bench.quota(requests_left(20, MINUTE));
    assert_eq!(bench.nodes_for("gpt")[0], "usa");
    let effects = bench.quota(requests_left(19, MINUTE));
    let is_notice = |effect: &Effect| matches!(effect, Effect::Notice(Notice::AccountNearlySpent { rest, .. }) if *rest == MINUTE);
    assert!(effects.iter().any(is_notice));
    let rests = published_rests(&effects).expect("published at once");
    assert_eq!(rests, BTreeMap::from([(Some(model("gpt")), MINUTE)]));
    // Nothing was refused: it is still there for when nothing else is.
    assert_eq!(bench.nodes_for("gpt"), ["sgp", "usa", "jpn"]);
    let again = bench.quota(requests_left(10, MINUTE));
    assert!(!again.iter().any(is_notice), "said once");
    bench.wait(MINUTE);
    assert_eq!(bench.nodes_for("gpt")[0], "usa");
}

#[test]
fn account_is_left_where_its_upstreams_have_more_in_flight_than_is_left() {
    let mut bench = with_account(QuotaScope::Account);
    let view = bench.engine.view(bench.now);
    let peer = view.routes(Some(&model("gpt"))).expect("routes").tiers[0]
        .usable
        .iter()
        .find(|it| it.upstream.node == node("jpn"))
        .expect("the peer's");
    let _held: Vec<_> = (0..101).map(|_| peer.upstream.in_flight.enter()).collect();
    bench.quota(requests_left(100, MINUTE));
    assert_eq!(
        bench.nodes_for("gpt").last().map(String::as_str),
        Some("jpn")
    );
    assert_eq!(
        bench.nodes_for("gpt")[0],
        "usa",
        "100 others are in flight, and 100 are left"
    );
    bench.quota(requests_left(99, MINUTE));
    assert_eq!(bench.nodes_for("gpt")[0], "sgp");
}

#[test]
fn upstream_without_an_account_has_no_rest() {
    let mut bench = Bench::with_upstream();
    bench.probe(Outcome::status(200));
    let effects = bench.quota(requests_left(0, MINUTE));
    assert_eq!(published_rests(&effects), None);
    assert_eq!(bench.plan().expect("a plan").choices.len(), 1);
}

#[test]
fn another_account_begins_without_a_rest() {
    let mut bench = with_account(QuotaScope::Account);
    bench.quota(requests_left(0, MINUTE));
    bench.handle(Event::Configured(vec![UpstreamSpec {
        models: Models::Listed(vec![model("gpt"), model("o3")]),
        account: Some(Arc::new(account("next", QuotaScope::Account))),
        ..spec(Probe::Models)
    }]));
    assert_eq!(bench.nodes_for("gpt"), ["usa", "jpn", "sgp"]);
}
