//! Workflows through whole nodes: steps that follow, branch, fan out, fail and are tried again; runs that are
//! cancelled, requeued, reported to a webhook, and interrupted by the death of their worker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use grapevine_tests::client::{Answer, http, try_get, whole};
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::program::workspace;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Mock, Node, wait_until};
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SERVICE: &str = "workflow:process";

const LIMIT: Duration = Duration::from_secs(20);

/// Longer than a lease that is not renewed and the sweep after it.
const LEASE_LIMIT: Duration = Duration::from_secs(45);

/// The key of webhook signatures, in its bytes and as in a node's config.
const WEBHOOK_KEY: &[u8] = b"write-a-word-of-your-own";

#[tokio::test]
async fn every_problem_of_a_definition_is_named() {
    let mesh = Mesh::builder().node("sgp", |node| node).start().await;
    let node = &mesh["sgp"];
    let validate = async |document: Value| {
        let answer = post(node, "/workflows/validate", document).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let good = json!({"steps": [chat("one", "m", "{{ trigger.text }}")]});
    let answer = validate(good.clone()).await;
    assert_eq!(
        (&answer["valid"], &answer["problems"]),
        (&json!(true), &json!([]))
    );

    let mut unknown = chat("two", "m", "{{ steps.nobody.output }}");
    unknown["after"] = json!(["nothing"]);
    let answer = validate(json!({"steps": [chat("one", "m", "x"), unknown]})).await;
    let problems = answer["problems"].as_array().expect("a list");
    let paths: Vec<&str> = problems
        .iter()
        .filter_map(|it| it["path"].as_str())
        .collect();
    assert_eq!(answer["valid"], false);
    assert_eq!(
        paths,
        [
            "steps[1].after[0]",
            "steps[1].call.body.messages[0].content"
        ],
        "{answer}"
    );
    let text = answer.to_string();
    assert!(
        text.contains("nobody") && text.contains("nothing"),
        "{answer}"
    );

    let cycle = json!({"steps": [
        chat("one", "m", "{{ steps.two.output }}"),
        chat("two", "m", "{{ steps.three.output }}"),
        chat("three", "m", "{{ steps.one.output }}"),
    ]});
    let answer = validate(cycle.clone()).await;
    let message = answer["problems"][0]["message"]
        .as_str()
        .unwrap_or_default();
    for step in ["one", "two", "three"] {
        assert!(message.contains(step), "{answer}");
    }
    let refused = post(node, "/workflows", cycle).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (400, &json!("invalid_workflow"))
    );
    let queues = json!({"steps": [{"id": "a", "call": {"path": "/v1/batches", "body": {}}}]});
    assert_eq!(
        validate(queues).await["problems"][0]["path"],
        "steps[0].call.path"
    );
}

