//! Attacks a mesh, row by row, while an honest client asks it all the time.
//!
//! ```text
//! tests/attack/run [NAME...]
//! ```
//!
//! Each row of [`rows::ROWS`] has a fresh [`world::World`]: `n1`, which is attacked, and two nodes beside it. In
//! each an honest client sends `n1` a chat every 100 ms, in turn for its own upstream and for that of `n2`. A row
//! holds when everything sent was refused as the row expects, all nodes are alive, no honest request failed and none
//! took over a second. Ends with an error when a row does not hold.

mod honest;
mod odd;
mod rows;
mod world;

use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;

use honest::{Honest, Seen};
use rows::{ROWS, Row, Tally};
use tokio::task::LocalSet;
use world::World;

const HELP: &str = "\
Attacks a mesh of nodes, row by row, while an honest client asks it all the time, and prints a table.

Usage: tests/attack/run [--list] [NAME...]

  NAME    only the rows with this in their names; with several, the rows with any of them
  --list  prints the rows' names and ends

tests/attack/run builds a release of the program first, unless GRAPEVINE_BIN names another to attack.
GRAPEVINE_TEST_KEEP=1 keeps configurations and logs. Ends with 1 when a row does not hold, with 2 when
NAME names none.
";

/// The most memory that a node may have had: what bodies may take (256 MiB), and as much again.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

#[tokio::main]
async fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.iter().any(|name| name == "--help" || name == "-h") {
        print(&mut out, HELP.trim_end());
        return ExitCode::SUCCESS;
    }
    if names.iter().any(|name| name == "--list") {
        ROWS.iter().for_each(|row| print(&mut out, row.name));
        return ExitCode::SUCCESS;
    }
    let is_named =
        |row: &&Row| names.is_empty() || names.iter().any(|name| row.name.contains(name));
    let rows: Vec<&Row> = ROWS.iter().filter(is_named).collect();
    if rows.is_empty() {
        print(&mut out, "no row has such a name; --list names them all");
        return ExitCode::from(2);
    }
    let head = "| input | sent | refused | honest requests | failed | slowest ms | peak MB | alive | holds |";
    print(&mut out, &format!("{head}\n{}|", "| --- ".repeat(9)));
    let mut broken = 0;
    for row in &rows {
        let problems = run(row, &mut out).await;
        for problem in &problems {
            print(&mut out, &format!("  {problem}"));
        }
        broken += usize::from(!problems.is_empty());
    }
    print(
        &mut out,
        &format!("{} of {} rows hold", rows.len() - broken, rows.len()),
    );
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a row, prints its line, and returns why it does not hold.
async fn run(row: &'static Row, out: &mut impl Write) -> Vec<String> {
    let world = Rc::new(World::start().await);
    let mut honest = Honest::start(world.target());
    honest.until_served().await;
    // In a task of its own: a row that panics is one that does not hold, and the others run.
    let tasks = LocalSet::new();
    let attack = tasks.spawn_local((row.attack)(Rc::clone(&world)));
    let mut tally = tasks.run_until(attack).await.unwrap_or_else(|error| {
        let mut tally = Tally::default();
        tally.wrong.push(format!("the row itself broke: {error}"));
        tally
    });
    honest.until_served().await;
    let seen = honest.finish().await;
    let living = world.peaks();
    let is_alive = living.len() == world.nodes().len() && world.is_ready().await;
    let peak = living.into_iter().max().unwrap_or_default();
    let mut problems = std::mem::take(&mut tally.wrong);
    problems.extend(row.problems(&tally));
    problems.extend(seen.problems());
    if !is_alive {
        problems.push("a node ended, or is not ready".to_owned());
    }
    if peak > MEMORY_BYTES_MAX {
        problems.push(format!("a node took {peak} bytes of memory"));
    }
    let holds = problems.is_empty();
    print(out, &line(row, &tally, &seen, peak, is_alive, holds));
    problems
}

fn line(row: &Row, tally: &Tally, seen: &Seen, peak: u64, is_alive: bool, holds: bool) -> String {
    let word = |yes| if yes { "yes" } else { "NO" };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        row.name,
        tally.sent,
        row.refused(tally),
        seen.requests,
        seen.failures.len(),
        seen.slowest.as_millis(),
        peak / 1_000_000,
        word(is_alive),
        word(holds),
    )
}

/// Prints a line. A closed output wants no more of them.
fn print(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}");
}
