//! Which authors are trusted: certificates, signatures, and what each node published last.
//!
//! Each value is verified once, whether it comes by gossip or as a rumor, and one that is not newer
//! than the last is dropped before that. Bounds: 4,096 nodes with 64 keys each; about 200 bytes per key, so
//! 1 MB at 1,000 nodes of five keys. An Ed25519 check costs about 60 us, and a certificate's about
//! 100 us once an hour: 1,000 nodes that each publish two new values per second cost 12 % of a core.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::fact::{Fact, FactKey};
use grapevine_core::ids::{Generation, MeshName, NodeName, Stamp};
use grapevine_proto::value;
use grapevine_proto::value::envelope::{
    CERTIFICATE_VALUE_BYTES_MAX, Certificate, Envelope, EnvelopeError, signed_bytes,
};
use tokio::time::Instant;

use super::counters::Rejection;
use crate::identity::{CertifiedNode, Verifier};

/// The most nodes that are known, the dead included.
const AUTHORS_MAX: usize = 4_096;

/// The most keys of one node that are read.
pub(super) const KEYS_PER_AUTHOR_MAX: usize = 64;

/// Certificates expire, so each is checked again after this.
const RECHECK_INTERVAL: Duration = Duration::from_secs(3_600);

/// The outcome of a value that was not refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reception {
    /// It is newer than what its author published before.
    New(Stamp, Box<Fact>),
    /// Its author published this or something newer before.
    Known,
    /// Its author's certificate has not been received yet.
    Unproven,
}

/// What is known of every node that ever proved itself.
#[derive(Debug)]
pub(super) struct Authors {
    mesh: MeshName,
    verifier: Verifier,
    authors: BTreeMap<NodeName, Author>,
}

#[derive(Debug)]
struct Author {
    certificate: Vec<u8>,
    certified: CertifiedNode,
    checked_at: Instant,
    /// The highest incarnation of the node that it proved.
    generation: Generation,
    /// The highest incarnation of its gossip that it proved; `None` while only rumors of it came.
    incarnation: Option<AuthorIncarnation>,
    /// Whether gossip no longer sends that incarnation to newcomers. The node itself cannot learn of it then,
    /// so any incarnation counts as its next one, also one with a lower number after its clock went back.
    lapsed: bool,
    published: BTreeMap<FactKey, PublishedEntry>,
}

/// An incarnation of a node's gossip, and the incarnation of the node that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AuthorIncarnation {
    pub(super) gossip: Generation,
    pub(super) node: Generation,
}

#[derive(Debug)]
struct PublishedEntry {
    version: u64,
    is_gone: bool,
}

impl Authors {
    pub(super) fn new(mesh: MeshName, verifier: Verifier) -> Self {
        Self {
            mesh,
            verifier,
            authors: BTreeMap::new(),
        }
    }

    /// Whether `node` proved this incarnation of its gossip, or a later one.
    pub(super) fn is_proven(&self, node: &NodeName, gossip: Generation) -> bool {
        let proven = self.incarnation(node);
        proven.is_some_and(|proven| gossip <= proven.gossip)
    }

    /// Whether `node` proved a later incarnation of its gossip than this, which makes this one obsolete.
    pub(super) fn is_past(&self, node: &NodeName, gossip: Generation) -> bool {
        let lapsed = self.authors.get(node).is_some_and(|author| author.lapsed);
        let proven = self.incarnation(node);
        !lapsed && proven.is_some_and(|proven| gossip < proven.gossip)
    }

    /// Updates which authors lapsed, by the incarnations of gossip that newcomers are sent.
    pub(super) fn lapse(&mut self, is_sent: impl Fn(&NodeName, Generation) -> bool) {
        for (node, author) in &mut self.authors {
            let proven = author.incarnation;
            author.lapsed = proven.is_some_and(|proven| !is_sent(node, proven.gossip));
        }
    }

    fn incarnation(&self, node: &NodeName) -> Option<AuthorIncarnation> {
        self.authors.get(node)?.incarnation
    }

    /// Whether `node` published this or something newer before.
    pub(super) fn knows(&self, node: &NodeName, key: &FactKey, stamp: Stamp) -> bool {
        let Some(author) = self.authors.get(node) else {
            return false;
        };
        let is_known = |last: &PublishedEntry| stamp.version <= last.version;
        (stamp.generation < author.generation && !author.lapsed)
            || (stamp.generation == author.generation
                && author.published.get(key).is_some_and(is_known))
    }

