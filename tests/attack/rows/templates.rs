//! Attacks by the templates of workflows.

use std::time::Duration;

use grapevine_tests::client::{http, whole};
use grapevine_tests::wait::must;
use grapevine_tests::wait_until;
use serde_json::Value;

use super::Tally;
use super::requests::post_all;
use super::tally::end_of;
use crate::world::{HOSTILE_KEY, World, headers_of, workflow};

/// Longer than a run of one step takes.
const LIMIT: Duration = Duration::from_secs(20);

/// The route that takes them.
const RUNS: &str = "/workflows/runs";

/// Templates with a number that sizes something.
pub(crate) async fn huge(world: &World) -> Tally {
    let texts = [
        "{{ 'x'|indent(1000000000000) }}",
        "{{ 'x'|indent(width=1000000000000, first=true) }}",
        "{{ '%1000000000000d'|format(1) }}",
        "{{ '%*d'|format(1000000000000, 1) }}",
        "{{ '{:1000000000000}'.format(1) }}",
        "{{ 'x'|center(1000000000000) }}",
        "{{ 'x' * 1000000000000 }}",
        "{{ [1] * 1000000000000 }}",
        "{{ range(1000000000000)|list }}",
        "{{ 9 ** 9 ** 9 }}",
    ];
    post_runs(world, texts.map(workflow).into()).await
}

/// Templates that make much of little.
pub(crate) async fn growing(world: &World) -> Tally {
    let doubled = |text: String, _: usize| format!("{text}{{% set a = a ~ a %}}");
    let doubling = (0..40).fold("{% set a = 'xxxxxxxx' %}".to_owned(), doubled);
    let texts = [
        doubling + "{{ a }}",
        "{% for i in range(3000) %}{% for j in range(3000) %}xxxxxxxx{% endfor %}{% endfor %}"
            .into(),
        format!("{{{{ '{0}'|replace('x', '{0}') }}}}", "x".repeat(4_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000)),
        "{% if true %}".repeat(10_000),
    ];
    let mut tally = Tally::default();
    for text in texts {
        tally.add(ended(world, &workflow(&text)).await);
    }
    check_good_run(world, &mut tally).await;
    tally
}

/// How a run ends: as it is posted, or what grows is seen when its text is made.
async fn ended(world: &World, run: &Value) -> String {
    let post = http()
        .post(world.url(RUNS))
        .headers(headers_of(HOSTILE_KEY));
    let posted = must(RUNS, whole(post.json(run)).await);
    if posted.status != 202 {
        return end_of(&posted);
    }
    let id = posted.json()["id"].as_str().unwrap_or_default().to_owned();
    let url = world.url(&format!("{RUNS}/{id}"));
    let ended = wait_until("a run's end", LIMIT, async || {
        let get = http().get(&url).headers(headers_of(HOSTILE_KEY));
        let shown = must(&url, whole(get).await).json();
        match shown["status"].as_str() {
            Some(status @ ("completed" | "failed" | "cancelled")) => Ok(format!("run {status}")),
            _ => Err(shown.to_string()),
        }
    });
    ended.await.0
}

/// Posts runs that must be refused.
pub(super) async fn post_runs(world: &World, runs: Vec<Value>) -> Tally {
    let mut tally = post_all(world, RUNS, runs).await;
    check_good_run(world, &mut tally).await;
    tally
}

/// A valid run is accepted and completed: the others are refused for what they add to it.
async fn check_good_run(world: &World, tally: &mut Tally) {
    let good = ended(world, &workflow("{{ 'x' ~ 'y' }}")).await;
    tally.check(good == "run completed", format!("a good run: {good}"));
}