#[tokio::test]
async fn definition_is_kept_run_by_name_and_deleted() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    let (front, back) = (&mesh["front"], "back");
    let mut second = chat(
        "second",
        "near",
        "after {{ steps.first.output.choices[0].message.content }}",
    );
    second["if"] = json!("trigger.go_on");
    let definition = json!({
        "name": "two words",
        "steps": [second, chat("first", "near", "say {{ trigger.word }}")],
        "output": {
            "first": "{{ steps.first.output.choices[0].message.content }}",
            "second": "{{ steps.second.state }}",
        },
    });
    let created = post(front, "/workflows", definition.clone()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let id = created.json()["id"].as_str().expect("an id").to_owned();
    let listed = get(front, "/workflows").await.json();
    assert_eq!(listed["data"][0]["id"], json!(id));
    let shown = get(front, &format!("/workflows/{id}")).await.json();
    assert_eq!(shown["workflow"]["steps"][1]["id"], "first");

    for (go_on, state) in [(true, "completed"), (false, "skipped")] {
        let input = json!({"input": {"word": "vine", "go_on": go_on}});
        let run = trigger(front, &format!("/workflows/{id}/runs"), input).await;
        let run = wait_for(front, &run, "completed", LIMIT).await;
        let text = run["output"]["first"].as_str().expect("a text");
        assert!(text.starts_with("Upstream near heard"), "{run}");
        assert_eq!(run["output"]["second"], state);
        let steps = &run["steps"];
        assert_eq!(
            [&steps[0]["state"], &steps[1]["state"]],
            [&json!(state), &json!("completed")]
        );
        assert_eq!(run["workflow"], json!({"id": id, "name": "two words"}));
        let task = get(front, &format!("/tasks/{}", id_of(&run))).await.json();
        assert_eq!(task["history"][0]["worker"], back, "{task}");
    }
    assert_eq!(calls(&mock, "near").await, 3);
    let path = format!("{}/workflows/{id}", front.base_url());
    let deleted = must(&path, whole(http().delete(&path)).await).json();
    assert_eq!(deleted["deleted"], true);
    let gone = post(front, &format!("/workflows/{id}/runs"), json!({})).await;
    assert_eq!(gone.status, 404, "{}", gone.text());
    assert_eq!(
        get(front, "/workflows/runs").await.json()["data"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[tokio::test]
async fn example_of_the_guide_runs() {
    let (mesh, mock) = front_and_back("gpt-4o", |node| node).await;
    let page = must(
        "the page",
        std::fs::read_to_string(workspace().join("deploy/guide/src/batches.md")),
    );
    let (_, section) = page.split_once("## Workflows").expect("the section");
    let (_, example) = section.split_once("```json\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let run = must("JSON", serde_json::from_str(example));
    let run = trigger(&mesh["front"], "/workflows/runs", run).await;
    let run = wait_for(&mesh["front"], &run, "completed", LIMIT).await;
    assert_eq!(run["output"]["title"], "completed");
    let poem = run["output"]["poem"].as_str().expect("a text");
    assert!(poem.starts_with("Upstream gpt-4o heard"), "{run}");
    assert_eq!(calls(&mock, "gpt-4o").await, 4);
}

#[tokio::test]
async fn branches_run_at_once_and_meet() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    mock.set(json!({"latency": "3s"})).await;
    let mut meet = chat(
        "meet",
        "near",
        "{{ steps.left.status }} {{ steps.right.status }}",
    );
    meet["after"] = json!(["left"]);
    let steps = json!([chat("left", "near", "l"), chat("right", "near", "r"), meet]);
    let run = inline(&mesh["front"], json!({"steps": steps})).await;
    wait_for_calls(&mock, "near", 2).await;
    assert!(mock.count("in_flight").await >= 2);
    assert_eq!(
        states(&show(&mesh["front"], &run).await),
        ["running", "running", "waiting"]
    );
    mock.reset().await;
    let run = wait_for(&mesh["front"], &run, "completed", LIMIT).await;
    let words = run["output"]["meet"]["choices"][0]["message"]["content"].as_str();
    assert!(
        words.is_some_and(|words| words.contains("200 200")),
        "{run}"
    );
    assert_eq!(
        run["output"].as_object().map(serde_json::Map::len),
        Some(1),
        "only the end: {run}"
    );
}

#[tokio::test]
async fn step_fans_out_over_a_list_in_order() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    let mut each = chat("each", "near", "{{ index }}-{{ item.word }}");
    each["for_each"] = json!("trigger.words");
    each["concurrency"] = json!(3);
    let words: Vec<Value> = (0..10).map(|n| json!({"word": format!("w{n}")})).collect();
    let wanted = json!({"workflow": {"steps": [each]}, "input": {"words": words}});
    let run = trigger(&mesh["front"], "/workflows/runs", wanted).await;
    let run = wait_for(&mesh["front"], &run, "completed", LIMIT).await;
    let outputs = run["output"]["each"].as_array().expect("a list");
    for (number, output) in outputs.iter().enumerate() {
        let text = output["choices"][0]["message"]["content"].as_str();
        let wanted = format!("{number}-w{number}");
        assert!(text.is_some_and(|text| text.contains(&wanted)), "{output}");
    }
    assert_eq!(
        (outputs.len(), &run["steps"][0]["items_done"]),
        (10, &json!(10))
    );
    assert_eq!(calls(&mock, "near").await, 10);
}

#[tokio::test]
async fn step_is_tried_again_until_it_is_answered() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    mock.set(json!({"error_rate": 1.0, "error_status": 500}))
        .await;
    let mut step = chat("one", "near", "x");
    step["retry"] = json!({"attempts": 10, "backoff": "200ms"});
    let run = inline(&mesh["front"], json!({"steps": [step]})).await;
    // More than all attempts of one request, which count as one of the step.
    wait_for_calls(&mock, "near", 7).await;
    mock.reset().await;
    let run = wait_for(&mesh["front"], &run, "completed", LIMIT).await;
    let attempts = run["steps"][0]["attempts"].as_u64().expect("a count");
    assert!((2..=10).contains(&attempts), "{run}");
    assert_eq!(run["attempts"], 1, "the run itself was tried once: {run}");
}

#[tokio::test]
async fn failure_ends_the_run_unless_the_step_continues_on_errors() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    let mut bad = chat("bad", "nobody-has-this", "x");
    let next = chat("next", "near", "{{ steps.bad.error.code }}");
    let stopped = inline(
        &mesh["front"],
        json!({"steps": [bad.clone(), next.clone()]}),
    )
    .await;
    let run = wait_for(&mesh["front"], &stopped, "failed", LIMIT).await;
    assert_eq!(states(&run), ["failed", "waiting"]);
    assert_eq!(run["steps"][0]["error"]["code"], "model_not_found", "{run}");
    assert_eq!(run["error"]["code"], "step_failed");
    bad["on_error"] = json!("continue");
    let went_on = inline(&mesh["front"], json!({"steps": [bad, next]})).await;
    let run = wait_for(&mesh["front"], &went_on, "completed", LIMIT).await;
    assert_eq!(states(&run), ["failed", "completed"]);
    let text = run["output"]["next"].to_string();
    assert!(text.contains("model_not_found"), "{run}");
    assert_eq!(calls(&mock, "near").await, 1);
}

