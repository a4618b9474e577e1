//! The keys in force, and the check of one that a caller presents.
//!
//! Readers take a snapshot without a lock; whoever changes it holds one, off the request path.

mod provider;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use grapevine_core::ids::MeshName;

use super::checked;
use super::hash::KeyHash;
use super::issuer::IssuerPublicKey;
use super::jws::{self, Purpose};
use super::oidc::Oidc;
pub use super::refusal::{KeyRefusal, StatementRefusal};
use super::rights::{ClientKey, StaticKey};
use super::statement::{KeyStatement, SignedStatement};
use super::statements::{Merged, Statements, StatementsDigest};
use super::token::{IssuedKey, KeyId, TOKEN_BEGINS};

/// Who issues keys, and for which mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuers {
    /// The public halves of issuing keys; several while one replaces another.
    pub public_keys: Vec<IssuerPublicKey>,
    /// The mesh that keys must be for.
    pub mesh: MeshName,
    /// How old the last exchange with a peer may be before issued keys are refused; `None` does not ask.
    pub stale_after: Option<Duration>,
}

/// How far ahead the clock of the operator may be.
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// Whose tokens are believed.
#[derive(Clone)]
struct Trust {
    issuers: Option<Issuers>,
    oidc: Option<Arc<Oidc>>,
    /// Changes with the others; unique in the process.
    generation: u64,
}

/// What requests are checked against.
struct InForce {
    trust: Trust,
    /// In random order of their hashes, so that the time of a look reveals nothing about them.
    put: HashMap<KeyHash, Arc<ClientKey>>,
    /// Names of static keys about which there is a statement: it holds, not the file.
    spoken_of: HashSet<Arc<str>>,
    revoked: HashSet<KeyId>,
}

/// The keys in force. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Shared>);

struct Shared {
    in_force: ArcSwap<InForce>,
    statements: Mutex<Statements>,
    /// When a peer last confirmed what is revoked, in milliseconds since the Unix epoch.
    confirmed_at: AtomicU64,
}

impl Default for KeyRing {
    fn default() -> Self {
        Self::new(None, Duration::ZERO)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_force = self.0.in_force.load();
        formatter
            .debug_struct("KeyRing")
            .field("issuers", &in_force.trust.issuers)
            .field("revoked", &in_force.revoked.len())
            .field("put", &in_force.put.len())
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// No statements yet.
    pub fn new(issuers: Option<Issuers>, now: Duration) -> Self {
        let statements = Statements::default();
        let trust = Trust {
            issuers,
            oidc: None,
            generation: new_generation(),
        };
        let in_force = InForce::of(trust, &statements);
        let ring = Self(Arc::new(Shared {
            in_force: ArcSwap::from_pointee(in_force),
            statements: Mutex::new(statements),
            confirmed_at: AtomicU64::default(),
        }));
        ring.confirm(now);
        ring
    }

    /// Replaces the issuers, as after a reload; statements of issuers that are gone are forgotten.
    pub fn set_issuers(&self, issuers: Option<Issuers>) {
        let mut statements = self.statements();
        let trust = self.0.in_force.load().trust.clone();
        if trust.issuers == issuers {
            return;
        }
        let known = issuers.as_ref();
        let is_known = |statement: &SignedStatement| {
            known.is_some_and(|known| {
                statement.mesh == known.mesh
                    && SignedStatement::open(statement.text(), &known.public_keys).is_ok()
            })
        };
        statements.retain(is_known);
        let trust = Trust {
            issuers,
            generation: new_generation(),
            ..trust
        };
        self.0
            .in_force
            .store(Arc::new(InForce::of(trust, &statements)));
    }

    /// The issuers.
    pub fn issuers(&self) -> Option<Issuers> {
        self.0.in_force.load().trust.issuers.clone()
    }

    /// Whether keys are issued.
    pub fn has_issuers(&self) -> bool {
        self.0.in_force.load().trust.issuers.is_some()
    }

    /// Whether tokens of any kind are believed, so that requests need a key.
    pub fn has_tokens(&self) -> bool {
        let trust = &self.0.in_force.load().trust;
        trust.issuers.is_some() || trust.oidc.is_some()
    }

    /// The key that `presented` is, at `now` since the Unix epoch. `filed` are the keys of the file: what a statement
    /// says about a name holds against it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn check(
        &self,
        presented: &[u8],
        now: Duration,
        filed: &[StaticKey],
    ) -> Result<Arc<ClientKey>, KeyRefusal> {
        let in_force = self.0.in_force.load();
        let hash = KeyHash::of(presented);
        let put = in_force.put.get(&hash).map(Arc::clone);
        let key = match put.or_else(|| in_force.filed(&hash, filed)) {
            Some(key) => key,
            None if presented.starts_with(TOKEN_BEGINS) => {
                self.token(presented, hash, now, &in_force.trust)?
            }
            None => return Err(KeyRefusal::Unknown),
        };
        valid(&key, now)?;
        match &key.id {
            Some(id) if in_force.revoked.contains(id) => Err(KeyRefusal::Revoked(id.clone())),
            Some(_) | None => Ok(key),
        }
    }

