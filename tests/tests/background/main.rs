//! Background work: tasks, batches, workflows, the engines that keep them, and who runs what.

mod batches;
mod store_jetstream;
mod store_postgres;
mod store_sqlite;
mod stores;
mod task_queues;
mod tasks;
mod worker_mode;
mod workflows;
