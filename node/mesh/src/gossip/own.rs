//! What this node publishes: its facts, sealed, within the limits of a state.
//!
//! Facts are stamped with the generation of the node. Gossip begins with the same generation and gets a
//! higher one each time that chitchat has to be restarted; the facts stay what they were, so that peers
//! keep them. The certificate's value binds the two generations.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{Generation, MeshName, NodeName, Stamp};
use grapevine_proto::value::envelope::{Certificate, Rumor, SEAL_BYTES_MAX, seal, signed_bytes};
use grapevine_proto::value::position::{POSITION_BYTES_MAX, Position, positioned};
use grapevine_proto::value::{self, PAYLOAD_BYTES_MAX, Payload, STATE_BYTES_MAX};

use crate::signer::{Signer, SigningIdentity};

/// The most bytes of the state that `node` and `phase` may take.
const RESERVED_BYTES: usize = 704;

/// The state as it is published.
#[derive(Debug)]
pub(super) struct Own {
    mesh: MeshName,
    node: NodeName,
    signer: Signer,
    /// The incarnation of the node.
    generation: Generation,
    /// The incarnation of its gossip.
    gossip_generation: Generation,
    /// The certificate and key that seal every published value. When the signer has another, all values
    /// are sealed again: a peer checks a node's values by the one certificate that it gossips.
    signing: Arc<SigningIdentity>,
    /// The address of this node's gossip.
    address: SocketAddr,
    /// The version of the last value that was sealed in this incarnation of gossip. Chitchat counts alike:
    /// each sealed value is set once, in this order.
    version: u64,
    published: BTreeMap<FactKey, PublishedValue>,
}

#[derive(Debug)]
struct PublishedValue {
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
    /// Whether it expires: that an upstream is gone has to be seen only for a while.
    pub(super) is_passing: bool,
}

impl Own {
    pub(super) fn new(
        mesh: MeshName,
        node: NodeName,
        address: SocketAddr,
        signer: Signer,
        generation: Generation,
    ) -> Self {
        let signing = signer.current();
        Self {
            mesh,
            node,
            signer,
            generation,
            gossip_generation: generation,
            signing,
            address,
            version: 0,
            published: BTreeMap::new(),
        }
    }

    /// The incarnation of the node that every fact is stamped with.
    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// Begins a later incarnation of the node. The engine publishes all facts again.
    pub(super) fn begin_generation(&mut self, generation: Generation) {
        self.generation = generation;
        self.published.clear();
    }

    /// The incarnation of gossip.
    pub(super) const fn gossip_generation(&self) -> Generation {
        self.gossip_generation
    }

    /// Begins a new incarnation of gossip, in which everything has to be published again.
    pub(super) fn begin_gossip_generation(&mut self, generation: Generation) {
        self.gossip_generation = generation;
    }

    /// Raises the generation of gossip that is about to begin above `former`.
    pub(super) fn rise_above(&mut self, former: Generation) {
        let next = Generation(former.0.saturating_add(1));
        self.gossip_generation = self.gossip_generation.max(next);
    }

    /// Whether the certificate was replaced since everything was sealed.
    pub(super) fn certificate_changed(&self) -> bool {
        self.signer.current().certificate() != self.signing.certificate()
    }

    /// Everything, as the first values of a new incarnation of gossip.
    pub(super) fn seal_first(&mut self) -> Vec<Sealed> {
        self.version = 0;
        self.seal_all()
    }

    /// Everything, the certificate first: a peer needs it to check the rest.
    pub(super) fn seal_all(&mut self) -> Vec<Sealed> {
        self.signing = self.signer.current();
        let certificate = Certificate {
            der: self.signing.certificate().to_vec(),
            generation: self.generation,
            address: Some(self.address),
        };
        let stamp = Stamp {
            generation: self.gossip_generation,
            version: 0,
        };
        let mut all = vec![self.seal(value::CERTIFICATE_KEY, stamp, &certificate.payload())];
        let facts: Vec<_> = self
            .published
            .iter()
            .map(|(key, fact)| (key.to_string(), fact.version, fact.payload.json.clone()))
            .collect();
        for (key, version, json) in facts {
            all.push(self.seal_fact(&key, version, &json));
        }
        all
    }

    /// Takes a fact and returns it sealed. An upstream for which there is no room at all is published as
    /// gone, so that no peer keeps what was published of it before.
    pub(super) fn publish(&mut self, fact: &Fact, version: u64) -> Sealed {
        let key = fact.key();
        self.published.remove(&key);
        let payload = match value::encode(fact, self.room_for(&key)) {
            Ok(payload) => payload,
            Err(_) => return self.publish_gone(&key, version),
        };
        let text = key.to_string();
        let mut sealed = self.seal_fact(&text, version, &payload.json);
        sealed.is_passing = matches!(fact, Fact::UpstreamGone(_));
        if !sealed.is_passing {
            let bytes = text.len() + sealed.value.len();
            let published = PublishedValue {
                version,
                payload,
                bytes,
            };
            self.published.insert(key, published);
        }
        sealed
    }

    /// Models that the published values leave out.
    pub(super) fn models_left_out(&self) -> usize {
        let payloads = self.published.values().map(|value| &value.payload);
        payloads.map(|payload| payload.models_left_out).sum()
    }

    /// Whether the newest value of `key` is published.
    pub(super) fn is_published(&self, key: &FactKey) -> bool {
        self.published.contains_key(key)
    }

    /// A sealed value as a rumor; `None` when the certificate is too long for one.
    pub(super) fn rumor(&self, sealed: &Sealed) -> Option<Vec<u8>> {
        Rumor::encode(
            &self.node,
            &sealed.key,
            self.signing.certificate(),
            &sealed.value,
        )
        .ok()
    }

