//! Tests that want the machine for themselves: they kill, storm, count memory or watch many nodes at once. Most wait
//! for one another (`grapevine_tests::quiet`).

mod affinity;
mod backlog;
mod cancellation;
mod dashboard;
mod failover;
mod hold;
mod kill_tasks;
mod memory;
mod no_leak;
mod one_bad_client;
mod propagation;
mod storm;
mod streams;
