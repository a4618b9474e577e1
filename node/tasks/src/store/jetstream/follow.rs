//! Follows the stream: one reader per node keeps its [`StreamView`], and reads all of it again whenever it may have
//! missed a message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::push::{self, Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::super::task_notifier::TaskNotifier;
use super::super::{FileRecord, StoreError};
use super::link::{Expect, JetStreamLink};
use super::record::RecordEntry;
use super::record::{Removed, TaskRecord, is_removed, read};
use super::subjects::Subjects;
use super::view::{Clock, FileEntry, StreamView};
use crate::task::{TaskState, Timestamp};

/// How often the server sends a heartbeat when it has no messages.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the server keeps the consumer of a reader that does not read.
const READER_LIFETIME: Duration = Duration::from_secs(10);

/// How long to wait after a failure before reading again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a call waits for a connection before it fails.
const READY_LIMIT: Duration = Duration::from_secs(2);

/// How long a call waits until the view has what it published itself.
const ECHO_LIMIT: Duration = Duration::from_secs(1);

/// What the store's calls and its reader share.
pub(super) struct Shared {
    pub(super) link: JetStreamLink,
    pub(super) notifier: TaskNotifier,
    view: Mutex<StreamView>,
    clock: Mutex<Clock>,
    /// The subjects, while the view can be relied on.
    ready: watch::Sender<Option<Arc<Subjects>>>,
    /// Why the view cannot be relied on, while that is so.
    trouble: Mutex<Option<StoreError>>,
    /// The sequence of the last message in the view.
    applied: watch::Sender<u64>,
    /// When unused parts were last looked for, by the server's clock.
    pub(super) tidied_at: AtomicU64,
}

impl Shared {
    pub(super) fn new(link: JetStreamLink) -> Self {
        Self {
            link,
            notifier: TaskNotifier::new(),
            view: Mutex::default(),
            clock: Mutex::default(),
            ready: watch::channel(None).0,
            trouble: Mutex::default(),
            applied: watch::channel(0).0,
            tidied_at: AtomicU64::new(0),
        }
    }

    pub(super) fn view(&self) -> MutexGuard<'_, StreamView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's time.
    pub(super) fn now(&self) -> Timestamp {
        let clock = self.clock.lock();
        clock.unwrap_or_else(PoisonError::into_inner).now()
    }

    /// The subjects to use, once the server can be used; waits for that a moment.
    pub(super) async fn ready(&self) -> Result<Arc<Subjects>, StoreError> {
        let mut ready = self.ready.subscribe();
        let waited = timeout(READY_LIMIT, ready.wait_for(Option::is_some)).await;
        if let Ok(Ok(subjects)) = waited
            && let Some(subjects) = subjects.as_ref()
        {
            return Ok(Arc::clone(subjects));
        }
        self.link.check()?;
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        Err(trouble
            .clone()
            .unwrap_or_else(|| self.link.away(&"it is not read yet")))
    }

    /// Waits until the view has the message at `sequence`; not for long, since it is durable anyway.
    pub(super) async fn wait_for(&self, sequence: u64) {
        let mut applied = self.applied.subscribe();
        // In time or not: later steps rely on the server's answer.
        let _ = timeout(ECHO_LIMIT, applied.wait_for(|applied| *applied >= sequence)).await;
    }

    /// Waits until the view changes.
    pub(super) async fn wait_for_change(&self) {
        let mut applied = self.applied.subscribe();
        applied.mark_unchanged();
        let _ = timeout(PAUSE, applied.changed()).await;
    }

    /// Publishes an empty message to learn the server's time, and to prove that the server accepts messages.
    pub(super) async fn tick(&self, subjects: &Subjects) -> Result<u64, StoreError> {
        let put = self.link.put(subjects.tick(), Bytes::new(), Expect::Any);
        match put.await? {
            super::link::Put::Done(sequence) => Ok(sequence),
            super::link::Put::Conflict => Ok(0),
        }
    }

