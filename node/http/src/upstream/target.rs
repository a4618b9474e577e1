//! An upstream's settings, prepared once so that a call parses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::ids::{ModelName, UpstreamName};
use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};

use grapevine_base::headers;
use grapevine_config::checked::TimeoutConfig;

use super::dress::Dress;

/// The prefix of every path of the public API, which a base URL holds already.
const API_PREFIX: &str = "/v1";

/// Paths below this one are Anthropic's, which has its own credential header.
const MESSAGES_PATH: &str = "/v1/messages";

/// Requires a version in this header, and its key in `x-api-key` on every path.
const ANTHROPIC_HOST: &str = "api.anthropic.com";

/// The version of Anthropic's API that a request asks for.
pub(super) const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

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
    /// `http://` or `https://`, with the `/v1` that OpenAI's has: `/v1/x` is asked for as this plus `/x`.
    pub base_url: Uri,
    /// Sent as the upstream's credential; `None` sends none.
    pub api_key: Option<String>,
    /// Set on every call, over the client's own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The upstream's own names of models, by the names clients use. Others keep their names.
    pub renames: BTreeMap<ModelName, ModelName>,
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
        let entry = |settings: UpstreamSettings| {
            let name = settings.name.clone();
            UpstreamTarget::new(settings).map(|target| (name, Arc::new(target)))
        };
        let table: Table = settings.into_iter().map(entry).collect::<Result<_, _>>()?;
        self.0.store(Arc::new(table));
        Ok(())
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
    renames: BTreeMap<ModelName, ModelName>,
    pub(super) timeouts: TimeoutConfig,
    /// Whether probes send the key as `x-api-key`: a list of models has the same path at every provider.
    probes_by_api_key: AtomicBool,
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
    fn new(settings: UpstreamSettings) -> Result<Self, SettingsError> {
        let parts = settings.base_url.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(SettingsError::BaseUrl(settings.name));
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(SettingsError::BaseUrl(settings.name));
        }
        let sensitive = |text: String| {
            let value = HeaderValue::try_from(text);
            let mut value = value.map_err(|_| SettingsError::ApiKey(settings.name.clone()))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let key = settings.api_key.as_deref();
        let bearer = key
            .map(|key| sensitive(format!("Bearer {key}")))
            .transpose()?;
        let api_key = key.map(|key| sensitive(key.to_owned())).transpose()?;
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
        let host = host_of(&scheme, &authority)
            .ok_or_else(|| SettingsError::BaseUrl(settings.name.clone()))?;
        let is_key =
            |name: &HeaderName| *name == header::AUTHORIZATION || *name == headers::API_KEY;
        let is_key_configured = settings.headers.iter().any(|(name, _)| is_key(name));
        let dress = |key: Option<(HeaderName, HeaderValue)>| {
            let mut own = HeaderMap::new();
            own.insert(header::HOST, host.clone());
            own.extend(key);
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
            has_choice_of_key: bearer.is_some() && !is_key_configured,
            by_bearer: dress(bearer.map(|key| (header::AUTHORIZATION, key))),
            by_api_key: dress(api_key.map(|key| (headers::API_KEY, key))),
            renames: settings.renames,
            timeouts: settings.timeouts,
            probes_by_api_key: AtomicBool::new(is_anthropic),
        })
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
        if self.base_path == API_PREFIX {
            return Some(path.clone());
        }
        let text = path.as_str();
        let below = text.strip_prefix(API_PREFIX).unwrap_or(text);
        PathAndQuery::try_from(format!("{}{below}", self.base_path)).ok()
    }

    /// The URI of the client's `path` at this upstream; `None` when the two do not make one.
    pub(super) fn uri(&self, path: &PathAndQuery) -> Option<Uri> {
        self.absolute(self.path(path)?)
    }

    fn absolute(&self, path: PathAndQuery) -> Option<Uri> {
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
        UpstreamTarget::new(UpstreamSettings {
            name: UpstreamName::new("primary").expect("a valid name"),
            base_url: Uri::from_static(base_url),
            api_key: Some("secret".to_owned()),
            headers: vec![],
            renames: BTreeMap::new(),
            timeouts: TimeoutConfig::default(),
        })
    }

    fn mapped(base_url: &'static str, path: &'static str) -> String {
        let uri = target(base_url)
            .expect("a valid base URL")
            .uri(&PathAndQuery::from_static(path));
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
}
