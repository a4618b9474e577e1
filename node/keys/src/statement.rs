//! What the operator says about keys after they were handed out, signed by an issuing key.
//!
//! Of several statements about one subject the latest holds, wherever and in whatever order they arrive: nodes that
//! know the same statements agree, without a coordinator.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::ids::{MeshName, NodeName};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::hash::KeyHash;
use super::issuer::{IssuerPublicKey, IssuingKey};
use super::jws::{self, JwsError, JwsTooLong, Purpose};
use super::rights::{ClientKey, RightsText, StaticKey};
use super::token::KeyId;

/// One thing said about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStatement {
    /// The issued key is refused from now on.
    Revoke {
        /// Which one.
        id: KeyId,
        /// When it would have expired: later the statement is forgotten. Time since the Unix epoch.
        until: Duration,
    },
    /// There is a static key, whatever the file says about its name.
    Put(StaticKey),
    /// There is no static key of this name, whatever the file says.
    Remove {
        /// Whose.
        name: NodeName,
    },
}

/// What a statement is about; a statement is replaced by a later one about the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementSubject {
    /// An issued key.
    Issued(KeyId),
    /// The static keys of a name.
    Static(Arc<str>),
}

impl KeyStatement {
    /// What it is about.
    pub fn subject(&self) -> StatementSubject {
        match self {
            Self::Revoke { id, .. } => StatementSubject::Issued(id.clone()),
            Self::Put(put) => StatementSubject::Static(Arc::clone(&put.key.name)),
            Self::Remove { name } => StatementSubject::Static(name.as_str().into()),
        }
    }

    /// Signs it for `mesh`, as of `now`.
    ///
    /// # Errors
    /// When it would be too long.
    pub fn sign(
        &self,
        mesh: &MeshName,
        now: Duration,
        key: &IssuingKey,
    ) -> Result<String, JwsTooLong> {
        let said = match self {
            Self::Revoke { id, until } => SaidText::Revoke {
                id: id.to_string(),
                exp: until.as_secs(),
            },
            Self::Put(put) => SaidText::Put {
                name: put.key.name.to_string(),
                hash: put.hash.to_string(),
                exp: put.key.expires_at.map(|at| at.as_secs()),
                rights: Box::new(RightsText::of(&put.key.rights)),
            },
            Self::Remove { name } => SaidText::Remove {
                name: name.to_string(),
            },
        };
        let claims = StatementText {
            aud: mesh.to_string(),
            iat_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            said,
        };
        jws::sign(Purpose::Statement, &claims, key)
    }
}

/// A statement with the proof of who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStatement {
    /// What it says.
    pub said: KeyStatement,
    /// The mesh that it is for.
    pub mesh: MeshName,
    /// When it was made: of two about one subject, the later holds.
    pub made_at: Duration,
    text: Arc<str>,
    digest: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementText {
    aud: String,
    iat_ms: u64,
    said: SaidText,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum SaidText {
    Revoke {
        id: String,
        exp: u64,
    },
    Put {
        name: String,
        hash: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exp: Option<u64>,
        rights: Box<RightsText>,
    },
    Remove {
        name: String,
    },
}

impl SignedStatement {
    /// The statement in `text`, which one of `issuers` signed.
    ///
    /// # Errors
    /// When it is not whole, or not signed by one of them.
    pub fn open(text: &str, issuers: &[IssuerPublicKey]) -> Result<Self, JwsError> {
        let claims = jws::open::<StatementText>(Purpose::Statement, text.as_bytes(), issuers)?;
        let (mesh, made_at) = (claims.aud, Duration::from_millis(claims.iat_ms));
        let said = claims.said.read().ok_or(JwsError::NotUnderstood)?;
        Ok(Self {
            said,
            mesh: MeshName::new(&mesh).map_err(|_| JwsError::NotUnderstood)?,
            made_at,
            text: text.into(),
            digest: short_digest(text),
        })
    }

    /// The signed text.
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Tells it from others.
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether it holds against `other` about the same subject. Of two made in the same millisecond, the same one
    /// holds at every node.
    pub fn is_later_than(&self, other: &Self) -> bool {
        (self.made_at, &self.text) > (other.made_at, &other.text)
    }
}

impl SaidText {
    fn read(self) -> Option<KeyStatement> {
        Some(match self {
            Self::Revoke { id, exp } => KeyStatement::Revoke {
                id: id.parse().ok()?,
                until: Duration::from_secs(exp),
            },
            Self::Put {
                name,
                hash,
                exp,
                rights,
            } => KeyStatement::Put(StaticKey {
                hash: hash.parse::<KeyHash>().ok()?,
                key: Arc::new(ClientKey {
                    expires_at: exp.map(Duration::from_secs),
                    rights: rights.read()?,
                    ..ClientKey::named(NodeName::new(&name).ok()?.as_str())
                }),
            }),
            Self::Remove { name } => KeyStatement::Remove {
                name: NodeName::new(&name).ok()?,
            },
        })
    }
}

/// The first eight bytes of the digest of `text`.
pub(super) fn short_digest(text: &str) -> u64 {
    let digest = digest(&SHA256, text.as_bytes());
    let bytes = digest.as_ref().first_chunk().copied();
    u64::from_le_bytes(bytes.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh() -> MeshName {
        MeshName::new("production").expect("a name")
    }

    #[test]
    fn statements_are_read_back_as_they_were_signed() {
        let key = IssuingKey::generate().expect("a key");
        let now = Duration::from_millis(1_234_567);
        let name = NodeName::new("app").expect("a name");
        for said in [
            KeyStatement::Revoke {
                id: KeyId::generate().expect("an id"),
                until: Duration::from_secs(99),
            },
            KeyStatement::Put(StaticKey {
                hash: KeyHash::of("secret"),
                key: Arc::new(ClientKey {
                    expires_at: Some(Duration::from_secs(7)),
                    ..ClientKey::named("app")
                }),
            }),
            KeyStatement::Remove { name },
        ] {
            let text = said.sign(&mesh(), now, &key).expect("a statement");
            let read = SignedStatement::open(&text, &[key.public()]).expect("the same");
            assert_eq!((read.said, read.mesh, read.made_at), (said, mesh(), now));
        }
    }

    #[test]
    fn statement_of_another_issuer_is_refused() {
        let [key, other] = [(); 2].map(|()| IssuingKey::generate().expect("a key"));
        let name = NodeName::new("app").expect("a name");
        let said = KeyStatement::Remove { name };
        let text = said.sign(&mesh(), Duration::ZERO, &other);
        let read = SignedStatement::open(&text.expect("a statement"), &[key.public()]);
        assert_eq!(read, Err(JwsError::UnknownIssuer));
    }
}