    /// Follows the stream forever.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut is_logged = false;
        loop {
            let error = match self.follow_once().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            if self.ready.send_replace(None).is_some() || !is_logged {
                warn!(store.error = %error, "task store does not follow its stream");
                is_logged = true;
            }
            self.set_trouble(error);
            sleep(PAUSE).await;
        }
    }

    /// Sets the error that calls return while the view cannot be relied on.
    fn set_trouble(&self, trouble: StoreError) {
        let known = self.trouble.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Reads everything, and then what comes, until a message may have been missed.
    async fn follow_once(&self) -> Result<std::convert::Infallible, StoreError> {
        let mut connected = self.link.connected();
        let connection = *connected.borrow_and_update();
        let subjects = Arc::new(self.link.prepare().await?);
        self.set_trouble(self.link.away(&"its records are being read"));
        self.tick(&subjects).await?;
        let mut messages = self.read_from_the_start(&subjects).await?;
        let mut reader = Reader::new(&subjects);
        let mut view = StreamView::default();
        loop {
            let (change, pending) = self
                .next(&mut messages, &mut reader, &mut connected, connection)
                .await?;
            let sequence = change.sequence;
            reader.apply(&mut view, change);
            if pending == 0 {
                self.begin(view, sequence, &subjects);
                break;
            }
        }
        info!("task store follows its stream");
        loop {
            let (change, _) = self
                .next(&mut messages, &mut reader, &mut connected, connection)
                .await?;
            let sequence = change.sequence;
            let service = reader.apply(&mut self.view(), change);
            self.applied.send_replace(sequence);
            if let Some(service) = service {
                self.notifier.notify(&service);
            }
        }
    }

    fn begin(&self, mut view: StreamView, sequence: u64, subjects: &Arc<Subjects>) {
        {
            let mut before = self.view();
            view.keep_taken(&mut before);
            *before = view;
        }
        self.applied.send_replace(sequence);
        self.ready.send_replace(Some(Arc::clone(subjects)));
        self.notifier.notify_all();
    }

    async fn read_from_the_start(&self, subjects: &Subjects) -> Result<Messages, StoreError> {
        let config = push::Config {
            deliver_subject: self.link.client().new_inbox(),
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subjects: subjects.followed(),
            ack_policy: AckPolicy::None,
            max_deliver: 1,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: READER_LIFETIME,
            ..push::Config::default()
        };
        let consumer = self.link.stream().create_consumer(config).await;
        let consumer = consumer.map_err(|error| self.link.away(&error))?;
        let messages = consumer.messages().await;
        messages.map_err(|error| self.link.away(&error))
    }

    /// The next message, and how many more there are.
    async fn next(
        &self,
        messages: &mut Messages,
        reader: &mut Reader,
        connected: &mut watch::Receiver<u64>,
        connection: u64,
    ) -> Result<(FollowedChange, u64), StoreError> {
        let message = tokio::select! {
            message = messages.next() => message,
            _ = connected.wait_for(|now| *now != connection) => {
                return Err(self.link.away(&"the connection was lost for a while"));
            }
        };
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.link.away(&error)),
            None => return Err(self.link.away(&"the connection is closed")),
        };
        let (change, pending) = reader
            .take(message)
            .ok_or_else(|| self.link.away(&"a message was missed"))?;
        let clock = self.clock.lock();
        clock
            .unwrap_or_else(PoisonError::into_inner)
            .observe(change.at);
        Ok((change, pending))
    }
}

/// A message of the stream.
struct FollowedChange {
    subject: String,
    sequence: u64,
    at: Timestamp,
    payload: Bytes,
}

/// Reads messages in their order.
struct Reader {
    subjects: Arc<Subjects>,
    /// Messages read so far.
    read: u64,
}

impl Reader {
    fn new(subjects: &Arc<Subjects>) -> Self {
        Self {
            subjects: Arc::clone(subjects),
            read: 0,
        }
    }

    /// The message with how many follow; `None` when one before it is missing.
    fn take(&mut self, message: jetstream::Message) -> Option<(FollowedChange, u64)> {
        let (sequence, at, pending) = {
            let info = message.info().ok()?;
            self.read += 1;
            if info.consumer_sequence != self.read {
                return None;
            }
            let at = info.published.unix_timestamp_nanos() / 1_000_000;
            (info.stream_sequence, u64::try_from(at).ok()?, info.pending)
        };
        let (message, _) = message.split();
        let change = FollowedChange {
            subject: message.subject.to_string(),
            sequence,
            at: Timestamp(at),
            payload: message.payload,
        };
        Some((change, pending))
    }

    /// Applies a message; returns the service of the task that waits since then.
    fn apply(&self, view: &mut StreamView, change: FollowedChange) -> Option<String> {
        if self.subjects.is_tick(&change.subject) {
            return None;
        }
        match self.read_into(view, &change) {
            Ok(service) => service,
            Err(error) => {
                warn!(store.error = %error, store.subject = %change.subject, "a record is skipped");
                None
            }
        }
    }

    fn read_into(
        &self,
        view: &mut StreamView,
        change: &FollowedChange,
    ) -> Result<Option<String>, StoreError> {
        if is_removed(&change.payload) {
            let Removed { removed } = read("a removal", &change.payload)?;
            view.remove(&removed);
            return Ok(None);
        }
        if self.subjects.is_file(&change.subject) {
            let file: FileRecord = read("a file's record", &change.payload)?;
            view.set_file(FileEntry {
                completed_at: change.at,
                file,
            });
            return Ok(None);
        }
        let record: TaskRecord = read("a task's record", &change.payload)?;
        let task = &record.task;
        let service = task.new.service.0.as_str().to_owned();
        let waits = (task.state == TaskState::Waiting).then_some(service);
        view.set_task(RecordEntry {
            sequence: change.sequence,
            record,
        });
        Ok(waits)
    }
}

impl Shared {
    /// Whether it is time to look for unused parts again, `every` after the last time; true for one caller only.
    pub(super) fn is_time_to_tidy(&self, now: Timestamp, every: Duration) -> bool {
        let before = self.tidied_at.load(Ordering::Acquire);
        if now < Timestamp(before).after(every) {
            return false;
        }
        let swapped =
            self.tidied_at
                .compare_exchange(before, now.0, Ordering::AcqRel, Ordering::Acquire);
        swapped.is_ok() && before != 0
    }
}
