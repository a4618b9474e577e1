//! Requests that residency rules keep in some regions never reach an upstream elsewhere: not while upstreams
//! and nodes die at random, and not through a node with a configuration older than the rules.
//!
//! The proof is the upstreams' own. Requests inside the fence ask for chat completions and all others for
//! embeddings, so an upstream outside that was ever asked for a completion, answered or not, is a leak.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use grapevine_tests::client::{Answer, chat_body, http, whole};
use grapevine_tests::dice::Dice;
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::quiet::alone;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const MODEL: &str = "gpt-4o";

/// Fenced requests under random faults.
const REQUESTS: usize = 10_000;

/// Clients at once.
const CLIENTS: usize = 16;

/// Requests between two changes of what is broken.
const STEP: usize = 400;

/// Longer than anything here takes: anything that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// In Germany, France and Ireland: the fence concerns them.
const FENCED: [&str; 3] = ["193.99.144.80", "212.27.48.10", "2001:770::1"];

/// In the United States and Singapore: no rule does.
const FREE: [&str; 2] = ["18.9.22.169", "165.21.83.88"];

/// In Switzerland: a rule keeps them in a region that has no node.
const NOWHERE: &str = "129.132.1.1";

/// Where fenced requests may be answered.
const INSIDE: [&str; 2] = ["fra", "ams"];

/// Why a fenced request may go without an answer, by status and code.
///
/// 451: no candidate inside the fence is known. 503: those known cannot be reached, the node has just started
/// and does not know its peers yet, or the budget for retries is spent. 502 and 504: those that were tried failed.
const REFUSALS: [(u16, &str); 9] = [
    (451, "residency"),
    JOINING,
    (503, "no_upstream_reachable"),
    (503, "retry_budget_spent"),
    (503, "overloaded"),
    (502, "upstream_unreachable"),
    (502, "upstream_error"),
    (502, "peer_lost"),
    (504, "upstream_timeout"),
];

/// A node's answers in its first moment, which are not final.
const JOINING: (u16, &str) = (503, "node_joining");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fenced_request_leaves_while_upstreams_and_nodes_are_killed_at_random() {
    let _room = alone().await;
    let mut world = World::start(Dice::of_environment()).await;
    let traffic = Traffic::start(&world.mesh);
    let mut steps = 0;
    while traffic.fenced_left() > 0 {
        world.break_something(&traffic).await;
        traffic.pass(STEP).await;
        world.heal(&traffic).await;
        steps += 1;
    }
    let ends = traffic.finish().await;
    eprintln!(
        "{steps} steps, {:?} faults; fenced requests by end: {ends:#?}",
        world.faults
    );
    let total: usize = ends.values().sum();
    assert_eq!(total, REQUESTS, "every request ends");
    let served = ends.get("200").copied().unwrap_or_default();
    assert!(served * 2 > REQUESTS, "most are answered even so");
    assert!(
        world.faults.values().all(|count| *count > 2),
        "{:?}",
        world.faults
    );

    world.mesh.wait_until_converged().await;
    for entry in world.mesh.nodes() {
        wait_until("fenced requests served again", LIMIT, async || {
            let answer = ask(&http(), entry, FENCED[0]).await;
            (answer.status == 200)
                .then_some(())
                .ok_or_else(|| answer.text())
        })
        .await;
    }
    for mock in &world.outside {
        assert_eq!(
            count(mock, "/v1/chat/completions").await,
            0,
            "leaked to {}",
            mock.name()
        );
        // It was healthy all the time: the zero above is the fence's doing.
        let others = count(mock, "/v1/embeddings").await;
        assert!(others > 100, "{} answered {others} others", mock.name());
    }
}

