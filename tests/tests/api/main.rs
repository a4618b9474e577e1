//! What clients see of a node: requests good and bad, answers, keys and quotas, and real SDKs.

mod bad_input;
mod dialects;
mod fallback;
mod isolation;
mod issued_keys;
mod judged_clients;
mod ledger;
mod listeners;
mod other_keys;
mod quotas;
mod real_clients;
mod real_model;
mod secrets;
mod sloppy_upstream;