    /// Forgets those that chitchat has forgotten.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&NodeName) -> bool) {
        self.authors.retain(|node, _| is_kept(node));
    }

    pub(super) fn len(&self) -> usize {
        self.authors.len()
    }

    /// Takes the certificate that was gossiped in this incarnation of `node`'s gossip, which it proves.
    pub(super) fn receive_certificate(
        &mut self,
        now: Instant,
        node: &NodeName,
        gossip: Generation,
        text: &str,
    ) -> Result<(), Rejection> {
        let (der, certified, incarnation) = self.check_certificate(now, node, gossip, text)?;
        let author = self.admit(now, node, der, certified, incarnation.node)?;
        author.incarnation = Some(incarnation);
        author.lapsed = false;
        Ok(())
    }

    /// The incarnation that a certificate gossiped in it proves, by the checks that every peer makes.
    pub(super) fn prove_incarnation(
        &self,
        now: Instant,
        node: &NodeName,
        gossip: Generation,
        text: &str,
    ) -> Result<AuthorIncarnation, Rejection> {
        let (_, _, incarnation) = self.check_certificate(now, node, gossip, text)?;
        Ok(incarnation)
    }

    fn check_certificate(
        &self,
        now: Instant,
        node: &NodeName,
        gossip: Generation,
        text: &str,
    ) -> Result<(Vec<u8>, CertifiedNode, AuthorIncarnation), Rejection> {
        let envelope = Envelope::parse(text, CERTIFICATE_VALUE_BYTES_MAX).map_err(of_envelope)?;
        if envelope.stamp.generation != gossip {
            return Err(Rejection::Generation);
        }
        let Certificate {
            der, generation, ..
        } = Certificate::parse(envelope.payload).map_err(of_envelope)?;
        let certified = self.certified(now, node, &der)?;
        self.check(&certified, node, value::CERTIFICATE_KEY, &envelope)?;
        let incarnation = AuthorIncarnation {
            gossip,
            node: generation,
        };
        Ok((der, certified, incarnation))
    }

    /// Takes a value that was gossiped in this incarnation of `node`'s gossip.
    pub(super) fn receive_gossip(
        &mut self,
        now: Instant,
        node: &NodeName,
        gossip: Generation,
        key: &FactKey,
        text: &str,
    ) -> Result<Reception, Rejection> {
        let envelope = Envelope::parse(text, value::VALUE_BYTES_MAX).map_err(of_envelope)?;
        let Some(author) = self.authors.get(node) else {
            return Ok(Reception::Unproven);
        };
        let proven = author.incarnation.filter(|proven| proven.gossip == gossip);
        let Some(proven) = proven else {
            return Ok(Reception::Unproven);
        };
        if envelope.stamp.generation != proven.node {
            return Err(Rejection::Generation);
        }
        let certificate = author.certificate.clone();
        self.receive(now, node, key, &envelope, certificate)
    }

    /// Takes a value together with what claims to be its author's certificate, as a rumor carries both.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        node: &NodeName,
        key: &FactKey,
        envelope: &Envelope<'_>,
        certificate: Vec<u8>,
    ) -> Result<Reception, Rejection> {
        if self.knows(node, key, envelope.stamp) {
            return Ok(Reception::Known);
        }
        let certified = self.certified(now, node, &certificate)?;
        self.check(&certified, node, &key.to_string(), envelope)?;
        let generation = envelope.stamp.generation;
        let author = self.admit(now, node, certificate, certified, generation)?;
        // Recorded before the payload is read, so that a bad one too is verified only once.
        author.note(key, envelope.stamp.version)?;
        let fact = value::decode(key, envelope.payload).map_err(|error| match error {
            value::ValueError::TooLong { .. } => Rejection::Oversize,
            value::ValueError::Malformed
            | value::ValueError::Name(_)
            | value::ValueError::Field(_) => Rejection::Malformed,
        })?;
        if let (Fact::UpstreamGone(_), Some(entry)) = (&fact, author.published.get_mut(key)) {
            entry.is_gone = true;
        }
        Ok(Reception::New(envelope.stamp, Box::new(fact)))
    }

    /// The node of a certificate, which must be `node`; checked again only where the last check is too old.
    fn certified(
        &self,
        now: Instant,
        node: &NodeName,
        certificate: &[u8],
    ) -> Result<CertifiedNode, Rejection> {
        if let Some(author) = self.authors.get(node)
            && author.certificate == certificate
            && now.duration_since(author.checked_at) < RECHECK_INTERVAL
        {
            return Ok(author.certified.clone());
        }
        match self.verifier.check(certificate) {
            Ok(certified) if certified.node() == node => Ok(certified),
            Ok(_) | Err(_) => Err(Rejection::Certificate),
        }
    }

    fn check(
        &self,
        certified: &CertifiedNode,
        node: &NodeName,
        key: &str,
        envelope: &Envelope<'_>,
    ) -> Result<(), Rejection> {
        let mesh = self.mesh.as_str();
        let bytes = signed_bytes(mesh, node, key, envelope.stamp, envelope.payload);
        certified
            .verify(&bytes, &envelope.signature)
            .map_err(|_| Rejection::Signature)
    }

    /// The author, with a verified certificate and incarnation; a later incarnation begins with no keys.
    fn admit(
        &mut self,
        now: Instant,
        node: &NodeName,
        certificate: Vec<u8>,
        certified: CertifiedNode,
        generation: Generation,
    ) -> Result<&mut Author, Rejection> {
        if self.authors.len() >= AUTHORS_MAX && !self.authors.contains_key(node) {
            return Err(Rejection::Crowded);
        }
        let author = self.authors.entry(node.clone()).or_insert_with(|| Author {
            certificate: certificate.clone(),
            certified: certified.clone(),
            checked_at: now,
            generation,
            incarnation: None,
            lapsed: false,
            published: BTreeMap::new(),
        });
        if generation > author.generation || (author.lapsed && generation < author.generation) {
            author.generation = generation;
            author.published.clear();
        }
        let is_fresh = now.duration_since(author.checked_at) < RECHECK_INTERVAL;
        if author.certificate != certificate || !is_fresh {
            author.certificate = certificate;
            author.certified = certified;
            author.checked_at = now;
        }
        Ok(author)
    }
}