#[tokio::test]
async fn node_with_an_older_configuration_is_no_way_around_the_fence() {
    let _room = alone().await;
    let mut mocks = Vec::new();
    for region in ["fra", "usa", "sgp"] {
        mocks.push(Mock::start(region, &[MODEL]).await);
    }
    let mesh = Mesh::builder()
        .node("fra", |node| fenced(node.upstream(&mocks[0])))
        .node("usa", |node| trusting(node.upstream(&mocks[1])))
        .node("sgp", |node| fenced(node.upstream(&mocks[2])))
        .start()
        .await;
    let (fra, old) = (&mocks[0], &mesh["usa"]);
    for (node, other) in [
        ("usa", "fra"),
        ("usa", "sgp"),
        ("fra", "usa"),
        ("sgp", "usa"),
    ] {
        see_difference(&mesh, node, other, true).await;
    }
    let client = http();
    for entry in mesh.nodes() {
        for address in FENCED {
            let answer = ask(&client, entry, address).await;
            let seen = (answer.status, answer.header("x-grapevine-region"));
            assert_eq!(
                seen,
                (200, "fra"),
                "{address} at {}: {answer:?}",
                entry.name()
            );
        }
    }
    let free = ask_freely(&client, old, FREE[0]).await;
    assert_eq!(
        (free.status, free.header("x-grapevine-region")),
        (200, "usa")
    );
    let settled = old.wait_for_view("settled", LIMIT, |view| view.is_settled());
    settled.await;
    let nowhere = ask(&client, old, NOWHERE).await;
    assert_eq!(code(&nowhere), (451, "residency".to_string()));
    assert!(
        nowhere.text().contains("residency of fra"),
        "{}",
        nowhere.text()
    );

    // With no node left inside, and then no node left that has the rules.
    fra.kill();
    for _ in 0..20 {
        assert_refused(&ask(&client, old, FENCED[0]).await);
    }
    for gone in ["fra", "sgp"] {
        mesh[gone].kill();
        assert_refused(&ask(&client, old, FENCED[0]).await);
        let what = format!("{gone} dead");
        old.wait_for_view(&what, LIMIT, |view| !view.is_live(gone))
            .await;
        assert_refused(&ask(&client, old, FENCED[0]).await);
    }
    for outside in &mocks[1..] {
        let leaked = count(outside, "/v1/chat/completions").await;
        assert_eq!(leaked, 0, "leaked to {}", outside.name());
    }

    fra.restart().await;
    mesh["fra"].restart().await;
    mesh["sgp"].restart().await;
    old.reload(|config| {
        config["residency"] = rules();
        config["geo"] = map();
    });
    for (node, other) in [
        ("usa", "fra"),
        ("usa", "sgp"),
        ("fra", "usa"),
        ("sgp", "usa"),
    ] {
        see_difference(&mesh, node, other, false).await;
    }
    let page = old.admin("/readyz").await.text();
    assert!(!page.contains("residency"), "{page}");
}

/// Whether `node` shows that `other` has other rules: in its view, its readiness and its metrics.
async fn see_difference(mesh: &Mesh, node: &str, other: &str, differs: bool) {
    let what = format!("rules of {other} that differ: {differs}");
    let wait = mesh[node].wait_for_view(&what, LIMIT, |view| {
        let other = view.node(other);
        other.is_some_and(|other| other["live"] == true && other["residency_differs"] == differs)
    });
    wait.await;
    let metric = format!(
        "grapevine_peer_residency_differs{{peer=\"{other}\"}} {}",
        u8::from(differs)
    );
    let metrics = mesh[node].metrics().await;
    assert!(metrics.contains(&metric), "no {metric} in {metrics}");
    let page = mesh[node].admin("/readyz").await;
    let warning = format!("residency: {other} has other rules");
    assert_eq!(page.text().contains(&warning), differs, "{}", page.text());
    assert_eq!(page.status, 200);
}

fn assert_refused(answer: &Answer) {
    let (status, code) = code(answer);
    let known = REFUSALS.contains(&(status, code.as_str()));
    assert!(known, "{answer:?}");
}

/// Nodes inside and outside of the fence, and their upstreams.
struct World {
    mesh: Mesh,
    inside: Vec<Mock>,
    outside: Vec<Mock>,
    dice: Dice,
    /// What was done, by kind.
    faults: BTreeMap<&'static str, usize>,
}

