//! A client's direction of a tunnel: a task of its own, so that a client that does not read may still send.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::listener::http1::RequestBody;
use grapevine_base::websocket::closing::TunnelEnd;
use grapevine_base::websocket::counts::TunnelCounts;
use grapevine_base::websocket::upload::TunnelUpload;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::close_watch::CloseWatch;
use super::messages::{Item, Messages};

/// What both directions of a tunnel know.
#[derive(Debug)]
pub(super) struct TunnelState {
    began: Instant,
    /// Milliseconds from there to the last byte, in either direction.
    touched: AtomicU64,
    /// Whether the client sends nothing more.
    pub(super) is_left: Arc<AtomicBool>,
    counts: TunnelCounts,
}

impl TunnelState {
    pub(super) fn new(counts: TunnelCounts) -> Self {
        Self {
            began: Instant::now(),
            touched: AtomicU64::new(0),
            is_left: Arc::default(),
            counts,
        }
    }

    /// So many bytes came from the client.
    fn received(&self, bytes: usize) {
        self.counts.received(bytes);
        self.touch();
    }

    /// So many bytes go to the client.
    pub(super) fn sent(&self, bytes: usize) {
        self.counts.sent(bytes);
        self.touch();
    }

    /// Something passed.
    fn touch(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched.store(since, Ordering::Relaxed);
    }

    /// Waits until nothing has passed for `limit`.
    pub(super) async fn silent(&self, limit: Duration) {
        loop {
            let touched = self.began + Duration::from_millis(self.touched.load(Ordering::Relaxed));
            let due = touched + limit;
            if Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// How a client's direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PumpEnd {
    /// It sends nothing more: its Close frame, or the end of its direction, has come.
    Ended,
    /// Its connection broke.
    Gone,
}

/// The task, which ends when this is dropped: the upstream's connection then closes.
#[derive(Debug)]
pub(super) struct Pump {
    task: AbortHandle,
    pub(super) ended: oneshot::Receiver<PumpEnd>,
    /// Why the tunnel must end, where it must for what the client sent.
    pub(super) refused: Option<oneshot::Receiver<TunnelEnd>>,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a client sends, as it is read.
pub(in crate::ingress) struct ClientStream {
    pub(in crate::ingress) body: RequestBody,
    /// Reads its messages; `None` where they pass unread.
    pub(in crate::ingress) messages: Option<Messages>,
    /// What was read before.
    pub(super) items: Vec<Item>,
    pub(super) close: CloseWatch,
}

impl ClientStream {
    /// Of which nothing was read.
    pub(in crate::ingress) const fn new(body: RequestBody, messages: Option<Messages>) -> Self {
        Self {
            body,
            messages,
            items: Vec::new(),
            close: CloseWatch::new(),
        }
    }
}

/// A client's stream where both may find it: the tunnel that opens, and who tells the client that none does.
#[derive(Clone)]
pub(in crate::ingress) struct ClientSlot(Arc<Mutex<Option<ClientStream>>>);

impl ClientSlot {
    pub(in crate::ingress) fn new(client: ClientStream) -> Self {
        Self(Arc::new(Mutex::new(Some(client))))
    }

    /// The stream, for the first who asks.
    pub(in crate::ingress) fn take(&self) -> Option<ClientStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl std::fmt::Debug for ClientSlot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientSlot")
    }
}

impl Pump {
    /// Passes on what `client` sends to `upload`.
    pub(super) fn start(
        client: ClientStream,
        upload: TunnelUpload,
        state: Arc<TunnelState>,
    ) -> Self {
        let (ended_in, ended) = oneshot::channel();
        let (refuse, refused) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut passing = Passing {
                upload: Some(upload),
                refuse: Some(refuse),
            };
            let end = passing.all(client, &state).await;
            state.is_left.store(true, Ordering::Release);
            if end == PumpEnd::Gone {
                passing.upload = None;
            }
            // Nobody listens once the tunnel has ended.
            let _ = ended_in.send(end);
            // The other direction may go on: both share a connection.
            std::future::pending::<()>().await;
        });
        Self {
            task: task.abort_handle(),
            ended,
            refused: Some(refused),
        }
    }
}

struct Passing {
    /// `None` once nobody takes anything any more: what comes then is read and let go.
    upload: Option<TunnelUpload>,
    refuse: Option<oneshot::Sender<TunnelEnd>>,
}

impl Passing {
    async fn all(&mut self, client: ClientStream, state: &TunnelState) -> PumpEnd {
        let ClientStream {
            mut body,
            mut messages,
            items,
            mut close,
        } = client;
        self.items(messages.as_ref(), items).await;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return PumpEnd::Gone;
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            state.received(data.len());
            let has_closed = close.came(&data);
            match &mut messages {
                None => self.send(&data).await,
                Some(_) if self.upload.is_none() => {}
                Some(reader) => match reader.feed(&data) {
                    Ok(items) => self.items(Some(reader), items).await,
                    Err(end) => self.refuse(end),
                },
            }
            if has_closed {
                // The other side answers and ends the connection (RFC 6455, 7.1.1).
                state.is_left.store(true, Ordering::Release);
                return PumpEnd::Ended;
            }
        }
        // An upstream may end when it sees the end of its client.
        state.is_left.store(true, Ordering::Release);
        if let Some(upload) = &mut self.upload {
            // One that is gone needs no end.
            let _ = upload.finish().await;
        }
        PumpEnd::Ended
    }

    async fn items(&mut self, reader: Option<&Messages>, items: Vec<Item>) {
        for item in items {
            let raw = match item {
                Item::Control(raw, ..) => raw,
                Item::Message(message) => {
                    if let Some(Err(end)) = reader.map(|reader| reader.check(&message)) {
                        return self.refuse(end);
                    }
                    message.raw
                }
            };
            self.send(&raw).await;
        }
    }

    async fn send(&mut self, data: &Bytes) {
        if let Some(upload) = &mut self.upload
            && upload.send(data).await.is_err()
        {
            self.upload = None;
        }
    }

    /// Nothing passes from here on: the upstream sees the end of the client.
    fn refuse(&mut self, end: TunnelEnd) {
        self.upload = None;
        if let Some(refuse) = self.refuse.take() {
            // Nobody listens once the tunnel has ended.
            let _ = refuse.send(end);
        }
    }
}
