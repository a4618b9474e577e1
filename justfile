# Shortcuts; each recipe is the command that CONTRIBUTING.md describes. `just` lists them.

default:
    @just --list

# Format and lint
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Every test; arguments go to cargo test
test *arguments:
    ./tests/run {{arguments}}

# Unit tests alone: no installs, no processes of whole nodes
quick *arguments:
    ./tests/run --quick {{arguments}}

# What CI runs
ci:
    .ci/run

# What requests cost beside other proxies, on an idle machine
bench *arguments:
    cargo build --release
    tests/bench/run {{arguments}}

# Attacks on a release build
attack *rows:
    tests/attack/run {{rows}}

# Four regions on this machine
demo *arguments:
    cargo run --release -- demo {{arguments}}

# The API documentation and the manual
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
    tests/.env/deploy/bin/mdbook build deploy/guide
