//! The simulator's program. See `sim/README.md`.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use clap::Parser;
use grapevine_sim::cli;

/// Where glibc's allocator reads its settings, before `main`.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Asks the kernel for huge pages, which it gives to who asks on most systems
/// (`/sys/kernel/mm/transparent_hugepage/enabled`: `madvise`).
const HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    begin_in_huge_pages();
    cli::main(&arguments)
}

/// Begins anew with memory in huge pages, unless this is that beginning or the user set the allocator up. A
/// mesh of 1,000 nodes is 1.7 GB that is read in no order: a quarter of its time goes into finding small pages.
/// Where it cannot be, or the allocator is another, the run takes longer and shows the same.
fn begin_in_huge_pages() {
    if env::var_os(TUNABLES).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let mut anew = Command::new(program);
        anew.args(env::args_os().skip(1)).env(TUNABLES, HUGE_PAGES);
        // Returns only where it failed, and then this process goes on.
        let _ = anew.exec();
    }
}
