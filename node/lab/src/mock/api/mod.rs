//! The APIs the mock speaks: which path is which endpoint, and each endpoint's answer and errors in its own shape.
//!
//! Nothing here knows of sockets, faults or time: a request's head and body in, an [`Answer`] or an [`ApiError`] out.

mod anthropic;
mod ask;
mod embeddings;
mod error;
mod openai;
mod responses;

use bytes::Bytes;
use http::Method;

pub(super) use ask::{Ask, Wire};
pub(super) use error::{ApiError, Dialect};

use super::script::Answer;
use super::text::Text;
use super::usage::MockUsage;

/// An endpoint of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Models,
    Model(String),
    Generate(Generation),
    CountTokens,
    Embeddings,
    Moderations,
}

/// The endpoints that answer with text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    Chat,
    Completion,
    Response,
    Message,
}

impl Endpoint {
    /// Finds the endpoint of a request.
    pub(super) fn find(method: &Method, path: &str) -> Result<Self, ApiError> {
        let (endpoint, wanted) = match path {
            "/v1/models" => (Self::Models, Method::GET),
            "/v1/chat/completions" => (Self::Generate(Generation::Chat), Method::POST),
            "/v1/completions" => (Self::Generate(Generation::Completion), Method::POST),
            "/v1/responses" => (Self::Generate(Generation::Response), Method::POST),
            "/v1/messages" => (Self::Generate(Generation::Message), Method::POST),
            "/v1/messages/count_tokens" => (Self::CountTokens, Method::POST),
            "/v1/embeddings" => (Self::Embeddings, Method::POST),
            "/v1/moderations" => (Self::Moderations, Method::POST),
            _ => match path.strip_prefix("/v1/models/") {
                Some(id) if !id.is_empty() => {
                    let id = id.replace("%2F", "/").replace("%3A", ":");
                    (Self::Model(id), Method::GET)
                }
                _ => return Err(ApiError::unknown_url(method, path)),
            },
        };
        if *method == wanted {
            Ok(endpoint)
        } else {
            Err(ApiError::wrong_method(method, path))
        }
    }

    /// Whether this is a models endpoint, which most faults spare.
    pub(super) fn is_models(&self) -> bool {
        matches!(self, Self::Models | Self::Model(_))
    }
}

/// The identity of the mock, fixed at start.
#[derive(Debug)]
pub(super) struct Catalog {
    name: String,
    models: Vec<String>,
    list: Bytes,
}

/// What each answer differs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Counts answers; part of every id.
    pub(super) number: u64,
    /// Seconds since the Unix epoch.
    pub(super) created: u64,
    /// The `chunks` knob.
    pub(super) chunks: u32,
    /// The `body_bytes` knob.
    pub(super) body_bytes: u32,
}

