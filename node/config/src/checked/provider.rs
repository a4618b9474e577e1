//! Whose API an upstream has, as checked, and what follows from that.
//!
//! Everything that differs between providers is data: their paths are in `paths`, their hosts with the checks.

mod paths;

use std::collections::BTreeMap;

use grapevine_core::account::QuotaScope;
use grapevine_core::dialect::DialectSet;

use super::super::path_template::PathTemplate;

/// Whose API an upstream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// OpenAI's, or one with the same paths.
    #[default]
    OpenAi,
    /// Azure OpenAI and Foundry.
    Azure,
    /// Anthropic's.
    Anthropic,
    /// Amazon Bedrock.
    Bedrock,
    /// Google Vertex AI.
    Vertex,
    /// Google's Gemini API.
    Gemini,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// llama.cpp's server.
    LlamaCpp,
    /// Ollama.
    Ollama,
}

impl Provider {
    /// What its rate limits count by, as its documentation has it: Azure OpenAI gives quota to a subscription in a region
    /// and from there to deployments, Bedrock to an account in a region, Vertex AI to a project in a region.
    pub const fn quota_scope(self) -> QuotaScope {
        match self {
            Self::Azure | Self::Bedrock | Self::Vertex => QuotaScope::Upstream,
            _ => QuotaScope::Account,
        }
    }
}

/// One operation of an API, with a path of its own at each provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiEndpoint {
    /// Chat completions.
    Chat,
    /// Responses, and what is below them.
    Responses,
    /// Messages, and what is below them.
    Messages,
    /// Messages whose answer is a stream.
    MessagesStream,
    /// Token counts of messages.
    CountTokens,
    /// Completions.
    Completions,
    /// Embeddings.
    Embeddings,
    /// The list of models.
    Models,
    /// Bedrock's Converse.
    Converse,
    /// Bedrock's Converse whose answer is a stream.
    ConverseStream,
    /// Gemini's generateContent.
    GenerateContent,
    /// Gemini's generateContent whose answer is a stream.
    GenerateContentStream,
    /// Gemini's count of tokens.
    CountContentTokens,
    /// Every other path below `/v1`.
    Other,
}

impl ApiEndpoint {
    /// All of them, in the order of the configuration's keys.
    pub const ALL: [Self; 14] = [
        Self::Chat,
        Self::Responses,
        Self::Messages,
        Self::MessagesStream,
        Self::CountTokens,
        Self::Completions,
        Self::Embeddings,
        Self::Models,
        Self::Converse,
        Self::ConverseStream,
        Self::GenerateContent,
        Self::GenerateContentStream,
        Self::CountContentTokens,
        Self::Other,
    ];

    /// Its key in the file, below `paths`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::MessagesStream => "messages_stream",
            Self::CountTokens => "count_tokens",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Models => "models",
            Self::Converse => "converse",
            Self::ConverseStream => "converse_stream",
            Self::GenerateContent => "generate_content",
            Self::GenerateContentStream => "generate_content_stream",
            Self::CountContentTokens => "count_content_tokens",
            Self::Other => "other",
        }
    }

    /// The one whose path it takes where it has none of its own.
    pub const fn fallback(self) -> Option<Self> {
        match self {
            Self::MessagesStream => Some(Self::Messages),
            Self::ConverseStream => Some(Self::Converse),
            Self::GenerateContentStream => Some(Self::GenerateContent),
            _ => None,
        }
    }
}

/// What an upstream's provider makes of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Whose API it is.
    pub provider: Provider,
    /// The version of Azure's dated API; `None` is the v1 API, or another provider.
    pub api_version: Option<String>,
    /// The region of Bedrock; `None` for other providers.
    pub aws_region: Option<String>,
    /// The project of Vertex AI; `None` for other providers.
    pub project: Option<String>,
    /// The location of Vertex AI; `None` for other providers.
    pub location: Option<String>,
    /// The paths of its endpoints.
    pub paths: EndpointPaths,
    /// The paths that were written, by endpoint, for the operator.
    pub written_paths: BTreeMap<&'static str, String>,
    /// The dialects that it reads.
    pub dialects: DialectSet,
}

/// A server with OpenAI's paths, of whose dialects nothing is known.
impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            provider: Provider::default(),
            api_version: None,
            aws_region: None,
            project: None,
            location: None,
            paths: EndpointPaths::default(),
            written_paths: BTreeMap::new(),
            dialects: DialectSet::ALL,
        }
    }
}

