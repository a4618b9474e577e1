//! An upstream's settings, prepared once so that a call parses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::dialect::PermittedLoss;
use grapevine_core::ids::{ModelName, UpstreamName};
use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};

use grapevine_base::headers;
use grapevine_config::checked::{ApiEndpoint, AuthConfig, ProviderConfig, TimeoutConfig};

use super::credential::{CredentialState, TargetAuth};
use super::dialects::TargetDialects;
use super::dress::Dress;
use super::provider::{ANTHROPIC_VERSION, ProviderRoute};

/// The prefix of every path of the public API, which a base URL holds already.
const API_PREFIX: &str = "/v1";

/// The page of a self-hosted engine on its own health. No client can ask for it: its path is not below the API's.
pub(crate) const HEALTH_PATH: &str = "/health";

/// The page of a self-hosted engine on its own load, unless another is configured. No client can ask for it either.
pub(crate) const METRICS_PATH: &str = "/metrics";

/// Paths below this one are Anthropic's, which has its own credential header.
const MESSAGES_PATH: &str = "/v1/messages";

/// Requires a version in this header, and its key in `x-api-key` on every path.
const ANTHROPIC_HOST: &str = "api.anthropic.com";

/// The header in which an upstream takes its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyHeader {
    /// `Authorization: Bearer`.
    Bearer,
    /// `x-api-key`.
    ApiKey,
}

impl KeyHeader {
    /// The one that a client's request for `path` has.
    pub(super) fn of(path: &str) -> Self {
        match path.starts_with(MESSAGES_PATH) {
            true => Self::ApiKey,
            false => Self::Bearer,
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Bearer => Self::ApiKey,
            Self::ApiKey => Self::Bearer,
        }
    }
}

/// An upstream as configured.
#[derive(Clone, PartialEq)]
pub struct UpstreamSettings {
    /// Unique at this node.
    pub name: UpstreamName,
    /// `http://` or `https://`, what the provider's paths are appended to: with the `/v1` that OpenAI's has, `/v1/x` is
    /// asked for as this plus `/x`.
    pub base_url: Uri,
    /// Whose API it has.
    pub provider: ProviderConfig,
    /// How the node authenticates.
    pub auth: AuthConfig,
    /// Set on every call, over the client's own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The upstream's own names of models, by the names clients use. Others keep their names.
    pub renames: BTreeMap<ModelName, ModelName>,
    /// What translations of requests may lose, where the client does not say.
    pub lossy: PermittedLoss,
    /// Where it reports its load, from the root of its server; `None` where that is [`METRICS_PATH`] next to the API.
    pub load_path: Option<PathAndQuery>,
    /// How long a call may take.
    pub timeouts: TimeoutConfig,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The base URL has no scheme or host, or a scheme other than http and https.
    #[error("upstream {0}: the base URL must begin with http:// or https:// and name a host")]
    BaseUrl(UpstreamName),
    /// The key holds characters that no header may hold.
    #[error("upstream {0}: the API key holds characters that cannot be sent in a header")]
    ApiKey(UpstreamName),
}

/// The upstreams of this node, shared by all threads and replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTargets(Arc<ArcSwap<Table>>);

type Table = BTreeMap<UpstreamName, Arc<UpstreamTarget>>;