impl Author {
    /// Records the newest version of `key`. A full table drops an upstream that is gone.
    fn note(&mut self, key: &FactKey, version: u64) -> Result<(), Rejection> {
        if self.published.len() >= KEYS_PER_AUTHOR_MAX && !self.published.contains_key(key) {
            let gone = self.published.iter().find(|(_, entry)| entry.is_gone);
            let gone = gone.map(|(key, _)| key.clone());
            self.published.remove(&gone.ok_or(Rejection::Crowded)?);
        }
        let entry = PublishedEntry {
            version,
            is_gone: false,
        };
        self.published.insert(key.clone(), entry);
        Ok(())
    }
}

/// The reason for which a text that is no envelope or rumor is refused.
pub(super) fn of_envelope(error: EnvelopeError) -> Rejection {
    match error {
        EnvelopeError::TooLong { .. } => Rejection::Oversize,
        EnvelopeError::Malformed | EnvelopeError::Name(_) => Rejection::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::fact::Phase;
    use grapevine_core::ids::UpstreamName;
    use grapevine_proto::value::envelope::seal;

    use super::super::tests::net::{World, mesh, node};
    use super::*;
    use crate::signer::Signer;

    const READY: &str = r#"{"phase":"ready"}"#;
    const GONE: &str = r#"{"gone":true}"#;

    /// Node `n1` with its key, and a peer that receives its values.
    fn author_and_receiver() -> (Signer, Authors, World) {
        let world = World::new();
        let (signer, verifier) = world.identity(&node("n1"));
        (signer, Authors::new(mesh(), verifier), world)
    }

    fn sealed(signer: &Signer, key: &str, generation: u64, version: u64, payload: &str) -> String {
        let generation = Generation(generation);
        let stamp = Stamp {
            generation,
            version,
        };
        let bytes = signed_bytes(mesh().as_str(), &node("n1"), key, stamp, payload);
        seal(stamp, payload, &signer.current().sign(&bytes)).expect("JSON")
    }

    /// The certificate's value in an incarnation of gossip with the same number as the node's.
    fn certificate(signer: &Signer, generation: u64) -> String {
        certificate_of(signer, generation, generation)
    }

    fn certificate_of(signer: &Signer, gossip: u64, generation: u64) -> String {
        let certificate = Certificate {
            der: signer.current().certificate().to_vec(),
            generation: Generation(generation),
            address: None,
        };
        sealed(
            signer,
            value::CERTIFICATE_KEY,
            gossip,
            0,
            &certificate.payload(),
        )
    }

    fn receive_certificate(
        authors: &mut Authors,
        text: &str,
        gossip: u64,
    ) -> Result<(), Rejection> {
        authors.receive_certificate(Instant::now(), &node("n1"), Generation(gossip), text)
    }

    fn receive_phase(
        authors: &mut Authors,
        text: &str,
        gossip: u64,
    ) -> Result<Reception, Rejection> {
        let gossip = Generation(gossip);
        authors.receive_gossip(Instant::now(), &node("n1"), gossip, &FactKey::Phase, text)
    }

    fn is_new(received: Result<Reception, Rejection>) -> bool {
        matches!(received, Ok(Reception::New(_, fact)) if *fact == Fact::Phase(Phase::Ready))
    }

    #[test]
    fn value_waits_for_its_certificate_and_is_then_taken_once() {
        let (signer, mut authors, _world) = author_and_receiver();
        let value = sealed(&signer, "phase", 1, 3, READY);
        assert_eq!(
            receive_phase(&mut authors, &value, 1),
            Ok(Reception::Unproven)
        );
        assert!(!authors.is_proven(&node("n1"), Generation(1)));
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 1), 1),
            Ok(())
        );
        assert!(authors.is_proven(&node("n1"), Generation(1)));
        assert!(is_new(receive_phase(&mut authors, &value, 1)));
        assert_eq!(receive_phase(&mut authors, &value, 1), Ok(Reception::Known));
    }

    #[test]
    fn certificate_of_another_incarnation_than_it_was_found_in_is_refused() {
        let (signer, mut authors, _world) = author_and_receiver();
        let text = certificate(&signer, 1);
        assert_eq!(
            receive_certificate(&mut authors, &text, 2),
            Err(Rejection::Generation)
        );
        assert!(!authors.is_proven(&node("n1"), Generation(2)));
        assert_eq!(receive_certificate(&mut authors, &text, 1), Ok(()));
    }

    #[test]
    fn value_of_another_incarnation_than_its_gossip_belongs_to_is_refused() {
        let (signer, mut authors, _world) = author_and_receiver();
        let text = certificate_of(&signer, 7, 5);
        assert_eq!(receive_certificate(&mut authors, &text, 7), Ok(()));
        for generation in [4, 6, 7] {
            let value = sealed(&signer, "phase", generation, 3, READY);
            let refused = receive_phase(&mut authors, &value, 7);
            assert_eq!(refused, Err(Rejection::Generation), "{generation}");
        }
        assert!(is_new(receive_phase(
            &mut authors,
            &sealed(&signer, "phase", 5, 3, READY),
            7
        )));
    }

    #[test]
    fn later_incarnation_of_gossip_alone_makes_no_value_new() {
        let (signer, mut authors, _world) = author_and_receiver();
        assert_eq!(
            receive_certificate(&mut authors, &certificate_of(&signer, 5, 5), 5),
            Ok(())
        );
        let value = sealed(&signer, "phase", 5, 3, READY);
        assert!(is_new(receive_phase(&mut authors, &value, 5)));
        assert_eq!(
            receive_phase(&mut authors, &value, 8),
            Ok(Reception::Unproven)
        );
        assert_eq!(
            receive_certificate(&mut authors, &certificate_of(&signer, 8, 5), 8),
            Ok(())
        );
        assert_eq!(receive_phase(&mut authors, &value, 8), Ok(Reception::Known));
        assert!(authors.is_past(&node("n1"), Generation(5)));
    }

    #[test]
    fn later_incarnation_of_the_node_begins_anew() {
        let (signer, mut authors, _world) = author_and_receiver();
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 1), 1),
            Ok(())
        );
        assert!(is_new(receive_phase(
            &mut authors,
            &sealed(&signer, "phase", 1, 9, READY),
            1
        )));
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 2), 2),
            Ok(())
        );
        assert!(is_new(receive_phase(
            &mut authors,
            &sealed(&signer, "phase", 2, 1, READY),
            2
        )));
        let late = sealed(&signer, "phase", 1, 10, READY);
        assert!(!is_new(receive_phase(&mut authors, &late, 1)));
    }

    #[test]
    fn earlier_incarnation_is_taken_once_the_later_one_lapsed() {
        let (signer, mut authors, _world) = author_and_receiver();
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 9), 9),
            Ok(())
        );
        let value = sealed(&signer, "phase", 9, 5, READY);
        assert!(is_new(receive_phase(&mut authors, &value, 9)));
        authors.lapse(|_, gossip| gossip == Generation(9));
        assert!(authors.is_past(&node("n1"), Generation(2)));
        authors.lapse(|_, _| false);
        assert!(!authors.is_past(&node("n1"), Generation(2)));
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 2), 2),
            Ok(())
        );
        let value = sealed(&signer, "phase", 2, 1, READY);
        assert!(is_new(receive_phase(&mut authors, &value, 2)));
        assert!(authors.is_past(&node("n1"), Generation(1)));
    }

    #[test]
    fn value_under_another_key_than_it_was_signed_for_is_refused() {
        let (signer, mut authors, _world) = author_and_receiver();
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 1), 1),
            Ok(())
        );
        let value = sealed(&signer, "node", 1, 3, READY);
        assert_eq!(
            receive_phase(&mut authors, &value, 1),
            Err(Rejection::Signature)
        );
        let value = sealed(&signer, "phase", 1, 3, READY).replace("ready", "READY");
        assert_eq!(
            receive_phase(&mut authors, &value, 1),
            Err(Rejection::Signature)
        );
    }

    #[test]
    fn certificate_of_another_node_or_mesh_is_refused() {
        let (signer, mut authors, world) = author_and_receiver();
        let (other, _) = world.identity(&node("n2"));
        let (foreign, _) = World::new().identity(&node("n1"));
        for liar in [other, foreign] {
            let refused = receive_certificate(&mut authors, &certificate(&liar, 1), 1);
            assert_eq!(refused, Err(Rejection::Certificate));
        }
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 1), 1),
            Ok(())
        );
    }

    #[test]
    fn signed_nonsense_is_verified_once() {
        let (signer, mut authors, _world) = author_and_receiver();
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 1), 1),
            Ok(())
        );
        let value = sealed(&signer, "phase", 1, 3, r#"{"phase":"asleep"}"#);
        assert_eq!(
            receive_phase(&mut authors, &value, 1),
            Err(Rejection::Malformed)
        );
        assert_eq!(receive_phase(&mut authors, &value, 1), Ok(Reception::Known));
    }

    #[test]
    fn keys_beyond_the_limit_are_refused_unless_one_is_gone() {
        let (signer, mut authors, _world) = author_and_receiver();
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 1), 1),
            Ok(())
        );
        let mut receive = |number: usize, version: u64, payload: &str| {
            let name = UpstreamName::new(&format!("u{number}")).expect("valid");
            let key = FactKey::Upstream(name);
            let text = sealed(&signer, &key.to_string(), 1, version, payload);
            let received =
                authors.receive_gossip(Instant::now(), &node("n1"), Generation(1), &key, &text);
            received.map(|_| ())
        };
        const HEALTHY: &str = r#"{"state":"healthy"}"#;
        for number in 0..KEYS_PER_AUTHOR_MAX {
            assert_eq!(receive(number, 1, HEALTHY), Ok(()));
        }
        assert_eq!(receive(100, 1, HEALTHY), Err(Rejection::Crowded));
        assert_eq!(receive(0, 2, GONE), Ok(()));
        assert_eq!(receive(100, 1, HEALTHY), Ok(()));
    }

    #[test]
    fn new_certificate_of_a_node_is_taken() {
        let (signer, mut authors, world) = author_and_receiver();
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&signer, 1), 1),
            Ok(())
        );
        let (renewed, _) = world.identity(&node("n1"));
        let value = sealed(&renewed, "phase", 1, 3, READY);
        assert_eq!(
            receive_phase(&mut authors, &value, 1),
            Err(Rejection::Signature)
        );
        assert_eq!(
            receive_certificate(&mut authors, &certificate(&renewed, 1), 1),
            Ok(())
        );
        assert!(is_new(receive_phase(&mut authors, &value, 1)));
    }
}