impl World {
    async fn start(dice: Dice) -> Self {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        let mut builder = Mesh::builder();
        for region in ["fra", "ams", "usa", "sgp"] {
            let mock = Mock::start(region, &[MODEL]).await;
            let upstream = json!({"health": {"interval": "1s", "timeout": "500ms",
                "cooldown": "500ms", "cooldown_max": "500ms"}});
            builder = builder.node(region, |node| fenced(node.upstream_with(&mock, upstream)));
            match INSIDE.contains(&region) {
                true => inside.push(mock),
                false => outside.push(mock),
            }
        }
        let kinds = [
            "upstream inside killed",
            "upstream outside down",
            "node killed",
        ];
        Self {
            mesh: builder.start().await,
            inside,
            outside,
            dice,
            faults: kinds.map(|kind| (kind, 0)).into(),
        }
    }

    /// Breaks one to three things of what is whole, of each kind with a chance of a half.
    async fn break_something(&mut self, traffic: &Traffic) {
        if self.dice.below(2) == 0 {
            let index = self.dice.below(self.inside.len());
            self.inside[index].kill();
            self.note("upstream inside killed");
        }
        if self.dice.below(2) == 0 {
            // Not killed: what it was asked must be known to the last request.
            let index = self.dice.below(self.outside.len());
            self.outside[index].set(json!({"down": true})).await;
            self.note("upstream outside down");
        }
        let nodes = self.dice.below(3);
        for _ in 0..nodes {
            let index = self.dice.below(self.mesh.nodes().len());
            traffic.dead[index].store(true, Ordering::SeqCst);
            if self.mesh.nodes()[index].id().is_some() {
                self.mesh.nodes()[index].kill();
                self.note("node killed");
            }
        }
    }

    async fn heal(&mut self, traffic: &Traffic) {
        for mock in &self.outside {
            mock.reset().await;
        }
        for mock in &self.inside {
            mock.restart().await;
        }
        for (node, dead) in self.mesh.nodes().iter().zip(traffic.dead.iter()) {
            if dead.load(Ordering::SeqCst) {
                node.restart().await;
                traffic.restarts.fetch_add(1, Ordering::SeqCst);
                dead.store(false, Ordering::SeqCst);
            }
        }
    }

    fn note(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }
}

/// Clients of all kinds at all nodes.
struct Traffic {
    clients: JoinSet<BTreeMap<String, usize>>,
    /// Fenced requests begun.
    begun: Arc<AtomicUsize>,
    /// Nodes that are dead or about to be, in the order of the mesh.
    dead: Arc<[AtomicBool]>,
    /// Counts restarts of nodes.
    restarts: Arc<AtomicU64>,
}

impl Traffic {
    fn start(mesh: &Mesh) -> Self {
        let urls: Arc<[String]> = mesh.nodes().iter().map(Node::base_url).collect();
        let mut traffic = Self {
            clients: JoinSet::new(),
            begun: Arc::default(),
            dead: mesh
                .nodes()
                .iter()
                .map(|_| AtomicBool::new(false))
                .collect(),
            restarts: Arc::default(),
        };
        for _ in 0..CLIENTS {
            let visitor = Visitor {
                client: http(),
                urls: Arc::clone(&urls),
                begun: Arc::clone(&traffic.begun),
                dead: Arc::clone(&traffic.dead),
                restarts: Arc::clone(&traffic.restarts),
            };
            traffic.clients.spawn(visitor.run());
        }
        traffic
    }

    fn fenced_left(&self) -> usize {
        REQUESTS.saturating_sub(self.begun.load(Ordering::SeqCst))
    }

    /// Waits until `count` more requests have begun, or all.
    async fn pass(&self, count: usize) {
        let goal = REQUESTS.min(self.begun.load(Ordering::SeqCst) + count);
        wait_until("requests to go on", LIMIT, async || {
            let begun = self.begun.load(Ordering::SeqCst);
            (begun >= goal)
                .then_some(())
                .ok_or_else(|| format!("{begun} of {goal}"))
        })
        .await;
    }

    /// How all fenced requests ended, by status and code.
    async fn finish(mut self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        while let Some(ends) = self.clients.join_next().await {
            for (end, count) in must("a client", ends) {
                *all.entry(end).or_default() += count;
            }
        }
        all
    }
}

/// One client after another: mostly fenced, with others on the side.
struct Visitor {
    client: Client,
    urls: Arc<[String]>,
    begun: Arc<AtomicUsize>,
    dead: Arc<[AtomicBool]>,
    restarts: Arc<AtomicU64>,
}

