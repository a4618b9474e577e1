//! Limits without a store: core's escrow on clocks that drift and jump, a network that loses, repeats and cuts, and disks
//! that are set back.
//!
//! A world of its own: limits need no routes and no upstreams, and their faults are others. It drives
//! [`grapevine_core::escrow::Escrow`] and takes from the purses that request threads take from; it keeps no copy of a
//! decision.
//!
//! Reading order: `case` (what a run is about), `world` (everything together), `node` (one process after another),
//! `fault` (what goes wrong), `check` (what must hold), `outcome` (what is reported).

mod case;
mod check;
mod fault;
mod node;
mod outcome;
mod sabotage;
#[cfg(test)]
mod tests;
mod world;

use std::io::{self, Write};

pub(crate) use case::{Case, Depth, cases};

use sabotage::Breach;
use world::World;

/// Runs the cases with these seeds, prints a line for each, and says whether all rules held.
///
/// # Errors
/// Where `out` cannot be written.
pub(crate) fn sweep(
    cases: &[Case],
    (first, last): (u64, u64),
    out: &mut impl Write,
) -> io::Result<bool> {
    writeln!(out, "{}", outcome::HEAD)?;
    let mut holds = true;
    for case in cases {
        for seed in first..=last {
            let outcome = World::new(case, seed, Breach::None).run();
            writeln!(out, "{outcome}")?;
            out.flush()?;
            if let Some(violation) = &outcome.violation {
                holds = false;
                writeln!(
                    out,
                    "VIOLATION {violation}\n  reproduce: cargo run --release -p grapevine-sim -- limits --case {} --seeds {seed}",
                    case.name
                )?;
            }
        }
    }
    Ok(holds)
}
