//! The engines of the task store, each against everything that every engine has to do.

use std::path::Path;
use std::sync::Arc;

use grapevine_node::config::secret::Secret;
use grapevine_node::tasks::store::jetstream::JetStore;
use grapevine_node::tasks::store::sql::SqlStore;
use grapevine_tasks::conformance;
use grapevine_tests::nats::Nats;
use grapevine_tests::postgres::Postgres;
use grapevine_tests::scratch::Scratch;
use grapevine_tests::wait::must;

async fn sqlite(path: &Path) -> Arc<SqlStore> {
    Arc::new(must("opening a file", SqlStore::sqlite(path).await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_does_what_every_store_does() {
    let scratch = Scratch::new("stores-sqlite");
    let store = sqlite(&scratch.path().join("tasks.db")).await;
    conformance::suite(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_does_what_every_store_does() {
    let server = Postgres::start("stores-postgres").await;
    let store = SqlStore::postgres(&Secret::new(&server.url()));
    conformance::suite(Arc::new(must("opening a server", store))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jetstream_does_what_every_store_does() {
    let server = Nats::start("stores-jetstream").await;
    let store = JetStore::open(&Secret::new(&server.url())).await;
    conformance::suite(Arc::new(must("opening a server", store))).await;
}