#[tokio::test]
async fn hostile_template_is_refused_or_fails_its_step_and_ends_no_node() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    let front = &mesh["front"];
    let seen = json!({"steps": [chat("one", "near", "{{ 'x' | indent(1000000000000) }}")]});
    let refused = post(front, "/workflows/runs", json!({"workflow": seen})).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let message = refused.json()["error"]["message"].to_string();
    for part in [
        "steps[0].call.body.messages[0].content",
        "1000000000000",
        "0 to 1000",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let late = json!({
        "workflow": {"steps": [chat("one", "near", "{{ trigger.text * trigger.times }}")]},
        "input": {"text": "x", "times": 1_000_000_000_000_u64},
    });
    let accepted = post(front, "/workflows/runs", late).await;
    let run = accepted.json()["id"].as_str().expect("an id").to_owned();
    let run = wait_for(front, &run, "failed", LIMIT).await;
    assert_eq!(run["steps"][0]["error"]["code"], "template", "{run}");
    assert_eq!(run["attempts"], 1, "another would end the same way: {run}");
    let good = inline(front, json!({"steps": [chat("one", "near", "x")]})).await;
    wait_for(front, &good, "completed", LIMIT).await;
    assert_eq!(calls(&mock, "near").await, 1);
}

#[tokio::test]
async fn step_that_takes_too_long_fails_by_its_timeout() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    mock.set(json!({"hang": true})).await;
    let mut step = chat("one", "near", "x");
    step["timeout"] = json!("1s");
    step["retry"] = json!({"attempts": 1});
    let run = inline(&mesh["front"], json!({"steps": [step]})).await;
    let run = wait_for(&mesh["front"], &run, "failed", LIMIT).await;
    assert_eq!(run["steps"][0]["error"]["code"], "timeout", "{run}");
    mock.wait_for_count("cancelled", 1, LIMIT).await;
}

