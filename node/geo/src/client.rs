//! The client's address: the socket's, or the one that trusted proxies forward.
//!
//! The walk goes from the socket outwards, from the right end of the header to the left, for as long as the
//! current address is trusted. The first one that is not trusted is the client. An entry that cannot be read, or
//! is obfuscated, ends the walk at the address before it: nobody vouches for what is to its left.
//!
//! Both headers at once: a proxy writes one and passes the other on as the client sent it, and the node cannot
//! see which. When they disagree, it trusts neither.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use grapevine_config::address::Network;

/// Entries looked at, in all lines of a header together; a walk through more ends there.
pub const ENTRIES_MAX: usize = 64;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: `peer`'s unless `peer` is within `trusted`, else that of `X-Forwarded-For` or
/// `Forwarded` (RFC 7239). Mapped addresses are returned as IPv4.
pub fn address(peer: SocketAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let peer = peer.ip().to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let plain = headers
        .contains_key(X_FORWARDED_FOR)
        .then(|| walk(peer, x_forwarded_for(headers), trusted));
    let standard = headers
        .contains_key(FORWARDED)
        .then(|| walk(peer, forwarded(headers), trusted));
    match (plain, standard) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

fn is_trusted(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// Follows `entries`, nearest first; `None` among them is one that names no address.
fn walk(
    peer: IpAddr,
    entries: impl Iterator<Item = Option<IpAddr>>,
    trusted: &[Network],
) -> IpAddr {
    let mut last = peer;
    for entry in entries.take(ENTRIES_MAX) {
        let Some(address) = entry else {
            return last;
        };
        last = address;
        if !is_trusted(address, trusted) {
            return last;
        }
    }
    last
}

fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| {
        let entries = line.as_bytes().rsplit(|byte| *byte == b',');
        let entries = entries.map(<[u8]>::trim_ascii);
        let entries = entries.filter(|entry| !entry.is_empty());
        entries.map(|entry| node(str::from_utf8(entry).ok()?))
    })
}

fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED).iter().rev();
    // A line that is not text is one entry that names no address.
    lines.flat_map(|line| {
        let elements = line.to_str().map_or_else(|_| vec![None], elements);
        elements.into_iter().rev()
    })
}

/// The `for` of each element of a `Forwarded` line. From the first fault on, the rest of the line is one
/// element that names no address, since a stray quote makes every later border doubtful.
fn elements(line: &str) -> Vec<Option<IpAddr>> {
    let mut found = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix(',') {
            rest = tail.trim_start();
            continue;
        }
        let Some((client, tail)) = element(rest) else {
            found.push(None);
            return found;
        };
        found.push(client);
        rest = tail;
    }
    found
}

/// One element, `for=..;proto=..`, and what follows it from its comma on. `None` when it is malformed.
fn element(text: &str) -> Option<(Option<IpAddr>, &str)> {
    let mut client = None;
    let mut rest = text;
    loop {
        let (name, tail) = rest.split_once('=')?;
        if !is_token(name) {
            return None;
        }
        let (value, tail) = value(tail)?;
        if name.eq_ignore_ascii_case("for") {
            // Twice is malformed: which one a proxy meant is a guess.
            if client.is_some() {
                return None;
            }
            client = Some(node(&value));
        }
        let tail = tail.trim_start();
        match tail.strip_prefix(';') {
            Some(next) => rest = next.trim_start(),
            None if tail.is_empty() || tail.starts_with(',') => {
                return Some((client.flatten(), tail));
            }
            None => return None,
        }
    }
}

