//! What it costs to find out where a client is: nanoseconds per lookup, for both families.
//!
//! ```text
//! cargo run --release -p grapevine-tests --example lookup [-- FILE.mmdb]
//! ```
//!
//! Ends with an error when a lookup takes longer than the two microseconds that are promised: on a quiet
//! machine, and in a release build.

use std::hint::black_box;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use grapevine_node::geo::Locator;

/// What is promised of a lookup.
const LOOKUP_MAX: Duration = Duration::from_micros(2);

const LOOKUPS: u32 = 2_000_000;

/// Spreads neighbours over all of 32 bits, the worst order for any cache (Knuth's multiplicative hash).
const SPREAD: u32 = 2_654_435_761;

fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from);
    let locator = Locator::open(file.as_deref())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", locator.database().database_type())?;
    let spread = || (0..LOOKUPS).map(|index| index.wrapping_mul(SPREAD));
    let v4 = spread().map(|bits| IpAddr::V4(bits.into())).collect();
    // Over 2a00::/16, where Europe's networks are.
    let v6 = spread().map(|bits| IpAddr::V6(((0x2a00 << 112) | (u128::from(bits) << 80)).into()));
    measure(&locator, "IPv4", v4, &mut out)?;
    measure(&locator, "IPv6", v6.collect(), &mut out)
}

fn measure(
    locator: &Locator,
    name: &str,
    addresses: Vec<IpAddr>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let found = addresses
        .iter()
        .filter(|address| black_box(locator.locate(**address)).located().is_some());
    let found = found.count();
    let each = start.elapsed() / LOOKUPS;
    let each_ns = each.as_nanos();
    writeln!(
        out,
        "{name}: {each_ns} ns per lookup, {found} of {LOOKUPS} located"
    )?;
    ensure!(
        each < LOOKUP_MAX,
        "{name}: a lookup takes {each:?}, {LOOKUP_MAX:?} are promised; build with --release"
    );
    Ok(())
}
