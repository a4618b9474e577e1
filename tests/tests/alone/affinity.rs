//! Conversations meet the same upstream from whatever node they enter, and when one of N upstreams is
//! ejected only its own conversations move, and return with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grapevine_tests::client::{chat_body, http, whole};
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::network::Link;
use grapevine_tests::quiet::alone;
use grapevine_tests::view::MeshView;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const MODEL: &str = "gpt-4o";

/// Conversations: a quarter by header, one by `prompt_cache_key`, one by `user`, and one by what they begin with alone.
const SESSIONS: usize = 1_000;

/// Requests in flight at once, over all entry nodes.
const CLIENTS: usize = 32;

/// Upstreams of the region that the conversations are spread over.
const UPSTREAMS: usize = 5;

/// What a datagram takes between the regions under `latency`.
const DELAY: Duration = Duration::from_millis(40);

/// How long the mesh may take to agree that an upstream is ejected, or back.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);

/// In Singapore.
const CLIENT: &str = "165.21.83.88";

/// Which upstream answered each conversation.
type Assignments = BTreeMap<usize, String>;

/// The upstreams belong to two nodes in the client's region. Its conversations enter there and at two nodes
/// in other parts of the world, each with an upstream of its own and other round trips to the rest.
#[tokio::test]
async fn conversations_meet_the_same_upstream_from_every_region_under_geo() {
    let _room = alone().await;
    let mocks = mocks(UPSTREAMS + 2).await;
    let (home, abroad) = mocks.split_at(UPSTREAMS);
    let (first, second) = home.split_at(2);
    let node = |region: &'static str, mocks: &[Mock]| {
        let upstreams: Vec<_> = mocks.iter().map(upstream).collect();
        move |node: NodeBuilder| {
            let node = upstreams.into_iter().fold(node, NodeBuilder::raw_upstream);
            let node = node.region(region);
            node.config("trusted_proxies", json!(["127.0.0.0/8"]))
                .config("routing.strategy", json!("geo"))
        }
    };
    let mesh = Mesh::builder()
        .node("sgp-1", node("sgp", first))
        .node("sgp-2", node("sgp", second))
        .node("jpn-1", node("jpn", &abroad[..1]))
        .node("fra-1", node("fra", &abroad[1..]))
        .behind_network()
        .start()
        .await;
    let far = |delay| Link {
        delay: Duration::from_millis(delay),
        ..Link::default()
    };
    for (one, other, delay) in [("sgp", "jpn", 10), ("sgp", "fra", 25), ("jpn", "fra", 35)] {
        for (one, other) in pairs(&mesh, one, other) {
            mesh.network().set(one, other, far(delay));
        }
    }
    hold(&mesh, home, ["sgp-1", "jpn-1", "fra-1"]).await;
    for mock in abroad {
        assert_eq!(chats(mock).await, 0, "{} was asked", mock.name());
    }
}

/// Three entry nodes of one region, each with upstreams of its own, and one in a region farther away:
/// measured latency alone decides, and it wavers.
#[tokio::test]
async fn conversations_meet_the_same_upstream_from_every_node_of_a_region_under_latency() {
    let _room = alone().await;
    let mocks = mocks(UPSTREAMS + 1).await;
    let (home, abroad) = mocks.split_at(UPSTREAMS);
    let node = |region: &'static str, mocks: &[Mock]| {
        let upstreams: Vec<_> = mocks.iter().map(upstream).collect();
        move |node: NodeBuilder| {
            let node = upstreams.into_iter().fold(node, NodeBuilder::raw_upstream);
            node.region(region)
        }
    };
    let mesh = Mesh::builder()
        .node("sgp-1", node("sgp", &home[..2]))
        .node("sgp-2", node("sgp", &home[2..4]))
        .node("sgp-3", node("sgp", &home[4..]))
        .node("fra-1", node("fra", abroad))
        .behind_network()
        .start()
        .await;
    for (one, other) in pairs(&mesh, "sgp", "fra") {
        let link = Link {
            delay: DELAY,
            ..Link::default()
        };
        mesh.network().set(one, other, link);
    }
    for (one, other) in pairs(&mesh, "sgp", "fra") {
        let is_far = |view: &MeshView| view.rtt(other).is_some_and(|rtt| rtt > DELAY);
        let wait = mesh[one].wait_for_view("the measured distance", NOTICE_LIMIT, is_far);
        wait.await;
    }
    hold(&mesh, home, ["sgp-1", "sgp-2", "sgp-3"]).await;
}

