//! Bodies from one dialect to another.

use serde_json::Value;

use crate::chat::Chat;
use crate::converse::Converse;
use crate::dialect::Dialect;
use crate::error::TranslateError;
use crate::free_text;
use crate::gemini::Gemini;
use crate::grammar::{AnswerTerms, Grammar, Object};
use crate::hub::error::ReportedError;
use crate::loss::{Loss, LossList};
use crate::messages::Messages;
use crate::responses::Responses;
use crate::stream::StreamTranslator;

/// The status of an answer, as the readers of errors are told it.
const SUCCESS: u16 = 200;

/// Between a client of one dialect and an upstream of another.
#[derive(Clone, Copy)]
pub struct Translation {
    client: &'static dyn Grammar,
    upstream: &'static dyn Grammar,
    from: Dialect,
    to: Dialect,
}

/// A body in the other dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct Translated {
    /// The body.
    pub body: Vec<u8>,
    /// What it does not say of the one that came.
    pub losses: Vec<Loss>,
    /// What the request settles about its answer; an answer settles nothing. With the model and whether the answer
    /// is streamed a caller makes the URL of a dialect that says them there.
    pub terms: AnswerTerms,
}

/// An error in the other dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct TranslatedError {
    /// The upstream's status, or the one that the error stands for if that is one of success.
    pub status: u16,
    /// The kind of error that the client finds in a header, in dialects where that is so: for Converse
    /// `x-amzn-errortype`.
    pub name: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// What the upstream reported.
    pub error: ReportedError,
}

impl Translation {
    /// Between a client that speaks `from` and an upstream that speaks `to`.
    pub fn new(from: Dialect, to: Dialect) -> Self {
        Self {
            client: grammar_of(from),
            upstream: grammar_of(to),
            from,
            to,
        }
    }

    /// The client's dialect.
    pub const fn from(&self) -> Dialect {
        self.from
    }

    /// The upstream's dialect.
    pub const fn to(&self) -> Dialect {
        self.to
    }

    /// Translates the client's request for the upstream.
    ///
    /// # Errors
    ///
    /// If it is no request of the client's dialect.
    pub fn request(&self, body: &[u8]) -> Result<Translated, TranslateError> {
        self.request_with(None, None, body)
    }

    /// Translates a request whose dialect says the model, or whether the answer is streamed, in the URL.
    ///
    /// # Errors
    ///
    /// If it is no request of the client's dialect.
    pub fn request_with(
        &self,
        model: Option<&str>,
        stream: Option<bool>,
        body: &[u8],
    ) -> Result<Translated, TranslateError> {
        let mut request = self.client.read_request(object(body)?)?;
        request.model = model.map(ToString::to_string).or(request.model);
        request.stream = stream.or(request.stream);
        let mut losses = LossList::default();
        let written = self.upstream.write_request(&request, &mut losses);
        let is_home = self.from == self.to;
        let terms = AnswerTerms {
            stream: request.stream == Some(true),
            usage: request.include_usage == Some(true),
            created: 0,
            free_text_tools: match is_home {
                true => Default::default(),
                false => free_text::names(&request.tools),
            },
            model: request.model,
            id: None,
        };
        Ok(Translated {
            body: bytes(written),
            losses: losses.into_vec(),
            terms,
        })
    }

    /// Translates the upstream's answer for the client.
    ///
    /// # Errors
    ///
    /// If it is no answer of the upstream's dialect, or an error.
    pub fn response(&self, body: &[u8], terms: &AnswerTerms) -> Result<Translated, TranslateError> {
        let mut answer = self
            .upstream
            .read_answer(object(body)?)
            .map_err(|problem| {
                let reported = object(body).ok();
                let reported = reported.and_then(|body| self.upstream.read_error(SUCCESS, body));
                reported.map_or(TranslateError::Unreadable(problem), |error| {
                    TranslateError::Reported(Box::new(error))
                })
            })?;
        if self.from != self.to {
            if let Some(failure) = answer.failure {
                return Err(TranslateError::Reported(failure));
            }
            terms.complete(&mut answer);
        }
        free_text::restore(&mut answer, &terms.free_text_tools);
        let mut losses = LossList::default();
        let written = self.client.write_answer(&answer, terms, &mut losses);
        Ok(Translated {
            body: bytes(written),
            losses: losses.into_vec(),
            terms: AnswerTerms::default(),
        })
    }

    /// Translates the upstream's error for the client. A body that is none of the upstream's dialect becomes an error
    /// that says so, of the kind that the status stands for.
    pub fn error(&self, status: u16, body: &[u8]) -> TranslatedError {
        self.error_with(status, None, body)
    }

    /// Translates an error whose kind the upstream gave in a header, as Bedrock does in `x-amzn-errortype`.
    pub fn error_with(&self, status: u16, name: Option<&str>, body: &[u8]) -> TranslatedError {
        // The name says enough where the body is something else.
        let read = object(body).ok().or_else(|| name.map(|_| Object::new()));
        let read = read.and_then(|body| self.upstream.read_named_error(status, name, body));
        let error = read.unwrap_or_else(|| ReportedError::of_status(status, self.to));
        self.write_error(status, error)
    }

    /// Writes an error for the client that the upstream reported under a status of success, with the status that its
    /// kind stands for.
    pub fn reported(&self, error: ReportedError) -> TranslatedError {
        self.write_error(error.kind.status(), error)
    }

    fn write_error(&self, status: u16, error: ReportedError) -> TranslatedError {
        let mut written = error.clone();
        if written.message.is_empty() {
            written.message = ReportedError::of_status(status, self.to).message;
        }
        TranslatedError {
            status,
            name: self.client.error_name(&error),
            body: bytes(self.client.write_error(&written)),
            error,
        }
    }

    /// Translates the upstream's stream for the client, as it comes.
    pub fn stream(&self, terms: &AnswerTerms) -> StreamTranslator {
        let reader = self.upstream.stream_reader();
        let writer = self.client.stream_writer(terms);
        let writer = free_text::restoring(writer, &terms.free_text_tools);
        StreamTranslator::new(reader, self.to, writer, self.from, terms.clone())
    }
}

/// What reads and writes a dialect, for those who read a body into the hub.
pub fn grammar_of(dialect: Dialect) -> &'static dyn Grammar {
    match dialect {
        Dialect::Chat => &Chat,
        Dialect::Messages => &Messages,
        Dialect::Responses => &Responses,
        Dialect::Gemini => &Gemini,
        Dialect::Converse => &Converse,
    }
}

fn object(body: &[u8]) -> Result<Object, TranslateError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(TranslateError::NotJson),
    }
}

fn bytes(object: Object) -> Vec<u8> {
    Value::Object(object).to_string().into_bytes()
}