#[tokio::test]
async fn cancelled_run_lets_its_call_go() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    mock.set(json!({"hang": true})).await;
    let steps = json!([
        chat("one", "near", "x"),
        chat("two", "near", "{{ steps.one.output }}")
    ]);
    let run = inline(&mesh["front"], json!({"steps": steps})).await;
    wait_for_calls(&mock, "near", 1).await;
    let cancel = format!("/workflows/runs/{run}/cancel");
    let asked = post(&mesh["front"], &cancel, json!({})).await;
    assert_eq!(
        (asked.status, &asked.json()["status"]),
        (200, &json!("cancelling"))
    );
    let shown = wait_for(&mesh["front"], &run, "cancelled", LIMIT).await;
    assert_eq!(states(&shown), ["waiting", "waiting"]);
    mock.wait_for_count("cancelled", 1, LIMIT).await;
    let again = post(&mesh["front"], &cancel, json!({})).await;
    assert_eq!(again.json()["error"]["code"], "already_ended");
}

#[tokio::test]
async fn end_is_reported_signed_until_it_is_accepted_and_again_after_a_requeue() {
    let receiver = Receiver::start(2).await;
    let webhooks = json!({
        "secret": format!("whsec_{}", STANDARD.encode(WEBHOOK_KEY)),
        "hosts": [receiver.host],
    });
    let (mesh, mock) = front_and_back("near", |node| {
        node.config("tasks.webhooks", webhooks.clone())
    })
    .await;
    let other = Mock::start("other", &["other"]).await;
    mesh["back"].rewrite(|config| add_upstream(config, &other));
    mesh["back"].restart().await;
    other
        .set(json!({"error_rate": 1.0, "error_status": 400}))
        .await;
    let second = chat("two", "other", "after {{ steps.one.status }}");
    let workflow = json!({"name": "notified", "steps": [chat("one", "near", "x"), second]});
    let foreign = json!({"workflow": workflow, "webhook": "http://elsewhere.example/"});
    let refused = post(&mesh["front"], "/workflows/runs", foreign).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("webhook"))
    );

    let wanted =
        json!({"workflow": workflow, "webhook": receiver.url, "input": {"secret": "kept"}});
    let run = trigger(&mesh["front"], "/workflows/runs", wanted).await;
    wait_for(&mesh["front"], &run, "failed", LIMIT).await;
    let received = receiver.wait_for(3).await;
    let ids: Vec<&str> = received.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(
        ids, [ids[0]; 3],
        "a receiver can recognise a second arrival"
    );
    for it in &received {
        it.check_signature();
    }
    let delivery = &received[2].body;
    assert_eq!(
        (&delivery["type"], &delivery["data"]["id"]),
        (&json!("workflow.run.failed"), &json!(run))
    );
    assert_eq!(states(&delivery["data"]), ["completed", "failed"]);
    assert!(!delivery.to_string().contains("kept"), "{delivery}");

    other.reset().await;
    let requeued = post(&mesh["front"], &format!("/tasks/{run}/requeue"), json!({})).await;
    assert_eq!(requeued.status, 200, "{}", requeued.text());
    let shown = wait_for(&mesh["front"], &run, "completed", LIMIT).await;
    assert_eq!(states(&shown), ["completed", "completed"]);
    assert_eq!(
        calls(&mock, "near").await,
        1,
        "a finished step is not called again"
    );
    let received = receiver.wait_for(4).await;
    assert_eq!(received[3].body["type"], "workflow.run.completed");
    assert_ne!(
        received[3].id, received[0].id,
        "another end is another delivery"
    );
    received[3].check_signature();
}

