//! Which endpoint a request is for, by its path.

use grapevine_config::checked::ApiEndpoint;
use grapevine_core::native_path::{self, NativeOperation, NativePath};

/// The prefix of every path of the public API.
const API_PREFIX: &str = "/v1";

/// The endpoint of a request for `path`, and what its path has below the endpoint's own.
pub(super) fn of(path: &str, is_stream: bool) -> (ApiEndpoint, &str) {
    let one = match path {
        "/v1/chat/completions" => Some(ApiEndpoint::Chat),
        "/v1/completions" => Some(ApiEndpoint::Completions),
        "/v1/embeddings" => Some(ApiEndpoint::Embeddings),
        "/v1/models" => Some(ApiEndpoint::Models),
        "/v1/messages/count_tokens" => Some(ApiEndpoint::CountTokens),
        "/v1/messages" if is_stream => Some(ApiEndpoint::MessagesStream),
        _ => None,
    };
    if let Some(one) = one {
        return (one, "");
    }
    for (own, endpoint) in [
        ("/v1/responses", ApiEndpoint::Responses),
        ("/v1/messages", ApiEndpoint::Messages),
    ] {
        if let Some(rest) = path.strip_prefix(own)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            return (endpoint, rest);
        }
    }
    if let Some(native) = native(path) {
        return (native, "");
    }
    let below = path.strip_prefix(API_PREFIX);
    let below = below.filter(|below| below.starts_with('/'));
    (ApiEndpoint::Other, below.unwrap_or(path))
}

/// The endpoint of a request in a cloud's own form, which holds the model in its path.
fn native(path: &str) -> Option<ApiEndpoint> {
    if native_path::is_count_at_vertex(path) {
        return Some(ApiEndpoint::CountTokens);
    }
    Some(match NativePath::of(path)?.operation {
        NativeOperation::GenerateContent => ApiEndpoint::GenerateContent,
        NativeOperation::StreamGenerateContent => ApiEndpoint::GenerateContentStream,
        NativeOperation::CountTokens => ApiEndpoint::CountContentTokens,
        NativeOperation::Converse => ApiEndpoint::Converse,
        NativeOperation::ConverseStream => ApiEndpoint::ConverseStream,
        NativeOperation::Invoke | NativeOperation::RawPredict => ApiEndpoint::Messages,
        NativeOperation::InvokeStream | NativeOperation::StreamRawPredict => {
            ApiEndpoint::MessagesStream
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_stream_name_the_endpoint() {
        for (path, is_stream, expected) in [
            ("/v1/chat/completions", true, (ApiEndpoint::Chat, "")),
            ("/v1/responses", false, (ApiEndpoint::Responses, "")),
            (
                "/v1/responses/r_1/cancel",
                false,
                (ApiEndpoint::Responses, "/r_1/cancel"),
            ),
            ("/v1/responsesx", false, (ApiEndpoint::Other, "/responsesx")),
            ("/v1/messages", false, (ApiEndpoint::Messages, "")),
            ("/v1/messages", true, (ApiEndpoint::MessagesStream, "")),
            (
                "/v1/messages/count_tokens",
                true,
                (ApiEndpoint::CountTokens, ""),
            ),
            (
                "/v1/messages/batches",
                true,
                (ApiEndpoint::Messages, "/batches"),
            ),
            (
                "/v1/images/edits",
                false,
                (ApiEndpoint::Other, "/images/edits"),
            ),
            ("/v1/models", false, (ApiEndpoint::Models, "")),
            ("/model/a%3A0/converse", false, (ApiEndpoint::Converse, "")),
            ("/model/a/invoke", false, (ApiEndpoint::Messages, "")),
            (
                "/model/a/invoke-with-response-stream",
                true,
                (ApiEndpoint::MessagesStream, ""),
            ),
            (
                "/v1beta/models/g:countTokens",
                false,
                (ApiEndpoint::CountContentTokens, ""),
            ),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
                false,
                (ApiEndpoint::CountTokens, ""),
            ),
            (
                "/model/a/converse-stream",
                true,
                (ApiEndpoint::ConverseStream, ""),
            ),
            (
                "/v1beta/models/g:generateContent",
                false,
                (ApiEndpoint::GenerateContent, ""),
            ),
            (
                "/v1beta/models/g:streamGenerateContent",
                true,
                (ApiEndpoint::GenerateContentStream, ""),
            ),
        ] {
            assert_eq!(of(path, is_stream), expected, "{path}");
        }
    }
}
