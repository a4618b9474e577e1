//! Attacks by a peer with a good certificate, by what it asks the target to call or to read.

use std::time::Duration;

use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::residency::ClientOrigin;
use grapevine_proto::frame::{
    BODY_BYTES_MAX, HEAD_BYTES_MAX, LENGTH_BYTES, RequestHead, ResponseStart, TAG_GOSSIP, TAG_RUMOR,
};
use grapevine_tests::client::{chat_body, http, whole};
use grapevine_tests::rogue::Rogue;
use grapevine_tests::wait::must;
use grapevine_tests::wait_until;
use quinn::RecvStream;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Tally;
use super::tally::end_of;
use crate::odd::{GOOD, ODD};
use crate::world::{HONEST_KEY, MODEL, World};

/// How long the peer waits for the outcome of its messages.
const HELD: Duration = Duration::from_secs(20);

/// How long the peer waits for one more stream.
const OPENED: Duration = Duration::from_millis(200);

/// How long a node may take to learn a peer's rules.
const LEARNED: Duration = Duration::from_secs(20);

/// Methods and paths that no client may ask for.
const FORBIDDEN: [(&str, &str); 13] = [
    ("POST", "/admin/drain"),
    ("GET", "/v1/organization/users"),
    ("DELETE", "/v1/vector_stores/x"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("POST", "/v1/../admin"),
    ("POST", "/v1/chat/completions/%2e%2e/admin"),
    ("POST", "//v1/chat/completions"),
    ("POST", "/v1/chat/completions?model=other"),
    ("POST", "http://other/v1/chat/completions"),
    ("POST", "*"),
    ("CONNECT", "other:443"),
    ("TRACE", "/v1/chat/completions"),
    ("DELETE", "/v1/chat/completions"),
];

fn chat_head<'a>(request_id: &'a str, upstream: &str, model: &str, body: usize) -> RequestHead<'a> {
    RequestHead {
        lossy: None,
        request_id,
        upstream: must("a name", UpstreamName::new(upstream)),
        model: Some(must("a model", ModelName::new(model))),
        method: "POST",
        path: "/v1/chat/completions",
        headers: vec![("content-type", b"application/json")],
        body_bytes: body,
        remaining: Duration::from_secs(60),
        hops: 1,
        last_resort: false,
        allow_regions: Vec::new(),
        traceparent: None,
        client: ClientOrigin::Unknown,
        key: None,
        mark: 0,
    }
}

/// The content of an answer's first frame.
fn end(answer: &[u8]) -> String {
    let payload = answer.get(LENGTH_BYTES..).unwrap_or_default();
    let length = answer
        .first_chunk()
        .map_or(0, |length| u32::from_le_bytes(*length));
    let length = usize::try_from(length).unwrap_or_default();
    match ResponseStart::decode(payload.get(..length).unwrap_or_default()) {
        Ok(ResponseStart::Answer(head)) => head.status.to_string(),
        Ok(ResponseStart::None(none)) => none.outcome.as_str().to_owned(),
        Err(_) if answer.is_empty() => "ended".to_owned(),
        Err(error) => format!("{error}"),
    }
}

