//! What a dialect must be able to do to take part in translation.
//!
//! A dialect is one module with one type that implements [`Grammar`]; it knows the hub and no other dialect.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::fields::ReadError;
use crate::hub::answer::HubAnswer;
use crate::hub::error::ReportedError;
use crate::hub::request::HubRequest;
use crate::hub::stream::StreamFrame;
use crate::loss::LossList;

/// A JSON object.
pub type Object = Map<String, Value>;

/// Reads and writes one dialect.
pub trait Grammar: Sync {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// If something that must stand there does not.
    fn read_request(&self, body: Object) -> Result<HubRequest, ReadError>;

    /// Writes a request, naming what the dialect cannot say.
    fn write_request(&self, request: &HubRequest, losses: &mut LossList) -> Object;

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// If something that must stand there does not.
    fn read_answer(&self, body: Object) -> Result<HubAnswer, ReadError>;

    /// Writes an answer, naming what the dialect cannot say.
    fn write_answer(
        &self,
        answer: &HubAnswer,
        terms: &AnswerTerms,
        losses: &mut LossList,
    ) -> Object;

    /// Reads the body of an answer with an error status; nothing if it is no error of the dialect.
    fn read_error(&self, status: u16, body: Object) -> Option<ReportedError>;

    /// Reads the body of an error whose kind the upstream gave beside it, in a header.
    fn read_named_error(
        &self,
        status: u16,
        _name: Option<&str>,
        body: Object,
    ) -> Option<ReportedError> {
        self.read_error(status, body)
    }

    /// Writes the body of an error.
    fn write_error(&self, error: &ReportedError) -> Object;

    /// The kind of an error that a client of the dialect finds beside the body, in a header; nothing where the body
    /// says all.
    fn error_name(&self, _error: &ReportedError) -> Option<String> {
        None
    }

    /// What reads a stream of the dialect.
    fn stream_reader(&self) -> Box<dyn StreamReader>;

    /// What writes a stream of the dialect.
    fn stream_writer(&self, terms: &AnswerTerms) -> Box<dyn StreamWriter>;
}

/// Whether something is written for an upstream or for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    /// An upstream, which refuses what it does not take.
    Upstream,
    /// A client, which may send it back.
    Client,
}

/// What the client's request settles about the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerTerms {
    /// Whether it comes piece by piece, if the body says so.
    pub stream: bool,
    /// Whether a stream ends with the usage, in dialects where that is a choice.
    pub usage: bool,
    /// When the answer is made, in seconds since 1970: for a client whose dialect says so, of an upstream whose
    /// dialect does not. The caller sets it, since no request does.
    pub created: u64,
    /// The tools that take free text, whose calls come back from a dialect without such tools as those of functions.
    pub free_text_tools: BTreeSet<String>,
    /// The model of an answer whose dialect does not say it: the one that was asked for.
    pub model: Option<String>,
    /// The id of an answer whose dialect does not say it, such as that of the upstream's request. The caller sets it.
    pub id: Option<String>,
}

impl AnswerTerms {
    /// Gives an answer what its dialect does not say.
    pub(crate) fn complete(&self, answer: &mut HubAnswer) {
        if answer.model.is_none() {
            answer.model.clone_from(&self.model);
        }
        if answer.id.is_none() {
            answer.id.clone_from(&self.id);
        }
    }
}

/// Reads the events of one stream.
pub trait StreamReader: Send {
    /// Reads one event: its name, if it has one, and its data.
    ///
    /// # Errors
    ///
    /// If it is no event of the dialect.
    fn read(&mut self, name: Option<&str>, data: &str) -> Result<StreamFrame, ReadError>;

    /// The upstream's body has ended: whether the answer is complete.
    ///
    /// A dialect whose streams need not end with an event of their own adds [`End`](crate::hub::stream::StreamEvent)
    /// in a last frame.
    fn finish(&mut self) -> StreamEnding;
}

/// How a stream ends.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEnding {
    /// The end has been read already.
    Complete,
    /// The answer is complete, and this frame says so.
    CompleteWith(StreamFrame),
    /// The upstream reported an error in place of the end.
    Failed,
    /// The upstream stopped before the answer was complete.
    Truncated,
}

/// Writes the events of one stream.
///
/// A frame of the writer's own dialect, which its rest tells, is written as the event that it was; one of another
/// dialect as the events that it becomes.
pub trait StreamWriter: Send {
    /// Writes what a frame says, as far as it can be said already.
    fn write(&mut self, frame: StreamFrame, out: &mut Vec<ServerEvent>, losses: &mut LossList);
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its name.
    pub name: Option<String>,
    /// Its data, without line ends.
    pub data: String,
}

impl ServerEvent {
    /// An event without a name.
    pub fn unnamed(object: Object) -> Self {
        let data = Value::Object(object).to_string();
        Self { name: None, data }
    }

    /// An event that is named by the `type` in its data.
    pub fn typed(object: Object) -> Self {
        let name = object.get("type").and_then(Value::as_str);
        let name = name.map(ToString::to_string);
        let data = Value::Object(object).to_string();
        Self { name, data }
    }
}

/// Reads the data of an event as a JSON object.
///
/// # Errors
///
/// If it is none.
pub fn event_object(data: &str) -> Result<Object, ReadError> {
    match serde_json::from_str(data) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(ReadError::new(
            "",
            "an event with a JSON object as its data",
        )),
    }
}
