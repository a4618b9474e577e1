//! A client's headers as an upstream gets them: with its own credential, and marked by the node they passed.
//!
//! Invariant: what the client authenticated with and what is about its connection never reaches the upstream,
//! whether it was removed before or not.

use grapevine_base::headers;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What requests to one upstream have beside the client's headers. Holds a credential.
pub(super) struct Dress {
    own: HeaderMap,
    /// The same as lines of a head.
    lines: Vec<u8>,
}

impl Dress {
    /// A dress of `own` headers, which replace those of the client.
    pub(super) fn new(own: HeaderMap) -> Self {
        let mut lines = Vec::new();
        write_all(&own, &mut lines);
        Self { own, lines }
    }

    /// The client's headers as a map, for HTTP/2, which names the host elsewhere.
    pub(super) fn map(&self, client: &HeaderMap, passed: &HeaderValue) -> HeaderMap {
        let mut dressed = client.clone();
        headers::strip_hop_by_hop(&mut dressed);
        headers::remove_all(&mut dressed, |name| self.is_replaced(name));
        headers::mark_passed(&mut dressed, passed);
        dressed.extend(self.own.clone());
        dressed.remove(header::HOST);
        dressed
    }

    /// Writes them into the `head` of a request of HTTP/1.1, each copied once.
    pub(super) fn write(&self, client: &HeaderMap, passed: &HeaderValue, head: &mut Vec<u8>) {
        if client.contains_key(header::CONNECTION) {
            // It may name others that must not pass.
            let mut stripped = client.clone();
            headers::strip_hop_by_hop(&mut stripped);
            return self.write(&stripped, passed, head);
        }
        for (name, value) in client {
            if !self.is_replaced(name) && !headers::is_hop_by_hop(name) {
                write(name, value, head);
            }
        }
        write(&headers::CDN_LOOP, passed, head);
        head.extend_from_slice(&self.lines);
    }

    /// Whether it has a header of this name.
    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.own.contains_key(name)
    }

    /// Whether the client's header of this name is left out.
    fn is_replaced(&self, name: &HeaderName) -> bool {
        headers::is_credential(name)
            || *name == header::HOST
            || *name == header::CONTENT_LENGTH
            || self.own.keys().any(|own| own == name)
    }
}

/// Writes `headers` into the `head` of a request of HTTP/1.1.
pub(super) fn write_all(headers: &HeaderMap, head: &mut Vec<u8>) {
    for (name, value) in headers {
        write(name, value, head);
    }
}

fn write(name: &HeaderName, value: &HeaderValue, head: &mut Vec<u8>) {
    for text in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        head.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn dressed(client: &[(&'static str, &'static str)]) -> Vec<String> {
        let own = map(&[
            ("host", "h"),
            ("authorization", "Bearer own"),
            ("x-version", "1"),
        ]);
        let dress = Dress::new(own);
        let passed = HeaderValue::from_static("grapevine");
        let (client, mut head) = (map(client), Vec::new());
        dress.write(&client, &passed, &mut head);
        let head = String::from_utf8(head).expect("text");
        let mut lines: Vec<_> = head.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        let mut of_map = Vec::new();
        write_all(&dress.map(&client, &passed), &mut of_map);
        let of_map = String::from_utf8(of_map).expect("text");
        let mut with_host: Vec<_> = of_map
            .lines()
            .chain(["host: h"])
            .map(str::to_owned)
            .collect();
        with_host.sort_unstable();
        assert_eq!(with_host, lines, "both ways are the same");
        lines
    }

    const ALONE: [&str; 4] = [
        "authorization: Bearer own",
        "cdn-loop: grapevine",
        "host: h",
        "x-version: 1",
    ];

    #[test]
    fn own_headers_replace_those_of_the_client() {
        let replaced = [
            ("host", "public"),
            ("authorization", "Bearer client"),
            ("x-version", "0"),
            ("x-version", "2"),
        ];
        assert_eq!(dressed(&replaced), ALONE);
    }

    #[test]
    fn credentials_and_what_is_about_the_connection_never_pass() {
        let kept_back = [
            ("x-api-key", "client"),
            ("api-key", "client"),
            ("cookie", "session=1"),
            ("proxy-authorization", "x"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("connection", "keep-alive, X-Named"),
            ("x-named", "1"),
        ];
        assert_eq!(dressed(&kept_back), ALONE);
    }

    #[test]
    fn all_else_passes_as_often_as_it_came() {
        let client = [("accept", "a"), ("accept", "b"), ("cdn-loop", "other")];
        let mut expected = [&ALONE[..], &["accept: a", "accept: b", "cdn-loop: other"]].concat();
        expected.sort_unstable();
        assert_eq!(dressed(&client), expected);
    }
}
