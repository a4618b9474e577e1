//! What upstreams keep is found again, from whatever node a follow-up enters, under every strategy and across restarts:
//! the official SDK over two regions, whose mocks know nothing of each other.

use std::time::Duration;

use grapevine_tests::client::{Answer, http, whole};
use grapevine_tests::dice::Dice;
use grapevine_tests::mesh::{NodeBuilder, merge};
use grapevine_tests::scratch::Scratch;
use grapevine_tests::script::run_client;
use grapevine_tests::wait::{must, wait_until};
use grapevine_tests::{Mesh, Mock, Node};
use reqwest::Method;
use serde_json::{Value, json};

const MODEL: &str = "gpt-5";

pub(super) const KEY: &str = "sk-any";

const NODES: [&str; 3] = ["eur-1", "eur-2", "usa-1"];

/// How long the mesh may take to notice what changed. Nothing is said to be gone before a node is up for 30 s.
const NOTICE_LIMIT: Duration = Duration::from_secs(90);

/// A mock that a node has, as strict as the provider that it stands for.
pub(super) struct Strict {
    pub(super) name: &'static str,
    pub(super) provider: &'static str,
    pub(super) model: &'static str,
}

/// Three nodes in two regions, whose mocks know nothing of each other.
pub(super) struct World {
    pub(super) mesh: Mesh,
    _mocks: Vec<Mock>,
}

impl World {
    /// One of OpenAI's API in each region.
    async fn start(strategy: &str) -> Self {
        let openai = |name| Strict {
            name,
            provider: "openai",
            model: MODEL,
        };
        Self::start_with(strategy, &[openai("east")], &[openai("west")]).await
    }

    /// Those of `east` at a node in one region, and those of `west` in the other.
    pub(super) async fn start_with(strategy: &str, east: &[Strict], west: &[Strict]) -> Self {
        let mut mocks = Vec::new();
        let mut upstreams = Vec::new();
        for region in [east, &[], west] {
            let mut own = Vec::new();
            for strict in region {
                let flags = ["--provider", strict.provider, "--api-key", KEY];
                let mock = Mock::start_with(strict.name, &[strict.model], &flags).await;
                own.push(upstream(&mock, strict));
                mocks.push(mock);
            }
            upstreams.push(own);
        }
        let mut builder = Mesh::builder();
        for ((name, region), own) in NODES.into_iter().zip(["eur", "eur", "usa"]).zip(upstreams) {
            let strategy = json!(strategy);
            builder = builder.node(name, |node| {
                let node = node.region(region).config("routing.strategy", strategy);
                own.into_iter().fold(node, NodeBuilder::raw_upstream)
            });
        }
        Self {
            mesh: builder.start().await,
            _mocks: mocks,
        }
    }

    pub(super) fn nodes(&self) -> [&Node; 3] {
        NODES.map(|name| &self.mesh[name])
    }
}

fn upstream(mock: &Mock, strict: &Strict) -> Value {
    json!({
        "name": mock.name(),
        "provider": strict.provider,
        "base_url": mock.base_url(),
        "api_key": KEY,
        "models": [strict.model],
        "health": {"interval": "1s", "timeout": "500ms"},
    })
}

