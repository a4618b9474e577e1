//! A batch from its first line to its files.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::uri::PathAndQuery;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::service::{TaskError, Work};
use super::super::store::Note;
use super::super::task::{Task, TaskFault, TaskProgress, Timestamp};
use super::input::Lines;
use super::line::{self, LineEnd, WORKER_LOST};
use super::marks::{self, FATAL_LINES_MAX, Marks};
use super::{BatchCounts, BatchEnd, BatchFault, BatchJob, BatchOutput, LINES_MAX, output};

/// Ends of lines that are noted at once: one write for all that ended meanwhile.
const NOTES_AT_ONCE: usize = 64;

/// How long the lines in flight may take when the batch is cancelled or its time is over.
const LAST_LINES: Duration = Duration::from_secs(5);

/// One attempt at a batch.
pub(super) struct Run<'a> {
    pub(super) task: &'a Task,
    pub(super) job: &'a BatchJob,
    pub(super) work: &'a Work,
    /// Lines that the node calls at once, over all batches.
    pub(super) calls: &'a Semaphore,
    /// Lines of this batch at once.
    pub(super) lines_at_once: usize,
}

/// Why no more lines are begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// There are none.
    Done,
    Cancelled,
    Expired,
}

/// What is known of the lines before any is called.
struct Survey {
    total: u64,
    /// Lines that ended in earlier attempts.
    done: BTreeSet<u64>,
    order: Order,
    progress: TaskProgress,
}

/// How lines are called.
struct Order {
    /// Alone, each marked before.
    one_by_one: bool,
    /// Not at all: they were called, and no others, when a worker died.
    fatal: BTreeSet<u64>,
}

