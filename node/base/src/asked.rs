//! What a request's body asks for: model, stream, session. Only the top level is looked at.
//!
//! The upstream reads the same body again, with an unknown parser. Keys, fences and renaming
//! depend on the model, so a body in which another reader could find another one is refused. The node that a
//! client asks reads it, and the node that serves a peer's request reads it again.

mod conversation;
pub mod twice;
pub mod usage;

use std::ops::Range;

use bytes::Bytes;
use grapevine_core::forwarding::PathScope;
use grapevine_core::ids::ModelName;
use grapevine_core::native_path::{NativePath, is_count_at_vertex};
use grapevine_core::route::Session;
use http::Method;
use http::header::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::scan::form;
use crate::scan::media::{Media, MediaError, media};
use crate::scan::{self, ScanError};
use conversation::ConversationHints;

/// What the body asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The model, where the request names one.
    pub model: Option<ModelName>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// Whether the answer is to be made in the background, where a path knows that.
    pub background: bool,
    /// Where the body says which conversation it belongs to.
    conversation: ConversationHints,
}

impl Asked {
    /// What a request without a body asks for that wants a stream of `model`, such as a WebSocket's.
    pub fn stream_of(model: Option<ModelName>) -> Self {
        Self {
            model,
            stream: true,
            ..Self::default()
        }
    }

    /// The conversation of the request: the more certain of `known` and of what its `body`, from which this was read, says.
    pub fn session(&self, known: Option<Session>, body: &[u8]) -> Option<Session> {
        self.conversation.session(known, body)
    }
}

/// Why a body cannot be read with certainty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// The path accepts JSON or a form, and this is neither.
    #[error(
        "send the body as application/json, or as multipart/form-data where the path takes files"
    )]
    Unsupported,
    /// The kind of the body is not clear.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The body is broken, or readers could differ.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A value is of another kind than it must be.
    #[error("'{key}' {what}")]
    Value {
        /// The key that holds it.
        key: &'static str,
        /// What it must be.
        what: String,
    },
    /// The path needs a model.
    #[error("the request names no model; set 'model' to one that GET /v1/models lists")]
    NoModel,
}

/// Paths whose requests need a model.
const NEED_MODEL: [&str; 8] = [
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
];

/// What is looked for in a JSON body.
const KEYS: [&str; 3] = ["model", "stream", "background"];

/// What is looked for in a form.
const FIELDS: [&str; 2] = ["model", "stream"];

/// Reads the body of a request for `path`.
///
/// # Errors
/// See [`AskedError`].
pub fn read(
    scope: PathScope,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Asked, AskedError> {
    let names_model = NEED_MODEL.contains(&path) || is_count_at_vertex(path);
    let needs_model = *method == Method::POST && names_model;
    let media = media(headers)?;
    let looks_like_json = body.trim_ascii_start().starts_with(b"{");
    let asked = match media {
        _ if body.is_empty() && !needs_model => Asked::default(),
        Media::Form(boundary) => read_form(body, boundary)?,
        Media::Json => read_json(body)?,
        Media::Unnamed if scope == PathScope::Inference || looks_like_json => read_json(body)?,
        Media::Other if scope == PathScope::Inference => return Err(AskedError::Unsupported),
        Media::Unnamed | Media::Other => Asked::default(),
    };
    if needs_model && asked.model.is_none() {
        return Err(AskedError::NoModel);
    }
    match NativePath::of(path) {
        None => Ok(asked),
        Some(native) => of_native(native, asked),
    }
}

/// What is asked for where the path holds the model, whatever the body says.
fn of_native(native: NativePath<'_>, asked: Asked) -> Result<Asked, AskedError> {
    let model = percent_decode_str(native.model).decode_utf8();
    let model = model.map_err(|_| value("model", "must be UTF-8 in the path"))?;
    Ok(Asked {
        model: Some(name(&model)?),
        stream: native.is_stream(),
        ..asked
    })
}

/// The position of the model's name in a body that [`read`] accepted, and whether it is a JSON string, quotes
/// included; `None` where there is none.
pub fn model_at(headers: &HeaderMap, body: &[u8]) -> Option<(Range<usize>, bool)> {
    let (found, is_json) = match media(headers).ok()? {
        Media::Form(boundary) => (form::fields(body, boundary, FIELDS).ok()?[0].clone(), false),
        Media::Json | Media::Unnamed => (scan::top_level(body, KEYS).ok()?[0].clone(), true),
        Media::Other => return None,
    };
    found.map(|range| (range, is_json))
}

/// The position of the model's name, as [`model_at`] finds it, and `model` as it is written there.
pub fn model_as(
    headers: &HeaderMap,
    body: &[u8],
    model: &ModelName,
) -> Option<(Range<usize>, Bytes)> {
    let (range, is_json) = model_at(headers, body)?;
    let name = match is_json {
        true => Bytes::from(serde_json::Value::from(model.as_str()).to_string()),
        false => Bytes::copy_from_slice(model.as_str().as_bytes()),
    };
    Some((range, name))
}

fn read_json(body: &[u8]) -> Result<Asked, AskedError> {
    let found = scan::top_level_and_hints(body, KEYS, conversation::KEYS);
    let (found, hints) = match found {
        Ok(found) => found,
        // A list is no error of its own on paths that need no model; those that do find none in it.
        Err(ScanError::NotAnObject) if body.trim_ascii_start().starts_with(b"[") => {
            return Ok(Asked::default());
        }
        Err(error) => return Err(error.into()),
    };
    let [model, stream, background] = found.map(|range| range.map(|range| &body[range]));
    let model = match model {
        None | Some(b"null") => None,
        Some(raw) => match scan::text(raw) {
            Some(text) => Some(name(&text)?),
            None => return Err(value("model", "must be a string")),
        },
    };
    Ok(Asked {
        model,
        stream: is_true("stream", stream)?,
        background: is_true("background", background)?,
        conversation: ConversationHints::new(hints),
    })
}

fn read_form(body: &[u8], boundary: &str) -> Result<Asked, AskedError> {
    let found = form::fields(body, boundary, FIELDS)?;
    let [model, stream] = found.map(|range| range.map(|range| &body[range]));
    let model = match model.map(std::str::from_utf8) {
        None => None,
        Some(Ok(text)) => Some(name(text)?),
        Some(Err(_)) => return Err(value("model", "must be text")),
    };
    let stream = match stream.map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"" | b"false" | b"0") => false,
        Some(b"true" | b"1") => true,
        Some(_) => return Err(value("stream", "must be true or false")),
    };
    Ok(Asked {
        model,
        stream,
        background: false,
        conversation: ConversationHints::default(),
    })
}

/// Some servers take `1` and `"true"` for true as well, so only the literals themselves are accepted.
fn is_true(key: &'static str, raw: Option<&[u8]>) -> Result<bool, AskedError> {
    match raw {
        None | Some(b"null" | b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => Err(value(key, "must be true or false")),
    }
}

fn name(text: &str) -> Result<ModelName, AskedError> {
    ModelName::new(text).map_err(|error| value("model", error.to_string()))
}

fn value(key: &'static str, what: impl Into<String>) -> AskedError {
    let what = what.into();
    AskedError::Value { key, what }
}

#[cfg(test)]
mod tests;
