//! Google's `generateContent` and `streamGenerateContent`, as the Gemini API and Vertex serve them.
//!
//! The model stands in the path, and so does whether the answer is a stream. The API takes each field in two
//! spellings, `generationConfig` and `generation_config`; the one that came is written again at home.

mod answer;
mod call_ids;
mod content;
mod error;
mod home_chunk;
mod logprobs;
mod models;
mod names;
mod read_config;
mod read_parts;
mod read_request;
mod read_stream;
mod schema;
mod seal;
mod stop;
mod stream_choice;
mod tools;
mod usage;
mod write_config;
mod write_parts;
mod write_request;
mod write_result;
mod write_stream;
mod write_turns;

use crate::dialect::Dialect;
use crate::fields::ReadError;
use crate::grammar::{AnswerTerms, Grammar, Object, StreamReader, StreamWriter};
use crate::hub::answer::HubAnswer;
use crate::hub::error::ReportedError;
use crate::hub::request::HubRequest;
use crate::loss::LossList;

const DIALECT: Dialect = Dialect::Gemini;

/// The grammar of `generateContent`.
pub(crate) struct Gemini;

impl Grammar for Gemini {
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
        answer::write(answer, losses)
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
        Box::new(write_stream::Writer::default())
    }
}