impl UpstreamTargets {
    /// A table of `settings`.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn new(settings: Vec<UpstreamSettings>) -> Result<Self, SettingsError> {
        let targets = Self::default();
        targets.replace(settings)?;
        Ok(targets)
    }

    /// Replaces the whole table. Calls in flight keep what they began with.
    ///
    /// # Errors
    /// When one of `settings` cannot be used; the table stays as it was.
    pub fn replace(&self, settings: Vec<UpstreamSettings>) -> Result<(), SettingsError> {
        let before = self.0.load();
        let entry = |settings: UpstreamSettings| {
            let name = settings.name.clone();
            let before = before.get(&name).and_then(|target| target.provided());
            let before = before.map(|provided| &provided.auth);
            UpstreamTarget::new(settings, before).map(|target| (name, Arc::new(target)))
        };
        let table: Table = settings.into_iter().map(entry).collect::<Result<_, _>>()?;
        self.0.store(Arc::new(table));
        Ok(())
    }

    /// The credentials that are issued for a time, by the upstreams that they are for: times and reasons, no secrets.
    pub fn credentials(&self) -> Vec<(UpstreamName, CredentialState)> {
        let table = self.0.load();
        let states = table.iter().filter_map(|(name, target)| {
            let TargetAuth::Issued(credential) = &target.provided()?.auth else {
                return None;
            };
            Some((name.clone(), credential.state()))
        });
        states.collect()
    }

    /// The upstream called `name`.
    pub(super) fn get(&self, name: &UpstreamName) -> Option<Arc<UpstreamTarget>> {
        self.0.load().get(name).cloned()
    }

    /// How long opening a connection to `uri` may take: the shortest timeout of the upstreams there.
    pub(super) fn connect_timeout(&self, uri: &Uri) -> Duration {
        let table = self.0.load();
        let there = table
            .values()
            .filter(|target| Some(&target.authority) == uri.authority());
        there
            .map(|target| target.timeouts.connect)
            .min()
            .unwrap_or_else(|| TimeoutConfig::default().connect)
    }
}

/// An upstream, ready for calls.
pub(super) struct UpstreamTarget {
    scheme: Scheme,
    authority: Authority,
    /// Scheme, host and port: what connections are kept by.
    origin: Arc<str>,
    base_path: String,
    by_bearer: Dress,
    by_api_key: Dress,
    /// Whether it has a key, and no header of its own for it.
    has_choice_of_key: bool,
    /// `None` where requests pass as they are: OpenAI's paths, and a key that lasts.
    provided: Option<Box<ProvidedTarget>>,
    renames: BTreeMap<ModelName, ModelName>,
    load_path: Option<PathAndQuery>,
    pub(super) lossy: PermittedLoss,
    pub(super) timeouts: TimeoutConfig,
    pub(super) dialects: TargetDialects,
    /// Whether probes send the key as `x-api-key`: a list of models has the same path at every provider.
    probes_by_api_key: AtomicBool,
}

/// What is particular to an upstream with another API than OpenAI's, or with a credential that is issued.
pub(super) struct ProvidedTarget {
    pub(super) route: ProviderRoute,
    pub(super) auth: TargetAuth,
    /// The value of `Host`.
    pub(super) host: HeaderValue,
}

/// Shows no credentials.
impl std::fmt::Debug for UpstreamTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Target")
            .field("authority", &self.authority)
            .field("base_path", &self.base_path)
            .finish_non_exhaustive()
    }
}

