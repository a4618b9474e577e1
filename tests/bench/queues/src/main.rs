//! grapevine's task stores beside bare apalis 1.0: how apalis handles workers that die or report
//! late, and what each costs.
//!
//! `cargo run --release` in this folder runs all of it; `-- faults` or `-- speed` a part. It needs the
//! programs of Postgres and of NATS, and runs servers of its own.

mod bare;
mod faults;
mod ours;
mod speed;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            faults::show().await?;
            speed::show().await
        }
        ["faults"] => faults::show().await,
        ["speed"] => speed::show().await,
        // A worker in a process of its own, for `faults` to kill and to freeze.
        ["work", system, file, log, name, label, seconds] => {
            let work = faults::Work::new(log, label, seconds.parse()?);
            match *system {
                "apalis" => bare::work(file, name, work).await,
                _ => ours::work(file, name, work).await,
            }
        }
        other => anyhow::bail!("what is {other:?}? Try faults or speed"),
    }
}
