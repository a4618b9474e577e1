//! One client among others that sends what upstreams refuse, what makes them fail, and what it does not read to its
//! end: the others notice nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use grapevine_tests::client::{Answer, EventStream, Next, chat_body, http, whole};
use grapevine_tests::network::Link;
use grapevine_tests::quiet::alone;
use grapevine_tests::scripted::{
    ScriptedReading, ScriptedRule, ScriptedStep, ScriptedUpstream, chat_event, ends, goes_on,
    refuses, streams,
};
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Node, wait_until};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const MODEL: &str = "m";
const REGIONS: [&str; 3] = ["usa", "eur", "sgp"];

/// One way between two regions.
const DELAY: Duration = Duration::from_millis(30);

/// What an upstream takes for an answer.
const LATENCY: Duration = Duration::from_millis(20);

/// All clients, of which the first is the bad one.
const CLIENTS: usize = 32;

/// Answers that each of the others gets before any is judged, so that every upstream is measured.
const WARM_UP: usize = 3;

/// Between two requests of one client, so that one machine carries all clients and nodes.
const PAUSE: Duration = Duration::from_millis(250);

/// Longer than any wait here.
const LIMIT: Duration = Duration::from_secs(60);

/// What the bad client sends, in turn.
const KINDS: [&str; 5] = [
    "wrong organization",
    "flagged prompt",
    "poison",
    "cancelled stream",
    "slow reader",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_notice_nothing_of_one_bad_client() {
    // Every kind four times at each node. By priority, health alone moves a request: on a busy machine a home that
    // seems slow for a moment is rightly left for its latency.
    run("priority", |seen: &Seen| {
        seen.bad.load(Ordering::SeqCst) < KINDS.len() * REGIONS.len() * 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; CONTRIBUTING.md has the command"]
async fn others_notice_nothing_of_one_bad_client_for_a_minute() {
    let began = std::time::Instant::now();
    run("latency", move |_: &Seen| {
        began.elapsed() < Duration::from_secs(60)
    })
    .await;
}

/// What the clients have seen so far.
#[derive(Debug, Default)]
struct Seen {
    /// Requests of the bad client that have ended.
    bad: AtomicUsize,
    good: AtomicUsize,
    /// Requests that tried another upstream for its own sake, as a few always do.
    explored: AtomicUsize,
    is_over: AtomicBool,
}

async fn run(strategy: &str, goes_on: impl Fn(&Seen) -> bool) {
    let _room = alone().await;
    let world = World::start(strategy).await;
    let seen = Arc::new(Seen::default());
    let mut others = JoinSet::new();
    for number in 1..CLIENTS {
        let (url, home) = world.home(number);
        others.spawn(other(number, url, home, Arc::clone(&seen)));
    }
    let urls: Vec<String> = world.mesh.nodes().iter().map(Node::base_url).collect();
    let bad = tokio::spawn(bad(urls, Arc::clone(&seen)));
    wait_until("the end", LIMIT * 3, async || {
        let ejected = world.not_healthy().await;
        assert!(ejected.is_empty(), "{ejected:?}");
        (!goes_on(&seen))
            .then_some(())
            .ok_or_else(|| "goes on".to_owned())
    })
    .await;
    seen.is_over.store(true, Ordering::SeqCst);
    let counts = must("the bad client", bad.await);
    let (mut requests, mut wrong) = (0, Vec::new());
    while let Some(end) = others.join_next().await {
        let (sent, failures) = must("a client", end);
        requests += sent;
        wrong.extend(failures);
    }
    eprintln!(
        "{} others sent {requests} requests, {} of them explored; {} went wrong; the bad client: {counts:?}",
        CLIENTS - 1,
        seen.explored.load(Ordering::SeqCst),
        wrong.len(),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    for kind in KINDS {
        assert!(counts.keys().any(|key| key.starts_with(kind)), "{counts:?}");
    }
    for node in world.mesh.nodes() {
        let log = node.log();
        let found = ["upstream ejected", "upstream suspected"].map(|it| log.matches(it).count());
        assert_eq!(found, [0, 0], "{}: {log}", node.name());
    }
}

/// Three regions, each with an upstream of its own.
struct World {
    mesh: Mesh,
    _upstreams: Vec<ScriptedUpstream>,
}

impl World {
    async fn start(strategy: &str) -> Self {
        let keys: Value = (0..CLIENTS)
            .map(|number| json!({"name": key_name(number), "hash": hash(&key(number))}))
            .collect();
        let mut upstreams = Vec::new();
        let mut builder = Mesh::builder().behind_network();
        for region in REGIONS {
            let upstream = upstream(region).await;
            builder = builder.node(region, |node| {
                let node = node.config("keys", keys.clone());
                let node = node.config("routing", json!({"strategy": strategy}));
                node.raw_upstream(upstream.upstream(&[MODEL]))
            });
            upstreams.push(upstream);
        }
        let mesh = builder.start().await;
        mesh.network().set_all(Link {
            delay: DELAY,
            ..Link::default()
        });
        for node in mesh.nodes() {
            node.wait_for_view("the way to others", LIMIT, |view| {
                let ways = REGIONS.iter().filter(|it| **it != node.name());
                let mut ways = ways.map(|peer| view.rtt(peer));
                ways.all(|rtt| rtt.is_some_and(|rtt| rtt > DELAY))
            })
            .await;
        }
        let _upstreams = upstreams;
        Self { mesh, _upstreams }
    }

    /// The node of a client, and the name of its upstream.
    fn home(&self, number: usize) -> (String, String) {
        let node = &self.mesh.nodes()[number % REGIONS.len()];
        (node.base_url(), format!("{}-up", node.name()))
    }

    /// Upstreams that any node shows as ejected or suspect.
    async fn not_healthy(&self) -> Vec<String> {
        let mut found = Vec::new();
        for node in self.mesh.nodes() {
            let view = node.view().await;
            for region in REGIONS {
                let state = view.state(region, &format!("{region}-up"));
                if state != "healthy" && state != "untested" {
                    found.push(format!("{region} at {}: {state}", node.name()));
                }
            }
        }
        found
    }
}

async fn upstream(region: &str) -> ScriptedUpstream {
    let error = |code: &str, message: &str| json!({"error": {"message": message, "type": "invalid_request_error", "code": code}});
    let identity = error(
        "mismatched_organization",
        "OpenAI-Organization header should match",
    );
    let text = |text: &str| chat_event(&json!(MODEL), &json!({"content": text}), None);
    // Longer than the sockets of a client that does not read hold.
    let long = text(&"and so on ".repeat(10_000));
    let mut slow = streams(&text("begun"));
    slow.extend((0..20).map(|_| goes_on(&long)));
    slow.push(ends());
    let mut endless = streams(&text("begun"));
    endless.push(ScriptedStep::Hang);
    let rule = |text, steps| ScriptedRule { text, steps };
    let rules = vec![
        rule(
            "openai-organization: org-other",
            refuses(401, "", &identity),
        ),
        rule(
            "\"flagged\"",
            refuses(403, "", &error("", "Input was flagged")),
        ),
        rule(
            "\"poison\"",
            refuses(500, "", &error("", "The server had an error")),
        ),
        rule("\"endless\"", endless),
        rule("\"slow\"", slow),
        rule("", vec![ScriptedStep::Pause(LATENCY), ScriptedStep::Answer]),
    ];
    ScriptedUpstream::start(&format!("{region}-up"), ScriptedReading::Whole, rules).await
}

/// Sends well-behaved requests to its node until it is over. Returns their number, and what went wrong.
async fn other(number: usize, url: String, home: String, seen: Arc<Seen>) -> (usize, Vec<String>) {
    let client = http();
    let (mut sent, mut wrong) = (0, Vec::new());
    while !seen.is_over.load(Ordering::SeqCst) || sent <= WARM_UP {
        let is_stream = sent % 2 == 1;
        let answer = whole(chat(&client, &url, &key(number), "sing", is_stream)).await;
        sent += 1;
        match answer {
            Err(error) => wrong.push(format!("client {number}: {error:?}")),
            Ok(answer) => {
                seen.good.fetch_add(1, Ordering::SeqCst);
                let is_explored = answer.header("x-grapevine-reason") == "exploration";
                seen.explored
                    .fetch_add(usize::from(is_explored), Ordering::SeqCst);
                let is_judged = sent > WARM_UP && !is_explored;
                if !is_good(&answer, is_stream, is_judged.then_some(&*home)) {
                    wrong.push(format!("client {number}, request {sent}: {answer:?}"));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    (sent, wrong)
}

fn is_good(answer: &Answer, is_stream: bool, home: Option<&str>) -> bool {
    let is_whole = match is_stream {
        true => answer.text().trim_end().ends_with("data: [DONE]"),
        false => answer.text().contains("\"finish_reason\":\"stop\""),
    };
    let upstream = answer.header("x-grapevine-upstream");
    answer.status == 200 && is_whole && home.is_none_or(|home| upstream == home)
}

/// Sends everything bad to all nodes in turn until it is over. Returns how its requests ended.
async fn bad(urls: Vec<String>, seen: Arc<Seen>) -> BTreeMap<String, usize> {
    let client = http();
    let mut ends = BTreeMap::new();
    let mut turn = 0;
    while !seen.is_over.load(Ordering::SeqCst) {
        let (kind, url) = (turn % KINDS.len(), &urls[turn / KINDS.len() % urls.len()]);
        let key = key(0);
        let end = match KINDS[kind] {
            "wrong organization" => {
                let request = chat(&client, url, &key, "sing", turn % 2 == 1);
                status(request.header("openai-organization", "org-other")).await
            }
            "flagged prompt" => status(chat(&client, url, &key, "flagged", turn % 2 == 1)).await,
            "poison" => status(chat(&client, url, &key, "poison", turn % 2 == 1)).await,
            "cancelled stream" => read_a_little(url, &key, "endless", Duration::ZERO).await,
            _ => read_a_little(url, &key, "slow", Duration::from_millis(200)).await,
        };
        *ends.entry(format!("{}: {end}", KINDS[kind])).or_default() += 1;
        turn += 1;
        seen.bad.store(turn, Ordering::SeqCst);
    }
    ends
}

async fn status(request: RequestBuilder) -> String {
    match whole(request).await {
        Ok(answer) => answer.status.to_string(),
        Err(error) => format!("{error:?}"),
    }
}

/// Reads the first two events of a stream, slowly, and hangs up.
async fn read_a_little(url: &str, key: &str, text: &str, pause: Duration) -> String {
    let mut body = chat_body(MODEL, text);
    body["stream"] = json!(true);
    let url = format!("{url}/chat/completions");
    let request = http().post(&url).bearer_auth(key).json(&body);
    let mut stream = EventStream::of(must("a stream", request.send().await));
    let first = stream.next().await;
    tokio::time::sleep(pause).await;
    match first {
        Next::Event { .. } => format!("{} and hung up", stream.status),
        end => format!("{} {end:?}", stream.status),
    }
}

fn chat(client: &Client, url: &str, key: &str, text: &str, is_stream: bool) -> RequestBuilder {
    let mut body = chat_body(MODEL, text);
    body["stream"] = json!(is_stream);
    let url = format!("{url}/chat/completions");
    client.post(url).bearer_auth(key).json(&body)
}

fn key_name(number: usize) -> String {
    format!("client-{number}")
}

fn key(number: usize) -> String {
    format!("sk-client-{number}-of-the-vine")
}

fn hash(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    digest
        .as_ref()
        .iter()
        .fold("sha256:".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
