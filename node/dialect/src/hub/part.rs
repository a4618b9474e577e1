//! What a turn is made of.

use serde_json::Value;

use crate::dialect::Dialect;
use crate::rest::Rest;

/// One part of a turn's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it says.
    pub kind: PartKind,
    /// The prompt up to here should be cached.
    pub cache: Option<CacheMark>,
    /// What else its dialect said.
    pub rest: Rest,
}

/// The kinds of parts.
#[derive(Clone, Debug, PartialEq)]
pub enum PartKind {
    /// Words.
    Text(String),
    /// An image, a document, a sound or a film.
    Attachment(Attachment),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult(ToolResult),
    /// What the model thought.
    Thinking(Thinking),
    /// The model's words on why it does not answer.
    Refusal(String),
    /// A part that the hub does not model, such as a search that the provider ran, as it came.
    Unknown(Value),
}

/// Something that is not words.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// What it is.
    pub kind: AttachmentKind,
    /// Where its bytes are.
    pub source: AttachmentSource,
    /// The name of the file or the title of the document.
    pub name: Option<String>,
    /// How closely an image is looked at.
    pub detail: Option<String>,
}

/// The kinds of attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentKind {
    /// A picture.
    Image,
    /// A document or a file of an unknown kind.
    Document,
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
}

/// Where an attachment's bytes are.
#[derive(Clone, Debug, PartialEq)]
pub enum AttachmentSource {
    /// At an address that the provider fetches.
    Url {
        /// The address.
        url: String,
        /// What it holds, if the client says so.
        media_type: Option<String>,
    },
    /// In the body, in base64.
    Data {
        /// What it holds, if the client says so.
        media_type: Option<String>,
        /// The bytes in base64.
        data: String,
    },
    /// In the provider's store of files.
    File(String),
    /// In the body, as plain text.
    Text(String),
    /// In the body, as parts.
    Parts(Vec<Part>),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// What the result refers to; empty where the dialect has no ids or it has not come yet.
    pub id: String,
    /// Which tool; empty while it has not come yet.
    pub name: String,
    /// What it is called with.
    pub input: ToolInput,
    /// How the tool is called.
    pub style: ToolStyle,
}

/// How a tool takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolStyle {
    /// A JSON object by a schema.
    Function,
    /// Free text.
    Custom,
}

/// The input of a tool.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolInput {
    /// As text, which for a function should be JSON.
    Text(String),
    /// As a JSON value.
    Json(Value),
}

impl ToolInput {
    /// The input as text.
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Json(value) => value.to_string(),
        }
    }

    /// The text of an input whose pieces are still to come: an empty object stands for nothing so far.
    pub fn begun_text(&self) -> String {
        match self {
            Self::Json(Value::Object(object)) if object.is_empty() => String::new(),
            input => input.to_text(),
        }
    }

    /// The input as a JSON object; no text at all is an empty one. Nothing if it is no object.
    pub fn to_object(&self) -> Option<Value> {
        match self {
            Self::Text(text) if text.trim().is_empty() => Some(Value::Object(Default::default())),
            Self::Text(text) => serde_json::from_str(text).ok().filter(Value::is_object),
            Self::Json(value) => Some(value.clone()).filter(Value::is_object),
        }
    }
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The call that it answers.
    pub call_id: String,
    /// The tool's name, in dialects that repeat it.
    pub name: Option<String>,
    /// The answer.
    pub parts: Vec<Part>,
    /// Whether the tool failed, if the client says so.
    pub is_error: Option<bool>,
    /// How the tool is called.
    pub style: ToolStyle,
}

/// What the model thought.
#[derive(Clone, Debug, PartialEq)]
pub struct Thinking {
    /// The thought, or a summary; nothing if the provider hides it.
    pub text: Option<String>,
    /// The provider's proof that the thought is its own.
    pub signature: Option<String>,
    /// The thought in a form that the provider alone can read.
    pub encrypted: Option<String>,
    /// Whose signature or encryption it is.
    pub origin: Dialect,
}

/// The wish to cache the prompt up to here.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheMark {
    /// How long, such as `5m` or `1h`; nothing for the provider's default.
    pub ttl: Option<String>,
    /// What else its dialect said.
    pub rest: Rest,
}

impl Thinking {
    /// Whether it has neither words nor a proof.
    pub fn is_silent(&self) -> bool {
        let said = [&self.text, &self.signature, &self.encrypted];
        said.into_iter().flatten().all(String::is_empty)
    }
}

impl Part {
    /// Whether the model says in it that it refuses.
    pub const fn is_refusal(&self) -> bool {
        matches!(self.kind, PartKind::Refusal(_))
    }

    /// A part without cache mark.
    pub const fn new(kind: PartKind, rest: Rest) -> Self {
        let cache = None;
        Self { kind, cache, rest }
    }

    /// Its words, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            PartKind::Text(text) => Some(text),
            _ => None,
        }
    }
}
