//! What a client asks of a model.

use serde_json::{Map, Number, Value};

use super::part::{CacheMark, Part};
use crate::rest::Rest;

/// A request for an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HubRequest {
    /// The model; nothing where the path names it.
    pub model: Option<String>,
    /// Instructions outside the conversation.
    pub instructions: Vec<Part>,
    /// The conversation, with the instructions inside it.
    pub turns: Vec<Turn>,
    /// The tools that the model may call.
    pub tools: Vec<ToolDefinition>,
    /// Which of them it may or must call.
    pub tool_selection: Option<ToolSelection>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// How many tokens the answer may have, thinking included.
    pub max_tokens: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// The form of the answer.
    pub output: Option<OutputFormat>,
    /// How wordy the answer is.
    pub verbosity: Option<String>,
    /// How much the model thinks.
    pub reasoning: Reasoning,
    /// Whom the client asks for.
    pub user: Option<String>,
    /// The same in a form that says nothing about the person.
    pub safety_identifier: Option<String>,
    /// The client's own labels.
    pub metadata: Option<Map<String, Value>>,
    /// What requests with a common prefix have in common.
    pub prompt_cache_key: Option<String>,
    /// The wish to cache the whole prompt.
    pub cache: Option<CacheMark>,
    /// Which class of service.
    pub service_tier: Option<String>,
    /// Whether the provider keeps the answer.
    pub store: Option<bool>,
    /// Whether the answer comes piece by piece.
    pub stream: Option<bool>,
    /// Whether the stream ends with the usage, in dialects where that is a choice.
    pub include_usage: Option<bool>,
    /// How many answers.
    pub answers: Option<u64>,
    /// Whether the answer has log probabilities.
    pub logprobs: Option<bool>,
    /// How many alternatives each token has.
    pub top_logprobs: Option<u64>,
    /// What else its dialect said.
    pub rest: Rest,
}

/// How the next token is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Temperature.
    pub temperature: Option<Number>,
    /// Nucleus sampling.
    pub top_p: Option<Number>,
    /// The number of tokens that are considered.
    pub top_k: Option<Number>,
    /// Penalty by frequency.
    pub frequency_penalty: Option<Number>,
    /// Penalty by presence.
    pub presence_penalty: Option<Number>,
    /// The seed of the generator.
    pub seed: Option<Number>,
}

/// How much the model thinks. A field is nothing where the client does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning {
    /// Whether it thinks.
    pub mode: Option<ReasoningMode>,
    /// How hard, in the words of [`reasoning`](crate::reasoning).
    pub effort: Option<String>,
    /// How many tokens it may think.
    pub budget: Option<u64>,
    /// What the client sees of it, such as `summarized`.
    pub summary: Option<String>,
}

/// Whether the model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningMode {
    /// No.
    Disabled,
    /// Yes.
    Enabled,
    /// As it sees fit.
    Adaptive,
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Whose.
    pub role: Role,
    /// What it says, in order.
    pub parts: Vec<Part>,
    /// What else its dialect said.
    pub rest: Rest,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The provider's or operator's instructions.
    System,
    /// The developer's instructions.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool's answer, where that is a turn of its own.
    Tool,
    /// A role that the hub does not know.
    Other(String),
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    /// What it is.
    pub kind: ToolKind,
    /// The prompt up to here should be cached.
    pub cache: Option<CacheMark>,
    /// What else its dialect said.
    pub rest: Rest,
}

/// The kinds of tools.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// Takes a JSON object.
    Function {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// The JSON schema of its input.
        schema: Option<Value>,
        /// Whether the input follows the schema for certain.
        strict: Option<bool>,
    },
    /// Takes free text.
    Custom {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// The grammar of its input.
        format: Option<Value>,
    },
    /// One that the provider brings along, as it came.
    Provider(Value),
}

/// Which tools the model may or must call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSelection {
    /// Which.
    pub kind: ToolSelectionKind,
    /// What else its dialect said.
    pub rest: Rest,
}

/// The kinds of selections.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolSelectionKind {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// The function of this name.
    Function(String),
    /// One that the hub does not model, as it came.
    Other(Value),
}

/// The form of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputFormat {
    /// Which.
    pub kind: OutputKind,
    /// What else its dialect said.
    pub rest: Rest,
}

/// The forms of answers.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputKind {
    /// Words.
    Text,
    /// Any JSON object.
    Json,
    /// JSON by a schema.
    Schema {
        /// A label for it.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The JSON schema.
        schema: Value,
        /// Whether the answer follows it for certain.
        strict: Option<bool>,
    },
}

impl HubRequest {
    /// A request that asks nothing yet.
    pub fn new(rest: Rest) -> Self {
        Self {
            model: None,
            instructions: Vec::new(),
            turns: Vec::new(),
            tools: Vec::new(),
            tool_selection: None,
            parallel_tool_calls: None,
            max_tokens: None,
            stop: Vec::new(),
            sampling: Sampling::default(),
            output: None,
            verbosity: None,
            reasoning: Reasoning::default(),
            user: None,
            safety_identifier: None,
            metadata: None,
            prompt_cache_key: None,
            cache: None,
            service_tier: None,
            store: None,
            stream: None,
            include_usage: None,
            answers: None,
            logprobs: None,
            top_logprobs: None,
            rest,
        }
    }
}
