//! Keeps foreign web pages off a port that asks for no token.
//!
//! Such a port listens on loopback, where every page in the operator's browser can send requests: a
//! page of another origin could drain the node, and one whose name resolves to 127.0.0.1 (DNS
//! rebinding) could read everything. Programs send no `Origin`, and name the host they connect to. The
//! browser marks the dashboard's own requests as `same-origin`, which no page can forge, and those of an
//! address typed by hand as `none`.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{HOST, HeaderName, ORIGIN};

/// Who asked, as the browser reports it: `same-origin`, `same-site`, `cross-site`, or `none` for the operator.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request without a token is refused; `None` when it is not.
pub(super) fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(&HOST);
    let is_own = |origin: &str| origin.split_once("://").map(|(_, authority)| authority) == host;
    let is_foreign_origin = text(&ORIGIN).is_some_and(|origin| !is_own(origin));
    let site = text(&SEC_FETCH_SITE);
    let is_foreign_site = site.is_some_and(|site| site != "same-origin" && site != "none");
    if is_foreign_origin || is_foreign_site {
        return Some("requests of other web pages are refused; set admin.token to use one");
    }
    match host {
        Some(host) if !is_loopback(host) => {
            Some("ask for 127.0.0.1 or localhost, or set admin.token")
        }
        _ => None,
    }
}

/// Whether a `Host` with or without a port is this machine itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_address = name
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    is_address || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "127.0.0.1:9090".parse().expect("a valid value"));
        headers.insert(name, value.parse().expect("a valid value"));
        refusal(&headers).is_some()
    }

    #[test]
    fn pages_are_refused_and_programs_are_not() {
        assert!(refused("origin", "https://evil.example"));
        assert!(refused("origin", "null"));
        assert!(refused("origin", "http://127.0.0.1:8080"));
        assert!(refused("sec-fetch-site", "cross-site"));
        assert!(refused("sec-fetch-site", "same-site"));
        assert!(!refused("accept", "*/*"));
    }

    #[test]
    fn own_page_and_typed_address_are_not_refused() {
        assert!(!refused("origin", "http://127.0.0.1:9090"));
        assert!(!refused("sec-fetch-site", "same-origin"));
        assert!(!refused("sec-fetch-site", "none"));
    }

    #[test]
    fn only_loopback_is_a_host() {
        for host in [
            "127.0.0.1:9090",
            "localhost",
            "LOCALHOST:1",
            "[::1]:9090",
            "127.8.8.8",
        ] {
            assert!(!refused("host", host), "{host}");
        }
        for host in [
            "evil.example:9090",
            "10.0.0.1",
            "localhost.evil.example",
            "[::2]",
            "",
        ] {
            assert!(refused("host", host), "{host}");
        }
    }
}
