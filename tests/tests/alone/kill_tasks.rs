//! A thousand tasks while workers and the node that accepts them are killed, for each engine: none is lost,
//! none is completed twice in the record, and a death explains every attempt in vain.
//!
//! A killed node is started again at once, as a supervisor would. Attempts are lost in three ways alone: the
//! worker died; or, where the accepting node keeps the tasks itself, that node died with a lease that it had
//! granted but not yet sent, or while a worker was reporting to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grapevine_tests::client::{http, try_get, try_post};
use grapevine_tests::dice::Dice;
use grapevine_tests::echo::{Echo, EchoCounts};
use grapevine_tests::mesh::NodeBuilder;
use grapevine_tests::nats::Nats;
use grapevine_tests::postgres::Postgres;
use grapevine_tests::program::example;
use grapevine_tests::quiet::alone;
use grapevine_tests::wait::must;
use grapevine_tests::{Mesh, Node, wait_until, within};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const SERVICE: &str = "my-plugin:process";

const MODEL: &str = "gpt-4o";

const TASKS: usize = 1_000;

/// Upstream calls of each task.
const TEXTS: usize = 2;

/// How long each of them takes: with it a run takes longer than its deaths.
const LATENCY: Duration = Duration::from_millis(120);

/// Tasks that are created before their time: more than deaths hold back until their leases end.
const AHEAD: usize = 120;

const CLIENTS: usize = 8;

/// The nodes that die, in any order.
const DEATHS: [Victims; 10] = [
    Victims::Worker,
    Victims::Worker,
    Victims::Worker,
    Victims::Worker,
    Victims::Keeper,
    Victims::Keeper,
    Victims::Keeper,
    Victims::Both,
    Victims::Both,
    Victims::Both,
];

const KEEPER: &str = "front";

const WORKERS: [&str; 2] = ["one", "two"];

/// Longer than anything here but the whole.
const LIMIT: Duration = Duration::from_secs(60);

/// Longer than the last lost leases, and the attempts after them.
const END_LIMIT: Duration = Duration::from_secs(120);

/// Before a task is created again that was not accepted.
const CREATE_PAUSE: Duration = Duration::from_millis(20);

