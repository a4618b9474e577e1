//! Amazon Bedrock's Converse.
//!
//! The model stands in the URL, and so does whether the answer is streamed: the hub has both from the caller and for
//! the caller. What a model takes beyond the API's own fields goes into `additionalModelRequestFields`, which for
//! Anthropic's models are those of messages.

mod answer;
mod attachments;
mod cache_point;
mod error;
mod formats;
mod home_event;
mod models;
mod output;
mod read_parts;
mod read_request;
mod read_stream;
mod thoughts;
mod tools;
mod usage;
mod write_parts;
mod write_request;
mod write_stream;
mod write_turns;

use crate::block_stream::BlockWriter;
use crate::dialect::Dialect;
use crate::fields::ReadError;
use crate::grammar::{AnswerTerms, Grammar, Object, StreamReader, StreamWriter};
use crate::hub::answer::HubAnswer;
use crate::hub::error::ReportedError;
use crate::hub::request::HubRequest;
use crate::loss::LossList;

const DIALECT: Dialect = Dialect::Converse;

/// The grammar of Converse.
pub(crate) struct Converse;

impl Grammar for Converse {
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
        _terms: &AnswerTerms,
        losses: &mut LossList,
    ) -> Object {
        answer::write_answer(answer, losses)
    }

    fn read_error(&self, status: u16, body: Object) -> Option<ReportedError> {
        error::read(Some(status), None, body)
    }

    fn read_named_error(
        &self,
        status: u16,
        name: Option<&str>,
        body: Object,
    ) -> Option<ReportedError> {
        error::read(Some(status), name, body)
    }

    fn write_error(&self, error: &ReportedError) -> Object {
        error::write(error)
    }

    fn error_name(&self, error: &ReportedError) -> Option<String> {
        Some(error::header_name(error))
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(read_stream::Reader::default())
    }

    fn stream_writer(&self, _terms: &AnswerTerms) -> Box<dyn StreamWriter> {
        Box::new(BlockWriter::new(write_stream::ConverseEvents::new()))
    }
}