impl Run<'_> {
    /// Runs what is left of the batch.
    ///
    /// # Errors
    /// [`TaskError::Cancelled`] once the files of what was done are made; see [`TaskError`] for the rest.
    pub(super) async fn run(&self) -> Result<BatchOutput, TaskError> {
        let store = self.work.store().as_ref();
        let path: PathAndQuery = self.job.endpoint.parse().map_err(|_| {
            TaskError::Fatal(TaskFault::new(
                "invalid_endpoint",
                "the endpoint is no path",
            ))
        })?;
        let survey = self.survey().await?;
        if survey.total == 0 {
            return Ok(self.failed("empty_file", "the input file has no lines", None));
        }
        if survey.total > LINES_MAX {
            let message = format!("the input file has more than {LINES_MAX} lines");
            return Ok(self.failed("too_many_lines", &message, Some(LINES_MAX + 1)));
        }
        let total = survey.total;
        if survey.order.fatal.len() > FATAL_LINES_MAX {
            return self.end_for(&survey).await;
        }
        let stop = self.lines(survey, &path).await?;
        if stop == Stop::Expired {
            self.give_up_the_rest().await?;
        }
        let (completed, failed) = output::write(self.task, store).await?;
        let counts = BatchCounts {
            total,
            completed,
            failed,
        };
        self.work.set_progress(progress(counts));
        match stop {
            Stop::Cancelled => Err(TaskError::Cancelled),
            Stop::Done | Stop::Expired => Ok(BatchOutput {
                status: match stop {
                    Stop::Expired => BatchEnd::Expired,
                    Stop::Done | Stop::Cancelled => BatchEnd::Completed,
                },
                errors: Vec::new(),
                counts,
            }),
        }
    }

    /// Ends a batch that has ended too many workers, with what was answered.
    async fn end_for(&self, survey: &Survey) -> Result<BatchOutput, TaskError> {
        let message = format!("more than {FATAL_LINES_MAX} lines ended their worker");
        let line = survey.order.fatal.first().copied();
        let (completed, failed) = output::write(self.task, self.work.store().as_ref()).await?;
        Ok(BatchOutput {
            counts: BatchCounts {
                total: survey.total,
                completed,
                failed,
            },
            ..self.failed(WORKER_LOST, &message, line)
        })
    }

    fn failed(&self, code: &str, message: &str, line: Option<u64>) -> BatchOutput {
        BatchOutput {
            status: BatchEnd::Failed,
            errors: vec![BatchFault {
                code: code.to_owned(),
                message: message.to_owned(),
                line,
            }],
            counts: BatchCounts::default(),
        }
    }

    /// Counts the lines, and those that have a note.
    async fn survey(&self) -> Result<Survey, TaskError> {
        let store = self.work.store().as_ref();
        let mut total = 0;
        let mut lines = Lines::of(store, &self.job.input_file_id);
        while total <= LINES_MAX && lines.next().await?.is_some() {
            total += 1;
        }
        let (mut done, mut succeeded) = (BTreeSet::new(), BTreeSet::new());
        let mut marks = Marks::default();
        let (mut completed, mut failed, mut from) = (0, 0, 0);
        loop {
            let page = store.notes(&self.task.new.id, from).await?;
            let Some(last) = page.last() else {
                break;
            };
            from = last.number + 1;
            for note in &page {
                if marks::is_mark(note.number) {
                    marks.see(note.number, &self.task.history);
                    continue;
                }
                done.insert(note.number);
                match LineEnd::read(&note.content) {
                    Some(end) if end.is_good => {
                        succeeded.insert(note.number);
                        completed += 1;
                    }
                    _ => failed += 1,
                }
            }
        }
        Ok(Survey {
            total,
            done,
            order: Order {
                one_by_one: marks.any || self.task.is_suspect(),
                fatal: marks.fatal(|line| succeeded.contains(&line)),
            },
            progress: progress(BatchCounts {
                total,
                completed,
                failed,
            }),
        })
    }

    /// When the batch's time is over.
    fn deadline(&self) -> Instant {
        let window = Duration::from_secs(self.job.window_seconds);
        let ends = self.task.created_at.after(window).0;
        let left = ends.saturating_sub(Timestamp::now().0);
        Instant::now() + Duration::from_millis(left)
    }

    /// Calls every line that has no note, and notes their ends.
    async fn lines(&self, survey: Survey, path: &PathAndQuery) -> Result<Stop, TaskError> {
        let Survey {
            done,
            order,
            mut progress,
            ..
        } = survey;
        self.work.set_progress(progress);
        let at_once = match order.one_by_one {
            true => 1,
            false => self.lines_at_once,
        };
        let store = self.work.store().as_ref();
        let mut lines = Lines::of(store, &self.job.input_file_id);
        let mut names = Names::default();
        let mut running = FuturesUnordered::new();
        let deadline = self.deadline();
        let is_over = deadline <= Instant::now();
        let mut stop = is_over.then_some(Stop::Expired);
        loop {
            while stop.is_none() && running.len() < at_once {
                let Some((number, line)) = lines.next().await? else {
                    stop = Some(Stop::Done);
                    break;
                };
                let request = names.check(line::read(&line, &self.job.endpoint));
                if !done.contains(&number) {
                    let request = self.begin(number, request, &order).await?;
                    running.push(self.line(number, request, path));
                }
            }
            let ended = tokio::select! {
                biased;
                () = self.work.cancelled(), if stop != Some(Stop::Cancelled) => {
                    stop = Some(Stop::Cancelled);
                    break;
                }
                () = sleep_until(deadline), if stop != Some(Stop::Expired) => {
                    stop = Some(Stop::Expired);
                    break;
                }
                ended = running.next() => ended,
            };
            let Some(first) = ended else {
                break;
            };
            let mut ends = vec![first];
            while ends.len() < NOTES_AT_ONCE
                && let Some(Some(end)) = futures_util::FutureExt::now_or_never(running.next())
            {
                ends.push(end);
            }
            self.note(ends, &mut progress).await?;
        }
        if matches!(stop, Some(Stop::Cancelled | Stop::Expired)) {
            // A line that is answered in time counts: it was paid for.
            let last_at = Instant::now() + LAST_LINES;
            while let Ok(Some(end)) = timeout_at(last_at, running.next()).await {
                self.note(vec![end], &mut progress).await?;
            }
        }
        Ok(stop.unwrap_or(Stop::Done))
    }

    /// A line that is called next, marked where lines are called one by one; or its end, where it is not to be.
    async fn begin(
        &self,
        number: u64,
        request: Result<line::Request, LineEnd>,
        order: &Order,
    ) -> Result<Result<line::Request, LineEnd>, TaskError> {
        let request = match request {
            Ok(request) => request,
            Err(end) => return Ok(Err(end)),
        };
        if order.fatal.contains(&number) {
            return Ok(Err(request.lost()));
        }
        if order.one_by_one {
            let mark = marks::mark(number, self.work.lease().attempt);
            match self.work.save(&[mark]).await {
                // It is kept, and the cancellation is seen by its own signal.
                Ok(()) | Err(TaskError::Cancelled) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(request))
    }

    async fn line(
        &self,
        number: u64,
        request: Result<line::Request, LineEnd>,
        path: &PathAndQuery,
    ) -> (u64, LineEnd) {
        let end = match request {
            Ok(request) => {
                // The semaphore lives as long as the service and is never closed.
                let _permit = self.calls.acquire().await;
                let api = self.work.api().as_ref();
                request.call(&self.task.new, path.clone(), api).await
            }
            Err(end) => end,
        };
        (number, end)
    }

    async fn note(
        &self,
        ends: Vec<(u64, LineEnd)>,
        progress: &mut TaskProgress,
    ) -> Result<(), TaskError> {
        let notes: Vec<Note> = ends
            .iter()
            .map(|(number, end)| Note {
                number: *number,
                content: end.note(),
            })
            .collect();
        let good = ends.iter().filter(|(_, end)| end.is_good).count() as u64;
        progress.completed += good;
        progress.failed += ends.len() as u64 - good;
        self.work.set_progress(*progress);
        match self.work.save(&notes).await {
            // It is kept, and the cancellation is seen by its own signal.
            Err(TaskError::Cancelled) => Ok(()),
            saved => saved,
        }
    }

    /// Records lines without an end as expired, for the error file.
    async fn give_up_the_rest(&self) -> Result<(), TaskError> {
        let survey = self.survey().await?;
        let store = self.work.store().as_ref();
        let mut lines = Lines::of(store, &self.job.input_file_id);
        let mut progress = survey.progress;
        let mut ends = Vec::new();
        while let Some((number, line)) = lines.next().await? {
            if survey.done.contains(&number) {
                continue;
            }
            ends.push((number, line::expired(&line, &self.job.endpoint)));
            if ends.len() == NOTES_AT_ONCE {
                self.note(std::mem::take(&mut ends), &mut progress).await?;
            }
        }
        self.note(ends, &mut progress).await
    }
}

/// The names that lines have had: each may be used once. Sixteen bytes for each of at most [`LINES_MAX`].
#[derive(Default)]
struct Names(BTreeSet<[u8; 16]>);

impl Names {
    fn check(&mut self, request: Result<line::Request, LineEnd>) -> Result<line::Request, LineEnd> {
        let request = request?;
        let digest = ring::digest::digest(&ring::digest::SHA256, request.custom_id.text.as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&digest.as_ref()[..16]);
        if self.0.insert(name) {
            return Ok(request);
        }
        let message = "another line before this one has the same custom_id";
        let name = Some(&*request.custom_id.written);
        Err(LineEnd::refused(name, "duplicate_custom_id", message))
    }
}

fn progress(counts: BatchCounts) -> TaskProgress {
    TaskProgress {
        completed: counts.completed,
        failed: counts.failed,
        total: counts.total,
    }
}
