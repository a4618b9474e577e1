//! Postgres: a server that nodes share, reached through a bounded pool.
//!
//! The server need not be there when the node starts, and may go and come back: the schema is made when it
//! first answers, and a connection that failed is closed rather than kept. Rows are taken with
//! `SKIP LOCKED`, times are the server's. Waiting nodes are woken by `NOTIFY`, which is sent beside the
//! commits (inside them it would serialize all commits of the server) and may be lost: they also poll
//! by themselves.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use grapevine_config::secret::{REDACTED, Secret};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, Error, Executor};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::super::open_error::OpenError;
use super::super::task_notifier::TaskNotifier;
use super::super::{PATIENCE, StoreError};
use super::link::{DatabaseLink, QueryStep, Trouble};
use super::schema;
use crate::task::ServiceKeyText;

/// Connections of one node at most; one more listens.
const CONNECTIONS_MAX: u32 = 8;

/// How long a connection may take to get; below [`PATIENCE`], so that the error names the cause.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// A connection that was idle for longer than this is tested before it is used, as is each that was idle since
/// before the last error. Testing all of them would cost a round trip for each call.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// The first statements of each connection. A commit is on disk when it returns, whatever the server's default;
/// the server gives up before the node does, so that an answer "no" is the truth.
const SESSION_SETUP: &str = "SET search_path TO grapevine; SET synchronous_commit TO on; \
    SET lock_timeout TO '3s'; SET statement_timeout TO '4s'; \
    SET idle_in_transaction_session_timeout TO '10s'";

/// The server's code for a disk without room.
const DISK_FULL: &str = "53100";

/// The channel on which nodes notify each other of waiting tasks.
const CHANNEL: &str = "grapevine_tasks";

/// Notifications are sent at most this often: those that come meanwhile are sent together.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(10);

/// How long until a lost listener tries again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// A store in a server.
pub(super) struct Postgres {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    /// Where the server is, for errors.
    address: String,
    password: Option<Secret>,
    /// The schema was seen to be there.
    is_ready: AtomicBool,
    /// When a connection was last closed for an error.
    failed_at: Arc<Mutex<Option<Instant>>>,
    /// Services that other nodes are still to be notified of.
    pending: Mutex<BTreeSet<ServiceKeyText>>,
    pending_added: Notify,
}

impl Postgres {
    pub(super) fn open(url: &Secret, notifier: &Arc<TaskNotifier>) -> Result<Self, OpenError> {
        let problem = |error: Error| OpenError::Url {
            problem: error.to_string(),
        };
        let options = PgConnectOptions::from_str(url.expose()).map_err(problem)?;
        let options = options
            .application_name("grapevine")
            .disable_statement_logging();
        let address = format!("{}:{}", options.get_host(), options.get_port());
        // Apart, so that working never waits for listening.
        let listener_pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_PATIENCE)
            .connect_lazy_with(options.clone());
        let failed_at: Arc<Mutex<Option<Instant>>> = Arc::default();
        let seen = Arc::clone(&failed_at);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_PATIENCE)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION_SETUP).await.map(drop) })
            })
            .test_before_acquire(false)
            .before_acquire(move |connection, lay| {
                let failed_at = *seen.lock().unwrap_or_else(PoisonError::into_inner);
                let lay_for = lay.idle_for;
                Box::pin(async move {
                    let is_fresh = failed_at.is_none_or(|failed| lay_for < failed.elapsed());
                    if !is_fresh || lay_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        let shared = Arc::new(Shared {
            pool,
            address,
            password: password(url.expose()),
            is_ready: AtomicBool::new(false),
            failed_at,
            pending: Mutex::default(),
            pending_added: Notify::new(),
        });
        tokio::spawn(listen(
            listener_pool,
            Arc::downgrade(&shared),
            Arc::clone(notifier),
        ));
        tokio::spawn(notify_others(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    /// Work whose statements each stand alone.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(work).await
    }

    /// Work that is done as a whole or not at all.
    pub(super) async fn together<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(move |link| {
            Box::pin(async move {
                link.command("BEGIN").await?;
                let outcome = work(link).await;
                match &outcome {
                    Ok(_) => link.command("COMMIT").await?,
                    Err(Trouble::Store(_)) => link.command("ROLLBACK").await?,
                    // The connection is closed, and with it the transaction.
                    Err(Trouble::Engine(_)) => {}
                }
                outcome
            })
        })
        .await
    }

    /// Notifies other nodes, soon, that a task of `service` can be leased.
    pub(super) fn notify(&self, service: &ServiceKeyText) {
        self.shared.pending().insert(service.clone());
        self.shared.pending_added.notify_one();
    }

    /// Does `work` to its end even when the caller goes away: a connection is never left in the middle.
    async fn run<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let running = tokio::spawn(async move { shared.run(work).await });
        running.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable {
                detail: error.to_string(),
            })
        })
    }
}