/// Sends every conversation to each of `entries`, with all of `mocks` healthy, without one, and with all
/// again.
async fn hold(mesh: &Mesh, mocks: &[Mock], entries: [&str; 3]) {
    let mut whole = Vec::new();
    for entry in entries {
        whole.push(send(&mesh[entry], 0..SESSIONS).await);
    }
    let assigned = &whole[0];
    for (entry, other) in entries.iter().zip(&whole) {
        let apart = moved(assigned, other);
        eprintln!(
            "{entry}: {} of {SESSIONS} elsewhere than from {}",
            apart.len(),
            entries[0]
        );
        assert!(apart.len() * 100 < SESSIONS, "{entry}: {apart:?}");
    }
    for mock in mocks {
        let belong: usize = whole
            .iter()
            .map(|assigned| count(assigned, mock.name()))
            .sum();
        assert_eq!(
            chats(mock).await,
            belong as u64,
            "as {} counts",
            mock.name()
        );
    }

    let gone = &mocks[1];
    let share = count(assigned, gone.name());
    assert_near_share(share);
    gone.set(json!({"down": true, "fail_models_probe": true}))
        .await;
    // Traffic ejects it sooner than probes; meanwhile it is answered elsewhere.
    send(&mesh[entries[0]], 0..SESSIONS / 10).await;
    see(mesh, gone.name(), |state| state != "healthy").await;
    for entry in entries {
        let without = send(&mesh[entry], 0..SESSIONS).await;
        assert_eq!(count(&without, gone.name()), 0);
        let moved = moved(assigned, &without);
        let others = moved
            .iter()
            .filter(|session| assigned[session] != gone.name());
        let others = others.count();
        eprintln!(
            "{entry}: {} of {SESSIONS} moved, {others} of them without need",
            moved.len()
        );
        assert!(
            others * 100 < SESSIONS,
            "{entry}: {others} moved without need"
        );
        assert_near_share(moved.len() - others);
    }

    gone.reset().await;
    see(mesh, gone.name(), |state| state == "healthy").await;
    // They come back one by one.
    let theirs: Vec<usize> = (0..SESSIONS)
        .filter(|session| assigned[session] == gone.name())
        .collect();
    wait_until("all conversations back", NOTICE_LIMIT, async || {
        let back = send(&mesh[entries[1]], theirs.clone()).await;
        let back = count(&back, gone.name());
        (back == theirs.len())
            .then_some(())
            .ok_or_else(|| format!("{back} of {}", theirs.len()))
    })
    .await;
    for entry in entries {
        let moved = moved(assigned, &send(&mesh[entry], 0..SESSIONS).await);
        eprintln!(
            "{entry}: {} of {SESSIONS} elsewhere after all is back",
            moved.len()
        );
        assert!(moved.len() * 100 < SESSIONS, "{entry}: {moved:?}");
    }
}

/// Within four standard deviations of a binomial distribution: 1 in 16,000 by chance, were the names of
/// the conversations drawn again.
fn assert_near_share(count: usize) {
    let (sessions, share) = (SESSIONS as f64, 1.0 / UPSTREAMS as f64);
    let deviation = (sessions * share * (1.0 - share)).sqrt();
    let off = (count as f64 - sessions * share).abs();
    assert!(
        off < 4.0 * deviation,
        "{count} of {SESSIONS} over {UPSTREAMS} upstreams"
    );
}

