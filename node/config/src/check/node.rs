//! Checks of the node itself: its name, its addresses, its log.

use std::net::SocketAddr;

use grapevine_core::fact::{PUBLIC_ADDRESSES_MAX, PUBLIC_URL_BYTES_MAX};
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::{NodeName, RegionName};
use http::HeaderValue;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::super::address::{BaseUrl, Network};
use super::super::checked::{
    ADMIN_LISTEN, AdminConfig, LogConfig, LogFormat, NodeConfig, ProxyProtocol, TlsConfig,
};
use super::super::file::{
    AdminFile, ConfigFile, Item, LocationFile, LogFile, LogFormatWord, NodeFile, ProxyProtocolWord,
    TlsFile,
};
use super::super::secret::Secret;
use super::certificates::{self, Identity};
use super::{Checker, LISTEN_FORM, items};

/// The remedy for names.
pub(super) const NAME_FORM: &str = "choose a name of 1 to 63 bytes";

/// The shortest token of an admin port that is not on loopback: a shorter one is easily guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The region of a node that names none.
const REGION: &str = "local";

impl Checker<'_> {
    pub(super) fn node(
        &mut self,
        file: Option<&NodeFile>,
        identity: Option<&Identity>,
    ) -> Option<NodeConfig> {
        let written = file.and_then(|file| file.name.as_deref());
        let name = match written {
            Some(_) => self.parse("node.name", written, NAME_FORM),
            None => identity
                .map(|identity| identity.node.clone())
                .or_else(|| Some(host_name())),
        };
        let region = file.and_then(|file| file.region.as_deref());
        let region = self.parse("node.region", Some(region.unwrap_or(REGION)), NAME_FORM);
        let place = self.place(file.and_then(|file| file.location.as_ref()));
        let public = file.and_then(|file| file.public.as_ref());
        let url = public.and_then(|public| public.url.as_deref());
        let url: Option<BaseUrl> =
            self.parse("node.public.url", url, "write http://HOST or https://HOST");
        let addresses = public.map(|public| items("node.public.addresses", &public.addresses));
        let mut public_addresses = Vec::new();
        for (key, text) in addresses.into_iter().flatten() {
            let form = "write an IP address at which clients reach this node";
            self.can_be_reached(&key, text, form);
            public_addresses.extend(self.parse::<std::net::IpAddr>(&key, Some(text), form));
        }
        if let Some(url) = &url {
            let remedy = "write the URL at which clients reach this node";
            self.can_be_reached("node.public.url", url.host(), remedy);
        }
        self.public_limits(url.as_ref(), public_addresses.len());
        let region: RegionName = region?;
        Some(NodeConfig {
            name: name?,
            region,
            place,
            public_url: url,
            public_addresses,
        })
    }

    /// What is published to all nodes is bounded.
    fn public_limits(&mut self, url: Option<&BaseUrl>, addresses: usize) {
        let url = url.map_or(0, |url| url.to_string().len());
        if url > PUBLIC_URL_BYTES_MAX {
            let problem = format!("has {url} bytes, over {PUBLIC_URL_BYTES_MAX}");
            self.problem("node.public.url", problem, "write a shorter one");
        }
        if addresses > PUBLIC_ADDRESSES_MAX {
            let problem = format!("has {addresses} items, over {PUBLIC_ADDRESSES_MAX}");
            self.problem("node.public.addresses", problem, "remove some");
        }
    }

    fn place(&mut self, file: Option<&LocationFile>) -> Option<GeoPoint> {
        let file = file?;
        let (latitude, longitude) = (file.lat?, file.lon?);
        let place = GeoPoint::new(latitude, longitude);
        if place.is_none() {
            let problem = format!("{latitude}, {longitude} is not on the Earth");
            self.problem(
                "node.location",
                problem,
                "write lat from -90 to 90 and lon from -180 to 180",
            );
        }
        place
    }

    pub(super) fn tls(&mut self, file: Option<&TlsFile>) -> Option<TlsConfig> {
        let file = file?;
        let (cert, key) = (file.cert.as_deref()?, file.key.as_deref()?);
        let (cert, key) = (self.path("tls.cert", cert), self.path("tls.key", key));
        let chain = self.chain("tls.cert", &cert);
        self.private_key("tls.key", &key, chain.as_deref());
        if let Some(chain) = &chain {
            certificates::leaf_is_current(self, "tls.cert", chain);
        }
        Some(TlsConfig { cert, key })
    }

    pub(super) fn trusted_proxies(&mut self, list: &Option<Vec<Item<String>>>) -> Vec<Network> {
        let form = "write an address or a network: 10.0.0.0/8, 2001:db8::/32";
        items("trusted_proxies", list)
            .filter_map(|(key, text)| self.parse(&key, Some(text), form))
            .collect()
    }

    /// A header that no peer may send is a mistake: the balancer's connections would all fail.
    pub(super) fn proxy_protocol(
        &mut self,
        file: &ConfigFile,
        trusted: &[Network],
    ) -> ProxyProtocol {
        let wanted = match file.proxy_protocol {
            None | Some(ProxyProtocolWord::Off) => ProxyProtocol::Off,
            Some(ProxyProtocolWord::Optional) => ProxyProtocol::Optional,
            Some(ProxyProtocolWord::Required) => ProxyProtocol::Required,
        };
        let has_proxies = file.trusted_proxies.iter().flatten().next().is_some();
        if wanted != ProxyProtocol::Off && trusted.is_empty() && !has_proxies {
            let problem = format!(
                "{} trusts no proxy, since there are no trusted_proxies",
                wanted.as_str()
            );
            let remedy = "list the balancer's network in trusted_proxies, or remove the key";
            self.problem("proxy_protocol", problem, remedy);
        }
        wanted
    }

    pub(super) fn admin(
        &mut self,
        file: Option<&AdminFile>,
        public: Option<SocketAddr>,
    ) -> AdminConfig {
        let written = file.and_then(|file| file.listen.as_deref());
        let listen = self
            .parse("admin.listen", written, LISTEN_FORM)
            .unwrap_or(ADMIN_LISTEN);
        let token = file.and_then(|file| file.token.as_ref());
        if token.is_some_and(|token| !is_header_text(&token.0)) {
            let problem = "is empty, or has blanks around it or characters that no header may hold";
            self.problem(
                "admin.token",
                problem,
                "write a token that fits in a header, or remove the key",
            );
        }
        if let Some(token) = token
            && !listen.ip().is_loopback()
            && token.0.len() < TOKEN_BYTES_MIN
        {
            let problem = format!(
                "has fewer than {TOKEN_BYTES_MIN} characters, and {listen} is not on loopback"
            );
            let remedy =
                "write a random one, such as `openssl rand -hex 32` prints, or listen on 127.0.0.1";
            self.problem("admin.token", problem, remedy);
        }
        if !listen.ip().is_loopback()
            && token.is_none()
            && !self.source_map.was_refused("admin.token")
        {
            let problem = format!("{listen} is not on loopback and there is no admin.token");
            self.problem(
                "admin.listen",
                problem,
                "set admin.token (or GRAPEVINE_ADMIN_TOKEN), or listen on 127.0.0.1",
            );
        }
        if let Some(public) = public {
            self.differs("admin.listen", listen, ("the public address", public));
        }
        AdminConfig {
            listen,
            token: token.map(|token| Secret::new(&token.0)),
        }
    }

    pub(super) fn log(&mut self, file: Option<&LogFile>) -> LogConfig {
        let default = LogConfig::default();
        let Some(file) = file else { return default };
        let level = file.level.clone().unwrap_or(default.level);
        if !is_log_filter(&level) {
            let problem = format!("{} is not a log level", self.shown("log.level"));
            let remedy = "use error, warn, info, debug, trace, off, or a list of TARGET=LEVEL";
            self.problem("log.level", problem, remedy);
        }
        let format = match file.format {
            Some(LogFormatWord::Json) => LogFormat::Json,
            Some(LogFormatWord::Text) | None => default.format,
        };
        LogConfig { level, format }
    }
}

/// Whether `text` is a filter. The filter's own parser takes a bare word for a target, so that a mistyped
/// level would silence the log: here a bare word must be a level.
pub fn is_log_filter(text: &str) -> bool {
    // The empty text is a level for the parser.
    let is_level = |item: &str| !item.is_empty() && item.parse::<LevelFilter>().is_ok();
    let is_item = |item: &str| item.contains(['=', '[', ':']) || is_level(item);
    text.split(',').all(|item| is_item(item.trim())) && EnvFilter::builder().parse(text).is_ok()
}

/// Whether a client can send `text` in a header.
pub(super) fn is_header_text(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && HeaderValue::from_str(text).is_ok()
}

/// The host's name where it is fit for a node, else `node`.
fn host_name() -> NodeName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = NodeName::new(name.trim()).or_else(|_| NodeName::new("node"));
    name.expect("a plain word is a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_level_is_no_filter() {
        for filter in [
            "info",
            "WARN",
            "off",
            "info,grapevine_mesh=debug",
            "warn,a::b=trace",
        ] {
            assert!(is_log_filter(filter), "{filter}");
        }
        for filter in ["inof", "", "info,debgu", "a=loud", "info,"] {
            assert!(!is_log_filter(filter), "{filter}");
        }
    }
}
