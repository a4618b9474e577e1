//! The connection to the server: what is asked of JetStream, and what its refusals mean.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DeleteMessageErrorKind, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, connection};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::watch;

use super::super::StoreError;
use super::super::open_error::OpenError;
use super::subjects::Subjects;
use super::url::{Target, User, problem};

/// The stream that holds everything.
const STREAM: &str = "grapevine";

/// How long the server may take for one answer; below the store's patience, so that the error names the cause.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// How long one try to connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How often a silent server is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// The longest wait between two tries to connect.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(250);

/// How long a removal stays in the stream, for nodes that were away.
pub(super) const REMOVED_FOR: Duration = Duration::from_secs(3_600);

/// How long a listing may lie unread at the server.
const LISTING_LIFETIME: Duration = Duration::from_secs(30);

/// Publishes in flight at once at most.
const PUBLISHES_MAX: usize = 4_096;

/// The last message that a subject must have for a new message to be accepted; 0 is none.
pub(super) enum Expect<'a> {
    /// Of the message's own subject.
    Own(u64),
    /// Of another subject.
    Of(&'a str, u64),
    /// Nothing.
    Any,
}

/// The outcome of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is durable, at this sequence of the stream.
    Done(u64),
    /// What was expected did not hold; nothing was changed.
    Conflict,
}

/// A message as it was found.
pub(super) struct Found {
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// Its content.
    pub(super) payload: Bytes,
}

/// A connection, which comes back by itself.
pub(super) struct JetStreamLink {
    client: Client,
    context: Context,
    stream: Stream<()>,
    target: Target,
    /// How often it was connected.
    connected: watch::Receiver<u64>,
}

