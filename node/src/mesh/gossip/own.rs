//! What this node tells: its facts, sealed, within the limits of a state.
//!
//! The generation in a stamp is that of gossip's life, not the engine's: they are equal until chitchat
//! has to be started again, which needs a higher one. Then everything is sealed anew.

use std::collections::BTreeMap;

use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{Generation, NodeName, Stamp};
use grapevine_proto::value::{self, PAYLOAD_BYTES_MAX, Payload, STATE_BYTES_MAX};
use grapevine_proto::value_envelope::{
    Rumor, SEAL_BYTES_MAX, certificate_payload, seal, signed_bytes,
};

use crate::mesh::identity::{MeshName, Signer, SigningIdentity};

/// What `node` and `phase` may take of the state at most.
const RESERVED_BYTES: usize = 704;

/// The state as it is told.
#[derive(Debug)]
pub(super) struct Own {
    mesh: MeshName,
    node: NodeName,
    signer: Signer,
    life: Generation,
    /// The certificate that everything told is sealed for.
    certificate: Vec<u8>,
    told: BTreeMap<FactKey, Told>,
}

#[derive(Debug)]
struct Told {
    version: u64,
    payload: Payload,
    /// Bytes that key and value take.
    bytes: usize,
}

/// A value ready to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) key: String,
    pub(super) value: String,
    /// Whether it only has to be seen for a while: that an upstream is gone.
    pub(super) is_passing: bool,
}

impl Own {
    pub(super) fn new(mesh: MeshName, node: NodeName, signer: Signer, life: Generation) -> Self {
        let certificate = signer.current().certificate().to_vec();
        Self {
            mesh,
            node,
            signer,
            life,
            certificate,
            told: BTreeMap::new(),
        }
    }

    pub(super) const fn life(&self) -> Generation {
        self.life
    }

    /// Begins a new life, in which everything is to be told again.
    pub(super) fn begin_life(&mut self, life: Generation) {
        self.life = life;
    }

    /// Whether the certificate was replaced since everything was sealed.
    pub(super) fn certificate_changed(&self) -> bool {
        self.signer.current().certificate().as_ref() != self.certificate
    }

    /// Everything, the certificate first: who hears the rest can check it then.
    pub(super) fn seal_all(&mut self) -> Vec<Sealed> {
        let signer = self.signer.current();
        self.certificate = signer.certificate().to_vec();
        let payload = certificate_payload(&self.certificate);
        let mut all = vec![self.seal(&signer, value::CERTIFICATE_KEY, 0, &payload)];
        for (key, told) in &self.told {
            all.push(self.seal(&signer, &key.to_string(), told.version, &told.payload.json));
        }
        all
    }

    /// Takes a fact and returns it sealed. An upstream for which there is no room at all is told as
    /// gone, so that no peer goes on with what was said of it before.
    pub(super) fn tell(&mut self, fact: &Fact, version: u64) -> Sealed {
        let key = fact.key();
        self.told.remove(&key);
        let payload = match value::encode(fact, self.room_for(&key)) {
            Ok(payload) => payload,
            Err(_) => return self.tell_gone(&key, version),
        };
        let text = key.to_string();
        let mut sealed = self.seal(&self.signer.current(), &text, version, &payload.json);
        sealed.is_passing = matches!(fact, Fact::UpstreamGone(_));
        if !sealed.is_passing {
            let bytes = text.len() + sealed.value.len();
            let told = Told {
                version,
                payload,
                bytes,
            };
            self.told.insert(key, told);
        }
        sealed
    }

    /// Models that the values told now leave out.
    pub(super) fn models_left_out(&self) -> usize {
        let payloads = self.told.values().map(|told| &told.payload);
        payloads.map(|payload| payload.models_left_out).sum()
    }

    /// Whether the newest value of `key` is told.
    pub(super) fn is_told(&self, key: &FactKey) -> bool {
        self.told.contains_key(key)
    }

    /// A sealed value as a rumor; `None` when the certificate is too long for one.
    pub(super) fn rumor(&self, sealed: &Sealed) -> Option<Vec<u8>> {
        Rumor::encode(&self.node, &sealed.key, &self.certificate, &sealed.value).ok()
    }

    fn tell_gone(&self, key: &FactKey, version: u64) -> Sealed {
        let sealed = self.seal(&self.signer.current(), &key.to_string(), version, GONE);
        Sealed {
            is_passing: true,
            ..sealed
        }
    }

    /// The longest payload for `key`.
    fn room_for(&self, key: &FactKey) -> usize {
        if !matches!(key, FactKey::Upstream(_)) {
            return PAYLOAD_BYTES_MAX;
        }
        let is_upstream = |key: &FactKey| matches!(key, FactKey::Upstream(_));
        let others = self.told.iter().filter(|(key, _)| is_upstream(key));
        let taken: usize = others.map(|(_, told)| told.bytes).sum();
        let beside = RESERVED_BYTES + taken + key.to_string().len() + SEAL_BYTES_MAX;
        PAYLOAD_BYTES_MAX.min(STATE_BYTES_MAX.saturating_sub(beside))
    }

    fn seal(&self, signer: &SigningIdentity, key: &str, version: u64, payload: &str) -> Sealed {
        let stamp = Stamp {
            generation: self.life,
            version,
        };
        let bytes = signed_bytes(self.mesh.as_str(), &self.node, key, stamp, payload);
        let value = seal(stamp, payload, &signer.sign(&bytes));
        Sealed {
            key: key.to_owned(),
            value: value.expect("payloads are JSON: we wrote them"),
            is_passing: false,
        }
    }
}

/// The payload of an upstream that is gone.
const GONE: &str = r#"{"gone":true}"#;