async fn mocks(count: usize) -> Vec<Mock> {
    let mut mocks = Vec::new();
    for index in 0..count {
        let mock = Mock::start(&format!("u{index}"), &[MODEL]).await;
        mock.set(json!({"latency": "10ms", "jitter": "30ms", "chunks": 2}))
            .await;
        mocks.push(mock);
    }
    mocks
}

fn upstream(mock: &Mock) -> Value {
    json!({
        "name": mock.name(),
        "base_url": mock.base_url(),
        "models": [MODEL],
        "health": {"interval": "1s", "timeout": "500ms", "cooldown": "2s", "cooldown_max": "2s"},
    })
}

/// The nodes of one region with those of another.
fn pairs<'a>(mesh: &'a Mesh, one: &str, other: &str) -> Vec<(&'a str, &'a str)> {
    let of = |region: &str| {
        let region = format!("{region}-");
        let names = mesh.nodes().iter().map(|node| node.name());
        let names = names.filter(move |name| name.starts_with(&region));
        names.collect::<Vec<_>>()
    };
    let others = of(other);
    let pairs = of(one).into_iter();
    pairs
        .flat_map(|one| others.iter().map(move |other| (one, *other)))
        .collect()
}

/// Requests for completions that came to a mock.
async fn chats(mock: &Mock) -> u64 {
    let stats = mock.stats().await;
    stats["by_path"]["/v1/chat/completions"]
        .as_u64()
        .unwrap_or(0)
}

async fn see(mesh: &Mesh, upstream: &str, wanted: impl Fn(&str) -> bool) {
    for node in mesh.nodes() {
        let wait = node.wait_for_view("a changed upstream", NOTICE_LIMIT, |view| {
            let mut owners = mesh.nodes().iter().map(|owner| owner.name());
            owners.any(|owner| {
                let state = view.state(owner, upstream);
                !state.is_empty() && wanted(&state)
            })
        });
        wait.await;
    }
}

fn count(assigned: &Assignments, upstream: &str) -> usize {
    assigned.values().filter(|it| *it == upstream).count()
}

/// The conversations that moved since `before`.
fn moved(before: &Assignments, after: &Assignments) -> Vec<usize> {
    let is_moved = |(session, upstream): &(&usize, &String)| before[*session] != **upstream;
    after
        .iter()
        .filter(is_moved)
        .map(|(session, _)| *session)
        .collect()
}

/// Sends one request of each of `sessions` to `entry`.
async fn send(entry: &Node, sessions: impl IntoIterator<Item = usize>) -> Assignments {
    let left = Arc::new(Mutex::new(sessions.into_iter().collect::<Vec<_>>()));
    let url = format!("{}/chat/completions", entry.base_url());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (left, url, client) = (Arc::clone(&left), url.clone(), http());
        clients.spawn(async move {
            let mut assigned = Assignments::new();
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(session) = next else { return assigned };
                let answer = must("a chat", whole(request(&client, &url, session)).await);
                assert_eq!(answer.status, 200, "{answer:?}");
                assigned.insert(session, answer.header("x-grapevine-upstream").to_string());
            }
        });
    }
    let mut assigned = Assignments::new();
    while let Some(some) = clients.join_next().await {
        assigned.extend(must("a client", some));
    }
    assigned
}

fn request(client: &Client, url: &str, session: usize) -> RequestBuilder {
    let name = format!("conversation-{session}");
    let mut body = chat_body(MODEL, "go on");
    body["max_tokens"] = json!(1);
    let post = client.post(url).header("x-forwarded-for", CLIENT);
    match session % 4 {
        0 => post.header("x-grapevine-session-id", name).json(&body),
        1 => {
            body["prompt_cache_key"] = json!(name);
            post.json(&body)
        }
        2 => {
            body["user"] = json!(name);
            post.json(&body)
        }
        _ => {
            let words = format!("This is how {name} begins, and nothing else names it.");
            body["messages"] = json!([{"role": "user", "content": words}]);
            post.json(&body)
        }
    }
}
