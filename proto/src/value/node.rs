//! What a node publishes of itself, as JSON.

use std::net::IpAddr;

use grapevine_core::fact::{NodeFact, PUBLIC_ADDRESSES_MAX, PUBLIC_URL_BYTES_MAX, Public};
use grapevine_core::geo_point::GeoPoint;
use grapevine_core::ids::RegionName;
use serde::{Deserialize, Serialize};

use crate::value::{Payload, ValueError, whole};

/// The longest build text in bytes.
const BUILD_BYTES_MAX: usize = 64;

/// The payload of `fact` with as many of its public addresses as fit: all but for the longest names.
pub(crate) fn fitting(fact: &NodeFact, bytes_max: usize) -> Payload {
    let mut payload = NodePayload::from_fact(fact);
    let mut written = whole(&payload);
    while written.json.len() > bytes_max && payload.addresses.pop().is_some() {
        written = whole(&payload);
    }
    written
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NodePayload {
    region: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<[f64; 2]>,
    protocol: u16,
    #[serde(default)]
    build: String,
    #[serde(default = "yes")]
    serves: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dns: bool,
}

fn yes() -> bool {
    true
}

impl NodePayload {
    fn from_fact(fact: &NodeFact) -> Self {
        let build = fact.build.chars().take(BUILD_BYTES_MAX);
        Self {
            region: fact.region.as_str().to_owned(),
            place: fact
                .place
                .map(|place| [place.latitude(), place.longitude()]),
            protocol: fact.protocol,
            build: build
                .map(|c| if is_printable(c) { c } else { '_' })
                .collect(),
            serves: fact.serves_requests,
            url: fact
                .public
                .url
                .as_deref()
                .filter(|url| is_url(url))
                .map(str::to_owned),
            addresses: fact
                .public
                .addresses
                .iter()
                .take(PUBLIC_ADDRESSES_MAX)
                .copied()
                .collect(),
            dns: fact.public.answers_dns,
        }
    }

    pub(crate) fn into_fact(self) -> Result<NodeFact, ValueError> {
        if self.build.len() > BUILD_BYTES_MAX || !self.build.chars().all(is_printable) {
            return Err(ValueError::Field("build"));
        }
        if self.url.as_deref().is_some_and(|url| !is_url(url)) {
            return Err(ValueError::Field("url"));
        }
        if self.addresses.len() > PUBLIC_ADDRESSES_MAX {
            return Err(ValueError::Field("addresses"));
        }
        let place = self.place.map(|[latitude, longitude]| {
            GeoPoint::new(latitude, longitude).ok_or(ValueError::Field("place"))
        });
        Ok(NodeFact {
            region: RegionName::new(&self.region)?,
            place: place.transpose()?,
            protocol: self.protocol,
            build: self.build,
            serves_requests: self.serves,
            public: Public {
                url: self.url.map(Into::into),
                addresses: self.addresses.into(),
                answers_dns: self.dns,
            },
        })
    }
}

/// What clients may be handed as a base URL. One that JSON would have to escape is none.
fn is_url(text: &str) -> bool {
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    is_http && text.len() <= PUBLIC_URL_BYTES_MAX && text.bytes().all(is_plain)
}

/// What an operator's terminal shows as it is.
fn is_printable(character: char) -> bool {
    character == ' ' || character.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use grapevine_core::fact::{Fact, FactKey};

    use super::*;
    use crate::value::{PAYLOAD_BYTES_MAX, decode, encode};

    fn json_of(fact: NodeFact) -> String {
        encode(&Fact::Node(fact), PAYLOAD_BYTES_MAX)
            .expect("fits")
            .json
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// A node fact in which everything is as long as it may be.
    fn longest_node() -> NodeFact {
        let longest = "2001:db8:1111:2222:3333:4444:5555:";
        NodeFact {
            region: RegionName::new(&"r".repeat(63)).expect("a valid name"),
            place: GeoPoint::new(-88.123_456_789_012_34, -179.123_456_789_012_34),
            protocol: u16::MAX,
            build: "b".repeat(BUILD_BYTES_MAX),
            serves_requests: false,
            public: Public {
                url: Some(format!("https://{}", "u".repeat(PUBLIC_URL_BYTES_MAX - 8)).into()),
                addresses: (0..PUBLIC_ADDRESSES_MAX)
                    .map(|number| address(&format!("{longest}{}", 1_000 + number)))
                    .collect(),
                answers_dns: true,
            },
        }
    }

    #[test]
    fn longest_node_fact_fits_and_loses_addresses_at_most() {
        let longest = longest_node();
        let json = json_of(longest.clone());
        let Ok(Fact::Node(read)) = decode(&FactKey::Node, &json) else {
            panic!("not a node's fact: {json}");
        };
        assert!(
            read.public.addresses.len() >= PUBLIC_ADDRESSES_MAX - 2,
            "{json}"
        );
        assert!(longest.public.addresses.starts_with(&read.public.addresses));
        assert_eq!(
            (read.public.url, read.region),
            (longest.public.url, longest.region)
        );
    }

    #[test]
    fn url_that_is_none_is_not_written() {
        for url in [
            "https://h/\"",
            "ftp://h",
            &format!("http://{}", "u".repeat(256)),
        ] {
            let fact = NodeFact {
                public: Public {
                    url: Some(url.into()),
                    ..Public::default()
                },
                ..longest_node()
            };
            assert!(!json_of(fact).contains("url"), "{url}");
        }
    }
}
