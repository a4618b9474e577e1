//! The only writer of the SQLite file: takes jobs of many callers, and commits them together.
//!
//! A commit waits for the disk, whatever is in it; so while one runs the next ones gather. Each job has a
//! savepoint of its own: one that is refused undoes its own statements alone. Nobody is answered before
//! the commit. A job whose caller is gone before it begins is not run.

use std::mem;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::super::StoreError;
use super::database_file::{DatabaseFile, Identity};
use super::link::{DatabaseLink, QueryStep, Trouble};

/// Jobs that wait at most; more wait for room, as long as their callers do.
const JOBS_MAX: usize = 1_024;

/// Jobs in one commit at most.
const TOGETHER_MAX: usize = 128;

/// Hands jobs to the writer. The writer ends with it.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
}

struct WriterTask {
    file: Arc<DatabaseFile>,
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
        file: &'c DatabaseFile,
    ) -> QueryStep<'c, bool>;

    /// Answers the caller, after the commit.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Asked<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl Writer {
    /// Starts writing to `file`; `first` is a connection that is there already.
    pub(super) fn start(file: Arc<DatabaseFile>, first: Option<(DatabaseLink, Identity)>) -> Self {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        let task = WriterTask { file, link: first };
        tokio::spawn(task.write_all(waiting));
        Self { jobs }
    }

    /// Does `work` in a transaction; durable when this returns.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut DatabaseLink) -> QueryStep<'c, T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let job = Box::new(Asked {
            work: Some(work),
            outcome: None,
            caller,
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
        !self.caller.is_closed()
    }

    fn run<'c>(
        &'c mut self,
        link: &'c mut DatabaseLink,
        file: &'c DatabaseFile,
    ) -> QueryStep<'c, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return Ok(false);
            };
            let outcome = work(link).await.map_err(|trouble| file.explain(trouble));
            let is_done = outcome.is_ok();
            self.outcome = Some(outcome);
            Ok(is_done)
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (committed, self.outcome) {
            (_, Some(Err(error))) | (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), None) => return,
        };
        // The caller may be gone by now; what is written stays written.
        let _ = self.caller.send(answer);
    }
}

impl WriterTask {
    async fn write_all(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(TOGETHER_MAX);
        while waiting.recv_many(&mut jobs, TOGETHER_MAX).await > 0 {
            jobs.retain(|job| job.is_wanted());
            let committed = match jobs.is_empty() {
                true => Ok(()),
                false => self.write(&mut jobs).await,
            };
            for job in mem::take(&mut jobs) {
                job.answer(committed.clone());
            }
        }
    }

    async fn write(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let (mut link, identity) = match self.link.take() {
            Some(open) => open,
            None => self.file.connect(false).await?,
        };
        if self.file.identity() != Some(identity) {
            // Kept open: the file may be put back.
            self.link = Some((link, identity));
            return Err(self.file.displaced());
        }
        // After an error nobody knows what state a connection is in: the next jobs get a new one.
        write_together(&mut link, &self.file, jobs)
            .await
            .map_err(|trouble| self.file.explain(trouble))?;
        self.link = Some((link, identity));
        Ok(())
    }
}

async fn write_together(
    link: &mut DatabaseLink,
    file: &DatabaseFile,
    jobs: &mut [Box<dyn Job>],
) -> Result<(), Trouble> {
    link.command("BEGIN IMMEDIATE").await?;
    for job in jobs {
        link.command("SAVEPOINT job").await?;
        if !job.run(link, file).await? {
            link.command("ROLLBACK TO job").await?;
        }
        link.command("RELEASE job").await?;
    }
    link.command("COMMIT").await
}
