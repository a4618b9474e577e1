//! Upstreams as strict as the providers they stand for (`--provider`).
//!
//! | provider | checked | after |
//! | --- | --- | --- |
//! | `openai` | bearer key; parameters, roles and parts that exist; calls of tools with their results; strict schemas; what reasoning models refuse; `previous_response_id`, reasoning by id or sealed, and what must follow it | OpenAI's API reference: Chat, Responses; guides: Function calling, Structured outputs, Reasoning, Prompt caching |
//! | `azure` | `api-key`, key or Entra's token as bearer; deployments; `api-version` of dated paths; the rest as `openai` and `anthropic` | Microsoft Learn: Azure OpenAI v1 API, REST reference, Claude in Foundry |
//! | `anthropic` | `x-api-key`, `anthropic-version`; fields that exist, at every level of messages; `max_tokens`; non-empty text; results right after their calls; ids, names, images; signatures of thinking; at most 4 cache marks | Anthropic's API reference: Messages, Count tokens, Models, Errors; guides: Tool use, Extended thinking, Prompt caching |
//! | `gemini` | key or token; fields that exist, of requests, parts, and schemas; order of calls and responses; thought signatures of the current turn | Gemini API reference: generateContent; guides: Thought signatures, OpenAI compatibility |
//! | `bedrock` | Signature Version 4 or API key; model in the path; `anthropic_version`, no `model` or `stream` in the body; alternating roles and tool rules of Converse | Amazon Bedrock API reference: InvokeModel, Converse; IAM guide: Signature Version 4; Smithy: event stream |
//! | `vertex` | Google's token; publishers' paths; `anthropic_version`, no `model` in the body; the rest as `gemini` and `anthropic` | Vertex AI REST reference: generateContent, rawPredict; Claude on Vertex AI |
//! | `vllm` | key if one is set; calls with their results; unknown parameters are ignored | vLLM's documentation: OpenAI-compatible server, metrics |
//!
//! Consecutive messages of one role are taken for one by Anthropic's API, as its reference says, and refused by
//! Converse.
//!
//! In reading order: `exchange` and `refusal` (a request, an answer and an error as values), `said` and `schema` (what
//! the model says, in no dialect), the dialects (`chat`, `responses`, `messages`, `google`, `converse`: read and checked;
//! their `_answer`: written), `seal`, `prefix`, `tokens` (what an upstream remembers), `sigv4` and `event_stream`,
//! `upstream` (a dialect from end to end), `routes` (paths and credentials of each provider), and `assertion` and `issue`
//! (the token endpoints).
//!
//! Nothing here knows of sockets, faults or knobs, and the time is part of the request.

mod assertion;
mod blocks;
mod chat;
mod chat_answer;
mod chat_checks;
mod config;
mod converse;
mod event_stream;
mod exchange;
mod google;
mod google_answer;
mod google_fields;
mod google_turns;
mod issue;
mod kept;
mod messages;
mod messages_answer;
mod pairs;
mod prefix;
mod refusal;
mod responses;
mod responses_answer;
mod routes;
mod said;
mod schema;
mod seal;
mod sigv4;
mod stored;
mod tokens;
mod turns;
mod upstream;

use bytes::Bytes;
use serde_json::json;

pub use config::{AccessKey, AccessKeyError, MockProvider, StrictConfig};
#[cfg(test)]
pub(super) use event_stream::frames;
pub(super) use exchange::{Call, Outcome};
pub(super) use issue::PREFIX as TOKEN_PREFIX;
#[cfg(test)]
pub(super) use issue::iso;
pub(super) use refusal::{Refusal, Shape};
pub(super) use upstream::Upstream;

impl Upstream {
    /// Answers a request. `None`: the path is one of the older endpoints, which the lenient mock answers.
    pub(super) fn answer(&self, call: &Call<'_>, request_id: &str) -> Option<Outcome> {
        let routed = match self.provider {
            MockProvider::Openai => routes::openai::serve(self, call),
            MockProvider::Azure => routes::azure::serve(self, call),
            MockProvider::Anthropic => routes::anthropic::serve(self, call),
            MockProvider::Bedrock => routes::bedrock::serve(self, call),
            MockProvider::Vertex => routes::vertex::serve(self, call),
            MockProvider::Gemini => routes::gemini::serve(self, call),
            MockProvider::Vllm => routes::vllm::serve(self, call),
        };
        routed.unwrap_or_else(|failure| {
            Some(Outcome::refused(
                &failure.refusal,
                failure.shape,
                request_id,
            ))
        })
    }

    /// The shape of an error on `path` that no route decides.
    pub(super) fn shape(&self, path: &str) -> Shape {
        match self.provider {
            MockProvider::Openai => Shape::OpenAi,
            MockProvider::Azure if path.starts_with("/anthropic/") => Shape::Anthropic,
            MockProvider::Azure => Shape::OpenAi,
            MockProvider::Anthropic => Shape::Anthropic,
            MockProvider::Bedrock => routes::bedrock::shape(path),
            MockProvider::Vertex if path.ends_with("awPredict") => Shape::Anthropic,
            MockProvider::Vertex => Shape::Google,
            MockProvider::Gemini => routes::gemini::shape(path),
            MockProvider::Vllm if path.starts_with("/v1/messages") => Shape::Anthropic,
            MockProvider::Vllm => Shape::OpenAi,
        }
    }

    /// Whether `path` is not the model's, so that most faults spare it.
    pub(super) fn is_probe(path: &str) -> bool {
        path.ends_with("/models") || ["/health", "/ping", "/metrics", "/version"].contains(&path)
    }

    /// The header that names a request.
    pub(super) fn request_id_header(&self) -> &'static str {
        match self.provider {
            MockProvider::Anthropic => "request-id",
            MockProvider::Bedrock => "x-amzn-requestid",
            MockProvider::Azure => "apim-request-id",
            _ => "x-request-id",
        }
    }

    /// The event by which a stream on `path` fails.
    pub(super) fn stream_failure(&self, path: &str, request_id: &str) -> Bytes {
        let shape = self.shape(path);
        match shape {
            Shape::Aws => event_stream::exception(
                "throttlingException",
                &json!({"message": "Too many requests, please wait before trying again."}),
            ),
            Shape::Anthropic => {
                let refusal = Refusal::new(529, "Overloaded");
                exchange::event("error", &refusal.body(shape, request_id))
            }
            Shape::Google | Shape::GoogleCompatible => {
                let refusal = Refusal::new(503, "The model is overloaded. Please try again later.");
                exchange::data(&refusal.body(Shape::Google, request_id))
            }
            Shape::OpenAi | Shape::AzureGateway => {
                let refusal = Refusal::new(
                    500,
                    "The server had an error while processing your request. Sorry about that!",
                );
                exchange::data(&refusal.body(Shape::OpenAi, request_id))
            }
        }
    }
}