fn is_token(text: &str) -> bool {
    let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// A value, quoted or not, and what follows it. Brackets and colons without quotes are accepted: they break the
/// grammar, but are unambiguous and common.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', '"', ' ', '\t']).unwrap_or(text.len());
        let (value, tail) = text.split_at(end);
        return (!value.is_empty()).then(|| (value.to_owned(), tail));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

/// An address, with or without a port; IPv6 bare or in brackets. `None` for `unknown`, for an obfuscated
/// identifier (`_hidden`), and for anything else.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, tail) = bracketed.split_once(']')?;
        let is_whole = tail.is_empty() || tail.strip_prefix(':').is_some_and(is_port);
        let address: Ipv6Addr = address.parse().ok()?;
        return is_whole.then(|| IpAddr::V6(address).to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    is_port(port).then_some(IpAddr::V4(address))
}

/// One to five digits, or an obfuscated port (RFC 7239 6.3).
fn is_port(text: &str) -> bool {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let hidden = text.strip_prefix('_');
    is_number || hidden.is_some_and(is_token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a valid address")
    }

    fn trusted() -> [Network; 2] {
        ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a valid network"))
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let parse = |line: &str| HeaderValue::from_bytes(line.as_bytes()).expect("a valid value");
        let lines = lines.iter().map(|(name, line)| (name.clone(), parse(line)));
        lines.collect()
    }

    fn seen(peer: &str, lines: &[(HeaderName, &str)]) -> IpAddr {
        address(SocketAddr::new(ip(peer), 4711), &headers(lines), &trusted())
    }

    fn plain(line: &str) -> IpAddr {
        seen(PROXY, &[(X_FORWARDED_FOR, line)])
    }

    fn standard(line: &str) -> IpAddr {
        seen(PROXY, &[(FORWARDED, line)])
    }

    #[test]
    fn untrusted_peer_is_its_own_client() {
        let spoofed = [(X_FORWARDED_FOR, "1.1.1.1"), (FORWARDED, "for=1.1.1.1")];
        assert_eq!(seen("9.9.9.9", &spoofed), ip("9.9.9.9"));
        assert_eq!(seen("::ffff:9.9.9.9", &spoofed), ip("9.9.9.9"));
        assert_eq!(seen("::ffff:10.0.0.1", &spoofed), ip("1.1.1.1"));
    }

    #[test]
    fn last_untrusted_entry_is_the_client() {
        assert_eq!(plain("1.1.1.1, 9.9.9.9, 10.1.1.1,10.2.2.2"), ip("9.9.9.9"));
        assert_eq!(plain("10.3.3.3"), ip("10.3.3.3"));
        assert_eq!(plain(" , 9.9.9.9 ,, "), ip("9.9.9.9"));
        assert_eq!(seen(PROXY, &[]), ip(PROXY));
    }

    #[test]
    fn lines_of_one_header_are_one_list() {
        let lines = [
            (X_FORWARDED_FOR, "1.1.1.1"),
            (X_FORWARDED_FOR, "9.9.9.9, 10.1.1.1"),
        ];
        assert_eq!(seen(PROXY, &lines), ip("9.9.9.9"));
        let lines = [
            (FORWARDED, "for=1.1.1.1"),
            (FORWARDED, "for=9.9.9.9, for=10.1.1.1"),
        ];
        assert_eq!(seen(PROXY, &lines), ip("9.9.9.9"));
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, address) in [
            ("9.9.9.9:443", "9.9.9.9"),
            ("2620:fe::9", "2620:fe::9"),
            ("[2620:fe::9]", "2620:fe::9"),
            ("[2620:fe::9]:443", "2620:fe::9"),
            ("::ffff:9.9.9.9", "9.9.9.9"),
            ("[::ffff:9.9.9.9]:1", "9.9.9.9"),
        ] {
            assert_eq!(plain(text), ip(address), "{text}");
            assert_eq!(standard(&format!("for={text}")), ip(address), "{text}");
            let quoted = format!("by=_me;FOR=\"{text}\" ; proto=https;x=\"a,b;c\\\"\"");
            assert_eq!(standard(&quoted), ip(address), "{text}");
        }
        assert_eq!(standard("for=\"[2620:fe::9]:_hidden\""), ip("2620:fe::9"));
    }

    #[test]
    fn walk_ends_at_the_last_good_entry() {
        for bad in [
            "unknown",
            "_hidden",
            "9.9.9",
            "[2620:fe::9",
            "[9.9.9.9]",
            "9.9.9.9:",
            "9.9.9.9:x",
            "fe80::1%eth0",
            "9.9.9.9:123456",
            "\u{e9}",
        ] {
            let line = format!("1.1.1.1, {bad}, 10.1.1.1");
            assert_eq!(plain(&line), ip("10.1.1.1"), "{bad}");
            let line = format!("for=1.1.1.1, for={bad}, for=10.1.1.1");
            let stopped = standard(&line);
            assert!(
                [ip("10.1.1.1"), ip(PROXY)].contains(&stopped),
                "{bad}: {stopped}"
            );
        }
    }

    #[test]
    fn stray_quote_vouches_for_nothing() {
        // What a client sends first, and what an honest proxy appends to it.
        for sent in [
            "for=6.6.6.6;x=\"",
            "for=\"6.6.6.6",
            "for=6.6.6.6;x=\"\\",
            "for=6.6.6.6, \"",
        ] {
            for appended in ["for=9.9.9.9", "for=\"[2620:fe::9]:1\";proto=https"] {
                let line = format!("{sent}, {appended}");
                assert_eq!(standard(&line), ip(PROXY), "{line}");
            }
        }
        assert_eq!(standard("for=1.1.1.1;for=9.9.9.9"), ip(PROXY));
        assert_eq!(standard("proto=https"), ip(PROXY));
    }

    #[test]
    fn headers_that_disagree_are_not_trusted() {
        let lines = [(X_FORWARDED_FOR, "9.9.9.9"), (FORWARDED, "for=1.1.1.1")];
        assert_eq!(seen(PROXY, &lines), ip(PROXY));
        let lines = [(X_FORWARDED_FOR, "9.9.9.9"), (FORWARDED, "for=9.9.9.9")];
        assert_eq!(seen(PROXY, &lines), ip("9.9.9.9"));
    }

    #[test]
    fn walk_is_bounded() {
        let line = format!("9.9.9.9{}", ", 10.1.1.1".repeat(ENTRIES_MAX));
        assert_eq!(plain(&line), ip("10.1.1.1"));
        let line = format!("9.9.9.9{}", ", 10.1.1.1".repeat(ENTRIES_MAX - 1));
        assert_eq!(plain(&line), ip("9.9.9.9"));
    }

    proptest! {
        #[test]
        fn untrusted_peer_is_the_client_whatever_it_sends(
            plain in "[ -~]{0,60}", standard in "[ -~]{0,60}", peer in any::<u32>()
        ) {
            let peer = IpAddr::V4(peer.into());
            prop_assume!(!is_trusted(peer, &trusted()));
            let lines = [(X_FORWARDED_FOR, plain.as_str()), (FORWARDED, standard.as_str())];
            prop_assert_eq!(seen(&peer.to_string(), &lines), peer);
        }

        #[test]
        fn what_a_client_sends_never_overrides_what_a_proxy_appends(
            sent in "[ -~]{0,60}", client in any::<u32>()
        ) {
            let client = IpAddr::V4(client.into());
            prop_assume!(!is_trusted(client, &trusted()));
            prop_assert_eq!(plain(&format!("{sent}, {client}")), client);
            // A quote may swallow the proxy's entry; then only the proxy is left.
            let seen = standard(&format!("{sent}, for={client}"));
            prop_assert!(seen == client || seen == ip(PROXY), "{} from {:?}", seen, sent);
        }

        #[test]
        fn forwarded_of_any_text_is_read_without_panic(
            line in "(for|by|=|\"|\\\\|;|,|\\[|\\]|:|[0-9a-f.:]|[ -~]){0,80}"
        ) {
            standard(&line);
            plain(&line);
        }

        #[test]
        fn addresses_are_read_back(address in any::<u128>(), port in any::<u16>()) {
            let address = Ipv6Addr::from_bits(address);
            let text = format!("[{address}]:{port}");
            prop_assert_eq!(node(&text), Some(IpAddr::V6(address).to_canonical()));
            prop_assert_eq!(node(&address.to_string()), Some(IpAddr::V6(address).to_canonical()));
        }
    }
}
