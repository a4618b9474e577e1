//! OpenTelemetry's words for generative AI, by a request's path.
//!
//! Source: the semantic conventions for generative AI, `gen_ai.operation.name` and `gen_ai.provider.name`.
//! Both are closed sets here: what has no well-known word is `other`, or uses the API's own.

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
        _ => "other",
    }
}

/// The provider whose API the request uses; any upstream answers in that API.
pub fn provider(path: &str) -> &'static str {
    match path.starts_with(MESSAGES_PATH) {
        true => "anthropic",
        false => "openai",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_determines_operation_and_provider() {
        let words = |path| (operation(path), provider(path));
        assert_eq!(words("/v1/messages"), ("chat", "anthropic"));
        assert_eq!(
            words("/v1/messages/count_tokens"),
            ("count_tokens", "anthropic")
        );
        assert_eq!(words("/v1/audio/speech"), ("audio", "openai"));
        assert_eq!(words("/v1/whatever/sk-1"), ("other", "openai"));
    }
}
