//! OpenTelemetry's words for generative AI, by a request's path.
//!
//! Source: the semantic conventions for generative AI, `gen_ai.operation.name` and `gen_ai.provider.name`.
//! Both are closed sets here: what has no well-known word is `other`, or uses the API's own.

use grapevine_core::native_path::{NativeOperation, NativePath, is_count_at_vertex};

/// Anthropic's paths.
const MESSAGES_PATH: &str = "/v1/messages";

/// What the request at `path` asks for.
pub fn operation(path: &str) -> &'static str {
    match path {
        "/v1/chat/completions" | "/v1/responses" | MESSAGES_PATH => "chat",
        "/v1/completions" => "text_completion",
        "/v1/embeddings" => "embeddings",
        "/v1/messages/count_tokens" => "count_tokens",
        "/v1/moderations" => "moderation",
        _ if path.starts_with("/v1/images/") => "image",
        _ if path.starts_with("/v1/audio/") => "audio",
        _ if is_count_at_vertex(path) => "count_tokens",
        _ => NativePath::of(path).map_or("other", |native| match native.operation {
            NativeOperation::CountTokens => "count_tokens",
            _ => "chat",
        }),
    }
}

/// The provider whose API the request uses; any upstream answers in that API.
pub fn provider(path: &str) -> &'static str {
    if path.starts_with(MESSAGES_PATH) {
        return "anthropic";
    }
    if is_count_at_vertex(path) {
        return "gcp.vertex_ai";
    }
    NativePath::of(path).map_or("openai", |native| match native.operation {
        NativeOperation::GenerateContent
        | NativeOperation::StreamGenerateContent
        | NativeOperation::CountTokens => "gcp.gemini",
        NativeOperation::Converse
        | NativeOperation::ConverseStream
        | NativeOperation::Invoke
        | NativeOperation::InvokeStream => "aws.bedrock",
        NativeOperation::RawPredict | NativeOperation::StreamRawPredict => "gcp.vertex_ai",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_determines_operation_and_provider() {
        let words = |path: &str| (operation(path), provider(path));
        assert_eq!(words("/v1/messages"), ("chat", "anthropic"));
        assert_eq!(
            words("/v1/messages/count_tokens"),
            ("count_tokens", "anthropic")
        );
        assert_eq!(words("/v1/audio/speech"), ("audio", "openai"));
        assert_eq!(words("/v1/whatever/sk-1"), ("other", "openai"));
        assert_eq!(
            words("/v1beta/models/g:streamGenerateContent"),
            ("chat", "gcp.gemini")
        );
        assert_eq!(
            words("/v1beta/models/g:countTokens"),
            ("count_tokens", "gcp.gemini")
        );
        assert_eq!(words("/model/a/converse"), ("chat", "aws.bedrock"));
        assert_eq!(words("/model/a/invoke"), ("chat", "aws.bedrock"));
        let vertex = "/v1/projects/p/locations/l/publishers/anthropic/models/";
        assert_eq!(
            words(&format!("{vertex}c:rawPredict")),
            ("chat", "gcp.vertex_ai")
        );
        assert_eq!(
            words(&format!("{vertex}count-tokens:rawPredict")),
            ("count_tokens", "gcp.vertex_ai")
        );
    }
}