impl JetStreamLink {
    /// Begins to connect.
    ///
    /// # Errors
    /// When a file that the URL names cannot be read.
    pub(super) async fn open(target: Target) -> Result<Self, OpenError> {
        let (count, connected) = watch::channel(0);
        let mut options = ConnectOptions::new()
            .name("grapevine")
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_LIMIT)
            .request_timeout(Some(ANSWER_LIMIT))
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(|tries| {
                RECONNECT_INTERVAL.min(Duration::from_millis(tries as u64 * 20))
            })
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    count.send_modify(|count| *count += 1);
                }
                async {}
            });
        options = match &target.user {
            Some(User::Named(name, password)) => {
                options.user_and_password(name.clone(), password.expose().to_owned())
            }
            Some(User::Token(token)) => options.token(token.expose().to_owned()),
            None => options,
        };
        if let Some(path) = &target.credentials {
            let with = options.credentials_file(path).await;
            options =
                with.map_err(|error| problem(&format!("creds: {}: {error}", path.display())))?;
        }
        if let Some(path) = &target.authority {
            options = options.add_root_certificates(path.clone());
        }
        let client = options.connect(target.servers.clone()).await;
        let client = client.map_err(|error| problem(&target.censored(error.to_string())))?;
        let builder = jetstream::ContextBuilder::new()
            .timeout(ANSWER_LIMIT)
            .ack_timeout(ANSWER_LIMIT)
            .max_ack_inflight(PUBLISHES_MAX);
        let context = match &target.domain {
            Some(domain) => builder.domain(domain).build(client.clone()),
            None => builder.build(client.clone()),
        };
        let stream = context.get_stream_no_info(STREAM).await;
        let stream = stream.map_err(|error| problem(&error.to_string()))?;
        Ok(Self {
            client,
            context,
            stream,
            target,
            connected,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn stream(&self) -> &Stream<()> {
        &self.stream
    }

    pub(super) fn connected(&self) -> watch::Receiver<u64> {
        self.connected.clone()
    }

    /// Makes the stream where there is none; many may do so at once. The subjects to be used in it.
    pub(super) async fn prepare(&self) -> Result<Subjects, StoreError> {
        self.check()?;
        let account = self.context.query_account().await;
        let account = account.map_err(|error| self.away(&error))?;
        let subjects = Subjects::new(account.domain.as_deref());
        let config = Config {
            name: STREAM.to_owned(),
            description: Some("grapevine's tasks and files".to_owned()),
            subjects: vec![subjects.all()],
            storage: StorageType::File,
            num_replicas: self.target.replicas,
            max_messages_per_subject: 1,
            // A full stream refuses; it must never make room by dropping a task.
            discard: DiscardPolicy::New,
            allow_message_ttl: true,
            ..Config::default()
        };
        let made = self.context.get_or_create_stream(config).await;
        let made = made.map_err(|error| self.away(&error))?;
        let kept = &made.cached_info().config;
        if kept.subjects != [subjects.all()] || !kept.allow_message_ttl {
            return Err(StoreError::Damaged {
                detail: format!(
                    "the stream {STREAM:?} at {} was not made for these tasks (its subjects are {:?}), \
                     or its server is older than 2.11",
                    self.target.shown, kept.subjects
                ),
            });
        }
        Ok(subjects)
    }

    /// Publishes a message: durable when this returns [`Put::Done`].
    pub(super) async fn put(
        &self,
        subject: String,
        payload: Bytes,
        expect: Expect<'_>,
    ) -> Result<Put, StoreError> {
        let message = PublishMessage::build().payload(payload);
        let message = match expect {
            Expect::Any => message,
            Expect::Own(sequence) => message.expected_last_subject_sequence(sequence),
            Expect::Of(other, sequence) => message
                .expected_last_subject_sequence(sequence)
                .header("Nats-Expected-Last-Subject-Sequence-Subject", other),
        };
        self.publish(subject, message).await
    }

    /// Replaces a message by one that expires after [`REMOVED_FOR`].
    pub(super) async fn put_removal(
        &self,
        subject: String,
        payload: Bytes,
        sequence: u64,
    ) -> Result<Put, StoreError> {
        let message = PublishMessage::build()
            .payload(payload)
            .expected_last_subject_sequence(sequence)
            .ttl(REMOVED_FOR);
        self.publish(subject, message).await
    }

    async fn publish(&self, subject: String, message: PublishMessage) -> Result<Put, StoreError> {
        // What is given to a connection that is down would be sent when it is up, long after the caller
        // got the error that nothing was accepted.
        self.check()?;
        let sent = match self.context.send_publish(subject, message).await {
            Ok(sent) => sent.await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(ack) => Ok(Put::Done(ack.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Put::Conflict),
            Err(error) => Err(self.away(&error)),
        }
    }

    /// The message of a subject, from the stream's leader, which knows all that was accepted.
    pub(super) async fn get(&self, subject: &str) -> Result<Option<Found>, StoreError> {
        self.check()?;
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(found) => Ok(Some(Found {
                sequence: found.sequence,
                payload: found.payload,
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.away(&error)),
        }
    }

    /// Subjects that there are messages of.
    pub(super) async fn subjects(&self, filter: &str) -> Result<Vec<String>, StoreError> {
        self.check()?;
        let listing = self.stream.info_with_subjects(filter).await;
        let listing = listing.map_err(|error| self.away(&error))?;
        let listing = listing.map_ok(|(subject, _)| subject).try_collect().await;
        listing.map_err(|error| self.away(&error))
    }

    /// Subjects that there are messages of, each with its message's length in bytes.
    pub(super) async fn lengths(&self, filter: &str) -> Result<Vec<(String, u64)>, StoreError> {
        self.check()?;
        let config = pull::Config {
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: LISTING_LIFETIME,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| self.away(&error))?;
        let pending = consumer.cached_info().num_pending as usize;
        let mut lengths = Vec::new();
        if pending == 0 {
            return Ok(lengths);
        }
        let messages = consumer.fetch().max_messages(pending).messages().await;
        let mut messages = messages.map_err(|error| self.away(&error))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| self.away(&*error))?;
            let headers = message.headers.as_ref();
            let length = headers.and_then(|headers| headers.get("Nats-Msg-Size"));
            let length = length.and_then(|length| length.as_str().parse().ok());
            lengths.push((message.subject.to_string(), length.unwrap_or_default()));
        }
        Ok(lengths)
    }

    /// Removes every message of the subjects that `filter` names.
    pub(super) async fn purge(&self, filter: &str) -> Result<(), StoreError> {
        self.check()?;
        let purged = self.stream.purge().filter(filter).await;
        purged.map(drop).map_err(|error| self.away(&error))
    }

    /// Removes one message, which may be gone already.
    pub(super) async fn delete(&self, sequence: u64) -> Result<(), StoreError> {
        self.check()?;
        let Err(error) = self.stream.delete_message(sequence).await else {
            return Ok(());
        };
        match error.kind() {
            DeleteMessageErrorKind::JetStream(refused) if is_gone(&refused) => Ok(()),
            _ => Err(self.away(&error)),
        }
    }

    /// Whether there is a connection.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.client.connection_state() {
            connection::State::Connected => Ok(()),
            _ => Err(self.away(&"no connection; is it running, and does it accept this user?")),
        }
    }

    /// The server cannot be used now.
    pub(super) fn away(&self, problem: &(impl std::fmt::Display + ?Sized)) -> StoreError {
        let detail = format!("NATS at {}: {problem}", self.target.shown);
        StoreError::Unavailable {
            detail: self.target.censored(detail),
        }
    }
}

/// Whether a message could not be removed for not being there.
fn is_gone(refused: &jetstream::Error) -> bool {
    refused.error_code() == ErrorCode::SEQUENCE_NOT_FOUND
        || refused.to_string().contains("not found")
}