/// Turns of twelve conversations of each kind, with a node restarted between them.
async fn hold(strategy: &str) {
    let world = World::start(strategy).await;
    let mut dice = Dice::of_environment();
    let scratch = Scratch::new("conversations");
    let state = scratch.path().join("state.json");
    let state = state.to_str().expect("a path of text");
    let urls = world.nodes().map(Node::base_url);
    for (turn, restarted) in [(0, 0), (1, 1), (2, 2), (9, 0)] {
        let (turn, seed) = (turn.to_string(), dice.below(1 << 30).to_string());
        let mut arguments = vec![state, KEY, &turn, &seed];
        arguments.extend(urls.iter().map(String::as_str));
        let printed = run_client("conversations.py", &arguments).await;
        eprint!("{strategy}: {printed}");
        assert!(
            printed.contains(&format!("turn {turn}: 0 of ")),
            "{printed}"
        );
        world.nodes()[restarted].restart().await;
        world.mesh.wait_until_converged().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_reach_what_they_name_under_latency() {
    hold("latency").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_reach_what_they_name_under_weights() {
    hold("weighted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_reach_what_they_name_under_least_busy() {
    hold("least-busy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follow_ups_reach_what_they_name_under_geo_and_priority() {
    hold("geo").await;
    hold("priority").await;
}

async fn send(
    node: &Node,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let url = format!("{}{path}", node.base_url());
    let mut request = http().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    must("an answer", whole(request).await)
}

async fn response(node: &Node, more: Value) -> Answer {
    let mut body = json!({"model": MODEL, "input": "Tell me of the islands."});
    merge(&mut body, more);
    send(node, Method::POST, "/responses", &[], Some(body)).await
}

fn id(answer: &Answer) -> String {
    let id = answer.json()["id"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| panic!("an id in {answer:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn id_leads_neither_out_of_its_fence_nor_anywhere_when_it_is_forged_or_its_owner_is_gone() {
    let world = World::start("weighted").await;
    let [eur, other, usa] = world.nodes();
    let made = id(&send(
        eur,
        Method::POST,
        "/responses",
        &[("x-grapevine-upstream", "west")],
        Some(json!({"model": MODEL, "input": "hi"})),
    )
    .await);
    assert!(made.starts_with("resp_west-"), "{made}");
    let path = format!("/responses/{made}");
    let get = async |node: &Node, path: &str, headers: &[(&str, &str)]| {
        send(node, Method::GET, path, headers, None).await
    };
    let found = get(other, &path, &[]).await;
    assert_eq!((found.status, id(&found)), (200, made.clone()));
    assert_eq!(found.header("x-grapevine-reason"), "owner");
    assert_eq!(found.header("x-grapevine-session"), "owner");
    let settled = other.wait_for_view("settled", NOTICE_LIMIT, |view| view.is_settled());
    settled.await;
    // Its region is not among those that the client allows.
    let fenced = get(other, &path, &[("x-grapevine-allow-regions", "eur")]).await;
    assert_eq!(fenced.status, 451, "{fenced:?}");
    // An id of another mesh, or a changed one.
    let mut forged = made.clone();
    let last = if made.ends_with('0') { '1' } else { '0' };
    forged.pop();
    forged.push(last);
    let unknown = get(other, &format!("/responses/{forged}"), &[]).await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert_eq!(unknown.header("x-grapevine-reason"), "unknown_id");
    // One from before passes as it is, and the mock knows it.
    let plain = made.rsplit_once("_g").expect("a seal").0;
    let old = get(
        usa,
        &format!("/responses/{plain}"),
        &[("x-grapevine-upstream", "west")],
    )
    .await;
    assert_eq!((old.status, id(&old)), (200, made.clone()));
    // Two owners.
    let both = id(&response(eur, json!({})).await);
    let east = id(&send(
        eur,
        Method::POST,
        "/responses",
        &[("x-grapevine-upstream", "east")],
        Some(json!({"model": MODEL, "input": "hi"})),
    )
    .await);
    assert_ne!(both, east);
    let mixed =
        json!({"previous_response_id": east, "conversation": made.replace("resp_", "conv_")});
    let mixed = response(eur, mixed).await;
    assert_eq!(mixed.status, 404, "its seal was of another id: {mixed:?}");

    // The upstream is taken out of the configuration: no node has it any more.
    usa.reload(|config| config["upstreams"] = json!([]));
    wait_until("the owner is gone", NOTICE_LIMIT, async || {
        let gone = get(other, &path, &[]).await;
        let reason = gone.header("x-grapevine-reason").to_owned();
        (gone.status == 404 && reason == "owner-gone")
            .then_some(())
            .ok_or_else(|| format!("{} {reason}", gone.status))
    })
    .await;
    // The others go on.
    let here = get(other, &format!("/responses/{east}"), &[]).await;
    assert_eq!(here.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_for_batches_stay_at_the_node_and_others_go_to_an_upstream() {
    let world = World::start("latency").await;
    let upload = async |node: &Node, purpose: &str, headers: &[(&str, &str)]| {
        // The file before its purpose, as some libraries write it.
        let part = |head: &str, content: &str| {
            format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
        };
        let file = part("name=\"file\"; filename=\"a.jsonl\"", "{}");
        let form = format!("{file}{}--b--\r\n", part("name=\"purpose\"", purpose));
        let request = http().post(format!("{}/files", node.base_url())).body(form);
        let mut request = request.header("content-type", "multipart/form-data; boundary=b");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        must("an answer", whole(request).await)
    };
    let [eur, other, usa] = world.nodes();
    let own = upload(eur, "batch", &[]).await;
    assert_eq!(
        (own.status, own.header("x-grapevine-upstream")),
        (200, "-"),
        "{own:?}"
    );
    for (name, node) in [("east", usa), ("west", eur)] {
        let kept = upload(node, "user_data", &[("x-grapevine-upstream", name)]).await;
        assert_eq!(
            (kept.status, kept.header("x-grapevine-upstream")),
            (200, name),
            "{kept:?}"
        );
        let path = format!("/files/{}", id(&kept));
        let shown = send(other, Method::GET, &path, &[], None).await;
        assert_eq!(
            (shown.status, shown.header("x-grapevine-upstream")),
            (200, name)
        );
        assert_eq!(id(&shown), id(&kept));
    }
    let unnamed = upload(other, "user_data", &[]).await;
    assert_eq!(unnamed.status, 200, "{unnamed:?}");
    let path = format!("/files/{}", id(&own));
    let own = send(usa, Method::GET, &path, &[], None).await;
    assert_eq!(own.status, 200, "{own:?}");
}
