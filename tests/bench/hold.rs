//! Holds many streams over one hop, with a client beside them, and kills their owner.
//!
//! ```text
//! cargo build --release && tests/bench/hold [--streams 10000] [--seconds 60]
//! ```
//!
//! Ends with an error when a promise does not hold. Each process needs more descriptors than there are streams:
//! the script raises the limit as far as it may.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use grapevine_tests::hold::{Options, Report, hold, quantile};

/// How soon each stream ends with an error event after its owner was killed.
const END_MAX: Duration = Duration::from_secs(2);

/// By how much the client beside the streams may be slower than without them.
const SLOWER_MAX: f64 = 2.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = options()?;
    let mut out = std::io::stdout();
    writeln!(out, "{} streams for {:?}", options.streams, options.hold)?;
    let report = hold(options).await;
    print(&report, &mut out)?;
    check(&report, options)
}

fn options() -> anyhow::Result<Options> {
    let (mut streams, mut seconds) = (10_000, 60);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name}: a number must follow"))?;
        match name.as_str() {
            "--streams" => streams = value.parse().with_context(|| format!("{name} {value}"))?,
            "--seconds" => seconds = value.parse().with_context(|| format!("{name} {value}"))?,
            _ => bail!("{name}: only --streams and --seconds are known"),
        }
    }
    ensure!(streams > 0, "--streams: at least 1");
    Ok(Options {
        streams,
        hold: Duration::from_secs(seconds),
        calm: Duration::from_secs(10),
        interval: Duration::from_secs(10),
    })
}

fn print(report: &Report, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "opened in {:.1?}, {} ended early",
        report.opened_in, report.ended_early
    )?;
    let [entry, owner] = report.bytes_per_stream.map(|bytes| bytes / 1_024);
    writeln!(
        out,
        "memory per stream: entry {entry} KiB, owner {owner} KiB"
    )?;
    let [entry, owner] = report.processor;
    writeln!(
        out,
        "processor while held: entry {entry:.1?}, owner {owner:.1?}"
    )?;
    let phases = [
        ("before", &report.calm),
        ("beside", &report.held),
        ("after the owner's death", &report.moved),
    ];
    for (name, samples) in phases {
        let failed = samples.iter().filter(|sample| sample.status != 200).count();
        let [p50, p99, slowest] = [0.5, 0.99, 1.0].map(|share| quantile(samples, share));
        writeln!(
            out,
            "client {name}: {} requests, {failed} failed, p50 {p50:.1?}, p99 {p99:.1?}, slowest {slowest:.1?}",
            samples.len()
        )?;
    }
    let end = |share: f64| report.ends.get((report.ends.len() as f64 * share) as usize);
    writeln!(
        out,
        "streams ended after {:.2?} to {:.2?} (p50 {:.2?}), {} of {} with an error event and a broken stream",
        report.ends.first().unwrap_or(&Duration::ZERO),
        report.ends.last().unwrap_or(&Duration::ZERO),
        end(0.5).unwrap_or(&Duration::ZERO),
        report.ended_clearly,
        report.ends.len()
    )?;
    Ok(())
}

fn check(report: &Report, options: Options) -> anyhow::Result<()> {
    ensure!(
        report.ended_early == 0,
        "{} streams ended early",
        report.ended_early
    );
    ensure!(
        report.ended_clearly == options.streams,
        "{} streams did not end clearly",
        options.streams - report.ended_clearly
    );
    let last = report.ends.last().copied().unwrap_or_default();
    ensure!(last <= END_MAX, "the last stream ended after {last:?}");
    let (calm, held) = (quantile(&report.calm, 0.5), quantile(&report.held, 0.5));
    ensure!(
        held <= calm.mul_f64(SLOWER_MAX),
        "the client beside the streams took {held:?} instead of {calm:?}"
    );
    let all = report.calm.iter().chain(&report.held).chain(&report.moved);
    let failed: Vec<_> = all.filter(|sample| sample.status != 200).collect();
    ensure!(failed.is_empty(), "requests failed: {failed:?}");
    Ok(())
}
