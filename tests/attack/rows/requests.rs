//! Attacks by whole requests with a good key.

use std::time::Duration;

use grapevine_tests::client::{http, whole};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Tally;
use crate::world::{MODEL, World, hostile_headers, workflow};

/// Requests of one attack at once.
const AT_ONCE: usize = 32;

/// Longer than any of them may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Templates with a number that sizes something.
pub(crate) async fn huge_templates(world: &World) -> Tally {
    let texts = [
        "{{ 'x'|indent(1000000000000) }}",
        "{{ '%1000000000000d'|format(1) }}",
        "{{ 'x' * 1000000000000 }}",
        "{{ range(1000000000000)|list }}",
        "{{ 9 ** 9 ** 9 }}",
    ];
    post_all(world, "/workflows/runs", texts.map(workflow).into()).await
}

/// Templates that make much of little.
pub(crate) async fn growing_templates(world: &World) -> Tally {
    let doubled = |text: String, _: usize| format!("{text}{{% set a = a ~ a %}}");
    let doubling = (0..40).fold("{% set a = 'xxxxxxxx' %}".to_owned(), doubled);
    let texts = [
        doubling + "{{ a }}",
        "{% for i in range(3000) %}{% for j in range(3000) %}xxxxxxxx{% endfor %}{% endfor %}"
            .into(),
        format!("{{{{ '{0}'|replace('x', '{0}') }}}}", "x".repeat(4_000)),
    ];
    let runs = texts.iter().map(|text| workflow(text));
    post_all(world, "/workflows/runs", runs.collect()).await
}

/// Tasks that no node serves.
pub(crate) async fn made_up_services(world: &World) -> Tally {
    let task = |index: usize| json!({"service": format!("made-up-{index}:process"), "payload": {}});
    post_all(world, "/tasks", (0..3_000).map(task).collect()).await
}

/// Work for a built-in service that did not come through its own route.
pub(crate) async fn raw_batches(world: &World) -> Tally {
    let batch = json!({"service": "async-task:process", "payload": {
        "job": "batch", "input_file_id": "file-0", "endpoint": "/admin/delete",
        "completion_window": "24h", "window_seconds": 86_400, "metadata": null,
    }});
    post_all(world, "/tasks", vec![batch; 10]).await
}

/// What is not for clients.
pub(crate) async fn management_paths(world: &World) -> Tally {
    let paths = [
        (Method::GET, "/organization/users"),
        (Method::DELETE, "/vector_stores/x"),
        (Method::POST, "/fine_tuning/jobs"),
        (Method::GET, "/assistants"),
        (Method::POST, "/chat/../../admin/delete"),
        (Method::POST, "/chat/%2e%2e/admin"),
    ];
    let request = |(method, path): &(Method, &str)| {
        let request = http().request(method.clone(), world.url(path));
        request.json(&json!({"model": MODEL}))
    };
    send_all(paths.iter().map(request).collect()).await
}

/// Paths of which records would keep much.
pub(crate) async fn long_paths(world: &World) -> Tally {
    let client = http();
    let request = |index: usize| {
        let path = format!("/chat/completions?{}{index}", "x".repeat(60_000));
        client.post(world.url(&path)).json(&json!({"model": MODEL}))
    };
    send_all((0..1_000).map(request).collect()).await
}

/// Forms and objects that two readers read differently.
pub(crate) async fn two_models(world: &World) -> Tally {
    let client = http();
    let part = |name: &str, value: &str| {
        format!("--edge\r\ncontent-disposition: form-data; {name}\r\n\r\n{value}\r\n")
    };
    let form = part("name=\"model\"", MODEL) + &part("name=model", "other") + "--edge--\r\n";
    let transcription = client
        .post(world.url("/audio/transcriptions"))
        .header("content-type", "multipart/form-data; boundary=edge")
        .body(form);
    let objects = [
        format!(r#"{{"model": "{MODEL}", "model": "other"}}"#),
        format!(r#"{{"model": "{MODEL}", "Model": "other"}}"#),
        format!(r#"{{"model": "{MODEL}", "mod\u0065l": "other"}}"#),
    ];
    let chats = objects.into_iter().map(|body| {
        let chat = client.post(world.url("/chat/completions"));
        chat.header("content-type", "application/json").body(body)
    });
    send_all(chats.chain([transcription]).collect()).await
}

/// Keys and tokens that somebody guesses, at both ports.
pub(crate) async fn guesses(world: &World) -> Tally {
    let client = http();
    let guess = |index: usize| {
        let url = match index % 2 {
            0 => format!("http://{}/mesh", world.admin()),
            _ => world.url("/models"),
        };
        client.get(url).bearer_auth(format!("guess-{index}"))
    };
    all_of((0..2_000).map(guess).collect()).await
}

async fn post_all(world: &World, path: &str, bodies: Vec<Value>) -> Tally {
    let client: Client = http();
    let post = |body: &Value| client.post(world.url(path)).json(body);
    send_all(bodies.iter().map(post).collect()).await
}

/// Sends them with the hostile client's key.
async fn send_all(requests: Vec<RequestBuilder>) -> Tally {
    let keyed = |request: RequestBuilder| request.headers(hostile_headers());
    all_of(requests.into_iter().map(keyed).collect()).await
}

async fn all_of(requests: Vec<RequestBuilder>) -> Tally {
    let mut tally = Tally {
        sent: requests.len(),
        refused: 0,
    };
    let mut under_way = JoinSet::new();
    let mut requests = requests.into_iter();
    loop {
        while under_way.len() < AT_ONCE
            && let Some(request) = requests.next()
        {
            under_way.spawn(whole(request.timeout(LIMIT)));
        }
        let Some(ended) = under_way.join_next().await else {
            return tally;
        };
        let is_taken = matches!(ended, Ok(Ok(answer)) if answer.status < 400);
        tally.refused += usize::from(!is_taken);
    }
}
