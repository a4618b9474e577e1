//! Checks of how a node authenticates at an upstream: one way, and one that its provider has.

mod aws;
mod entra;
mod google;

use std::net::IpAddr;
use std::path::PathBuf;

use http::HeaderName;

use super::super::address::BaseUrl;
use super::super::checked::{AuthConfig, Provider, ProviderConfig, SecretSource};
use super::super::file::{
    AuthFile, AuthSetFile, AuthWord, AwsFile, EntraFile, GoogleFile, UpstreamFile,
};
use super::Checker;

/// The remedy for endpoints that credentials come from.
const ENDPOINT_FORM: &str = "write the URL of the endpoint, without a query";

/// Names of this machine, and of the metadata server of one of Google's.
const NEARBY: [&str; 2] = ["localhost", "metadata.google.internal"];

impl Checker<'_> {
    /// How the node authenticates; not at all where what was written is refused.
    pub(super) fn auth(
        &mut self,
        key: &str,
        file: &UpstreamFile,
        provider: &ProviderConfig,
    ) -> AuthConfig {
        let api_key_key = format!("{key}.api_key");
        let key = format!("{key}.auth");
        let written = file.api_key.as_ref();
        let api_key = written.and_then(|secret| self.header_secret(&api_key_key, secret));
        let Some(auth) = &file.auth else {
            return match (written.is_some(), api_key) {
                (true, api_key) => api_key.map_or(AuthConfig::None, AuthConfig::Key),
                (false, _) => self.default_auth(&key, provider),
            };
        };
        let is_by_key = match auth {
            AuthFile::Word(word) => matches!(word, AuthWord::Bearer),
            AuthFile::Set(set) => set.header.is_some(),
        };
        if written.is_some() && !is_by_key {
            let problem = "is a second credential beside auth";
            self.problem(&api_key_key, problem, "remove one of them");
            return AuthConfig::None;
        }
        if written.is_none() && is_by_key {
            let remedy = "write api_key: ${NAME}, or api_key: {file: PATH}";
            self.problem(&key, "needs api_key, which is missing", remedy);
            return AuthConfig::None;
        }
        match auth {
            AuthFile::Word(AuthWord::None) => AuthConfig::None,
            AuthFile::Word(AuthWord::Bearer) => {
                api_key.map_or(AuthConfig::None, AuthConfig::Bearer)
            }
            AuthFile::Word(AuthWord::Entra) => self.entra(&key, &EntraFile::default(), provider),
            AuthFile::Word(AuthWord::Aws) => self.aws(&key, &AwsFile::default(), provider),
            AuthFile::Word(AuthWord::Google) => self.google(&key, &GoogleFile::default(), provider),
            AuthFile::Set(set) => self.set_auth(&key, set, api_key, provider),
        }
    }

    fn set_auth(
        &mut self,
        key: &str,
        set: &AuthSetFile,
        api_key: Option<SecretSource>,
        provider: &ProviderConfig,
    ) -> AuthConfig {
        let ways = [
            set.header.is_some(),
            set.entra.is_some(),
            set.aws.is_some(),
            set.google.is_some(),
        ];
        let count = ways.into_iter().filter(|is_written| *is_written).count();
        if count != 1 {
            let problem = match count {
                0 => "names no way to authenticate",
                _ => "names several ways to authenticate",
            };
            self.problem(key, problem, "write one of header, entra, aws and google");
            return AuthConfig::None;
        }
        if let Some(name) = &set.header {
            return self.key_header(&format!("{key}.header"), name, api_key);
        }
        if let Some(entra) = &set.entra {
            return self.entra(&format!("{key}.entra"), entra, provider);
        }
        if let Some(aws) = &set.aws {
            return self.aws(&format!("{key}.aws"), aws, provider);
        }
        let default = GoogleFile::default();
        let google = set.google.as_ref().unwrap_or(&default);
        self.google(&format!("{key}.google"), google, provider)
    }

    fn key_header(&mut self, key: &str, name: &str, api_key: Option<SecretSource>) -> AuthConfig {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let own = super::upstreams::HEADERS_OWN;
        match parsed {
            Ok(name) if own.contains(&name.as_str()) => {
                self.problem(key, "is set by the node itself", "name another header");
                AuthConfig::None
            }
            Ok(name) => api_key.map_or(AuthConfig::None, |api_key| {
                AuthConfig::Header(name, api_key)
            }),
            Err(_) => {
                self.problem(
                    key,
                    "is not a header's name",
                    "write letters, digits and '-'",
                );
                AuthConfig::None
            }
        }
    }

    /// How it authenticates where nothing is written. A provider that knows identities of machines uses the node's.
    fn default_auth(&mut self, key: &str, provider: &ProviderConfig) -> AuthConfig {
        if self.source_map.was_refused(key) {
            return AuthConfig::None;
        }
        match provider.provider {
            Provider::Azure => self.entra(key, &EntraFile::default(), provider),
            Provider::Bedrock => self.aws(key, &AwsFile::default(), provider),
            Provider::Vertex => self.google(key, &GoogleFile::default(), provider),
            _ => AuthConfig::None,
        }
    }

    /// Whether the provider knows this way; reports it where not.
    fn knows(
        &mut self,
        key: &str,
        way: &str,
        known: &[Provider],
        provider: &ProviderConfig,
    ) -> bool {
        let is_known = known.contains(&provider.provider);
        if !is_known {
            let names: Vec<_> = known.iter().map(|known| known.as_str()).collect();
            let name = provider.provider.as_str();
            let problem = format!("is {way}, which {name} does not take");
            let remedy = format!("use api_key, or set provider: {}", names.join(" or "));
            self.problem(key, problem, remedy);
        }
        is_known
    }

    /// The URL of an endpoint that credentials come from: the written one, else `default`.
    fn endpoint(&mut self, key: &str, text: Option<&str>, default: &str) -> Option<BaseUrl> {
        let url: BaseUrl = self.parse(key, Some(text.unwrap_or(default)), ENDPOINT_FORM)?;
        if !url.is_tls() && !is_nearby(url.host()) {
            let problem = format!("{url} is asked for credentials without encryption");
            self.warning(key, problem, "write https://, unless the way there is safe");
        }
        Some(url)
    }

    /// A written text, else the value of a variable.
    fn text_or(&self, text: Option<&str>, variable: &str) -> Option<String> {
        let text = text.filter(|text| !text.is_empty());
        text.or_else(|| self.environment.get(variable))
            .map(str::to_owned)
    }

    /// A path as written, else the value of a variable, which is relative to the working folder.
    fn path_or(&self, key: &str, text: Option<&str>, variable: &str) -> Option<PathBuf> {
        match text {
            Some(text) => Some(self.path(key, text)),
            None => self.environment.get(variable).map(Into::into),
        }
    }
}

/// Whether a host is in this machine, or the metadata service of one, which has no certificate.
fn is_nearby(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local()
        }
        Err(_) => NEARBY.contains(&host),
    }
}
