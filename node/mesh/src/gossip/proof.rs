//! Whether a node signed a key of its state: for this incarnation, at this version, as received.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use grapevine_core::ids::MeshName;
use grapevine_proto::gossip::{Deletion, Incarnation, KeyValue};
use grapevine_proto::value::envelope::{
    CERTIFICATE_VALUE_BYTES_MAX, Certificate, Envelope, signed_bytes,
};
use grapevine_proto::value::position::{Marks, Position};
use grapevine_proto::value::{self, CERTIFICATE_KEY, VALUE_BYTES_MAX};
use ring::digest::{Digest, SHA256, digest};

use super::authors::of_envelope;
use super::counters::Rejection;
use crate::identity::{CertifiedNode, Verifier};

/// Keys of one incarnation for which the last value is remembered; others are checked each time that they come.
const SEEN_MAX: usize = 64;

/// What one incarnation of a node's gossip has proven.
#[derive(Debug, Default)]
pub(super) struct Proof {
    certificate: Option<(Vec<u8>, CertifiedNode)>,
    highest_version: u64,
    /// The last value of each key, so that what several peers relay is checked once.
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    version: u64,
    hash: Digest,
    deletion: Deletion,
}

impl Proof {
    /// The highest version of a signed value.
    pub(super) const fn highest_version(&self) -> u64 {
        self.highest_version
    }

    /// Whether this value was checked before.
    pub(super) fn has_seen(&self, key: &KeyValue) -> bool {
        self.seen(key).is_some()
    }

    fn seen(&self, key: &KeyValue) -> Option<Deletion> {
        let seen = self.seen.get(&key.key)?;
        let is_same = seen.version == key.version && seen.hash.as_ref() == hash(key).as_ref();
        is_same.then_some(seen.deletion)
    }

    fn note(&mut self, key: &KeyValue, deletion: Deletion) {
        self.highest_version = self.highest_version.max(key.version);
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&key.key) {
            return;
        }
        let seen = Seen {
            version: key.version,
            hash: hash(key),
            deletion,
        };
        self.seen.insert(key.key.clone(), seen);
    }
}

fn hash(key: &KeyValue) -> Digest {
    digest(&SHA256, key.value.as_bytes())
}

/// Checks signatures for one mesh.
#[derive(Debug)]
pub(super) struct Judge {
    mesh: MeshName,
    verifier: Verifier,
}

impl Judge {
    pub(super) const fn new(mesh: MeshName, verifier: Verifier) -> Self {
        Self { mesh, verifier }
    }

    /// Checks a key of this incarnation; returns whether it stays. `is_sender` is whether the node itself sent
    /// it: only then may it omit its position, as earlier builds do.
    pub(super) fn check(
        &self,
        proof: &mut Proof,
        incarnation: &Incarnation,
        key: &KeyValue,
        is_sender: bool,
    ) -> Result<Deletion, Rejection> {
        if key.deletion == Deletion::Gone {
            // No build deletes keys at once, and no signature covers that.
            return Err(Rejection::Malformed);
        }
        if let Some(deletion) = proof.seen(key) {
            return Ok(deletion);
        }
        if key.key == CERTIFICATE_KEY {
            self.certificate(proof, incarnation, key, is_sender)?;
            return Ok(Deletion::Stays);
        }
        value::parse_key(&key.key).map_err(|_| Rejection::Malformed)?;
        let envelope = Envelope::parse(&key.value, VALUE_BYTES_MAX).map_err(of_envelope)?;
        let marks = position(&envelope, incarnation, key, is_sender)?;
        let (_, certified) = proof.certificate.as_ref().ok_or(Rejection::Certificate)?;
        self.verify(certified, incarnation, key, &envelope)?;
        let deletion = match marks.position {
            Some(_) if marks.is_gone => Deletion::Passing,
            Some(_) => Deletion::Stays,
            None => key.deletion,
        };
        proof.note(key, deletion);
        Ok(deletion)
    }

    /// Checks the certificate of this incarnation, which proves it; returns the address that it names.
    pub(super) fn certificate(
        &self,
        proof: &mut Proof,
        incarnation: &Incarnation,
        key: &KeyValue,
        is_sender: bool,
    ) -> Result<Option<SocketAddr>, Rejection> {
        let envelope =
            Envelope::parse(&key.value, CERTIFICATE_VALUE_BYTES_MAX).map_err(of_envelope)?;
        if envelope.stamp.generation != incarnation.generation {
            return Err(Rejection::Generation);
        }
        let Certificate { der, address, .. } =
            Certificate::parse(envelope.payload).map_err(of_envelope)?;
        // A build that names no address names no position either.
        if address.is_some() {
            position(&envelope, incarnation, key, is_sender)?;
        }
        let known = proof
            .certificate
            .as_ref()
            .filter(|(known, _)| *known == der);
        let certified = match known {
            Some((_, certified)) => certified.clone(),
            None => match self.verifier.check(&der) {
                Ok(certified) if *certified.node() == incarnation.node => certified,
                Ok(_) | Err(_) => return Err(Rejection::Certificate),
            },
        };
        self.verify(&certified, incarnation, key, &envelope)?;
        proof.certificate = Some((der, certified));
        proof.note(key, Deletion::Stays);
        Ok(address)
    }

    fn verify(
        &self,
        certified: &CertifiedNode,
        incarnation: &Incarnation,
        key: &KeyValue,
        envelope: &Envelope<'_>,
    ) -> Result<(), Rejection> {
        let (mesh, node) = (self.mesh.as_str(), &incarnation.node);
        let bytes = signed_bytes(mesh, node, &key.key, envelope.stamp, envelope.payload);
        certified
            .verify(&bytes, &envelope.signature)
            .map_err(|_| Rejection::Signature)
    }
}

/// The marks of a value, if its signed position is the one it was found at.
fn position(
    envelope: &Envelope<'_>,
    incarnation: &Incarnation,
    key: &KeyValue,
    is_sender: bool,
) -> Result<Marks, Rejection> {
    let marks = Marks::of(envelope.payload);
    let found = Position {
        generation: incarnation.generation,
        version: key.version,
    };
    match marks.position {
        Some(signed) if signed == found => Ok(marks),
        None if is_sender => Ok(marks),
        Some(_) | None => Err(Rejection::Generation),
    }
}