/// Shows no credentials.
impl std::fmt::Debug for UpstreamSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("name", &self.name)
            .field("base_url", &self.base_url)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl UpstreamTarget {
    /// As configured. What is issued by the same issuer as `before` is kept.
    fn new(settings: UpstreamSettings, before: Option<&TargetAuth>) -> Result<Self, SettingsError> {
        let parts = settings.base_url.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(SettingsError::BaseUrl(settings.name));
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(SettingsError::BaseUrl(settings.name));
        }
        let auth = TargetAuth::new(settings.auth, before);
        let auth = auth.map_err(|_| SettingsError::ApiKey(settings.name.clone()))?;
        let path = parts.path_and_query;
        let base_path = path
            .as_ref()
            .map_or("", PathAndQuery::path)
            .trim_end_matches('/');
        let is_anthropic = authority.host().eq_ignore_ascii_case(ANTHROPIC_HOST)
            || settings
                .headers
                .iter()
                .any(|(name, _)| name == ANTHROPIC_VERSION);
        let host = host_of(&scheme, &authority).ok_or(SettingsError::BaseUrl(settings.name))?;
        let is_key =
            |name: &HeaderName| *name == header::AUTHORIZATION || *name == headers::API_KEY;
        let is_key_configured = settings.headers.iter().any(|(name, _)| is_key(name));
        let is_plain =
            settings.provider.paths.are_plain() && !matches!(auth, TargetAuth::Issued(_));
        let provider = settings.provider.provider;
        let dress = |endpoint: ApiEndpoint| {
            let mut own = HeaderMap::new();
            own.insert(header::HOST, host.clone());
            if is_plain {
                own.extend(auth.header(provider, endpoint));
            }
            for (name, value) in &settings.headers {
                own.insert(name, value.clone());
            }
            Dress::new(own)
        };
        Ok(Self {
            origin: format!("{scheme}://{authority}").to_lowercase().into(),
            scheme,
            authority,
            base_path: base_path.to_owned(),
            dialects: TargetDialects::new(&settings.provider),
            has_choice_of_key: is_plain && matches!(auth, TargetAuth::Key(_)) && !is_key_configured,
            by_bearer: dress(ApiEndpoint::Chat),
            by_api_key: dress(ApiEndpoint::Messages),
            provided: (!is_plain).then(|| {
                Box::new(ProvidedTarget {
                    route: ProviderRoute::new(settings.provider),
                    auth,
                    host: host.clone(),
                })
            }),
            renames: settings.renames,
            load_path: settings.load_path,
            lossy: settings.lossy,
            timeouts: settings.timeouts,
            probes_by_api_key: AtomicBool::new(is_plain && is_anthropic),
        })
    }

    /// What is particular to it; `None` where requests pass as they are.
    pub(super) fn provided(&self) -> Option<&ProvidedTarget> {
        self.provided.as_deref()
    }

    /// The header in which probes send the key.
    pub(super) fn probe_key(&self) -> KeyHeader {
        match self.probes_by_api_key.load(Ordering::Relaxed) {
            true => KeyHeader::ApiKey,
            false => KeyHeader::Bearer,
        }
    }

    /// From now on, until the configuration is loaded again, probes send the key in `header`.
    pub(super) fn set_probe_key(&self, header: KeyHeader) {
        let is_api_key = header == KeyHeader::ApiKey;
        self.probes_by_api_key.store(is_api_key, Ordering::Relaxed);
    }

    /// Whether the upstream may take its key in another header than the one it was sent in: the operator has
    /// configured a key, and no header for it.
    pub(super) const fn has_choice_of_key(&self) -> bool {
        self.has_choice_of_key
    }

    /// Scheme, host and port.
    pub(super) const fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    /// Where its connections lead.
    pub(super) fn root(&self) -> Option<Uri> {
        self.absolute(PathAndQuery::from_static("/"))
    }

    /// The client's `path` as this upstream has it; `None` when the two do not make one.
    pub(super) fn path(&self, path: &PathAndQuery) -> Option<PathAndQuery> {
        let text = path.as_str();
        if text == METRICS_PATH && self.load_path.is_some() {
            return self.load_path.clone();
        }
        if text == HEALTH_PATH || text == METRICS_PATH {
            // It is next to the API, not below it.
            let server = self.base_path.strip_suffix(API_PREFIX);
            let server = server.unwrap_or(&self.base_path);
            return PathAndQuery::try_from(format!("{server}{text}")).ok();
        }
        if self.base_path == API_PREFIX {
            return Some(path.clone());
        }
        let below = text.strip_prefix(API_PREFIX).unwrap_or(text);
        PathAndQuery::try_from(format!("{}{below}", self.base_path)).ok()
    }

    /// The URI of a probe's `path` at this upstream, for the operator; `None` when the two do not make one.
    pub(super) fn shown_uri(&self, path: &PathAndQuery) -> Option<Uri> {
        let appended = || self.path(path);
        let path = match self.provided() {
            Some(provided) => provided.route.path(path, false, Some("-"), appended)?.1,
            None => appended()?,
        };
        self.absolute(path)
    }

    /// The URI of `path`, which is one of this upstream's.
    pub(super) fn absolute(&self, path: PathAndQuery) -> Option<Uri> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }

    /// The upstream's own name for `model`, where it differs.
    pub(super) fn rename(&self, model: Option<&ModelName>) -> Option<&ModelName> {
        self.renames.get(model?)
    }

    /// What its requests have beside the client's headers, with the key in `key`.
    pub(super) const fn dress(&self, key: KeyHeader) -> &Dress {
        match key {
            KeyHeader::Bearer => &self.by_bearer,
            KeyHeader::ApiKey => &self.by_api_key,
        }
    }
}

