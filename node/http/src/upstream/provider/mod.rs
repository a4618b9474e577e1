//! What an upstream's provider makes of a request: its path, its headers, its body. Pure.
//!
//! Reading order: [`ProviderRoute`] (one upstream's), `endpoint` (which endpoint a request is for), `body` (Anthropic's
//! messages at Bedrock and Vertex AI), `own_form` (the same the other way round).
//!
//! An upstream with OpenAI's paths has no route: its requests pass as they are.

mod body;
mod endpoint;
pub(super) mod own_form;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use grapevine_base::exchange::Call;
use grapevine_base::headers;
use grapevine_config::checked::{ApiEndpoint, Provider, ProviderConfig};
use grapevine_core::ids::ModelName;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;

use self::body::AnthropicForm;
use super::payload::Payload;

/// What a request asks of Anthropic's API that is not released.
pub(super) const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// The version of Anthropic's API that a request asks for.
pub(super) const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The version where a request names none.
pub(super) const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The prefix of AWS's own headers, some of which a signature stands in.
const AMAZON_PREFIX: &str = "x-amz-";

/// The prefix of Google's own headers, which name a key, a project that is billed, or a user.
const GOOGLE_PREFIX: &str = "x-goog-";

/// What one upstream's provider makes of requests.
#[derive(Clone, Debug)]
pub(super) struct ProviderRoute {
    config: ProviderConfig,
}

/// A request as its provider takes it, without a credential.
#[derive(Debug)]
pub(super) struct ProvidedRequest {
    pub(super) endpoint: ApiEndpoint,
    pub(super) path: PathAndQuery,
    pub(super) headers: Arc<HeaderMap>,
    pub(super) body: Payload,
}

/// Why a provider takes no such request. Another upstream may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotProvided {
    /// It has no such endpoint, or the request names no model for its path.
    #[error("unsupported at provider: it has no path for this request")]
    Path,
    /// The body cannot be written in its form with certainty.
    #[error("unsupported at provider: the body has no certain model")]
    Body,
}

impl ProviderRoute {
    /// The route of an upstream with this provider.
    pub(super) const fn new(config: ProviderConfig) -> Self {
        Self { config }
    }

    /// Whose API it is.
    pub(super) const fn provider(&self) -> Provider {
        self.config.provider
    }

    /// The path of a request for `path`, and its endpoint; `appended` makes OpenAI's path of it.
    pub(super) fn path(
        &self,
        path: &PathAndQuery,
        is_stream: bool,
        model: Option<&str>,
        appended: impl FnOnce() -> Option<PathAndQuery>,
    ) -> Option<(ApiEndpoint, PathAndQuery)> {
        let (endpoint, rest) = endpoint::of(path.path(), is_stream);
        let model = model.map(|model| self.segment(endpoint, model));
        let provided = match self.config.paths.of(endpoint) {
            Some(template) => template.fill(model, rest, self.query(path)),
            None if self.config.paths.appends_others => appended(),
            None => None,
        };
        Some((endpoint, provided?))
    }