async fn answered(mut receive: RecvStream) -> String {
    match timeout(HELD, receive.read_to_end(2 * HEAD_BYTES_MAX)).await {
        Ok(Ok(answer)) => end(&answer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "held".to_owned(),
    }
}

/// A chat of the peer that is as it should be.
async fn chat(peer: &Rogue, id: &str, upstream: &str, model: &str) -> String {
    let body = chat_body(model, GOOD).to_string().into_bytes();
    let head = must(
        "a head",
        chat_head(id, upstream, model, body.len()).encode(),
    );
    match peer.call(&[head, body].concat()).await {
        Ok(answer) => end(&answer),
        Err(why) => why,
    }
}

/// Requests for what no client may ask for, with this node's credential.
pub(crate) async fn forbidden_paths(world: &World) -> Tally {
    let peer = world.rogue().await;
    let mut tally = Tally::default();
    for (method, path) in FORBIDDEN {
        let head = RequestHead {
            method,
            path,
            ..chat_head("attack", ODD, ODD, 0)
        };
        let answer = peer.call(&must("a head", head.encode())).await;
        tally.add(answer.map_or_else(|why| why, |answer| end(&answer)));
    }
    let twice = RequestHead {
        hops: 2,
        ..chat_head("attack", ODD, ODD, 0)
    };
    let answer = peer.call(&must("a head", twice.encode())).await;
    tally.add(answer.map_or_else(|why| why, |answer| end(&answer)));
    let permitted = chat(&peer, "good", ODD, ODD).await;
    tally.check(
        permitted == "200",
        format!("what a client may ask for: {permitted}"),
    );
    let known = ["POST /v1/chat/completions", "GET /v1/models"];
    let mut reached = world.odd().asked();
    tally.check(
        reached.contains(known[0]),
        "the upstream was not asked at all",
    );
    reached.retain(|asked| !known.contains(&asked.as_str()));
    tally.check(
        reached.is_empty(),
        format!("the upstream was asked for {reached:?}"),
    );
    tally
}

/// Heads of calls without their bodies.
pub(crate) async fn announced_bodies(world: &World) -> Tally {
    let peer = world.rogue().await;
    let mut held = JoinSet::new();
    let mut sending = Vec::new();
    for index in 0..8 {
        let id = format!("attack-{index}");
        let head = chat_head(&id, "near", MODEL, BODY_BYTES_MAX).encode();
        let (mut send, receive) = must("a stream", peer.connection.open_bi().await);
        must("a head sent", send.write_all(&must("a head", head)).await);
        held.spawn(answered(receive));
        sending.push(send);
    }
    let beside = chat(&peer, "beside", "near", MODEL).await;
    let mut tally = tokio::select! {
        ends = held.join_all() => Tally::of(ends),
        () = peer.answer_pings() => {
            panic!("the connection ended: {:?}", peer.connection.close_reason())
        }
    };
    tally.check(beside == "200", format!("a call beside them: {beside}"));
    tally
}

/// Messages of every kind with nothing in them that means anything.
pub(crate) async fn junk(world: &World) -> Tally {
    let mut tally = Tally::default();
    let peer = world.rogue().await;
    for length in 0..300 {
        for tag in [0, TAG_GOSSIP, TAG_RUMOR, 200] {
            peer.send(&[vec![tag], vec![0xEE; length * 200]].concat())
                .await;
            tally.sent += 1;
        }
        let call = peer.call(&vec![0xEE; length]).await;
        tally.add(call.map_or_else(|_| "reset".to_owned(), |answer| end(&answer)));
    }
    let (lost, _) = wait_until("junk to be counted", HELD, async || {
        match world.lost("gossip_message").await {
            0 => Err("none".to_owned()),
            lost => Ok(lost),
        }
    })
    .await;
    tally.ended("lost gossip_message", lost);
    tally
}

/// Streams of both kinds that begin and do not go on.
pub(crate) async fn open_streams(world: &World) -> Tally {
    let peer = world.rogue().await;
    let mut tally = Tally::default();
    let (mut held, mut sending) = (JoinSet::new(), Vec::new());
    for _ in 0..250 {
        let opened = async {
            let (mut call, receive) = peer.connection.open_bi().await.ok()?;
            let mut message = peer.connection.open_uni().await.ok()?;
            call.write_all(&[0]).await.ok()?;
            message.write_all(&[TAG_GOSSIP]).await.ok()?;
            Some((call, message, receive))
        };
        match timeout(OPENED, opened).await {
            Ok(Some((call, message, receive))) => {
                held.spawn(answered(receive));
                sending.push((call, message));
            }
            Ok(None) => tally.add("closed"),
            Err(_) => tally.add("no more streams"),
        }
    }
    for end in held.join_all().await {
        tally.add(end);
    }
    let after = chat(&peer, "after", "near", MODEL).await;
    tally.check(after == "200", format!("a call after them: {after}"));
    tally
}

/// A node with rules that permit no region: it refuses its own requests, and no other node refuses any.
pub(crate) async fn closing_rules(world: &World) -> Tally {
    let bad = world.node("n3");
    bad.reload(|config| config["residency"] = json!([{"regions": ["nowhere"]}]));
    wait_until("the rules of n3 at n1", LEARNED, async || {
        let view = world.view().await;
        match view.node("n3").map(|node| &node["residency_differs"]) {
            Some(differs) if *differs == true => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let peer = world.rogue().await;
    let mut tally = Tally::default();
    // What the rules close is closed at their own node; n3 speaks TLS, and its certificate is one of the mesh.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true);
    let client = must("building an HTTP client", client.build());
    let url = format!("https://{}/v1/chat/completions", bad.addresses().public);
    for _ in 0..10 {
        let request = client.post(&url).bearer_auth(HONEST_KEY);
        let answer = whole(request.json(&chat_body(MODEL, GOOD))).await;
        tally.add(end_of(&must("an answer of n3", answer)));
    }
    let plain = http()
        .post(world.url("/chat/completions"))
        .bearer_auth(HONEST_KEY);
    let plain = must(
        "an answer of n1",
        whole(plain.json(&chat_body(MODEL, GOOD))).await,
    );
    tally.check(
        plain.status == 200,
        format!("n1 follows the rules of n3: {}", end_of(&plain)),
    );
    let forwarded = chat(&peer, "forwarded", "near", MODEL).await;
    tally.check(
        forwarded == "200",
        format!("n1 serves no peer any more: {forwarded}"),
    );
    tally
}
