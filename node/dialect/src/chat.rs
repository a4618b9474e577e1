//! OpenAI's chat completions, and what speaks like it.
//!
//! Beyond OpenAI's own fields it reads and writes what the compatible servers agree on: `reasoning_content` (or
//! `reasoning`) with `reasoning_signature` for thoughts, and `cache_control` on content.

mod answer;
mod error;
mod home_chunk;
mod parts;
mod read_request;
mod read_stream;
mod stream_choice;
mod stream_thought;
mod thoughts;
mod tools;
mod turns;
mod usage;
mod write_request;
mod write_stream;

use crate::dialect::Dialect;
use crate::fields::ReadError;
use crate::grammar::{AnswerTerms, Grammar, Object, StreamReader, StreamWriter};
use crate::hub::answer::HubAnswer;
use crate::hub::error::ReportedError;
use crate::hub::request::HubRequest;
use crate::loss::LossList;

const DIALECT: Dialect = Dialect::Chat;

/// The grammar of chat completions.
pub(crate) struct Chat;

impl Grammar for Chat {
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
        error::read(Some(status), body)
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
