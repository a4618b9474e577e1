//! Prints the measurements of membership: `membership IMPLEMENTATION NODES LOSS SEED SETTLING PATIENCE`,
//! where IMPLEMENTATION is `real` or `model`, SETTLING is in seconds, and PATIENCE is 1 in the product.

use std::io::Write;
use std::time::{Duration, Instant};

use grapevine_sim::membership::measure::{Figures, Trial, quantile, run};
use grapevine_sim::membership::{Membership, Model, Real, Settings};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [implementation, nodes, loss, seed, settling, patience] = arguments.as_slice() else {
        anyhow::bail!("usage: membership real|model NODES LOSS SEED SETTLING PATIENCE");
    };
    let (nodes, seed, settling) = (nodes.parse()?, seed.parse()?, settling.parse()?);
    let trial = Trial {
        nodes,
        loss: loss.parse()?,
        seed,
        settling: Duration::from_secs(settling),
        calm: Duration::from_secs(5),
        values: 3,
        crashes: 3,
        patience: Duration::from_secs(if nodes > 100 { 40 } else { 6 }),
    };
    let settings = Settings {
        patience: patience.parse()?,
        ..Settings::default()
    };
    let started = Instant::now();
    let mut membership: Box<dyn Membership> = match implementation.as_str() {
        "real" => Box::new(Real::new(settings, nodes, seed)),
        "model" => Box::new(Model::new(settings, nodes as usize)),
        other => anyhow::bail!("{other}: must be real or model"),
    };
    let figures = run(&trial, membership.as_mut());
    print(implementation, &trial, &figures, started.elapsed())
}

fn print(
    implementation: &str,
    trial: &Trial,
    figures: &Figures,
    took: Duration,
) -> anyhow::Result<()> {
    let Trial { nodes, loss, .. } = trial;
    let at = |spans: &[Duration], share| quantile(spans, share).as_secs_f64();
    writeln!(
        std::io::stdout(),
        "{implementation} n={nodes} loss={loss}: detect p50/p99 {:.2}/{:.2} s; value p50/p99 {:.2}/{:.2} s, all {:.2} s; \
         {:.0} B/s {:.1} msg/s, {:.0} B to settle; converged {:?}; false deaths {}; missed {}; digest {:016x}; took {:.1} s",
        at(&figures.detections, 0.5),
        at(&figures.detections, 0.99),
        at(&figures.propagations, 0.5),
        at(&figures.propagations, 0.99),
        at(&figures.to_all, 0.5),
        figures.bytes_per_second,
        figures.messages_per_second,
        figures.bytes_to_settle,
        figures.converged,
        figures.false_deaths,
        figures.missed,
        figures.digest,
        took.as_secs_f64(),
    )?;
    Ok(())
}
