//! Addresses as people write them: base URLs, host and port, and networks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};

/// Why a text is not an address of its kind. Does not quote the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the form at all.
    #[error("is not a URL")]
    Url,
    /// Something other than HTTP.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// A user or a password inside.
    #[error("must not hold a user or a password")]
    Credentials,
    /// A `?query` or `#fragment`.
    #[error("must not hold a query or a fragment")]
    Query,
    /// A port of 0 or over 65535.
    #[error("must have a port from 1 to 65535")]
    Port,
    /// No `HOST:PORT`.
    #[error("is not a host and a port")]
    HostPort,
    /// No network.
    #[error("is not an address or a network")]
    Network,
}

/// The URL that an API's paths are appended to: a scheme, a host, a port, and a path without a trailing slash.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    path: Arc<str>,
}

impl BaseUrl {
    /// Whether it is `https`.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The scheme.
    pub const fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host and port as written.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.authority
            .port_u16()
            .unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// The path, empty or with a first and without a last slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The URL with another path, whose last slashes are dropped.
    ///
    /// # Errors
    /// [`AddressError::Query`] or [`AddressError::Url`] when `path` is none: it must be empty or begin with a slash.
    pub fn with_path(&self, path: &str) -> Result<Self, AddressError> {
        check_path(path)?;
        Ok(Self {
            scheme: self.scheme.clone(),
            authority: self.authority.clone(),
            path: path.trim_end_matches('/').into(),
        })
    }

    /// The URL without the endpoint of an API that its path ends in, and that endpoint; `None` when it ends in none.
    /// People copy whole URLs of calls, such as `https://api.example.com/v1/chat/completions`.
    pub fn without_endpoint(&self) -> Option<(Self, &'static str)> {
        let (path, endpoint) = ENDPOINTS
            .iter()
            .find_map(|endpoint| Some((self.path.strip_suffix(endpoint)?, *endpoint)))?;
        Some((self.with_path(path).ok()?, endpoint))
    }
}

/// The endpoints that a path may end in by mistake. One that ends in another comes first.
const ENDPOINTS: [&str; 13] = [
    "/chat/completions",
    "/fim/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/messages",
    "/messages/count_tokens",
    "/models",
    "/moderations",
    "/images/generations",
    "/audio/speech",
    "/audio/transcriptions",
    "/rerank",
];

/// Whether `path` can be a base URL's. Callers use the text as a URI: what the HTTP library would refuse is refused here.
fn check_path(path: &str) -> Result<(), AddressError> {
    if path.contains(['?', '#']) {
        return Err(AddressError::Query);
    }
    let is_path = path.is_empty() || path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
    match is_path && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(AddressError::Url),
    }
}

