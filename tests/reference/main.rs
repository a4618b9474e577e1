//! Prints the configuration reference of the manual:
//!
//! ```text
//! cargo run -p grapevine-tests --example reference > deploy/guide/src/configuration-reference.md
//! ```

use std::io::Write;

fn main() -> std::io::Result<()> {
    let page = grapevine_tests::reference::page();
    std::io::stdout().lock().write_all(page.as_bytes())
}