impl Shared {
    async fn run<T>(
        &self,
        work: impl for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T>,
    ) -> Result<T, StoreError> {
        let got = timeout(CONNECT_PATIENCE, self.pool.acquire()).await;
        let connection = got
            .unwrap_or(Err(Error::PoolTimedOut))
            .map_err(|error| self.explain(Trouble::Engine(error)))?;
        let mut link = DatabaseLink::Postgres(connection);
        let outcome = timeout(PATIENCE, async {
            self.make_ready(&mut link).await?;
            work(&mut link).await
        });
        let trouble = match outcome.await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Trouble::Store(error))) => return Err(error),
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Store(StoreError::Unavailable {
                detail: format!(
                    "Postgres at {} gave no answer within {PATIENCE:?}",
                    self.address
                ),
            }),
        };
        // After an error nobody knows what state a connection is in: the next work gets another.
        if let DatabaseLink::Postgres(connection) = link {
            drop(connection.detach());
        }
        *self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.is_ready.store(false, Ordering::Relaxed);
        Err(self.explain(trouble))
    }

    /// Makes the tables, unless they were seen to be there since the last error.
    async fn make_ready(&self, link: &mut DatabaseLink) -> Result<(), Trouble> {
        if self.is_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        schema::bring_up(link).await?;
        self.is_ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, BTreeSet<ServiceKeyText>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an error means for the caller and for the operator.
    fn explain(&self, trouble: Trouble) -> StoreError {
        let error = match trouble {
            Trouble::Store(error) => return error,
            Trouble::Engine(error) => error,
        };
        let problem = match &error {
            Error::PoolTimedOut => {
                format!(
                    "gave no connection within {CONNECT_PATIENCE:?}; is it running, and has it free connections?"
                )
            }
            Error::Database(database) if database.code().as_deref() == Some(DISK_FULL) => {
                format!("its disk is full: {error}")
            }
            error => error.to_string(),
        };
        let mut detail = format!("Postgres at {}: {problem}", self.address);
        if let Some(password) = &self.password {
            detail = detail.replace(password.expose(), REDACTED);
        }
        let is_damage = match &error {
            // Class XX: data that the server found corrupted.
            Error::Database(database) => {
                database.code().is_some_and(|code| code.starts_with("XX00"))
            }
            Error::ColumnDecode { .. } | Error::Decode(_) => true,
            _ => false,
        };
        match is_damage {
            true => StoreError::Damaged { detail },
            false => StoreError::Unavailable { detail },
        }
    }
}

/// The password in a URL as it is written there, to be kept out of every error.
fn password(url: &str) -> Option<Secret> {
    let (_, rest) = url.split_once("://")?;
    let (user, _) = rest.split_once('@')?;
    let (_, password) = user.split_once(':')?;
    (!password.is_empty()).then(|| Secret::new(password))
}

/// Notifies those who wait here when another node notifies of a task. Ends with the store.
async fn listen(listener_pool: PgPool, shared: Weak<Shared>, notifier: Arc<TaskNotifier>) {
    while shared.strong_count() > 0 {
        if let Ok(mut listener) = PgListener::connect_with(&listener_pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            // For notifications that were missed while nobody listened.
            notifier.notify_all();
            while shared.strong_count() > 0 {
                match timeout(LISTEN_AGAIN, listener.try_recv()).await {
                    Ok(Ok(Some(notification))) => notifier.notify(notification.payload()),
                    Ok(Ok(None) | Err(_)) => break,
                    Err(_) => {}
                }
            }
        }
        sleep(LISTEN_AGAIN).await;
    }
}

/// Notifies other nodes of waiting tasks. Ends with the store.
async fn notify_others(shared: Weak<Shared>) {
    while let Some(store) = shared.upgrade() {
        let services = std::mem::take(&mut *store.pending());
        if services.is_empty() {
            // Wakes by itself now and then to see whether the store is still there.
            let _ = timeout(LISTEN_AGAIN, store.pending_added.notified()).await;
            continue;
        }
        for service in services {
            let sent = sqlx::query("SELECT pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(service.0.as_str().to_owned())
                .execute(&store.pool);
            if sent.await.is_err() {
                // They poll by themselves.
                break;
            }
        }
        drop(store);
        sleep(NOTIFY_INTERVAL).await;
    }
}