    /// The model as a path has it. Vertex AI's endpoint of OpenAI's form takes `google/gemini-..`, whose publisher its own
    /// paths name before.
    fn segment<'a>(&self, endpoint: ApiEndpoint, model: &'a str) -> &'a str {
        let is_of_google = self.config.provider == Provider::Vertex && is_gemini(endpoint);
        let bare = model.strip_prefix("google/").filter(|_| is_of_google);
        bare.unwrap_or(model)
    }

    /// The client's query, except where the provider refuses what it does not know, or takes a key in it.
    fn query<'a>(&self, path: &'a PathAndQuery) -> Option<&'a str> {
        match self.config.provider {
            Provider::Bedrock | Provider::Vertex | Provider::Gemini => None,
            _ => path.query(),
        }
    }

    /// `call` as the provider takes it; `renamed` is the upstream's own name of its model, where that differs.
    ///
    /// # Errors
    /// When it takes no such request.
    pub(super) fn provide(
        &self,
        call: &Call,
        renamed: Option<&ModelName>,
        appended: impl FnOnce() -> Option<PathAndQuery>,
    ) -> Result<ProvidedRequest, NotProvided> {
        let model = renamed.or(call.model.as_ref()).map(ModelName::as_str);
        let found = self.path(&call.path, call.stream, model, appended);
        let (endpoint, path) = found.ok_or(NotProvided::Path)?;
        let form = self.anthropic_form(endpoint);
        let body = match (form, renamed) {
            (Some(form), _) => {
                let betas = call.headers.get_all(ANTHROPIC_BETA);
                let pieces = form.pieces(call.body.received(), betas.iter());
                pieces.map(Payload::of_pieces)
            }
            (None, Some(model)) if names_model_in_body(endpoint) => {
                Payload::renamed(&call.body, &call.headers, model)
            }
            (None, _) => Some(Payload::whole(&call.body)),
        };
        Ok(ProvidedRequest {
            endpoint,
            path,
            headers: self.headers(&call.headers, endpoint, form),
            body: body.ok_or(NotProvided::Body)?,
        })
    }

    /// The form of Anthropic's messages that this provider takes, where it is not Anthropic's own.
    const fn anthropic_form(&self, endpoint: ApiEndpoint) -> Option<AnthropicForm> {
        match (self.config.provider, endpoint) {
            (Provider::Bedrock, ApiEndpoint::Messages | ApiEndpoint::MessagesStream) => {
                Some(body::BEDROCK)
            }
            (Provider::Vertex, ApiEndpoint::Messages | ApiEndpoint::MessagesStream) => {
                Some(body::VERTEX)
            }
            _ => None,
        }
    }

    /// The client's headers as the provider takes them.
    fn headers(
        &self,
        client: &Arc<HeaderMap>,
        endpoint: ApiEndpoint,
        form: Option<AnthropicForm>,
    ) -> Arc<HeaderMap> {
        let mut sent = Arc::clone(client);
        if form.is_some_and(|form| form.takes_beta) {
            let sent = Arc::make_mut(&mut sent);
            sent.remove(ANTHROPIC_BETA);
            sent.remove(ANTHROPIC_VERSION);
        }
        if self.needs_version(endpoint) && !client.contains_key(ANTHROPIC_VERSION) {
            Arc::make_mut(&mut sent).insert(ANTHROPIC_VERSION, VERSION);
        }
        let is_kept_back = |name: &HeaderName| match self.config.provider {
            Provider::Bedrock => name.as_str().starts_with(AMAZON_PREFIX),
            Provider::Gemini | Provider::Vertex => name.as_str().starts_with(GOOGLE_PREFIX),
            _ => false,
        };
        if client.keys().any(is_kept_back) {
            headers::remove_all(Arc::make_mut(&mut sent), is_kept_back);
        }
        sent
    }

    /// Whether the provider requires a version of Anthropic's API in a header.
    const fn needs_version(&self, endpoint: ApiEndpoint) -> bool {
        match self.config.provider {
            Provider::Anthropic => true,
            Provider::Azure => matches!(
                endpoint,
                ApiEndpoint::Messages | ApiEndpoint::MessagesStream | ApiEndpoint::CountTokens
            ),
            _ => false,
        }
    }
}

/// Whether the body of a request names its model, or only the path does.
const fn names_model_in_body(endpoint: ApiEndpoint) -> bool {
    let is_converse = matches!(
        endpoint,
        ApiEndpoint::Converse | ApiEndpoint::ConverseStream
    );
    !is_converse && !is_gemini(endpoint)
}

/// Whether a request is in Gemini's form.
const fn is_gemini(endpoint: ApiEndpoint) -> bool {
    matches!(
        endpoint,
        ApiEndpoint::GenerateContent
            | ApiEndpoint::GenerateContentStream
            | ApiEndpoint::CountContentTokens
    )
}
