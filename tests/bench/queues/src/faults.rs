//! Two faults, shown with real worker processes: a task that kills its worker, and a worker that comes back.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use grapevine_tests::scratch::Scratch;
use tokio::time::sleep;

use crate::{bare, ours};

/// Attempts that a task is given.
pub const ATTEMPTS_MAX: usize = 2;

/// Workers that are started for one task that kills them.
const WORKERS: usize = 6;

/// What a worker does with its task.
#[derive(Clone)]
pub struct Work {
    log: PathBuf,
    label: String,
    seconds: u64,
}

impl Work {
    pub fn new(log: &str, label: &str, seconds: u64) -> Self {
        Self {
            log: log.into(),
            label: label.to_owned(),
            seconds,
        }
    }

    /// Reports its start; kills this process when it has no time, as a task that needs too much memory does.
    pub async fn run(&self) -> String {
        let mut log = OpenOptions::new().append(true).create(true).open(&self.log).expect("the log");
        writeln!(log, "began {}", self.label).expect("the log");
        if self.seconds == 0 {
            std::process::abort();
        }
        sleep(Duration::from_secs(self.seconds)).await;
        self.label.clone()
    }
}

pub async fn show() -> Result<()> {
    println!("## A task that kills its worker, {ATTEMPTS_MAX} attempts at most, {WORKERS} workers one after another");
    for system in ["apalis", "grapevine"] {
        let scratch = Scratch::new("poison");
        let file = prepare(system, &scratch).await?;
        for worker in 0..WORKERS {
            let mut child = start(system, &file, &format!("worker-{worker}"), "poison", 0)?;
            let began = Instant::now();
            while child.try_wait()?.is_none() && began.elapsed() < Duration::from_secs(8) {
                sleep(Duration::from_millis(50)).await;
            }
            // The workers that had nothing to do.
            drop(child.kill());
            child.wait()?;
        }
        let runs = log(&file).lines().count();
        println!("{system:10} ran it {runs} times; the record shows: {}", record(system, &file).await?);
    }
    println!();
    println!("## A worker is frozen in the middle of a task; another of the same name takes it; the first wakes");
    for system in ["apalis", "grapevine"] {
        come_back(system).await?;
    }
    println!();
    Ok(())
}

async fn come_back(system: &str) -> Result<()> {
    let scratch = Scratch::new("late");
    let file = prepare(system, &scratch).await?;
    let mut first = start(system, &file, "worker", "first", 2)?;
    until("the first to begin", || log(&file).contains("began first")).await?;
    signal(&first, "STOP")?;
    sleep(Duration::from_secs(4)).await;
    let mut second = start(system, &file, "worker", "second", 8)?;
    until("the second to begin", || log(&file).contains("began second")).await?;
    signal(&first, "CONT")?;
    sleep(Duration::from_secs(4)).await;
    let middle = record(system, &file).await?;
    println!("{system:10} while the second still runs:  {middle}");
    sleep(Duration::from_secs(7)).await;
    println!("{system:10} after the second ended:       {}", record(system, &file).await?);
    for child in [&mut first, &mut second] {
        drop(child.kill());
        child.wait()?;
    }
    Ok(())
}

async fn prepare(system: &str, scratch: &Scratch) -> Result<PathBuf> {
    let file = scratch.path().join("tasks.db");
    match system {
        "apalis" => bare::add_one(&file).await?,
        _ => ours::add_one(&file).await?,
    }
    Ok(file)
}

async fn record(system: &str, file: &Path) -> Result<String> {
    match system {
        "apalis" => bare::record(file).await,
        _ => ours::record(file).await,
    }
}

fn start(system: &str, file: &Path, name: &str, label: &str, seconds: u64) -> Result<Child> {
    let program = std::env::current_exe()?;
    let child = Command::new(program)
        .args(["work", system])
        .arg(file)
        .arg(log_of(file))
        .args([name, label, &seconds.to_string()])
        .stderr(std::process::Stdio::null())
        .spawn();
    child.context("starting a worker")
}

fn signal(child: &Child, name: &str) -> Result<()> {
    let command = format!("kill -{name} {}", child.id());
    match Command::new("sh").args(["-c", &command]).status()?.success() {
        true => Ok(()),
        false => bail!("{command} failed"),
    }
}

fn log_of(file: &Path) -> PathBuf {
    file.with_extension("log")
}

fn log(file: &Path) -> String {
    fs::read_to_string(log_of(file)).unwrap_or_default()
}

async fn until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > Duration::from_secs(30) {
            bail!("{what}: not within 30 s");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
