//! Attacks a mesh, row by row, while an honest client asks it all the time.
//!
//! ```text
//! tests/attack/run [PART OF A NAME]
//! ```
//!
//! Each row has a fresh mesh of two nodes: `n1`, which is attacked, and `n2`, whose certificate the rows of
//! [`rows::peers`] misuse. In each row an honest client sends `n1` a chat every 100 ms. A row holds when the
//! node lives, no honest request fails and none takes over a second. Ends with an error when a row does not.

mod honest;
mod rows;
mod world;

use std::io::Write;
use std::process::ExitCode;

use grapevine_tests::memory::peak_resident_bytes;
use honest::Honest;
use rows::ROWS;
use world::World;

#[tokio::main]
async fn main() -> ExitCode {
    let part = std::env::args().nth(1).unwrap_or_default();
    let mut out = std::io::stdout();
    let head =
        "| input | sent | refused | honest requests | failed | slowest ms | peak MB | alive |";
    print(&mut out, &format!("{head}\n{}", "| --- ".repeat(8) + "|"));
    let mut holds = true;
    for row in ROWS.iter().filter(|row| row.name.contains(&part)) {
        let world = World::start().await;
        let honest = Honest::start(world.target());
        let tally = (row.attack)(&world).await;
        let seen = honest.finish().await;
        let id = world.target().id();
        let is_alive =
            id.is_some_and(|id| std::path::Path::new(&format!("/proc/{id}/exe")).exists());
        let peak = id.filter(|_| is_alive).map_or(0, peak_resident_bytes);
        let line = format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name,
            tally.sent,
            tally.refused,
            seen.requests,
            seen.failures.len(),
            seen.slowest.as_millis(),
            peak / 1_000_000,
            if is_alive { "yes" } else { "NO" },
        );
        print(&mut out, &line);
        for failure in seen.failures.iter().take(3) {
            print(&mut out, &format!("  honest request failed: {failure}"));
        }
        holds &= is_alive && seen.holds();
    }
    print(
        &mut out,
        if holds {
            "every row holds"
        } else {
            "a row does not hold"
        },
    );
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints a line. Who closed the output wants no more of them.
fn print(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