    fn publish_gone(&mut self, key: &FactKey, version: u64) -> Sealed {
        let sealed = self.seal_fact(&key.to_string(), version, GONE);
        Sealed {
            is_passing: true,
            ..sealed
        }
    }

    /// The longest payload for `key`.
    fn room_for(&self, key: &FactKey) -> usize {
        if !matches!(key, FactKey::Upstream(_)) {
            return PAYLOAD_BYTES_MAX - POSITION_BYTES_MAX;
        }
        let is_upstream = |key: &FactKey| matches!(key, FactKey::Upstream(_));
        let others = self.published.iter().filter(|(key, _)| is_upstream(key));
        let taken: usize = others.map(|(_, value)| value.bytes).sum();
        let beside = RESERVED_BYTES + taken + key.to_string().len() + SEAL_BYTES_MAX;
        let room = PAYLOAD_BYTES_MAX.min(STATE_BYTES_MAX.saturating_sub(beside));
        room.saturating_sub(POSITION_BYTES_MAX)
    }

    fn seal_fact(&mut self, key: &str, version: u64, payload: &str) -> Sealed {
        let stamp = Stamp {
            generation: self.generation,
            version,
        };
        self.seal(key, stamp, payload)
    }

    fn seal(&mut self, key: &str, stamp: Stamp, payload: &str) -> Sealed {
        self.version += 1;
        let position = Position {
            generation: self.gossip_generation,
            version: self.version,
        };
        let payload = positioned(payload, position);
        let bytes = signed_bytes(self.mesh.as_str(), &self.node, key, stamp, &payload);
        let value = seal(stamp, &payload, &self.signing.sign(&bytes));
        Sealed {
            key: key.to_owned(),
            value: value.expect("payloads are JSON: we wrote them"),
            is_passing: false,
        }
    }
}

/// The payload of an upstream that is gone.
const GONE: &str = r#"{"gone":true}"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use grapevine_core::fact::{FurtherFigures, Phase, Standing, UpstreamFact};
    use grapevine_core::ids::{ModelName, UpstreamName};
    use grapevine_core::units::{Share, Tier, Weight};
    use grapevine_proto::value::VALUE_BYTES_MAX;

    use super::super::tests::net::{World, address, mesh, node};
    use super::*;

    fn own() -> Own {
        let (signer, _) = World::new().identity(&node("n1"));
        Own::new(mesh(), node("n1"), address(1), signer, Generation(1))
    }

    fn upstream(number: usize, models: usize) -> Fact {
        let model = |number| ModelName::new(&format!("vendor/model-{number:03}")).expect("valid");
        Fact::Upstream(UpstreamFact {
            name: UpstreamName::new(&format!("u{number}")).expect("valid"),
            models: (0..models)
                .map(|number| (model(number), Some(Duration::from_millis(300))))
                .collect::<BTreeMap<_, _>>(),
            standing: Standing::Ready,
            ttft: Some(Duration::from_millis(300)),
            error_rate: Share::ZERO,
            break_rate: Share::ZERO,
            in_flight: 0,
            in_flight_max: 64,
            tier: Tier::default(),
            weight: Weight::default(),
            dialects: grapevine_core::dialect::DialectSet::ALL,
            websocket: false,
            models_out: BTreeMap::new(),
            further: FurtherFigures::default(),
            account: None,
        })
    }

    fn bytes_published(own: &Own) -> usize {
        own.published.values().map(|value| value.bytes).sum()
    }

    #[test]
    fn state_stays_within_its_limit_whatever_is_published() {
        let mut own = own();
        for round in 0..4 {
            for number in 0..40 {
                let models = (number * 7 + round * 13) % 90;
                let sealed = own.publish(&upstream(number, models), 1);
                assert!(sealed.value.len() <= VALUE_BYTES_MAX);
            }
            own.publish(&Fact::Phase(Phase::Ready), 1);
            assert!(
                bytes_published(&own) <= STATE_BYTES_MAX,
                "{}",
                bytes_published(&own)
            );
        }
        assert!(own.is_published(&upstream(0, 0).key()));
        assert!(!own.is_published(&upstream(39, 0).key()));
    }

    #[test]
    fn ten_upstreams_of_three_models_fit() {
        let mut own = own();
        for number in 0..10 {
            own.publish(&upstream(number, 3), 1);
            assert!(
                own.is_published(&upstream(number, 3).key()),
                "upstream {number}"
            );
        }
        assert_eq!(own.models_left_out(), 0);
    }

    #[test]
    fn upstream_that_is_gone_makes_room() {
        let mut own = own();
        own.publish(&upstream(1, 30), 1);
        let name = UpstreamName::new("u1").expect("valid");
        let sealed = own.publish(&Fact::UpstreamGone(name), 2);
        assert!(sealed.is_passing);
        assert_eq!(bytes_published(&own), 0);
    }

    #[test]
    fn new_incarnation_of_gossip_publishes_the_certificate_first_and_the_facts_as_they_were() {
        let mut own = own();
        own.publish(&Fact::Phase(Phase::Ready), 5);
        own.begin_gossip_generation(Generation(9));
        let all = own.seal_first();
        let keys: Vec<_> = all.iter().map(|sealed| sealed.key.as_str()).collect();
        assert_eq!(keys, ["cert", "phase"]);
        assert!(all[0].value.starts_with(r#"{"g":9,"v":0,"d":{"der":""#));
        assert!(
            all[0]
                .value
                .contains(r#","of":1,"at":"127.0.0.1:7001","w":[9,1]},"s":"#)
        );
        assert!(
            all[1]
                .value
                .starts_with(r#"{"g":1,"v":5,"d":{"phase":"ready","w":[9,2]},"#)
        );
    }
}