/// What a node asked for may be done so long after its death.
const LAST_WORDS_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victims {
    /// One of those that run tasks.
    Worker,
    /// The node that accepts them.
    Keeper,
    /// The two at once.
    Both,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_loses_and_doubles_no_task_while_nodes_are_killed() {
    let _room = alone().await;
    Trial::start("sqlite", None).await.run().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_loses_and_doubles_no_task_while_nodes_are_killed() {
    let _room = alone().await;
    let server = Postgres::start("pg-kill-tasks").await;
    Trial::start("postgres", Some(server.url()))
        .await
        .run()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jetstream_loses_and_doubles_no_task_while_nodes_are_killed() {
    let _room = alone().await;
    let server = Nats::start("nats-kill-tasks").await;
    Trial::start("jetstream", Some(server.url()))
        .await
        .run()
        .await;
}

/// One engine's run.
struct Trial {
    engine: &'static str,
    /// Whether the accepting node keeps the tasks itself.
    embedded: bool,
    mesh: Mesh,
    echo: Arc<Echo>,
    /// One for all requests, so that connections are kept.
    client: Client,
    dice: Dice,
}

/// A node's death, by the clock of this machine in milliseconds.
struct Death {
    node: &'static str,
    before: u64,
    after: u64,
}

/// The answers that the clients got.
#[derive(Default)]
struct Created {
    /// The id of each task, by its number.
    ids: BTreeMap<usize, String>,
    /// Requests without an answer: the same were sent again with the same key.
    unanswered: usize,
    /// Requests answered with an error that was to be tried again.
    refused: usize,
}

impl Trial {
    async fn start(engine: &'static str, queue: Option<String>) -> Self {
        let dice = Dice::of_environment();
        let echo = Echo::start(LATENCY).await;
        let embedded = queue.is_none();
        let keep = |node: NodeBuilder| match &queue {
            Some(url) => node.config("tasks.queue", json!(url)),
            None => node,
        };
        let worker = |node: NodeBuilder| {
            keep(node)
                .program(plugin())
                .raw_upstream(echo.upstream("echo", &[MODEL]))
                .config("worker_mode", json!(SERVICE))
        };
        let mesh = Mesh::builder()
            .node(KEEPER, |node| {
                keep(node)
                    .config("tasks.services", json!([SERVICE]))
                    .config("worker_mode", json!("!"))
            })
            .node(WORKERS[0], worker)
            .node(WORKERS[1], worker)
            .start()
            .await;
        Self {
            engine,
            embedded,
            mesh,
            echo: Arc::new(echo),
            client: http(),
            dice,
        }
    }

    async fn run(mut self) {
        let began = Instant::now();
        let creating = self.create();
        let deaths = self.kill().await;
        let created = creating.await;
        self.wait_for_the_end().await;
        let took = began.elapsed();
        self.check_ids(&created).await;
        let mut figures = Figures::default();
        let counts = self.echo.counts();
        for (number, id) in &created.ids {
            let task = self.get(&format!("/tasks/{id}")).await;
            self.check_outcome(*number, &task, &counts, &mut figures);
            self.explain(&task, &deaths, &mut figures);
        }
        let dead = |name: &str| deaths.iter().filter(|death| death.node == name).count();
        eprintln!(
            "kill_tasks {}: {} tasks, {} moments ({} deaths of workers, {} of the accepting node), {figures}, \
             {} creates unanswered and {} refused, {:.1} s",
            self.engine,
            created.ids.len(),
            DEATHS.len(),
            dead(WORKERS[0]) + dead(WORKERS[1]),
            dead(KEEPER),
            created.unanswered,
            created.refused,
            took.as_secs_f64()
        );
        assert!(
            figures.lost_by_workers > 0,
            "the deaths of workers had no effect"
        );
        assert!(
            created.unanswered > 0,
            "the deaths of the accepting node had no effect"
        );
    }

    /// Begins to create all tasks, each [`AHEAD`] of its time.
    fn create(&self) -> impl Future<Output = Created> + use<> {
        let url = format!("{}/tasks", self.mesh[KEEPER].base_url());
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (url, client) = (url.clone(), self.client.clone());
            let (next, echo) = (Arc::clone(&next), Arc::clone(&self.echo));
            clients.spawn(async move {
                let mut created = Created::default();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= TASKS {
                        return created;
                    }
                    let due = number.saturating_sub(AHEAD) * TEXTS;
                    echo.wait_for(due as u64, END_LIMIT).await;
                    let id = create_one(&client, &url, number, &mut created).await;
                    created.ids.insert(number, id);
                }
            });
        }
        async move {
            let mut all = Created::default();
            for created in clients.join_all().await {
                all.ids.extend(created.ids);
                all.unanswered += created.unanswered;
                all.refused += created.refused;
            }
            all
        }
    }

    /// Kills nodes at random moments of the run, and starts them again.
    async fn kill(&mut self) -> Vec<Death> {
        let calls = TASKS * TEXTS;
        let mut victims = DEATHS;
        self.dice.shuffle(&mut victims);
        let mut moments = DEATHS.map(|_| 1 + self.dice.below(calls * 9 / 10));
        moments.sort_unstable();
        let mut deaths = Vec::new();
        for (victims, moment) in victims.into_iter().zip(moments) {
            self.echo.wait_for(moment as u64, END_LIMIT).await;
            let worker = WORKERS[self.dice.below(WORKERS.len())];
            let names = match victims {
                Victims::Worker => vec![worker],
                Victims::Keeper => vec![KEEPER],
                Victims::Both => vec![worker, KEEPER],
            };
            for name in &names {
                let before = now_ms();
                self.mesh[name].kill();
                deaths.push(Death {
                    node: name,
                    before,
                    after: now_ms(),
                });
            }
            // The next death may find one that is not ready yet.
            for name in names {
                self.mesh[name].start_again();
            }
        }
        for node in self.mesh.nodes() {
            node.wait_until_ready().await;
        }
        deaths
    }

    async fn wait_for_the_end(&self) {
        wait_until("all tasks to end", END_LIMIT, async || {
            for state in ["waiting", "running"] {
                let left = try_tasks(
                    &self.client,
                    &self.mesh[KEEPER],
                    &format!("state={state}&limit=1"),
                )
                .await?;
                if let Some(task) = left.first() {
                    return Err(format!("{} calls; {task}", self.echo.total()));
                }
            }
            Ok(())
        })
        .await;
    }

    /// Each task is there once, under the id that its client got; a client that asks again gets
    /// the same.
    async fn check_ids(&self, created: &Created) {
        let given: BTreeSet<&str> = created.ids.values().map(String::as_str).collect();
        assert_eq!(given.len(), TASKS, "no two tasks have one id");
        let mut kept = BTreeSet::new();
        let mut after = String::new();
        loop {
            let query = format!("limit=100{after}");
            let page = must(
                &query,
                try_tasks(&self.client, &self.mesh[KEEPER], &query).await,
            );
            let Some(last) = page.last() else {
                break;
            };
            after = format!("&after={}", id(last));
            for task in page {
                assert!(kept.insert(id(&task).to_owned()), "{task} is listed twice");
            }
        }
        let kept: BTreeSet<&str> = kept.iter().map(String::as_str).collect();
        assert_eq!(kept.symmetric_difference(&given).next(), None);
        let url = format!("{}/tasks", self.mesh[KEEPER].base_url());
        for number in [0, TASKS / 2, TASKS - 1] {
            let again = create_one(&self.client, &url, number, &mut Created::default()).await;
            assert_eq!(again, created.ids[&number], "the key of task {number}");
        }
    }

    /// The task ended once, with a whole output, and its record has every attempt.
    fn check_outcome(
        &self,
        number: usize,
        task: &Value,
        counts: &EchoCounts,
        figures: &mut Figures,
    ) {
        let history = history(task);
        let texts = texts(number);
        let completions = history.iter().filter(|ended| ended.how == "completed");
        let is_completed = task["state"] == "completed";
        assert!(is_completed || task["state"] == "dead", "{task}");
        assert_eq!(completions.count(), usize::from(is_completed), "{task}");
        // The count restarts once an attempt is lost that had made progress.
        let attempts = task["attempts"].as_u64();
        assert!(attempts <= Some(history.len() as u64), "{task}");
        assert!(
            history
                .windows(2)
                .all(|two| two[0].attempt < two[1].attempt),
            "{task}"
        );
        if is_completed {
            let output = task["output"].as_array().expect("a list").iter();
            let output: Vec<&str> = output.filter_map(|it| it["content"].as_str()).collect();
            assert_eq!(output, texts, "{task}");
            assert_eq!(
                history.last().map(|it| it.how.as_str()),
                Some("completed"),
                "{task}"
            );
            figures.completed += 1;
        } else {
            figures.dead += 1;
        }
        let calls = texts.iter().filter_map(|text| counts.texts.get(text));
        let repeated: u64 = calls.map(|calls| calls - 1).sum();
        assert!(
            repeated < history.len() as u64,
            "an attempt that was broken off leaves one call at most to be made again: {repeated}, {task}"
        );
        figures.repeated_calls += repeated;
        figures.again += usize::from(history.len() > 1);
    }

    /// A death explains every attempt that did not complete its task.
    fn explain(&self, task: &Value, deaths: &[Death], figures: &mut Figures) {
        let mut since = (task["started_at"].as_f64().expect("it started") * 1_000.0) as u64;
        for ended in history(task) {
            let died = |name: &str| {
                deaths.iter().any(|death| {
                    death.node == name
                        && death.before <= ended.at
                        && death.after + LAST_WORDS_MS >= since
                })
            };
            match ended.how.as_str() {
                "completed" => {}
                "lost" if died(&ended.worker) => figures.lost_by_workers += 1,
                "lost" if self.embedded && died(KEEPER) => figures.lost_by_keeper += 1,
                "failed" if self.embedded && died(KEEPER) => figures.failed_by_keeper += 1,
                _ => panic!(
                    "nothing explains attempt {} of {task}: {}",
                    ended.attempt,
                    listed(deaths)
                ),
            }
            since = ended.at;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.mesh[KEEPER].base_url());
        let answer = must(&url, try_get(&self.client, &url).await);
        assert_eq!(answer.status, 200, "{url}: {}", answer.text());
        answer.json()
    }
}

/// The figures of a run.
#[derive(Default)]
struct Figures {
    completed: usize,
    dead: usize,
    /// Tasks with more than one attempt.
    again: usize,
    lost_by_workers: usize,
    lost_by_keeper: usize,
    failed_by_keeper: usize,
    repeated_calls: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} completed, {} dead, {} with more than one attempt; attempts in vain: {} lost with their worker, \
             {} lost and {} failed with the accepting node; {} of {} upstream calls repeated",
            self.completed,
            self.dead,
            self.again,
            self.lost_by_workers,
            self.lost_by_keeper,
            self.failed_by_keeper,
            self.repeated_calls,
            TASKS * TEXTS
        )
    }
}

