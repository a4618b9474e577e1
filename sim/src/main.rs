//! The simulator's program. See `sim/README.md`.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use clap::Parser;
use grapevine_sim::cli;

/// Where glibc's allocator reads its settings, before `main`.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Asks the kernel for huge pages, which most systems give on request
/// (`/sys/kernel/mm/transparent_hugepage/enabled`: `madvise`).
const HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    restart_in_huge_pages();
    cli::main(&arguments)
}

/// Starts again with memory in huge pages, unless this is that second start or the user has configured the allocator.
/// A mesh of 1,000 nodes is 1.7 GB, read in no order: with small pages a quarter of the time is address translation.
/// Where this fails, or the allocator is another, the run takes longer and shows the same.
fn restart_in_huge_pages() {
    if env::var_os(TUNABLES).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let mut again = Command::new(program);
        again.args(env::args_os().skip(1)).env(TUNABLES, HUGE_PAGES);
        // Returns only on failure, and then this process goes on.
        let _ = again.exec();
    }
}
