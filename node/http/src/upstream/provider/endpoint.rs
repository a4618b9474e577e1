//! Which endpoint a request is for, by its path.

use grapevine_config::checked::ApiEndpoint;

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

/// The endpoint of a request in Bedrock's or Gemini's own form, which holds the model in its path.
fn native(path: &str) -> Option<ApiEndpoint> {
    if let Some((_, operation)) = path
        .strip_prefix("/model/")
        .and_then(|path| path.split_once('/'))
    {
        return match operation {
            "converse" => Some(ApiEndpoint::Converse),
            "converse-stream" => Some(ApiEndpoint::ConverseStream),
            _ => None,
        };
    }
    let (_, operation) = path.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
    match operation {
        "generateContent" => Some(ApiEndpoint::GenerateContent),
        "streamGenerateContent" => Some(ApiEndpoint::GenerateContentStream),
        _ => None,
    }
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
