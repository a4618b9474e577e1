//! What an operator sees and writes: configurations, commands, metrics, traces, the guide and `deploy/`.

mod bad_config;
mod bench;
mod demo;
mod deploy;
mod fuzz;
mod guide;
mod import;
mod init;
mod metrics;
mod packages;
mod terminal;
mod traces;
