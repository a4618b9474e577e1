//! The path of a request, as the public API has it.

use std::sync::LazyLock;

use grapevine_core::native_path::NativePath;
use http::Uri;
use http::uri::PathAndQuery;

/// What the paths of Azure's clients begin with.
const AZURE_PREFIX: &str = "/openai/";

/// What the paths of Gemini's first version begin with.
const GOOGLE_PREFIX: &str = "/v1/models/";

/// What nearly all requests are for: these are not checked and copied each time.
static KNOWN: LazyLock<[PathAndQuery; 4]> = LazyLock::new(|| {
    [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1/responses",
        "/v1/embeddings",
    ]
    .map(PathAndQuery::from_static)
});

/// The path and query in memory of their own. hyper passes a slice of the connection's read buffer, which would
/// keep all of that, the body in it too, for as long as the answer takes.
pub(super) fn own_path(uri: &Uri) -> PathAndQuery {
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if let Some(known) = KNOWN.iter().find(|known| known.as_str() == path) {
        return known.clone();
    }
    let alias = if let Some(below) = path.strip_prefix(AZURE_PREFIX) {
        azure_alias(below)
    } else if let Some(below) = path.strip_prefix(GOOGLE_PREFIX) {
        google_alias(below)
    } else {
        None
    };
    let path = PathAndQuery::try_from(alias.as_deref().unwrap_or(path));
    path.unwrap_or_else(|_| PathAndQuery::from_static("/"))
}

/// The path of the public API that clients of Gemini's first version mean by what is `below` theirs; `None` for a model
/// of the list, which has the same path.
fn google_alias(below: &str) -> Option<String> {
    let alias = format!("/v1beta/models/{below}");
    let path = alias.split_once('?').map_or(&*alias, |(path, _)| path);
    NativePath::of(path).is_some().then_some(alias)
}

/// The path of the public API that Azure's clients mean by what is `below` theirs: the deployment is the model, which
/// they name in the body too, and the version is Azure's own.
fn azure_alias(below: &str) -> Option<String> {
    let (path, query) = below.split_once('?').unwrap_or((below, ""));
    let rest = match path.strip_prefix("deployments/") {
        Some(deployment) => deployment.split_once('/')?.1,
        None => path.strip_prefix("v1/").unwrap_or(path),
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("api-version="))
        .collect();
    Some(match kept.is_empty() {
        true => format!("/v1/{rest}"),
        false => format!("/v1/{rest}?{}", kept.join("&")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_geminis_first_version_mean_the_same_paths() {
        for (sent, meant) in [
            (
                "/v1/models/g:generateContent",
                "/v1beta/models/g:generateContent",
            ),
            (
                "/v1/models/g:streamGenerateContent?alt=sse",
                "/v1beta/models/g:streamGenerateContent?alt=sse",
            ),
            ("/v1/models/g:7b", "/v1/models/g:7b"),
            ("/v1/models/a/b", "/v1/models/a/b"),
        ] {
            let uri: Uri = sent.parse().expect("a path");
            assert_eq!(own_path(&uri).as_str(), meant, "{sent}");
        }
    }

    #[test]
    fn clients_of_azure_mean_the_same_paths() {
        for (sent, meant) in [
            ("/v1/models?a=b", "/v1/models?a=b"),
            ("/openai/v1/responses", "/v1/responses"),
            (
                "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
                "/v1/chat/completions",
            ),
            ("/openai/v1/files?api-version=1&x=y", "/v1/files?x=y"),
            ("/openai/deployments/gpt-4o", "/openai/deployments/gpt-4o"),
        ] {
            let uri: Uri = sent.parse().expect("a path");
            assert_eq!(own_path(&uri).as_str(), meant, "{sent}");
        }
    }
}
