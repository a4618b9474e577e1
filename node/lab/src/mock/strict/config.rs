//! What a strict upstream stands for.

use std::time::Duration;

use clap::ValueEnum;

use crate::mock::engine::EngineConfig;

/// Whose API the mock stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MockProvider {
    /// OpenAI's API.
    Openai,
    /// Azure OpenAI and Claude on Microsoft Foundry.
    Azure,
    /// Anthropic's API.
    Anthropic,
    /// Amazon Bedrock's runtime.
    Bedrock,
    /// Google Vertex AI.
    Vertex,
    /// Google's Gemini API.
    Gemini,
    /// A vLLM server.
    Vllm,
}

impl MockProvider {
    /// The models it serves when none is named.
    #[must_use]
    pub fn default_models(self) -> Vec<String> {
        let models: &[&str] = match self {
            Self::Openai | Self::Azure => &[
                "gpt-4o",
                "gpt-4o-mini",
                "gpt-5-nano",
                "text-embedding-3-small",
            ],
            Self::Anthropic => &["claude-mock"],
            Self::Bedrock => &["anthropic.claude-mock-v1:0", "openai.gpt-oss-20b-1:0"],
            Self::Vertex => &["gemini-3-mock", "gemini-2.5-mock", "claude-mock"],
            Self::Gemini => &["gemini-3-mock", "gemini-2.5-mock"],
            Self::Vllm => &["mock-7b"],
        };
        models.iter().map(|model| (*model).to_owned()).collect()
    }
}

/// A key's id and its secret. As text: `ID:SECRET`, or `ID:SECRET:SESSION_TOKEN`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) session_token: Option<String>,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessKey({})", self.id)
    }
}

impl std::str::FromStr for AccessKey {
    type Err = AccessKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(id), Some(secret), session_token) if !id.is_empty() && !secret.is_empty() => {
                Ok(Self {
                    id,
                    secret,
                    session_token: session_token.filter(|token| !token.is_empty()),
                })
            }
            _ => Err(AccessKeyError),
        }
    }
}

/// A text that is no access key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access key is ID:SECRET or ID:SECRET:SESSION_TOKEN")]
pub struct AccessKeyError;

/// What strict upstreams need beside their key and models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrictConfig {
    /// Deployments of Azure; empty: one for each model.
    pub azure_deployments: Vec<String>,
    /// The region of Bedrock.
    pub aws_region: String,
    /// Keys that may sign requests to Bedrock.
    pub access_keys: Vec<AccessKey>,
    /// RSA key that verifies the assertions of Google's service accounts: PEM, or the JSON of an account's key. `None`:
    /// no assertion is good.
    pub google_key: Option<String>,
    /// The id and the secret of the client to which Entra's endpoint issues tokens.
    pub token_client: AccessKey,
    /// How long issued tokens are good.
    pub token_lifetime: Duration,
    /// The engine of a vLLM server; `None`: every request runs at once and takes no time.
    pub engine: Option<EngineConfig>,
}

impl Default for StrictConfig {
    fn default() -> Self {
        Self {
            azure_deployments: Vec::new(),
            aws_region: "us-east-1".to_owned(),
            access_keys: Vec::new(),
            google_key: None,
            token_client: AccessKey {
                id: "mock-client".to_owned(),
                secret: "mock-secret".to_owned(),
                session_token: None,
            },
            token_lifetime: Duration::from_secs(3_600),
            engine: None,
        }
    }
}