impl Visitor {
    async fn run(self) -> BTreeMap<String, usize> {
        let mut ends = BTreeMap::new();
        loop {
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            if number >= REQUESTS {
                return ends;
            }
            let fenced = |url: &str| chat(&self.client, url, FENCED[number % 3]);
            let end = match self.send(number, fenced).await {
                Some(answer) => fenced_end(&answer),
                None => "entry node killed".to_string(),
            };
            *ends.entry(end).or_default() += 1;
            if number.is_multiple_of(4) {
                let free = |url: &str| embeddings(&self.client, url, FREE[number / 4 % 2]);
                self.send(number, free).await;
            }
            if number.is_multiple_of(20) {
                let nowhere = |url: &str| chat(&self.client, url, NOWHERE);
                if let Some(answer) = self.send(number, nowhere).await {
                    let (status, code) = code(&answer);
                    let end = (status, code.as_str());
                    assert!(end == (451, "residency") || end == JOINING, "{answer:?}");
                }
            }
        }
    }

    /// Sends to the first node from `number` on that takes a connection; `None` when it was killed then.
    async fn send(
        &self,
        number: usize,
        request: impl Fn(&str) -> RequestBuilder,
    ) -> Option<Answer> {
        let nodes = self.urls.len();
        for turn in 0..nodes * 100 {
            let index = (number / 7 + turn) % nodes;
            let restarts = self.restarts.load(Ordering::SeqCst);
            match whole(request(&self.urls[index])).await {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    let restarted = self.restarts.load(Ordering::SeqCst) != restarts;
                    let killed = self.dead[index].load(Ordering::SeqCst) || restarted;
                    assert!(killed, "no answer from a live node: {error:?}");
                    if !error.is_connect() {
                        return None;
                    }
                }
            }
        }
        panic!("no node takes connections");
    }
}

/// How a fenced request ended; it must have ended inside the fence, or with one of the known refusals.
fn fenced_end(answer: &Answer) -> String {
    let region = answer.header("x-grapevine-region");
    if answer.status == 200 {
        assert!(INSIDE.contains(&region), "answered in {region}: {answer:?}");
        return "200".to_string();
    }
    assert_refused(answer);
    let (status, code) = code(answer);
    format!("{status} {code}")
}

fn code(answer: &Answer) -> (u16, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    (answer.status, code.to_string())
}

async fn ask(client: &Client, entry: &Node, address: &str) -> Answer {
    must(
        "a chat",
        whole(chat(client, &entry.base_url(), address)).await,
    )
}

async fn ask_freely(client: &Client, entry: &Node, address: &str) -> Answer {
    must(
        "embeddings",
        whole(embeddings(client, &entry.base_url(), address)).await,
    )
}

fn chat(client: &Client, url: &str, address: &str) -> RequestBuilder {
    let post = client.post(format!("{url}/chat/completions"));
    post.header("x-forwarded-for", address)
        .json(&chat_body(MODEL, "a secret"))
}

fn embeddings(client: &Client, url: &str, address: &str) -> RequestBuilder {
    let post = client.post(format!("{url}/embeddings"));
    let body = json!({"model": MODEL, "input": "no secret"});
    post.header("x-forwarded-for", address).json(&body)
}

/// How often a mock was asked for `path`, answered or not.
async fn count(mock: &Mock, path: &str) -> u64 {
    let stats = mock.stats().await;
    stats["by_path"][path].as_u64().unwrap_or(0)
}

fn fenced(node: NodeBuilder) -> NodeBuilder {
    trusting(node)
        .config("residency", rules())
        .config("geo", map())
}

/// A node that believes the addresses tests claim to come from.
fn trusting(node: NodeBuilder) -> NodeBuilder {
    node.config("trusted_proxies", json!(["127.0.0.0/8"]))
}

fn rules() -> Value {
    json!([{"clients": ["EU"], "regions": INSIDE}, {"clients": ["CH"], "regions": ["che"]}])
}

/// Names the regions that rules name.
fn map() -> Value {
    let homes = ["fra", "ams", "che"].map(|region| json!({"countries": ["AQ"], "region": region}));
    json!({"map": homes})
}