/// An attempt that ended, by the record.
struct Ended {
    attempt: u64,
    worker: String,
    at: u64,
    how: String,
}

fn history(task: &Value) -> Vec<Ended> {
    let history = task["history"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let ended = history.iter().map(|ended| Ended {
        attempt: ended["attempt"].as_u64().expect("a number"),
        worker: text(&ended["worker"]),
        at: ended["at"].as_u64().expect("a time"),
        how: text(&ended["how"]),
    });
    ended.collect()
}

/// Creates a task, again and again with the same key until it is accepted; its id.
async fn create_one(client: &Client, url: &str, number: usize, created: &mut Created) -> String {
    let body = json!({
        "service": SERVICE,
        "idempotency_key": format!("task-{number}"),
        "payload": {"model": MODEL, "texts": texts(number)},
    });
    let accepted = async {
        loop {
            match try_post(client, url, &body).await {
                Ok(answer) if answer.status == 202 => return id(&answer.json()).to_owned(),
                Ok(answer) if answer.status == 503 => created.refused += 1,
                Ok(answer) => panic!("task {number}: {} {}", answer.status, answer.text()),
                Err(_) => created.unanswered += 1,
            }
            tokio::time::sleep(CREATE_PAUSE).await;
        }
    };
    within("a task to be accepted", LIMIT, accepted).await
}

async fn try_tasks(client: &Client, node: &Node, query: &str) -> Result<Vec<Value>, String> {
    let url = format!("{}/tasks?{query}", node.base_url());
    let answer = try_get(client, &url).await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    match answer.json()["data"].as_array() {
        Some(tasks) if answer.status == 200 => Ok(tasks.clone()),
        _ => Err(format!("{} {}", answer.status, answer.text())),
    }
}

fn texts(number: usize) -> Vec<String> {
    let texts = (0..TEXTS).map(|text| format!("text {text} of task {number}"));
    texts.collect()
}

fn id(task: &Value) -> &str {
    task["id"].as_str().expect("an id")
}

/// The program with a service of its own.
fn plugin() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| example("my_plugin"))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(must("reading the clock", now).as_millis()).expect("a time of this age")
}

fn listed(deaths: &[Death]) -> String {
    let texts = deaths
        .iter()
        .map(|death| format!("{} died at {}", death.node, death.before));
    texts.collect::<Vec<_>>().join(", ")
}