impl ProviderConfig {
    /// Whether it has `endpoint`, as far as known.
    pub fn has(&self, endpoint: ApiEndpoint) -> bool {
        self.paths.appends_others || self.paths.of(endpoint).is_some()
    }
}

/// The paths of an upstream's endpoints, below its base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPaths {
    /// Those with a path of their own.
    pub own: BTreeMap<ApiEndpoint, PathTemplate>,
    /// Whether the others are OpenAI's: what a request's path has below `/v1` is appended. Else there are no others.
    pub appends_others: bool,
}

impl Default for EndpointPaths {
    fn default() -> Self {
        Self {
            own: BTreeMap::new(),
            appends_others: true,
        }
    }
}

impl EndpointPaths {
    /// Whether every path is OpenAI's.
    pub fn are_plain(&self) -> bool {
        self.appends_others && self.own.is_empty()
    }

    /// The path of `endpoint`, where it has one of its own.
    pub fn of(&self, endpoint: ApiEndpoint) -> Option<&PathTemplate> {
        let own = self.own.get(&endpoint);
        own.or_else(|| self.own.get(&endpoint.fallback()?))
    }
}

impl Provider {
    /// Its word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Vertex => "vertex",
            Self::Gemini => "gemini",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::LlamaCpp => "llamacpp",
            Self::Ollama => "ollama",
        }
    }

    /// The paths of its endpoints as the file writes them, below the base URL. Empty where they are OpenAI's.
    pub const fn paths(self, is_dated: bool) -> &'static [(ApiEndpoint, &'static str)] {
        match self {
            Self::Azure if is_dated => paths::AZURE_DATED,
            Self::Azure => paths::AZURE,
            Self::Anthropic => paths::ANTHROPIC,
            Self::Bedrock => paths::BEDROCK,
            Self::Vertex => paths::VERTEX,
            Self::Gemini => paths::GEMINI,
            Self::OpenAi | Self::Vllm | Self::Sglang | Self::LlamaCpp | Self::Ollama => &[],
        }
    }

    /// What its paths hold already: a base URL that ends in one of these loses it.
    pub const fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Azure => &["/openai/v1", "/openai", "/anthropic/v1", "/anthropic"],
            Self::Anthropic | Self::Vertex => &["/v1"],
            Self::Bedrock => &["/openai/v1"],
            Self::Gemini => &["/v1beta/openai", "/v1beta"],
            Self::OpenAi | Self::Vllm | Self::Sglang | Self::LlamaCpp | Self::Ollama => &[],
        }
    }

    /// Whether its servers have a page on their own health, next to `/v1`.
    pub const fn reports_its_health(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang | Self::LlamaCpp)
    }

    /// Whether its servers report their load: llama.cpp's where that is switched on.
    pub const fn reports_its_load(self) -> bool {
        self.reports_its_health()
    }

    /// Whether it may be a self-hosted engine, or is what nobody named.
    pub const fn may_be_an_engine(self) -> bool {
        self.reports_its_health() || matches!(self, Self::OpenAi | Self::Ollama)
    }

    /// Whether it has a list of what may be asked for. Azure's is of models, and requests name deployments.
    pub const fn lists_its_models(self) -> bool {
        !matches!(self, Self::Azure | Self::Bedrock | Self::Vertex)
    }

    /// The forms of request that it understands; fewer by Azure's dated API.
    pub const fn dialects(self, is_dated: bool) -> DialectSet {
        let chat = DialectSet::CHAT;
        let openai = chat.with(DialectSet::RESPONSES);
        match self {
            Self::OpenAi => openai,
            Self::Azure if is_dated => openai,
            Self::Azure | Self::Vllm | Self::Sglang | Self::LlamaCpp | Self::Ollama => {
                openai.with(DialectSet::MESSAGES)
            }
            Self::Anthropic => DialectSet::MESSAGES,
            Self::Bedrock => openai.with(DialectSet::MESSAGES).with(DialectSet::CONVERSE),
            Self::Vertex => chat.with(DialectSet::MESSAGES).with(DialectSet::GEMINI),
            Self::Gemini => chat.with(DialectSet::GEMINI),
        }
    }
}
