//! The words by which the errors of the APIs say what they mean.

use super::{ErrorRow, Finding};

/// The words of the APIs, the first row that applies decides. Collected from the error references of OpenAI, Azure
/// OpenAI, Anthropic, Google, Mistral, DeepSeek, Moonshot, OpenRouter, Groq, and from vLLM, SGLang, Ollama and
/// LiteLLM as they answer.
pub const ROWS: &[ErrorRow] = &[
    ErrorRow {
        statuses: &[400, 401, 402, 403, 429],
        words: &[
            "insufficient_quota",
            "insufficient_balance",
            "insufficient_user_quota",
            "insufficient_credits",
            "billing_hard_limit_reached",
            "billing_not_active",
            "billing_error",
            "exceeded_current_quota_error",
            "account_deactivated",
            "budget_exceeded",
            "payment_required",
        ],
        messages: &[
            "your credit balance is too low",
            "insufficient balance",
            "insufficient credits",
            "you exceeded your current quota",
            "your account is not active",
            "billing hard limit has been reached",
        ],
        finding: Finding::Account,
    },
    ErrorRow {
        statuses: &[401, 403],
        words: &[
            "invalid_api_key",
            "invalid_x_api_key",
            "incorrect_api_key",
            "missing_api_key",
        ],
        messages: &[
            "incorrect api key",
            "invalid api key",
            "invalid x-api-key",
            "invalid authentication",
        ],
        finding: Finding::Credential,
    },
    ErrorRow {
        statuses: &[400, 401, 403, 404],
        words: &[
            "mismatched_organization",
            "mismatched_project",
            "invalid_organization",
            "invalid_project",
            "no_such_organization",
            "organization_not_found",
            "project_not_found",
        ],
        messages: &[
            "openai-organization header",
            "openai-project header",
            "no such organization",
        ],
        finding: Finding::ClientIdentity,
    },
    ErrorRow {
        statuses: &[400, 403, 422, 451],
        words: &[
            "content_policy_violation",
            "content_filter",
            "moderation_blocked",
            "flagged_input",
            "responsibleaipolicyviolation",
            "data_inspection_failed",
        ],
        messages: &[
            // OpenAI's images and Responses.
            "your request was rejected as a result of our safety system",
            "invalid prompt: your prompt was flagged",
            "invalid prompt: we've limited access to this content",
            // Anthropic.
            "output blocked by content filtering policy",
            // OpenRouter.
            "input was flagged",
            "your chosen model requires moderation",
            "request blocked by",
            // DeepSeek, Moonshot, xAI.
            "content exists risk",
            "the request was rejected because it was considered high risk",
            "content violates usage guidelines",
        ],
        finding: Finding::ContentPolicy,
    },
    ErrorRow {
        statuses: &[400, 413, 422],
        words: &[
            // OpenAI, Azure OpenAI, Groq, DeepSeek.
            "context_length_exceeded",
            // llama.cpp's server.
            "exceed_context_size_error",
            // LiteLLM.
            "contextwindowexceedederror",
        ],
        messages: &[
            // OpenAI, Azure OpenAI, DeepSeek, vLLM; OpenRouter; xAI.
            "this model's maximum context length is",
            "this endpoint's maximum context length is",
            "this model's maximum prompt length is",
            // Anthropic, as itself, on Bedrock and on Vertex AI.
            "prompt is too long",
            "input length and `max_tokens` exceed context limit",
            // Bedrock's other models.
            "input is too long for requested model",
            "the model returned the following errors: input is too long",
            "the model returned the following errors: prompt is too long",
            // Gemini and Vertex AI.
            "the input token count",
            "unable to submit request because the input token count",
            // Mistral, Cohere.
            "prompt contains",
            "too many tokens",
            // vLLM, SGLang, llama.cpp, Ollama, text-generation-inference.
            "the decoder prompt (length",
            "the prompt (total length",
            "the input (",
            "requested token count exceeds the model's maximum context length",
            "the request exceeds the available context size",
            "input length exceeds",
            "the input length exceeds",
            "input validation error: `inputs`",
        ],
        finding: Finding::ContextTooLong,
    },
    ErrorRow {
        statuses: &[400, 403, 404],
        words: &[
            "model_not_found",
            "model_not_available",
            "model_not_supported",
            "model_not_active",
            "model_decommissioned",
            "model_terms_required",
            "unknown_model",
            "invalid_model",
            "deploymentnotfound",
        ],
        messages: &[
            "model:",
            "the model `",
            "the model '",
            "model \"",
            "models/",
            "model not exist",
            "invalid model",
            "no endpoints found for",
            "no allowed providers are available for",
        ],
        finding: Finding::ModelMissing,
    },
    ErrorRow {
        statuses: &[429, 529],
        words: &[
            // Anthropic, OpenAI, vLLM's and SGLang's routers.
            "overloaded_error",
            "overloaded",
            "engine_overloaded",
            "model_overloaded",
            "slow_down",
            // Bedrock: its quotas are those of an account in one region.
            "throttlingexception",
        ],
        messages: &[
            // OpenAI, text-generation-inference.
            "the engine is currently overloaded",
            "that model is currently overloaded",
            "model is overloaded",
            // Azure OpenAI: its quotas are those of a deployment, out of what its region has.
            "requests to the",
            "your requests to",
            "the system is currently experiencing high demand",
            "the server is currently overloaded",
            // Vertex AI: capacity that all customers share, and quotas of a project in one region.
            "resource exhausted, please try again later",
            "quota exceeded for aiplatform.googleapis.com",
            // Bedrock, where the error's type is in a header.
            "too many requests, please wait before trying again",
            "too many tokens, please wait before trying again",
            // Mistral.
            "service tier capacity exceeded for this model",
        ],
        finding: Finding::RateOfPlace,
    },
    ErrorRow {
        statuses: &[429, 529],
        words: &[
            "account_rate_limit_exceeded",
            "organization_rate_limit_exceeded",
            "account_overloaded",
            "rate_limit_reached_for_organization",
        ],
        messages: &["account rate limit", "organization rate limit"],
        finding: Finding::RateOfAccount,
    },
];
