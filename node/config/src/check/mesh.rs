//! Checks of the mesh: its certificates, its addresses, and that both agree with the node's name.

use std::time::Duration;

use grapevine_core::ids::{MeshName, NodeName};
use rustls::pki_types::CertificateDer;

use super::super::address::HostPort;
use super::super::checked::{GOSSIP_INTERVAL, MESH_LISTEN, MeshConfig, MeshTlsConfig};
use super::super::file::MeshFile;
use super::certificates::{Identity, identity};
use super::{Checker, LISTEN_FORM, items};

/// The remedy for addresses of the node itself.
const ADVERTISE_FORM: &str = "write the HOST:PORT at which other nodes reach this one";

/// The remedy for problems of certificates.
const MAKE_CERTIFICATES: &str =
    "make them with: grapevine ca init, then grapevine ca issue for each node";

impl Checker<'_> {
    /// The identity in this node's mesh certificate. Reports nothing: [`Checker::mesh`] does.
    pub(super) fn mesh_identity(&self, file: Option<&MeshFile>) -> Option<Identity> {
        let cert = file?.tls.as_ref()?.cert.as_deref()?;
        let pem = std::fs::read(self.path("mesh.tls.cert", cert)).ok()?;
        let leaf =
            <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem).ok()?;
        identity(&[leaf])
    }

    pub(super) fn mesh(
        &mut self,
        file: Option<&MeshFile>,
        identity: Option<Identity>,
        node: Option<&NodeName>,
    ) -> Option<MeshConfig> {
        let file = file?;
        let written = self.parse(
            "mesh.name",
            file.name.as_deref(),
            "choose a lower-case name of 1 to 63 bytes",
        );
        let listen = self
            .parse("mesh.listen", file.listen.as_deref(), LISTEN_FORM)
            .unwrap_or(MESH_LISTEN);
        let form = "write a host and a port, such as sgp.example.net:7171";
        let advertise: Option<HostPort> =
            self.parse("mesh.advertise", file.advertise.as_deref(), form);
        if let Some(address) = &advertise {
            self.can_be_reached("mesh.advertise", &address.host, ADVERTISE_FORM);
        }
        let seeds = self.seeds(file, form);
        let range = Duration::from_millis(50)..=Duration::from_secs(10);
        let interval = file.gossip_interval.as_ref();
        let gossip_interval =
            self.duration("mesh.gossip_interval", interval, GOSSIP_INTERVAL, range);
        if file.tls.is_none() {
            self.mesh_without_certificates(file);
            return None;
        }
        if advertise.is_none()
            && listen.ip().is_unspecified()
            && !self.source_map.was_refused("mesh.advertise")
        {
            let problem = format!("is missing while mesh.listen is {listen}");
            self.warning("mesh.advertise", problem, ADVERTISE_FORM);
        }
        let tls = self.mesh_tls(file);
        let name = self.agreed_name(written, identity, node);
        Some(MeshConfig {
            name: name?,
            listen,
            advertise,
            seeds,
            tls: tls?,
            gossip_interval,
        })
    }

    fn seeds(&mut self, file: &MeshFile, form: &str) -> Vec<HostPort> {
        let mut seeds = Vec::new();
        for (key, text) in items("mesh.seeds", &file.seeds) {
            let seed: Option<HostPort> = self.parse(&key, Some(text), form);
            if let Some(seed) = &seed {
                let form = "write the HOST:PORT that a node advertises";
                self.can_be_reached(&key, &seed.host, form);
            }
            seeds.extend(seed);
        }
        seeds
    }

    fn mesh_without_certificates(&mut self, file: &MeshFile) {
        if self.source_map.was_refused("mesh.tls") {
            return;
        }
        if file.seeds.as_ref().is_some_and(|seeds| !seeds.is_empty()) {
            let problem = "cannot be joined without mesh.tls (ca, cert, key)";
            self.problem("mesh.seeds", problem, MAKE_CERTIFICATES);
        } else {
            self.warning(
                "mesh",
                "is not started, since mesh.tls is missing",
                MAKE_CERTIFICATES,
            );
        }
    }

    fn mesh_tls(&mut self, file: &MeshFile) -> Option<MeshTlsConfig> {
        let tls = file.tls.as_ref()?;
        let ca = tls.ca.as_deref().map(|ca| self.path("mesh.tls.ca", ca));
        let cert = tls
            .cert
            .as_deref()
            .map(|cert| self.path("mesh.tls.cert", cert));
        let key = tls.key.as_deref().map(|key| self.path("mesh.tls.key", key));
        let authority = ca.as_ref().and_then(|ca| self.chain("mesh.tls.ca", ca));
        let chain = cert
            .as_ref()
            .and_then(|cert| self.chain("mesh.tls.cert", cert));
        if let Some(key) = &key {
            self.private_key("mesh.tls.key", key, chain.as_deref());
        }
        if let (Some(chain), Some(authority)) = (&chain, &authority) {
            self.signed_by("mesh.tls.cert", chain, authority);
        }
        if chain
            .as_ref()
            .is_some_and(|chain| identity(chain).is_none())
        {
            let problem = "holds a certificate without a spiffe://MESH/node/NAME identity";
            self.problem(
                "mesh.tls.cert",
                problem,
                "make one with: grapevine ca issue",
            );
        }
        Some(MeshTlsConfig {
            ca: ca?,
            cert: cert?,
            key: key?,
        })
    }

    /// The mesh's name, when the certificate, the file and the node's name agree on the identity.
    fn agreed_name(
        &mut self,
        written: Option<MeshName>,
        identity: Option<Identity>,
        node: Option<&NodeName>,
    ) -> Option<MeshName> {
        let identity = identity?;
        let name = written.unwrap_or_else(|| identity.mesh.clone());
        let node = node?;
        let (wanted, held) = (name.node_uri(node), identity.mesh.node_uri(&identity.node));
        if wanted != held {
            let problem = format!("is the certificate of {held}, but this node is {wanted}");
            self.problem(
                "mesh.tls.cert",
                problem,
                "name the right file, or make node.name and mesh.name agree with it",
            );
        }
        Some(name)
    }
}
