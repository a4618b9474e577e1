//! Follows the stream: one reader per node keeps its [`StreamView`], and hears it anew whenever it may have
//! missed something.

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

/// How often the server says that it has nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long the server keeps a place for a reader that does not read.
const READER_LIFE: Duration = Duration::from_secs(10);

/// How long to wait after a failure before hearing anew.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a call waits for a connection, before it says that there is none.
const READY_LIMIT: Duration = Duration::from_secs(2);

/// How long a call waits to hear what it said itself.
const ECHO_LIMIT: Duration = Duration::from_secs(1);

/// What the store's calls and its reader share.
pub(super) struct Shared {
    pub(super) link: JetStreamLink,
    pub(super) doorbell: TaskNotifier,
    view: Mutex<StreamView>,
    clock: Mutex<Clock>,
    /// The subjects in use while the view can be relied on.
    ready: watch::Sender<Option<Arc<Subjects>>>,
    /// Why it cannot, where it cannot.
    trouble: Mutex<Option<StoreError>>,
    /// How far in the stream the view is.
    heard: watch::Sender<u64>,
    /// When unused parts were last looked for, by the server's clock.
    pub(super) tidied_at: AtomicU64,
}

impl Shared {
    pub(super) fn new(link: JetStreamLink) -> Self {
        Self {
            link,
            doorbell: TaskNotifier::new(),
            view: Mutex::default(),
            clock: Mutex::default(),
            ready: watch::channel(None).0,
            trouble: Mutex::default(),
            heard: watch::channel(0).0,
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

    /// Waits until the view has what was said at `sequence`; not for long, since it is durable anyway.
    pub(super) async fn hear_of(&self, sequence: u64) {
        let mut heard = self.heard.subscribe();
        // Late or not: what follows decides by the server's word.
        let _ = timeout(ECHO_LIMIT, heard.wait_for(|heard| *heard >= sequence)).await;
    }

    /// Waits until the view changes.
    pub(super) async fn hear_more(&self) {
        let mut heard = self.heard.subscribe();
        heard.mark_unchanged();
        let _ = timeout(PAUSE, heard.changed()).await;
    }

    /// Says something only to hear when: the store's clock, and the proof that it takes what it is given.
    pub(super) async fn tick(&self, subjects: &Subjects) -> Result<u64, StoreError> {
        let put = self.link.put(subjects.tick(), Bytes::new(), Expect::Any);
        match put.await? {
            super::link::Put::Done(sequence) => Ok(sequence),
            super::link::Put::Conflict => Ok(0),
        }
    }

    /// Follows the stream for ever.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut was_told = false;
        loop {
            let error = match self.follow_once().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            if self.ready.send_replace(None).is_some() || !was_told {
                warn!(store.error = %error, "task store lost sight of its stream");
                was_told = true;
            }
            self.tell(error);
            sleep(PAUSE).await;
        }
    }

    /// What calls are told while the view cannot be relied on.
    fn tell(&self, trouble: StoreError) {
        let told = self.trouble.lock();
        *told.unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Hears everything, and then what comes, until something may have been missed.
    async fn follow_once(&self) -> Result<std::convert::Infallible, StoreError> {
        let mut connected = self.link.connected();
        let life = *connected.borrow_and_update();
        let subjects = Arc::new(self.link.prepare().await?);
        self.tell(self.link.away(&"its records are being read"));
        self.tick(&subjects).await?;
        let mut messages = self.read_from_the_start(&subjects).await?;
        let mut reader = Reader::new(&subjects);
        let mut view = StreamView::default();
        loop {
            let (heard, pending) = self
                .next(&mut messages, &mut reader, &mut connected, life)
                .await?;
            let sequence = heard.sequence;
            reader.apply(&mut view, heard);
            if pending == 0 {
                self.begin(view, sequence, &subjects);
                break;
            }
        }
        info!("task store follows its stream");
        loop {
            let (heard, _) = self
                .next(&mut messages, &mut reader, &mut connected, life)
                .await?;
            let sequence = heard.sequence;
            let service = reader.apply(&mut self.view(), heard);
            self.heard.send_replace(sequence);
            if let Some(service) = service {
                self.doorbell.ring(&service);
            }
        }
    }

    fn begin(&self, mut view: StreamView, sequence: u64, subjects: &Arc<Subjects>) {
        {
            let mut before = self.view();
            view.keep_taken(&mut before);
            *before = view;
        }
        self.heard.send_replace(sequence);
        self.ready.send_replace(Some(Arc::clone(subjects)));
        self.doorbell.ring_all();
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
            inactive_threshold: READER_LIFE,
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
        life: u64,
    ) -> Result<(FollowedChange, u64), StoreError> {
        let message = tokio::select! {
            message = messages.next() => message,
            _ = connected.wait_for(|now| *now != life) => {
                return Err(self.link.away(&"it was away"));
            }
        };
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.link.away(&error)),
            None => return Err(self.link.away(&"the connection is closed")),
        };
        let (heard, pending) = reader
            .take(message)
            .ok_or_else(|| self.link.away(&"a message was missed"))?;
        let clock = self.clock.lock();
        clock.unwrap_or_else(PoisonError::into_inner).hear(heard.at);
        Ok((heard, pending))
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
        let heard = FollowedChange {
            subject: message.subject.to_string(),
            sequence,
            at: Timestamp(at),
            payload: message.payload,
        };
        Some((heard, pending))
    }

    /// Takes a message down; the service of a task that waits by it.
    fn apply(&self, view: &mut StreamView, heard: FollowedChange) -> Option<String> {
        if self.subjects.is_tick(&heard.subject) {
            return None;
        }
        match self.read_into(view, &heard) {
            Ok(service) => service,
            Err(error) => {
                warn!(store.error = %error, store.subject = %heard.subject, "a record is passed over");
                None
            }
        }
    }

    fn read_into(
        &self,
        view: &mut StreamView,
        heard: &FollowedChange,
    ) -> Result<Option<String>, StoreError> {
        if is_removed(&heard.payload) {
            let Removed { removed } = read("a removal", &heard.payload)?;
            view.remove(&removed);
            return Ok(None);
        }
        if self.subjects.is_file(&heard.subject) {
            let file: FileRecord = read("a file's record", &heard.payload)?;
            view.set_file(FileEntry {
                completed_at: heard.at,
                file,
            });
            return Ok(None);
        }
        let record: TaskRecord = read("a task's record", &heard.payload)?;
        let task = &record.task;
        let service = task.new.service.0.as_str().to_owned();
        let waits = (task.state == TaskState::Waiting).then_some(service);
        view.set_task(RecordEntry {
            sequence: heard.sequence,
            record,
        });
        Ok(waits)
    }
}

impl Shared {
    /// Whether it is time to look for unused parts again, by this much; only one caller is told so.
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
