//! The one who writes to the SQLite file: takes what many ask for, and commits it together.
//!
//! A commit waits for the disk, whatever is in it; so while one is under way the next ones gather. Each job
//! has a savepoint of its own: one that is refused undoes its own statements alone. Nobody is told before
//! the commit. A job whose asker is gone before it began is not done.

use std::mem;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::super::StoreError;
use super::database_file::{DatabaseFile, Identity};
use super::link::{DatabaseLink, QueryStep, Trouble};

/// Jobs that wait at most; more wait for room, as long as their askers do.
const JOBS_MAX: usize = 1_024;

/// Jobs in one commit at most.
const TOGETHER_MAX: usize = 128;

/// Hands jobs to the writer. The writer ends with it.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

struct Pen {
    place: Arc<DatabaseFile>,
    link: Option<(DatabaseLink, Identity)>,
}

/// Something to write.
trait Job: Send {
    /// Whether anybody waits for it.
    fn is_wanted(&self) -> bool;

    /// Does it, and remembers what came out; whether that is to be kept.
    fn run<'c>(
        &'c mut self,
        link: &'c mut DatabaseLink,
        place: &'c DatabaseFile,
    ) -> QueryStep<'c, bool>;

    /// Tells the asker, after the commit.
    fn tell(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Asked<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    asker: oneshot::Sender<Result<T, StoreError>>,
}

impl Writer {
    /// Starts writing at `place`; `first` is a connection that is there already.
    pub(super) fn start(place: Arc<DatabaseFile>, first: Option<(DatabaseLink, Identity)>) -> Self {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        let pen = Pen { place, link: first };
        tokio::spawn(pen.write_all(waiting));
        Self { jobs }
    }

    /// Does `work` in a transaction; durable when this returns.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    {
        let (asker, answer) = oneshot::channel();
        let job = Box::new(Asked {
            work: Some(work),
            outcome: None,
            asker,
        });
        let ended = || StoreError::Unavailable {
            detail: "the node is shutting down".to_owned(),
        };
        self.jobs.send(job).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl<T, F> Job for Asked<T, F>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
{
    fn is_wanted(&self) -> bool {
        !self.asker.is_closed()
    }

    fn run<'c>(
        &'c mut self,
        link: &'c mut DatabaseLink,
        place: &'c DatabaseFile,
    ) -> QueryStep<'c, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return Ok(false);
            };
            let outcome = work(link).await.map_err(|trouble| place.explain(trouble));
            let is_done = outcome.is_ok();
            self.outcome = Some(outcome);
            Ok(is_done)
        })
    }

    fn tell(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (committed, self.outcome) {
            (_, Some(Err(error))) | (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), None) => return,
        };
        // Whoever asked may be gone by now; what is written stays written.
        let _ = self.asker.send(answer);
    }
}

impl Pen {
    async fn write_all(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(TOGETHER_MAX);
        while waiting.recv_many(&mut jobs, TOGETHER_MAX).await > 0 {
            jobs.retain(|job| job.is_wanted());
            let committed = match jobs.is_empty() {
                true => Ok(()),
                false => self.write(&mut jobs).await,
            };
            for job in mem::take(&mut jobs) {
                job.tell(committed.clone());
            }
        }
    }

    async fn write(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let (mut link, identity) = match self.link.take() {
            Some(open) => open,
            None => self.place.connect(false).await?,
        };
        if self.place.identity() != Some(identity) {
            // Kept open: the file may be put back.
            self.link = Some((link, identity));
            return Err(self.place.displaced());
        }
        // After an error nobody knows what state a connection is in: the next jobs get a new one.
        write_together(&mut link, &self.place, jobs)
            .await
            .map_err(|trouble| self.place.explain(trouble))?;
        self.link = Some((link, identity));
        Ok(())
    }
}

async fn write_together(
    link: &mut DatabaseLink,
    place: &DatabaseFile,
    jobs: &mut [Box<dyn Job>],
) -> Result<(), Trouble> {
    link.command("BEGIN IMMEDIATE").await?;
    for job in jobs {
        link.command("SAVEPOINT job").await?;
        if !job.run(link, place).await? {
            link.command("ROLLBACK TO job").await?;
        }
        link.command("RELEASE job").await?;
    }
    link.command("COMMIT").await
}
