//! What clients see of a node: requests good and bad, answers, keys and quotas, and real SDKs.

mod bad_input;
mod cloud_forms;
mod clouds;
mod coding_clients;
mod dialects;
mod fallback;
mod fallback_models;
mod isolation;
mod issued_keys;
mod judged_clients;
mod ledger;
mod listeners;
mod oidc;
mod other_keys;
mod providers_page;
mod quotas;
mod real_clients;
mod real_model;
mod sdk_matrix;
mod secrets;
mod secrets_of_clouds;
mod settled;
mod sloppy_upstream;
mod token_endpoints;
mod websockets;