#[tokio::test]
async fn end_by_a_lost_lease_is_reported_too() {
    let receiver = Receiver::start(0).await;
    let webhooks = json!({
        "secret": format!("whsec_{}", STANDARD.encode(WEBHOOK_KEY)),
        "hosts": [receiver.host],
    });
    let (mesh, mock) = front_and_back("near", |node| {
        node.config("tasks.webhooks", webhooks.clone())
    })
    .await;
    mock.set(json!({"hang": true})).await;
    let wanted = json!({
        "workflow": {"steps": [chat("one", "near", "x")]},
        "webhook": receiver.url,
        "max_attempts": 1,
    });
    let run = trigger(&mesh["front"], "/workflows/runs", wanted).await;
    wait_for_calls(&mock, "near", 1).await;
    mesh["back"].kill();
    wait_until("the run to be dead", LEASE_LIMIT, async || {
        let task = get(&mesh["front"], &format!("/tasks/{run}")).await.json();
        match task["state"] == "dead" {
            true => Ok(()),
            false => Err(task.to_string()),
        }
    })
    .await;
    mesh["back"].restart().await;
    let received = receiver.wait_for(1).await;
    received[0].check_signature();
    let delivery = &received[0].body;
    assert_eq!(
        (&delivery["type"], &delivery["data"]["id"]),
        (&json!("workflow.run.failed"), &json!(run))
    );
}

#[tokio::test]
async fn killed_worker_leaves_finished_steps_and_items_done() {
    let (mesh, mock) = front_and_back("near", |node| node).await;
    let slow = Mock::start("slow", &["slow"]).await;
    slow.set(json!({"latency": "500ms"})).await;
    mesh["back"].rewrite(|config| add_upstream(config, &slow));
    mesh["back"].restart().await;
    let mut each = chat("each", "slow", "{{ steps.first.status }} {{ item }}");
    each["for_each"] = json!("trigger.numbers");
    each["concurrency"] = json!(1);
    let workflow = json!({"steps": [chat("first", "near", "x"), each]});
    let wanted = json!({"workflow": workflow, "input": {"numbers": [1, 2, 3, 4, 5, 6]}});
    let run = trigger(&mesh["front"], "/workflows/runs", wanted).await;
    wait_for_calls(&slow, "slow", 4).await;
    mesh["back"].kill();
    assert!(
        calls(&slow, "slow").await < 6,
        "the run was over before the kill"
    );
    mesh["back"].restart().await;
    let run = wait_for(&mesh["front"], &run, "completed", LEASE_LIMIT).await;
    assert_eq!(
        run["output"]["each"].as_array().map(Vec::len),
        Some(6),
        "{run}"
    );
    assert_eq!(run["attempts"], 2);
    assert_eq!(
        calls(&mock, "near").await,
        1,
        "a finished step is not called again"
    );
    let made = calls(&slow, "slow").await;
    // The one in flight, and one that ended but was not noted yet.
    assert!((6..=8).contains(&made), "{made} calls for 6 items");
}

/// A node that keeps runs, and one that runs them beside an upstream.
async fn front_and_back(model: &str, both: impl Fn(NodeBuilder) -> NodeBuilder) -> (Mesh, Mock) {
    let mock = Mock::start(model, &[model]).await;
    let mesh = Mesh::builder()
        .node("front", |node| both(node).config("worker_mode", json!("!")))
        .node("back", |node| {
            let node = both(node).config("worker_mode", json!(SERVICE));
            node.upstream(&mock)
        })
        .start()
        .await;
    (mesh, mock)
}

fn add_upstream(config: &mut Value, mock: &Mock) {
    let mut upstream = config["upstreams"][0].clone();
    upstream["name"] = json!(mock.name());
    upstream["base_url"] = json!(mock.base_url());
    upstream["models"] = json!(mock.models());
    let upstreams = config["upstreams"].as_array_mut().expect("a list");
    upstreams.push(upstream);
}

/// A step that asks `model` for a chat about `text`.
fn chat(id: &str, model: &str, text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    let body = json!({"model": model, "messages": messages});
    json!({"id": id, "call": {"path": "/v1/chat/completions", "body": body}})
}

async fn calls(mock: &Mock, model: &str) -> u64 {
    let stats = mock.stats().await;
    stats["by_model"][model].as_u64().unwrap_or_default()
}

/// Waits for calls to arrive; a mock's other counts are of probes too.
async fn wait_for_calls(mock: &Mock, model: &str, least: u64) {
    wait_until(&format!("{least} calls"), LIMIT, async || {
        match calls(mock, model).await {
            made if made >= least => Ok(()),
            made => Err(format!("{made} calls")),
        }
    })
    .await;
}

