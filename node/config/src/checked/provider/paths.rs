//! The paths of each provider's endpoints, as the file writes them, by the providers' own references.

use super::ApiEndpoint;

/// The paths of Azure's v1 API, and of Foundry's models of Anthropic.
pub(super) const AZURE: &[(ApiEndpoint, &str)] = &[
    (ApiEndpoint::Chat, "/openai/v1/chat/completions"),
    (ApiEndpoint::Responses, "/openai/v1/responses{rest}"),
    (ApiEndpoint::Messages, "/anthropic/v1/messages{rest}"),
    (
        ApiEndpoint::CountTokens,
        "/anthropic/v1/messages/count_tokens",
    ),
    (ApiEndpoint::Completions, "/openai/v1/completions"),
    (ApiEndpoint::Embeddings, "/openai/v1/embeddings"),
    (ApiEndpoint::Models, "/openai/v1/models"),
    (ApiEndpoint::Other, "/openai/v1{rest}"),
];

/// The paths of Azure's dated API, whose models are deployments.
pub(super) const AZURE_DATED: &[(ApiEndpoint, &str)] = &[
    (
        ApiEndpoint::Chat,
        "/openai/deployments/{model}/chat/completions?api-version={api_version}",
    ),
    (
        ApiEndpoint::Responses,
        "/openai/responses{rest}?api-version={api_version}",
    ),
    (
        ApiEndpoint::Completions,
        "/openai/deployments/{model}/completions?api-version={api_version}",
    ),
    (
        ApiEndpoint::Embeddings,
        "/openai/deployments/{model}/embeddings?api-version={api_version}",
    ),
    (
        ApiEndpoint::Models,
        "/openai/models?api-version={api_version}",
    ),
    (
        ApiEndpoint::Other,
        "/openai/deployments/{model}{rest}?api-version={api_version}",
    ),
];

/// The paths of Anthropic's API.
pub(super) const ANTHROPIC: &[(ApiEndpoint, &str)] = &[
    (ApiEndpoint::Messages, "/v1/messages{rest}"),
    (ApiEndpoint::CountTokens, "/v1/messages/count_tokens"),
    // As many as it lists at once; 20 by default.
    (ApiEndpoint::Models, "/v1/models?limit=1000"),
];

/// The paths of Bedrock's runtime endpoint.
pub(super) const BEDROCK: &[(ApiEndpoint, &str)] = &[
    (ApiEndpoint::Chat, "/openai/v1/chat/completions"),
    (ApiEndpoint::Responses, "/openai/v1/responses{rest}"),
    (ApiEndpoint::Messages, "/model/{model}/invoke"),
    (
        ApiEndpoint::MessagesStream,
        "/model/{model}/invoke-with-response-stream",
    ),
    (ApiEndpoint::Converse, "/model/{model}/converse"),
    (
        ApiEndpoint::ConverseStream,
        "/model/{model}/converse-stream",
    ),
];

/// The paths of Vertex AI: its endpoint that is compatible with OpenAI's API, and the models of publishers.
pub(super) const VERTEX: &[(ApiEndpoint, &str)] = &[
    (
        ApiEndpoint::Chat,
        "/v1/projects/{project}/locations/{location}/endpoints/openapi/chat/completions",
    ),
    (
        ApiEndpoint::Messages,
        "/v1/projects/{project}/locations/{location}/publishers/anthropic/models/{model}:rawPredict",
    ),
    (
        ApiEndpoint::MessagesStream,
        "/v1/projects/{project}/locations/{location}/publishers/anthropic/models/{model}:streamRawPredict",
    ),
    // The model stays in the body of this one.
    (
        ApiEndpoint::CountTokens,
        "/v1/projects/{project}/locations/{location}/publishers/anthropic/models/count-tokens:rawPredict",
    ),
    (
        ApiEndpoint::GenerateContent,
        "/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:generateContent",
    ),
    (
        ApiEndpoint::GenerateContentStream,
        "/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:streamGenerateContent?alt=sse",
    ),
    (
        ApiEndpoint::CountContentTokens,
        "/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:countTokens",
    ),
];

/// The paths of the Gemini API, and of its part that is compatible with OpenAI's.
pub(super) const GEMINI: &[(ApiEndpoint, &str)] = &[
    (ApiEndpoint::Chat, "/v1beta/openai/chat/completions"),
    (ApiEndpoint::Embeddings, "/v1beta/openai/embeddings"),
    // As many as it lists at once; 50 by default.
    (ApiEndpoint::Models, "/v1beta/models?pageSize=1000"),
    (
        ApiEndpoint::GenerateContent,
        "/v1beta/models/{model}:generateContent",
    ),
    (
        ApiEndpoint::GenerateContentStream,
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
    ),
    (
        ApiEndpoint::CountContentTokens,
        "/v1beta/models/{model}:countTokens",
    ),
];
