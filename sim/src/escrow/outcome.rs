//! The results of a run, in one line.

use std::fmt;
use std::time::Duration;

use crate::check::Violation;
use crate::digest::Digest;

/// What the columns are.
pub(super) const HEAD: &str = "case                seed  nodes  faults  use of the limits, in per cent                                   bytes/s/node  digest";

/// What one limit was used by.
#[derive(Clone, Debug)]
pub(crate) struct LimitOutcome {
    pub(super) name: &'static str,
    /// Of what was allowed in the whole run.
    pub(super) used: f64,
}

/// What the nodes on one side of a cut used of a limit, beside what follows from the shares of their homes.
#[derive(Clone, Debug)]
pub(crate) struct SideOutcome {
    pub(super) name: &'static str,
    pub(super) nodes: usize,
    pub(super) used: f64,
    /// The shares of the homes on this side.
    pub(super) share: f64,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(super) case: String,
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) span: Duration,
    /// One for each limit, at most [`NAMED_MAX`].
    pub(super) limits: Vec<LimitOutcome>,
    /// Of each limit both sides, where the mesh was cut in two.
    pub(super) sides: Vec<SideOutcome>,
    /// All nodes together.
    pub(super) bytes: u64,
    pub(super) faults: u64,
    pub(super) digest: Digest,
    pub(crate) violation: Option<Violation>,
}

/// Limits of which the use is printed.
const NAMED_MAX: usize = 5;

impl Outcome {
    /// Bytes that a node sends in a second, on average.
    pub(super) fn bytes_per_node(&self) -> f64 {
        self.bytes as f64 / self.span.as_secs_f64() / self.nodes as f64
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.limits.iter().take(NAMED_MAX);
        let used: Vec<String> = used
            .map(|limit| format!("{} {:.1}", limit.name, limit.used * 100.0))
            .collect();
        write!(
            formatter,
            "{:<18}  {:>4}  {:>5}  {:>6}  {:<66}  {:>11.0}  {}",
            self.case,
            self.seed,
            self.nodes,
            self.faults,
            used.join(", "),
            self.bytes_per_node(),
            self.digest
        )?;
        for side in &self.sides {
            let SideOutcome {
                name,
                nodes,
                used,
                share,
            } = side;
            let (used, share) = (used * 100.0, share * 100.0);
            write!(
                formatter,
                "\n  cut off, {nodes} nodes: {name} used to {used:.1} %, by the shares of their homes {share:.1} %"
            )?;
        }
        Ok(())
    }
}
