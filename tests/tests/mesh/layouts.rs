//! The two layouts of split services as real processes: three nodes `!`, `workflow:process` and
//! `async-task:process`; and four nodes `!`, `!`, `*` and `*`.
//!
//! Each node has an upstream of its own, which counts the texts it received: that shows which node did what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::time::Duration;

use grapevine_tests::client::{Answer, batch_form, chat, http, try_get, whole};
use grapevine_tests::echo::Echo;
use grapevine_tests::mesh::MeshBuilder;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Node, wait_until};
use serde_json::{Value, json};

const WORKFLOWS: &str = "workflow:process";

const BATCHES: &str = "async-task:process";

const MODEL: &str = "gpt-4o";

const LIMIT: Duration = Duration::from_secs(30);

/// Longer than a lease that is not renewed, the sweep after it, and the rest of the work.
const LEASE_LIMIT: Duration = Duration::from_secs(60);

/// How long an upstream takes.
const LATENCY: Duration = Duration::from_millis(100);

/// Steps of each run, one after another.
const STEPS: usize = 3;

/// Nodes, each with its upstream.
struct Layout {
    mesh: Mesh,
    echoes: BTreeMap<&'static str, Echo>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_each_do_what_they_serve() {
    const RUNS: usize = 12;
    const LINES: usize = 60;
    let modes = [("api", "!"), ("flow", WORKFLOWS), ("bulk", BATCHES)];
    let layout = Layout::start(&modes).await;
    layout.check_serving("api", [true, false, false]).await;
    layout.check_serving("flow", [false, true, false]).await;
    layout.check_serving("bulk", [false, false, true]).await;

    let api = &layout.mesh["api"];
    let batch = begin_batch(api, LINES).await;
    let runs = begin_runs(api, 0..RUNS).await;
    layout.request("api", 20).await;
    for run in &runs {
        wait_for(api, &format!("/workflows/runs/{run}"), LIMIT).await;
        assert_eq!(workers(api, run).await, ["flow"]);
    }
    let ended = wait_for(api, &format!("/batches/{batch}"), LIMIT).await;
    assert_eq!(ended["request_counts"]["completed"], LINES, "{ended}");
    assert_eq!(workers(api, &batch).await, ["bulk"]);