impl FromStr for BaseUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(AddressError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(AddressError::Credentials);
        }
        let authority: Authority = authority.parse().map_err(|_| AddressError::Url)?;
        let written_port = authority
            .as_str()
            .rsplit_once(':')
            .filter(|(_, port)| !port.contains(']'));
        if written_port.is_some() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(AddressError::Port);
        }
        check_path(path)?;
        if authority.host().is_empty() {
            return Err(AddressError::Url);
        }
        Ok(Self {
            scheme,
            authority,
            path: path.trim_end_matches('/').into(),
        })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}://{}{}",
            self.scheme, self.authority, self.path
        )
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A host, by name or address, and a port. A name is looked up each time it is dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A DNS name or an IP address, an IPv6 one without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::HostPort)?;
        let port: u16 = port.parse().map_err(|_| AddressError::Port)?;
        if port == 0 {
            return Err(AddressError::Port);
        }
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_dns_name(host),
        };
        if !is_host {
            return Err(AddressError::HostPort);
        }
        Ok(Self {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

/// The longest DNS name (RFC 1035), in bytes.
const DNS_NAME_MAX: usize = 253;

/// A DNS name or an IPv4 address; `_` is accepted, since container networks use it.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= DNS_NAME_MAX && text.trim_end_matches('.').split('.').all(is_label)
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// A block of IP addresses, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` lies in the block. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether it is one address alone.
    pub const fn is_single(&self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl FromStr for Network {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| AddressError::Network)?;
        let max: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix
            .map_or(Ok(max), str::parse)
            .map_err(|_| AddressError::Network)?;
        if prefix > max {
            return Err(AddressError::Network);
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_url_is_taken_apart_and_loses_its_last_slash() {
        let url: BaseUrl = "https://api.example.com/v1/".parse().expect("a good URL");
        assert_eq!(
            (url.host(), url.port(), url.path()),
            ("api.example.com", 443, "/v1")
        );
        assert_eq!(url.to_string(), "https://api.example.com/v1");
        let bare: BaseUrl = "HTTP://[::1]:9000".parse().expect("a good URL");
        assert_eq!(
            (bare.host(), bare.port(), bare.path(), bare.is_tls()),
            ("[::1]", 9_000, "", false)
        );
    }

    #[test]
    fn base_url_of_another_form_is_refused() {
        let refused = [
            ("api.example.com/v1", AddressError::Scheme),
            ("ftp://api.example.com", AddressError::Scheme),
            (
                "https://user:secret@api.example.com",
                AddressError::Credentials,
            ),
            ("https://api.example.com/v1?key=secret", AddressError::Query),
            ("https://api.example.com#top", AddressError::Query),
            ("https://", AddressError::Url),
            ("https://a b/v1", AddressError::Url),
            ("https://api.example.com/v 1", AddressError::Url),
            ("https://api.example.com/<v1>", AddressError::Url),
            ("https://api.example.com:0", AddressError::Port),
            ("https://api.example.com:70000", AddressError::Port),
            ("https://api.example.com:", AddressError::Port),
        ];
        for (text, error) in refused {
            assert_eq!(text.parse::<BaseUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn endpoint_at_the_end_of_a_path_is_known_from_a_part_of_a_name() {
        let without = |text: &str| {
            let url: BaseUrl = text.parse().expect("a good URL");
            let (url, endpoint) = url.without_endpoint()?;
            Some((url.to_string(), endpoint))
        };
        for (path, endpoint) in [
            ("/v1/chat/completions", "/chat/completions"),
            ("/v1/completions/", "/completions"),
            ("/v1/messages/count_tokens", "/messages/count_tokens"),
            ("/v1/models", "/models"),
        ] {
            let expected = ("https://h:1/v1".to_owned(), endpoint);
            assert_eq!(without(&format!("https://h:1{path}")), Some(expected));
        }
        let bare = ("http://[::1]".to_owned(), "/responses");
        assert_eq!(without("http://[::1]/responses"), Some(bare));
        for text in [
            "https://messages",
            "https://h/v1",
            "https://h/my-models",
            "https://h/chat/completions/v2",
        ] {
            assert_eq!(without(text), None, "{text}");
        }
    }

    #[test]
    fn other_path_keeps_scheme_host_and_port() {
        let url: BaseUrl = "https://[::1]:9000/a".parse().expect("a good URL");
        let with = |path: &str| url.with_path(path).map(|url| url.to_string());
        assert_eq!(with("/v1/"), Ok("https://[::1]:9000/v1".to_owned()));
        assert_eq!(with(""), Ok("https://[::1]:9000".to_owned()));
        assert_eq!(with("v1"), Err(AddressError::Url));
        assert_eq!(with("/a b"), Err(AddressError::Url));
        assert_eq!(with("/a?b"), Err(AddressError::Query));
    }

    #[test]
    fn every_base_url_is_a_uri() {
        for byte in 0_u8..=127 {
            for text in [
                format!("http://h/{}", char::from(byte)),
                format!("http://h{}", char::from(byte)),
            ] {
                if let Ok(url) = text.parse::<BaseUrl>() {
                    assert!(url.to_string().parse::<http::Uri>().is_ok(), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn host_may_be_a_name_or_an_address() {
        for text in [
            "jpn.example.net:7171",
            "10.0.0.1:1",
            "[::1]:65535",
            "node_1:7171",
        ] {
            assert_eq!(
                text.parse::<HostPort>().map(|address| address.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "jpn.example.net",
            "host:0",
            "host:65536",
            ":7171",
            "a b:1",
            "::1:7171",
            "[x]:1",
            "https://a:1",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn network_holds_its_addresses_alone() {
        let network: Network = "10.0.0.0/8".parse().expect("a good network");
        let holds = |text: &str| network.contains(text.parse().expect("a good address"));
        assert!(holds("10.255.0.1") && holds("::ffff:10.1.1.1"));
        assert!(!holds("11.0.0.0") && !holds("::1"));
        let all: Network = "::/0".parse().expect("a good network");
        assert!(all.contains("2001:db8::1".parse().expect("a good address")));
        assert!("10.0.0.0/33".parse::<Network>().is_err() && "10.0.0".parse::<Network>().is_err());
    }
}