    /// The token as a key, its signature verified now or before.
    fn token(
        &self,
        presented: &[u8],
        hash: KeyHash,
        now: Duration,
        trust: &Trust,
    ) -> Result<Arc<ClientKey>, KeyRefusal> {
        // It reads the token's header: a known token is spared that.
        let is_issued = || match &trust.oidc {
            None => true,
            Some(_) => trust.issuers.is_some() && jws::is_for(Purpose::Key, presented),
        };
        let issuers = trust.issuers.as_ref();
        let stale_after = issuers.and_then(|issuers| issuers.stale_after);
        if stale_after.is_some_and(|limit| self.age(now) > limit) && is_issued() {
            return Err(KeyRefusal::Stale);
        }
        if let Some(key) = checked::find(&hash, trust.generation) {
            return Ok(key);
        }
        if !checked::may_verify(now) {
            return Err(KeyRefusal::Busy);
        }
        let opened = match (issuers.filter(|_| is_issued()), &trust.oidc) {
            (Some(issuers), _) => issued(presented, issuers),
            (None, Some(oidc)) => oidc.open(presented),
            (None, None) => Err(KeyRefusal::Unknown),
        };
        let key = Arc::new(opened.inspect_err(|_| checked::failed())?);
        checked::keep(hash, trust.generation, &key);
        Ok(key)
    }

    /// The key called `name` that a statement put; and whether there is a statement about that name at all.
    pub fn named(&self, name: &str) -> (Option<Arc<ClientKey>>, bool) {
        let in_force = self.0.in_force.load();
        let put = in_force.put.values().find(|key| &*key.name == name);
        (put.cloned(), in_force.spoken_of.contains(name))
    }

    /// The keys that statements put.
    pub fn put(&self) -> Vec<Arc<ClientKey>> {
        self.0.in_force.load().put.values().cloned().collect()
    }

    /// Takes a statement that somebody passes on.
    ///
    /// # Errors
    /// When it is none of this mesh's issuers, or there is no room.
    pub fn take(&self, text: &str, now: Duration) -> Result<Merged, StatementRefusal> {
        let issuers = self.issuers().ok_or(StatementRefusal::NoIssuers)?;
        let opened = SignedStatement::open(text, &issuers.public_keys);
        self.take_signed(opened.map_err(StatementRefusal::Unsigned)?, now)
    }

    /// Takes a statement whose signature was verified.
    ///
    /// # Errors
    /// As [`KeyRing::take`].
    pub fn take_signed(
        &self,
        statement: SignedStatement,
        now: Duration,
    ) -> Result<Merged, StatementRefusal> {
        let mut statements = self.statements();
        let in_force = self.0.in_force.load_full();
        let issuers = in_force.trust.issuers.as_ref();
        let issuers = issuers.ok_or(StatementRefusal::NoIssuers)?;
        if statement.mesh != issuers.mesh {
            return Err(StatementRefusal::OtherMesh);
        }
        if statement.made_at > now.saturating_add(AHEAD_MAX) {
            return Err(StatementRefusal::Future);
        }
        let merged = match statements.merge(now, statement.clone()) {
            Merged::Full if statements.expire(now) => statements.merge(now, statement),
            merged => merged,
        };
        match merged {
            Merged::Full => return Err(StatementRefusal::Full),
            Merged::New => {
                let next = InForce::of(in_force.trust.clone(), &statements);
                self.0.in_force.store(Arc::new(next));
            }
            Merged::Known | Merged::Expired => {}
        }
        Ok(merged)
    }

    /// The statements known now.
    pub fn known(&self) -> Statements {
        self.statements().clone()
    }

    /// What is known, in brief.
    pub fn digest(&self) -> StatementsDigest {
        self.statements().digest()
    }

    /// Signed texts that a peer with this digest may lack.
    pub fn differing(&self, theirs: &StatementsDigest) -> Vec<Arc<str>> {
        self.statements().differing(theirs)
    }

    /// A peer has compared its statements with this node's.
    pub fn confirm(&self, now: Duration) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.0.confirmed_at.fetch_max(millis, Ordering::Relaxed);
    }

    /// How long ago a peer last did.
    pub fn age(&self, now: Duration) -> Duration {
        let at = Duration::from_millis(self.0.confirmed_at.load(Ordering::Relaxed));
        now.saturating_sub(at)
    }

    fn statements(&self) -> MutexGuard<'_, Statements> {
        let statements = &self.0.statements;
        statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InForce {
    fn of(trust: Trust, statements: &Statements) -> Self {
        let mut in_force = Self {
            trust,
            put: HashMap::new(),
            spoken_of: HashSet::new(),
            revoked: HashSet::new(),
        };
        for statement in statements.iter() {
            match &statement.said {
                KeyStatement::Revoke { id, .. } => {
                    in_force.revoked.insert(id.clone());
                }
                KeyStatement::Put(put) => {
                    in_force.spoken_of.insert(Arc::clone(&put.key.name));
                    in_force.put.insert(put.hash, Arc::clone(&put.key));
                }
                KeyStatement::Remove { name } => {
                    in_force.spoken_of.insert(name.as_str().into());
                }
            }
        }
        in_force
    }

    /// The key of the file with this hash. Every key is compared, whichever matches, so that the time taken reveals
    /// nothing.
    fn filed(&self, hash: &KeyHash, filed: &[StaticKey]) -> Option<Arc<ClientKey>> {
        let mut found = None;
        for file in filed {
            if file.hash.matches(hash) {
                found = Some(&file.key);
            }
        }
        let found = found.filter(|key| !self.spoken_of.contains(&key.name))?;
        Some(Arc::clone(found))
    }
}

/// An issued token as a key.
fn issued(presented: &[u8], issuers: &Issuers) -> Result<ClientKey, KeyRefusal> {
    let token = IssuedKey::open(presented, &issuers.public_keys)?;
    match token.mesh == issuers.mesh {
        true => Ok(token.client_key()),
        false => Err(KeyRefusal::OtherMesh(token.id)),
    }
}

fn valid(key: &ClientKey, now: Duration) -> Result<(), KeyRefusal> {
    if now < key.not_before {
        return Err(KeyRefusal::NotYetValid(key.id.clone()));
    }
    match key.expires_at {
        Some(at) if now >= at => Err(KeyRefusal::Expired(key.id.clone())),
        Some(_) | None => Ok(()),
    }
}

fn new_generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests;
