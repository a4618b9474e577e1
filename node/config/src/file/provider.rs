//! What kind of API an upstream has, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whose API an upstream has. It sets the paths, the credential, the probe and the host, each of which can be set
/// by its own key too.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderWord {
    /// OpenAI's API, and what has the same paths below its base URL.
    Openai,
    /// Azure OpenAI and Foundry, by their v1 API; with `api_version`, by the dated API of deployments.
    Azure,
    /// Anthropic's API.
    Anthropic,
    /// Amazon Bedrock, in `aws_region`.
    Bedrock,
    /// Google Vertex AI, of `project` in `location`.
    Vertex,
    /// Google's Gemini API.
    Gemini,
    /// A vLLM server.
    Vllm,
    /// An SGLang server.
    Sglang,
    /// A llama.cpp server.
    Llamacpp,
    /// An Ollama server.
    Ollama,
}

/// A form of request and answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DialectWord {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Gemini's generateContent.
    Gemini,
    /// Bedrock's Converse.
    Converse,
}

/// Paths of an upstream that differ from its provider's. Each is appended to the base URL and may hold {model} (the
/// model's name at the upstream, percent-encoded), {rest} (what the request's path has below this one), {project},
/// {location} and {api_version}, and a query.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PathsFile {
    /// Of chat completions. Default: the provider's.
    pub chat: Option<String>,
    /// Of responses. Default: the provider's.
    pub responses: Option<String>,
    /// Of messages. Default: the provider's.
    pub messages: Option<String>,
    /// Of messages that are streamed. Default: the provider's, else that of messages.
    pub messages_stream: Option<String>,
    /// Of token counts of messages. Default: the provider's.
    pub count_tokens: Option<String>,
    /// Of completions. Default: the provider's.
    pub completions: Option<String>,
    /// Of embeddings. Default: the provider's.
    pub embeddings: Option<String>,
    /// Of the list of models, which is the probe too. Default: the provider's.
    pub models: Option<String>,
    /// Of Bedrock's Converse. Default: the provider's.
    pub converse: Option<String>,
    /// Of Bedrock's Converse, streamed. Default: the provider's, else that of converse.
    pub converse_stream: Option<String>,
    /// Of Gemini's generateContent. Default: the provider's.
    pub generate_content: Option<String>,
    /// Of Gemini's generateContent, streamed. Default: the provider's, else that of generate_content.
    pub generate_content_stream: Option<String>,
    /// Of Gemini's countTokens. Default: the provider's.
    pub count_content_tokens: Option<String>,
    /// Of all other paths; {rest} is what they have below /v1. Default: the provider's.
    pub other: Option<String>,
}
