//! Three vLLM-like engines at 80 % load, and who chooses among them.
//!
//! ```text
//! cargo build --release && tests/bench/engines [--requests 900] [--rate 11.3] [--one-region]
//! tests/bench/engines --one-region --router "vllm-router --policy cache_aware"
//! ```
//!
//! With `--router` the same conversations go to that router too, with the engines as its workers: it is started with
//! `--host`, `--port` and `--worker-urls`, as the routers of vLLM and of SGLang are.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use grapevine_tests::client::try_get;
use grapevine_tests::engines::{
    Chooser, Conversations, EngineFigures, EngineMesh, EngineSettings, EngineTurn, hold,
};
use grapevine_tests::wait_until;

/// An answer takes some 1.7 s with a warm cache: eight slots make 4.7 a second, and three engines 14. Four fifths are 11.
const RATE: f64 = 11.3;

/// The first part of the requests is not counted.
const WARM_UP: usize = 4;

const SETTINGS: EngineSettings = EngineSettings {
    slots: 8,
    prefill: Duration::from_millis(60),
    words: 64,
    pause: Duration::from_millis(25),
    cache_blocks: 12_000,
};

#[derive(Debug)]
struct Options {
    conversations: Conversations,
    in_one_region: bool,
    router: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = options()?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} requests at {} a second\n{:<16} {:>9} {:>9} {:>8} {:>7}  answers of each engine",
        options.conversations.requests,
        options.conversations.rate,
        "chosen by",
        "TTFT p50",
        "TTFT p99",
        "cached",
        "failed"
    )?;
    for chooser in Chooser::ALL {
        // Each with new engines: no cache is warm, and no node has learned anything.
        let engines = EngineMesh::start(SETTINGS, options.in_one_region).await;
        let turns = engines.hold(chooser, options.conversations).await;
        print(&mut out, chooser.as_str(), &turns)?;
    }
    if let Some(command) = &options.router {
        let engines = EngineMesh::start(SETTINGS, true).await;
        let workers: Vec<String> = { engines.mocks.iter() }
            .map(|mock| format!("http://{}", mock.address()))
            .collect();
        let router = Router::start(command, &workers).await?;
        let turns = hold(
            Chooser::Grapevine,
            options.conversations,
            vec![router.url()],
        )
        .await;
        print(&mut out, "router", &turns)?;
    }
    Ok(())
}

fn print(out: &mut impl Write, name: &str, turns: &[EngineTurn]) -> anyhow::Result<()> {
    // While caches are cold and nobody has learned anything, all are alike.
    let turns = &turns[turns.len() / WARM_UP..];
    let figures = EngineFigures::of(turns);
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for turn in turns {
        *counts.entry(&turn.upstream).or_default() += 1;
    }
    writeln!(
        out,
        "{name:<16} {:>6.0} ms {:>6.0} ms {:>7.1}% {:>7}  {counts:?}",
        figures.p50.as_secs_f64() * 1e3,
        figures.p99.as_secs_f64() * 1e3,
        figures.cached * 100.0,
        figures.failed,
    )?;
    Ok(())
}

/// A router of somebody else in front of the engines.
struct Router {
    process: tokio::process::Child,
    port: u16,
}

impl Router {
    /// Starts `command` with `--worker-urls` and its port, as the routers of vLLM and of SGLang take them.
    async fn start(command: &str, workers: &[String]) -> anyhow::Result<Self> {
        let port = grapevine_tests::ports::free_address().port();
        let mut words = command.split_whitespace();
        let program = words.next().context("--router: a command must follow")?;
        let process = tokio::process::Command::new(program)
            .args(words)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--worker-urls",
            ])
            .args(workers)
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let router = Self { process, port };
        let models = format!("{}/models", router.url());
        let client = grapevine_tests::client::http();
        wait_until(
            "the router",
            Duration::from_secs(60),
            async || match try_get(&client, &models).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("status {}", answer.status)),
                Err(error) => Err(error.to_string()),
            },
        )
        .await;
        Ok(router)
    }

    fn url(&self) -> String {
        let _ = &self.process;
        format!("http://127.0.0.1:{}/v1", self.port)
    }
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options {
        conversations: Conversations {
            rate: RATE,
            requests: 900,
            seed: 1,
        },
        in_one_region: false,
        router: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--one-region" {
            options.in_one_region = true;
            continue;
        }
        let value = arguments.next();
        let value = value.with_context(|| format!("{name}: a value must follow"))?;
        let wrong = || format!("{name} {value}");
        match name.as_str() {
            "--requests" => options.conversations.requests = value.parse().with_context(wrong)?,
            "--rate" => options.conversations.rate = value.parse().with_context(wrong)?,
            "--seed" => options.conversations.seed = value.parse().with_context(wrong)?,
            "--router" => options.router = Some(value),
            _ => bail!(
                "{name}: only --requests, --rate, --seed, --one-region and --router are known"
            ),
        }
    }
    Ok(options)
}
