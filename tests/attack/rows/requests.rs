//! Attacks by whole requests with a good key.

use std::time::Duration;

use grapevine_tests::client::{chat_body, http, whole};
use grapevine_tests::wait::must;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Tally;
use super::tally::end_of_any;
use crate::world::{HOSTILE_KEY, MODEL, TOKEN, World, headers_of};

/// Requests of one attack at once.
const AT_ONCE: usize = 32;

/// Longer than any of them may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A thousand records as JSON, of 256 bytes of each text that a client chose.
const RECORDS_BYTES_MAX: usize = 4_000_000;

/// What is not for clients.
pub(crate) async fn management_paths(world: &World) -> Tally {
    let paths = [
        (Method::GET, "/organization/users"),
        (Method::DELETE, "/vector_stores/x"),
        (Method::POST, "/fine_tuning/jobs"),
        (Method::GET, "/assistants"),
        (Method::POST, "/admin/drain"),
        // The client would resolve these were they not encoded.
        (Method::POST, "/chat/%2e%2e/admin"),
        (Method::POST, "/chat%2fcompletions"),
        (Method::POST, "/chat//completions"),
        (Method::DELETE, "/chat/completions"),
        (Method::POST, "/chat/completions?model=other"),
    ];
    let client = http();
    let request = |(method, path): &(Method, &str)| {
        let request = client.request(method.clone(), world.url(path));
        request.json(&json!({"model": MODEL}))
    };
    send_all(paths.iter().map(request).collect()).await
}

/// Paths and queries that would fill records.
pub(crate) async fn long_paths(world: &World) -> Tally {
    let client = http();
    let request = |index: usize| {
        let long = "x".repeat(60_000);
        let path = match index % 2 {
            0 => format!("/chat/completions/{long}{index}"),
            _ => format!("/chat/completions?{long}{index}"),
        };
        client.post(world.url(&path)).json(&chat_body(MODEL, "x"))
    };
    let mut tally = send_all((0..1_000).map(request).collect()).await;
    let records = must(
        "/requests",
        world.target().try_admin_as("/requests", TOKEN).await,
    );
    let bytes = records.body.len();
    tally.check(records.status == 200 && bytes > 0, "no records are shown");
    tally.check(
        bytes <= RECORDS_BYTES_MAX,
        format!("the records have {bytes} bytes"),
    );
    tally
}

/// Posts each with the hostile client's key.
pub(super) async fn post_all(world: &World, path: &str, bodies: Vec<Value>) -> Tally {
    let client = http();
    let post = |body: &Value| client.post(world.url(path)).json(body);
    send_all(bodies.iter().map(post).collect()).await
}

/// Sends them with the hostile client's key.
pub(super) async fn send_all(requests: Vec<RequestBuilder>) -> Tally {
    let keyed = |request: RequestBuilder| request.headers(headers_of(HOSTILE_KEY));
    all_of(requests.into_iter().map(keyed).collect()).await
}

/// Sends them as they are.
pub(super) async fn all_of(requests: Vec<RequestBuilder>) -> Tally {
    let mut tally = Tally::default();
    let mut in_flight = JoinSet::new();
    let mut requests = requests.into_iter();
    loop {
        while in_flight.len() < AT_ONCE
            && let Some(request) = requests.next()
        {
            in_flight.spawn(whole(request.timeout(LIMIT)));
        }
        match in_flight.join_next().await {
            Some(Ok(answer)) => tally.add(end_of_any(&answer)),
            Some(Err(error)) => tally.add(format!("broke: {error}")),
            None => return tally,
        }
    }
}
