//! OpenAI's responses, and what speaks like it.
//!
//! A request and an answer are lists of items: messages, thoughts, calls and their results. A message's parts share
//! their item, which the first of them keeps; any other item is one part.
//!
//! What the provider keeps (`store`, `previous_response_id`, `conversation`, `background`) exists at home alone. An
//! answer from elsewhere says `store: false`, since nobody keeps it under its id; a request loses by name what refers
//! to something kept, but not `store` itself, which promises nothing to a client that never refers back.

mod answer;
mod content;
mod error;
mod open_call;
mod open_item;
mod open_thought;
mod open_words;
mod piece;
mod read_event;
mod read_items;
mod read_request;
mod read_stream;
mod reasoning_item;
mod tools;
mod usage;
mod write_items;
mod write_request;
mod write_stream;

use crate::dialect::Dialect;
use crate::fields::ReadError;
use crate::grammar::{AnswerTerms, Grammar, Object, StreamReader, StreamWriter};
use crate::hub::answer::HubAnswer;
use crate::hub::error::ReportedError;
use crate::hub::request::HubRequest;
use crate::loss::LossList;

const DIALECT: Dialect = Dialect::Responses;

/// The grammar of responses.
pub(crate) struct Responses;

impl Grammar for Responses {
    fn read_request(&self, body: Object) -> Result<HubRequest, ReadError> {
        read_request::read(body)
    }

    fn write_request(&self, request: &HubRequest, losses: &mut LossList) -> Object {
        write_request::write(request, losses)
    }

    fn read_answer(&self, body: Object) -> Result<HubAnswer, ReadError> {
        answer::read(body)
    }

    fn write_answer(
        &self,
        answer: &HubAnswer,
        terms: &AnswerTerms,
        losses: &mut LossList,
    ) -> Object {
        answer::write(answer, terms, losses)
    }

    fn read_error(&self, status: u16, body: Object) -> Option<ReportedError> {
        error::read(status, body)
    }

    fn write_error(&self, error: &ReportedError) -> Object {
        error::write(error)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(read_stream::Reader::default())
    }

    fn stream_writer(&self, terms: &AnswerTerms) -> Box<dyn StreamWriter> {
        Box::new(write_stream::Writer::new(terms))
    }
}