impl Catalog {
    pub(super) fn new(name: String, models: Vec<String>, created: u64) -> Self {
        let list = openai::models(&models, created);
        Self { name, models, list }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The answer of `endpoint` to `body`. `padding` holds at least `turn.body_bytes` bytes of filler text.
    pub(super) fn answer(
        &self,
        endpoint: &Endpoint,
        wire: Result<Wire, ApiError>,
        turn: Turn,
        padding: &Bytes,
    ) -> Result<(Answer, MockUsage), ApiError> {
        let whole = |text: String| {
            let answer = Answer::Json(vec![Bytes::from(text)]);
            (answer, MockUsage::default())
        };
        match endpoint {
            Endpoint::Models => {
                let list = Answer::Json(vec![self.list.clone()]);
                Ok((list, MockUsage::default()))
            }
            Endpoint::Model(id) => {
                let known = self.models.iter().any(|model| model == id);
                if known {
                    Ok(whole(openai::model(id, turn.created)))
                } else {
                    Err(ApiError::unknown_model(id))
                }
            }
            Endpoint::Embeddings => {
                let wire = wire?;
                let model = self.known_model(wire.model.as_deref())?;
                embeddings::embeddings(model, &wire).map(whole)
            }
            Endpoint::Moderations => openai::moderations(&wire?, turn).map(whole),
            Endpoint::CountTokens => {
                let wire = wire?;
                self.known_model(wire.model.as_deref())?;
                let ask = Ask::new(Generation::Message, wire, false)?;
                Ok(whole(anthropic::token_count(&ask)))
            }
            Endpoint::Generate(generation) => {
                let wire = wire?;
                self.known_model(wire.model.as_deref())?;
                let ask = Ask::new(*generation, wire, true)?;
                Ok(self.generate(*generation, &ask, turn, padding))
            }
        }
    }

    fn generate(
        &self,
        generation: Generation,
        ask: &Ask,
        turn: Turn,
        padding: &Bytes,
    ) -> (Answer, MockUsage) {
        let words = ask
            .words_max
            .map_or(turn.chunks, |max| max.min(turn.chunks));
        let text = Text::new(&self.name, &ask.last_user_message, words);
        let reply = Reply {
            id: format!("{}-{}", self.name, turn.number),
            created: turn.created,
            model: quoted(&ask.model),
            capped: words < turn.chunks,
            input_tokens: ask.input_tokens,
            include_usage: ask.include_usage,
            text,
        };
        let usage = MockUsage {
            input: reply.input_tokens as u64,
            cached: 0,
            output: reply.output_tokens() as u64,
        };
        let answer = if ask.stream {
            let chunk_padding = turn.body_bytes as usize / reply.text.len().max(1);
            let padding = padding.get(..chunk_padding).unwrap_or_default();
            let padding = std::str::from_utf8(padding).unwrap_or_default();
            Answer::Stream(match generation {
                Generation::Chat => openai::chat_stream(&reply, padding),
                Generation::Completion => openai::completion_stream(&reply, padding),
                Generation::Response => responses::stream(&reply, padding),
                Generation::Message => anthropic::stream(&reply, padding),
            })
        } else {
            let (before, after) = match generation {
                Generation::Chat => openai::chat(&reply),
                Generation::Completion => openai::completion(&reply),
                Generation::Response => responses::response(&reply),
                Generation::Message => anthropic::message(&reply),
            };
            Answer::Json(padded(before, after, turn.body_bytes as usize, padding))
        };
        (answer, usage)
    }

    /// The model named by a request, when it is served here.
    fn known_model<'a>(&self, model: Option<&'a str>) -> Result<&'a str, ApiError> {
        let model = model.ok_or_else(|| ApiError::missing("model"))?;
        if self
            .models
            .iter()
            .any(|known| known == model || known == "*")
        {
            Ok(model)
        } else {
            Err(ApiError::unknown_model(model))
        }
    }
}

/// What every generating endpoint puts into its own shape.
#[derive(Debug)]
struct Reply {
    /// `NAME-NUMBER`, to which each endpoint adds its prefix.
    id: String,
    created: u64,
    /// A JSON string, with its quotes.
    model: String,
    /// Whether the client's limit cut the text.
    capped: bool,
    input_tokens: usize,
    include_usage: bool,
    text: Text,
}

impl Reply {
    fn output_tokens(&self) -> usize {
        self.text.len()
    }

    fn total_tokens(&self) -> usize {
        self.input_tokens + self.output_tokens()
    }
}

/// A JSON document, its text padded so that the whole is `body_bytes` long if it is not longer already.
fn padded(before: String, after: String, body_bytes: usize, padding: &Bytes) -> Vec<Bytes> {
    let missing = body_bytes.saturating_sub(before.len() + after.len());
    if missing == 0 {
        return vec![Bytes::from(before + &after)];
    }
    let padding = padding.slice(..missing.min(padding.len()));
    vec![Bytes::from(before), padding, Bytes::from(after)]
}

/// `text` as a JSON string with its quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    super::text::push_escaped(&mut out, text);
    out.push('"');
    out
}