/// The host, and its port where it is not the scheme's own.
fn host_of(scheme: &Scheme, authority: &Authority) -> Option<HeaderValue> {
    let host = authority.host();
    let own = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let host = match authority.port_u16().filter(|port| *port != own) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::try_from(host).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(base_url: &'static str) -> Result<UpstreamTarget, SettingsError> {
        let settings = UpstreamSettings {
            name: UpstreamName::new("primary").expect("a valid name"),
            base_url: Uri::from_static(base_url),
            provider: ProviderConfig::default(),
            auth: AuthConfig::key("secret"),
            headers: vec![],
            renames: BTreeMap::new(),
            lossy: PermittedLoss::Nothing,
            load_path: None,
            timeouts: TimeoutConfig::default(),
        };
        UpstreamTarget::new(settings, None)
    }

    fn mapped(base_url: &'static str, path: &'static str) -> String {
        let uri = target(base_url)
            .expect("a valid base URL")
            .shown_uri(&PathAndQuery::from_static(path));
        uri.expect("a valid path").to_string()
    }

    #[test]
    fn client_path_replaces_the_prefix_by_the_base() {
        assert_eq!(
            mapped("https://api.example.com/v1", "/v1/chat/completions?a=b"),
            "https://api.example.com/v1/chat/completions?a=b"
        );
        assert_eq!(
            mapped("http://10.0.0.1:8000/openai/v1/", "/v1/models"),
            "http://10.0.0.1:8000/openai/v1/models"
        );
        assert_eq!(mapped("http://h", "/v1/models"), "http://h/models");
    }

    #[test]
    fn base_url_of_another_kind_is_refused() {
        assert!(matches!(target("/v1"), Err(SettingsError::BaseUrl(_))));
        assert!(matches!(
            target("ftp://h/v1"),
            Err(SettingsError::BaseUrl(_))
        ));
    }

    #[test]
    fn credential_of_the_client_is_replaced() {
        let target = target("http://h/v1").expect("a valid base URL");
        let dressed = |path: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::AUTHORIZATION,
                HeaderValue::from_static("Bearer client"),
            );
            headers.insert(headers::API_KEY, HeaderValue::from_static("client"));
            let passed = HeaderValue::from_static("grapevine");
            target.dress(KeyHeader::of(path)).map(&headers, &passed)
        };
        let chat = dressed("/v1/chat/completions");
        assert_eq!(chat[header::AUTHORIZATION], "Bearer secret");
        assert!(!chat.contains_key(headers::API_KEY) && chat.contains_key(headers::CDN_LOOP));
        let messages = dressed("/v1/messages/count_tokens");
        assert_eq!(messages[headers::API_KEY], "secret");
        assert!(!messages.contains_key(header::AUTHORIZATION));
    }

    #[test]
    fn credential_is_not_shown() {
        let target = target("http://h/v1").expect("a valid base URL");
        assert!(!format!("{target:?}").contains("secret"));
        let dressed = target.dress(KeyHeader::Bearer);
        let dressed = dressed.map(&HeaderMap::new(), &HeaderValue::from_static("grapevine"));
        assert!(dressed[header::AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn page_on_health_is_next_to_the_api() {
        assert_eq!(
            mapped("http://h:8000/v1", "/health"),
            "http://h:8000/health"
        );
        assert_eq!(
            mapped("http://h/engine/v1", "/health"),
            "http://h/engine/health"
        );
        assert_eq!(mapped("http://h", "/health"), "http://h/health");
        assert_eq!(
            mapped("http://h/engine/v1", "/metrics"),
            "http://h/engine/metrics"
        );
    }
}
