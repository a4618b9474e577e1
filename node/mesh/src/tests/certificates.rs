//! Certificates as the authority issues them, and as nodes check them.

use std::time::Duration;

use grapevine_base::authority::{Authority, Issued, NODE_VALID, create};
use grapevine_base::clock;
use grapevine_core::ids::{MeshName, NodeName};

use crate::credentials::{Credentials, CredentialsError};
use crate::identity::{IdentityError, Verifier};
use crate::signer::Signer;

const DAY: Duration = Duration::from_secs(86_400);

struct Mesh {
    name: MeshName,
    ca: Issued,
}

fn mesh(name: &str) -> Mesh {
    let name = MeshName::new(name).expect("a valid name");
    let ca = create(&name).expect("a CA");
    Mesh { name, ca }
}

impl Mesh {
    fn issue(&self, node: &str) -> Issued {
        let authority = Authority::from_pem(&self.ca.certificate, &self.ca.key).expect("a CA");
        let node = NodeName::new(node).expect("a valid name");
        let issued = authority.issue(&node, &["sgp.example.net".into()], NODE_VALID);
        issued.expect("a certificate")
    }

    fn credentials(&self, issued: &Issued) -> Result<Credentials, CredentialsError> {
        Credentials::from_pem(
            self.name.clone(),
            self.ca.certificate.as_bytes(),
            issued.certificate.as_bytes(),
            issued.key.as_bytes(),
        )
    }

    fn verifier(&self) -> Verifier {
        let own = self.credentials(&self.issue("own")).expect("credentials");
        Verifier::new(self.name.clone(), own.authorities()).expect("a verifier")
    }
}

#[test]
fn issued_certificate_names_its_node_and_verifies_its_signatures() {
    let mesh = mesh("m1");
    let credentials = mesh.credentials(&mesh.issue("sgp-1")).expect("credentials");
    let signing = Signer::new(&credentials).expect("a signer").current();
    let signature = signing.sign(b"up.primary");
    let certified = mesh
        .verifier()
        .check(signing.certificate())
        .expect("a valid certificate");
    assert_eq!(certified.node().as_str(), "sgp-1");
    assert_eq!(certified.verify(b"up.primary", &signature), Ok(()));
    assert_eq!(
        certified.verify(b"up.second", &signature),
        Err(IdentityError::BadSignature)
    );
    assert_eq!(
        certified.verify(b"up.primary", b"short"),
        Err(IdentityError::BadSignature)
    );
}

#[test]
fn certificate_of_another_ca_of_the_same_mesh_name_is_refused() {
    let (ours, theirs) = (mesh("m1"), mesh("m1"));
    let credentials = theirs.credentials(&theirs.issue("a")).expect("credentials");
    let error = ours
        .verifier()
        .check(&credentials.chain()[0])
        .expect_err("another CA");
    assert!(matches!(error, IdentityError::Untrusted { .. }), "{error}");
}

#[test]
fn certificate_for_another_mesh_of_the_same_ca_is_refused() {
    let mesh = mesh("m1");
    let issued = mesh.issue("a");
    let renamed = Mesh {
        name: MeshName::new("m2").expect("a valid name"),
        ca: mesh.ca.clone(),
    };
    let error = renamed.credentials(&issued).expect_err("another mesh");
    assert!(
        matches!(
            &error,
            CredentialsError::Identity(IdentityError::OtherMesh { found, .. }) if found == "m1"
        ),
        "{error}"
    );
}

#[test]
fn expired_certificate_is_refused() {
    let mesh = mesh("m1");
    let authority = Authority::from_pem(&mesh.ca.certificate, &mesh.ca.key).expect("a CA");
    let node = NodeName::new("a").expect("a valid name");
    let issued = authority
        .issue_at(clock::wall() - 2 * DAY, &node, &[], DAY)
        .expect("a certificate");
    let error = mesh.credentials(&issued).expect_err("expired");
    assert!(error.to_string().contains("xpired"), "{error}");
}

#[test]
fn key_of_another_certificate_is_refused() {
    let mesh = mesh("m1");
    let mixed = Issued {
        key: mesh.issue("b").key,
        ..mesh.issue("a")
    };
    let error = mesh.credentials(&mixed).expect_err("another key");
    assert_eq!(error, CredentialsError::KeyMismatch);
}

#[test]
fn garbage_is_no_certificate() {
    let verifier = mesh("m1").verifier();
    for garbage in [&b""[..], b"\x30\x82\xff\xff", &[0x30; 5_000]] {
        assert_eq!(verifier.check(garbage), Err(IdentityError::Unreadable));
    }
}
