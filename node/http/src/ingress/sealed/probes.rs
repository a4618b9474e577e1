//! What fuzzing reaches of sealed ids: one key, and one owner.

use bytes::Bytes;
use grapevine_core::ids::{NodeName, RegionName, UpstreamName};
use grapevine_core::seal::Owner;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;

use super::{SealKeys, Sealer, restore};

const PATH: &str = "/v1/responses";

fn keys() -> SealKeys {
    SealKeys::of_secrets([b"a secret for probes".as_slice()])
}

fn owner() -> Option<Owner> {
    let region = RegionName::new("eur").ok()?;
    let (upstream, node) = (UpstreamName::new("up").ok()?, NodeName::new("n1").ok()?);
    Some(Owner::of(&region, &upstream, &node))
}

pub(in crate::ingress) fn sealed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    let mut sealer = Sealer::of(&keys(), owner(), PATH, &headers);
    let mut sealed = Vec::new();
    for piece in pieces {
        let piece = Bytes::copy_from_slice(piece);
        match &mut sealer {
            Some(sealer) => sealer.take(piece, |piece| sealed.extend_from_slice(&piece)),
            None => sealed.extend_from_slice(&piece),
        }
    }
    sealed
}

pub(in crate::ingress) fn opened(body: &[u8]) -> Option<Vec<u8>> {
    let body = Bytes::copy_from_slice(body);
    let restored = restore(&keys(), &PathAndQuery::from_static(PATH), &body).ok()?;
    Some(restored.body.unwrap_or(body).to_vec())
}
