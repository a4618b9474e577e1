//! Anthropic's messages, also as Bedrock and Vertex serve them.

mod answer;
mod block_event;
mod error;
mod home_event;
mod read_parts;
mod read_request;
mod read_stream;
mod tools;
mod usage;
mod write_parts;
mod write_reasoning;
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

const DIALECT: Dialect = Dialect::Messages;

/// The grammar of messages.
pub(crate) struct Messages;

impl Grammar for Messages {
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
        error::read(Some(status), body)
    }

    fn write_error(&self, error: &ReportedError) -> Object {
        error::write(error)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(read_stream::Reader::default())
    }

    fn stream_writer(&self, _terms: &AnswerTerms) -> Box<dyn StreamWriter> {
        Box::new(BlockWriter::new(write_stream::MessageEvents))
    }
}