async fn post(node: &Node, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", node.base_url());
    must(&url, whole(http().post(&url).json(&body)).await)
}

async fn get(node: &Node, path: &str) -> Answer {
    let url = format!("{}{path}", node.base_url());
    must(&url, try_get(&http(), &url).await)
}

fn id_of(shown: &Value) -> &str {
    shown["id"].as_str().expect("an id")
}

/// Begins a run and returns its id.
async fn trigger(node: &Node, path: &str, wanted: Value) -> String {
    let answer = post(node, path, wanted).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    id_of(&answer.json()).to_owned()
}

async fn inline(node: &Node, workflow: Value) -> String {
    trigger(node, "/workflows/runs", json!({"workflow": workflow})).await
}

async fn show(node: &Node, run: &str) -> Value {
    let answer = get(node, &format!("/workflows/runs/{run}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn states(run: &Value) -> Vec<&str> {
    let steps = run["steps"].as_array().expect("steps");
    steps
        .iter()
        .filter_map(|step| step["state"].as_str())
        .collect()
}

async fn wait_for(node: &Node, run: &str, status: &str, limit: Duration) -> Value {
    let what = format!("{run} to be {status}");
    let waited = wait_until(&what, limit, async || {
        let url = format!("{}/workflows/runs/{run}", node.base_url());
        let answer = try_get(&http(), &url).await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        match answer.status == 200 && answer.json()["status"] == status {
            true => Ok(answer.json()),
            false => Err(answer.text()),
        }
    });
    waited.await.0
}

/// Takes webhooks, after refusing a few.
struct Receiver {
    url: String,
    /// Its address and port, as a node's config names them.
    host: String,
    received: Arc<Mutex<Vec<Delivery>>>,
    _server: JoinSet<()>,
}

/// A webhook as it arrived.
#[derive(Clone)]
struct Delivery {
    id: String,
    timestamp: String,
    signature: String,
    raw: Vec<u8>,
    body: Value,
}

impl Receiver {
    async fn start(refusals: usize) -> Self {
        let listener = must("listening", TcpListener::bind("127.0.0.1:0").await);
        let address = must("an address", listener.local_addr());
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let mut server = JoinSet::new();
        server.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A sender that hangs up ends its connection and nothing else.
                drop(take(stream, &kept, refusals).await);
            }
        });
        Self {
            url: format!("http://{address}/hook?by=grapevine"),
            host: address.to_string(),
            received,
            _server: server,
        }
    }

    async fn wait_for(&self, count: usize) -> Vec<Delivery> {
        let what = format!("{count} webhooks");
        let waited = wait_until(&what, LIMIT, async || {
            let received = self
                .received
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            match received.len() >= count {
                true => Ok(received),
                false => Err(format!("{} came", received.len())),
            }
        });
        waited.await.0
    }
}

/// One request on a connection that ends with its answer.
async fn take(
    stream: TcpStream,
    received: &Mutex<Vec<Delivery>>,
    refusals: usize,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or_else(String::new, |(_, value)| value.to_owned())
    };
    let mut raw = vec![0; header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut raw).await?;
    let delivery = Delivery {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: serde_json::from_slice(&raw).unwrap_or_default(),
        raw,
    };
    let refuses = {
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        received.push(delivery);
        received.len() <= refusals
    };
    let status = if refuses {
        "503 Busy"
    } else {
        "204 No Content"
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

impl Delivery {
    /// As Standard Webhooks 1.0 requires of receivers.
    fn check_signature(&self) {
        let signature = self.signature.strip_prefix("v1,").expect("version 1");
        let signature = must("base64", STANDARD.decode(signature));
        let mut signed = format!("{}.{}.", self.id, self.timestamp).into_bytes();
        signed.extend_from_slice(&self.raw);
        let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_KEY);
        hmac::verify(&key, &signed, &signature).expect("the signature is right");
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"another word of some length");
        assert!(hmac::verify(&other, &signed, &signature).is_err());
    }
}