    layout.check_calls("api", &requests("api", 20));
    layout.check_calls("flow", &steps(RUNS));
    layout.check_calls("bulk", &lines(LINES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_share_the_work_and_one_that_is_killed_leaves_it_to_the_other() {
    const RUNS: usize = 60;
    const LINES: usize = 200;
    let modes = [
        ("entry-1", "!"),
        ("entry-2", "!"),
        ("back-1", "*"),
        ("back-2", "*"),
    ];
    let layout = Layout::start(&modes).await;
    for entry in ["entry-1", "entry-2"] {
        layout.check_serving(entry, [true, false, false]).await;
    }
    for back in ["back-1", "back-2"] {
        layout.check_serving(back, [false, true, true]).await;
    }

    // The batch is not over before the kill, however late that is.
    for back in ["back-1", "back-2"] {
        layout.echoes[back].hold("line", LINES / 5);
    }
    let [first, second] = ["entry-1", "entry-2"].map(|name| &layout.mesh[name]);
    let batch = begin_batch(first, LINES).await;
    let mut runs = begin_runs(first, 0..RUNS / 2).await;
    runs.extend(begin_runs(second, RUNS / 2..RUNS).await);
    for back in ["back-1", "back-2"] {
        layout.wait_for_a_step(back).await;
    }
    let dead = layout.wait_for_lines(LINES / 5).await;
    let other = match dead {
        "back-1" => "back-2",
        _ => "back-1",
    };
    layout.mesh[dead].kill();
    layout.echoes[other].release();
    let before = layout.received(dead);
    let begun = before.intersection(&lines(LINES)).count();
    assert!(begun < LINES, "the batch was over before the kill");

    layout.request("entry-1", 10).await;
    layout.request("entry-2", 10).await;
    let ended = wait_for(second, &format!("/batches/{batch}"), LEASE_LIMIT).await;
    assert_eq!(ended["request_counts"]["completed"], LINES, "{ended}");
    assert_eq!(workers(second, &batch).await, [dead, other]);
    let mut ran = BTreeSet::new();
    for run in &runs {
        wait_for(first, &format!("/workflows/runs/{run}"), LEASE_LIMIT).await;
        ran.extend(workers(first, run).await);
    }
    assert_eq!(ran, BTreeSet::from([dead.to_owned(), other.to_owned()]));

    layout.check_calls("entry-1", &requests("entry-1", 10));
    layout.check_calls("entry-2", &requests("entry-2", 10));
    let all: BTreeSet<String> = layout.received(other).union(&before).cloned().collect();
    let wanted = lines(LINES).union(&steps(RUNS)).cloned().collect();
    assert_eq!(all, wanted, "the two did all of it");
    assert_eq!(layout.received(dead), before);
}

impl Layout {
    /// Starts nodes by name and mode; each calls its own upstream first.
    async fn start(modes: &[(&'static str, &str)]) -> Self {
        let mut echoes = BTreeMap::new();
        let mut builder: MeshBuilder = Mesh::builder();
        for (name, mode) in modes {
            let echo = Echo::start(LATENCY).await;
            builder = builder.node(name, |node| {
                node.raw_upstream(echo.upstream(name, &[MODEL]))
                    .config("routing.strategy", json!("priority"))
                    .config("worker_mode", json!(mode))
            });
            echoes.insert(*name, echo);
        }
        let mesh = builder.start().await;
        Self { mesh, echoes }
    }

    /// A node's own `/serving`: requests, workflows, batches; and whether its public port is open.
    async fn check_serving(&self, name: &str, serves: [bool; 3]) {
        let node = &self.mesh[name];
        let keys = ["/serving".to_owned()]
            .into_iter()
            .chain([WORKFLOWS, BATCHES].map(|key| format!("/serving/{key}")));
        for (path, serving) in keys.zip(serves) {
            let answer = node.admin(&path).await;
            assert_eq!(answer.status, 200, "{name} {path}: {}", answer.text());
            assert_eq!(answer.json(), json!({"serving": serving}), "{name} {path}");
        }
        let is_open = TcpStream::connect(node.addresses().public).is_ok();
        assert_eq!(is_open, serves[0], "the public port of {name}");
    }

    /// Sends `count` chats to a node, which answers them itself.
    async fn request(&self, name: &str, count: usize) {
        for text in requests(name, count) {
            let answer = chat(&self.mesh[name], MODEL, &text).await;
            let served = (answer.status, answer.header("x-grapevine-node"));
            assert_eq!(served, (200, name), "{}", answer.text());
            assert_eq!(answer.content(), text);
        }
    }

    /// Waits until some node has called so many lines, and returns its name.
    async fn wait_for_lines(&self, count: usize) -> &'static str {
        let what = format!("{count} lines");
        let waited = wait_until(&what, LIMIT, async || {
            let called = |echo: &Echo| {
                let counts = echo.counts();
                counts
                    .texts
                    .keys()
                    .filter(|it| it.starts_with("line"))
                    .count()
            };
            let caller = self.echoes.iter().find(|(_, echo)| called(echo) >= count);
            caller
                .map(|(name, _)| *name)
                .ok_or_else(|| "fewer lines".to_owned())
        });
        waited.await.0
    }

    /// Waits until a node has called a step of some run.
    async fn wait_for_a_step(&self, name: &str) {
        wait_until("a step of a run", LIMIT, async || {
            let received = self.received(name);
            let mut steps = received.iter().filter(|it| it.starts_with("step"));
            steps
                .next()
                .map(|_| ())
                .ok_or_else(|| format!("{name} called {received:?}"))
        })
        .await;
    }

    fn received(&self, name: &str) -> BTreeSet<String> {
        self.echoes[name].counts().texts.into_keys().collect()
    }

    /// The upstream of a node received this, each once, and nothing else.
    fn check_calls(&self, name: &str, wanted: &BTreeSet<String>) {
        assert_eq!(self.received(name), *wanted, "at the upstream of {name}");
        assert_eq!(self.echoes[name].total(), wanted.len() as u64, "{name}");
    }
}

fn requests(name: &str, count: usize) -> BTreeSet<String> {
    (0..count)
        .map(|number| format!("request {number} to {name}"))
        .collect()
}

fn lines(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

fn steps(runs: usize) -> BTreeSet<String> {
    let step = |run| (0..STEPS).map(move |step| format!("step {step} of run {run}"));
    (0..runs).flat_map(step).collect()
}

/// Uploads lines and begins a batch of them; returns its id.
async fn begin_batch(node: &Node, count: usize) -> String {
    let line = |number: usize| {
        let messages = json!([{"role": "user", "content": format!("line {number}")}]);
        let line = json!({
            "custom_id": format!("line-{number}"),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": MODEL, "messages": messages},
        });
        format!("{line}\n")
    };
    let lines: String = (0..count).map(line).collect();
    let (kind, form) = batch_form(&lines);
    let url = format!("{}/files", node.base_url());
    let upload = http().post(&url).header("content-type", kind).body(form);
    let file = must(&url, whole(upload).await);
    assert_eq!(file.status, 200, "{}", file.text());
    let wanted = json!({
        "input_file_id": file.json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    });
    let batch = post(node, "/batches", &wanted).await;
    assert_eq!(batch.status, 200, "{}", batch.text());
    id(&batch.json())
}

/// Triggers one run for each number; returns their ids.
async fn begin_runs(node: &Node, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut runs = Vec::new();
    for run in numbers {
        let step = |step: usize| {
            let text = format!("step {step} of run {run}");
            let messages = json!([{"role": "user", "content": text}]);
            let body = json!({"model": MODEL, "messages": messages});
            let after: Vec<String> = (0..step).map(|step| format!("s{step}")).collect();
            let call = json!({"path": "/v1/chat/completions", "body": body});
            json!({"id": format!("s{step}"), "call": call, "after": after})
        };
        let steps: Vec<Value> = (0..STEPS).map(step).collect();
        let wanted = json!({"workflow": {"steps": steps}});
        let answer = post(node, "/workflows/runs", &wanted).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        runs.push(id(&answer.json()));
    }
    runs
}

/// Waits until a batch or a run is completed.
async fn wait_for(node: &Node, path: &str, limit: Duration) -> Value {
    let what = format!("{path} to be completed");
    let waited = wait_until(&what, limit, async || {
        let url = format!("{}{path}", node.base_url());
        let answer = try_get(&http(), &url).await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        match answer.status == 200 && answer.json()["status"] == "completed" {
            true => Ok(answer.json()),
            false => Err(answer.text()),
        }
    });
    waited.await.0
}

/// The workers of a task's attempts, in their order.
async fn workers(node: &Node, task: &str) -> Vec<String> {
    let url = format!("{}/tasks/{task}", node.base_url());
    let task = must(&url, try_get(&http(), &url).await).json();
    let history = task["history"].as_array().expect("a list").iter();
    let workers = history.filter_map(|ended| ended["worker"].as_str());
    workers.map(str::to_owned).collect()
}

async fn post(node: &Node, path: &str, body: &Value) -> Answer {
    let url = format!("{}{path}", node.base_url());
    must(&url, whole(http().post(&url).json(body)).await)
}

fn id(shown: &Value) -> String {
    shown["id"].as_str().expect("an id").to_owned()
}
