//! All statements that a node knows, of each subject the latest; and what two nodes compare to find what one of
//! them has not received.
//!
//! The set grows by union with "the latest holds", which is commutative, associative and idempotent: however
//! statements are lost, doubled or reordered on their way, nodes that exchanged digests hold the same.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::statement::{KeyStatement, SignedStatement, StatementSubject, short_digest};

/// Statements that a node keeps; at most 4 KiB each.
pub const STATEMENTS_MAX: usize = 16_384;

/// Parts of the set that are compared one by one.
pub const BUCKETS: usize = 64;

/// The set in brief: for each bucket the sum of its statements' digests, without carry.
pub type StatementsDigest = [u64; BUCKETS];

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It is in force, and was not known.
    New,
    /// It was known, or a later one about the same subject was.
    Known,
    /// It is about a key that has expired.
    Expired,
    /// The set is full.
    Full,
}

/// The set.
#[derive(Clone, Debug, Default)]
pub struct Statements(BTreeMap<StatementSubject, SignedStatement>);

impl Statements {
    /// Takes `statement`, where it holds against what is known.
    pub fn merge(&mut self, now: Duration, statement: SignedStatement) -> Merged {
        if is_over(now, &statement) {
            return Merged::Expired;
        }
        let is_full = self.0.len() >= STATEMENTS_MAX;
        match self.0.entry(statement.said.subject()) {
            Entry::Occupied(mut known) if statement.is_later_than(known.get()) => {
                known.insert(statement);
                Merged::New
            }
            Entry::Occupied(_) => Merged::Known,
            Entry::Vacant(_) if is_full => Merged::Full,
            Entry::Vacant(place) => {
                place.insert(statement);
                Merged::New
            }
        }
    }

    /// Forgets revocations of keys that have expired; whether there were any.
    pub fn expire(&mut self, now: Duration) -> bool {
        let before = self.0.len();
        self.0.retain(|_, statement| !is_over(now, statement));
        self.0.len() < before
    }

    /// Keeps those that `keep` accepts.
    pub fn retain(&mut self, keep: impl Fn(&SignedStatement) -> bool) {
        self.0.retain(|_, statement| keep(statement));
    }

    /// All of them, in the order of their subjects.
    pub fn iter(&self) -> impl Iterator<Item = &SignedStatement> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set in brief.
    pub fn digest(&self) -> StatementsDigest {
        let mut digest = [0_u64; BUCKETS];
        for (subject, statement) in &self.0 {
            let sum = &mut digest[bucket(subject)];
            *sum = sum.wrapping_add(statement.digest());
        }
        digest
    }

    /// Those in buckets that differ from a peer's.
    pub fn differing(&self, theirs: &StatementsDigest) -> Vec<Arc<str>> {
        let ours = self.digest();
        let differs = |subject: &StatementSubject| {
            let bucket = bucket(subject);
            ours[bucket] != theirs[bucket]
        };
        let differing = self.0.iter().filter(|(subject, _)| differs(subject));
        differing
            .map(|(_, statement)| Arc::clone(statement.text()))
            .collect()
    }
}

/// Whether the key of a revocation has expired by itself. One day is added, so that no clock is so far behind that it
/// still accepts the key.
fn is_over(now: Duration, statement: &SignedStatement) -> bool {
    const CLOCKS: Duration = Duration::from_secs(86_400);
    match &statement.said {
        KeyStatement::Revoke { until, .. } => until.saturating_add(CLOCKS) < now,
        KeyStatement::Put(_) | KeyStatement::Remove { .. } => false,
    }
}

fn bucket(subject: &StatementSubject) -> usize {
    let text = match subject {
        StatementSubject::Issued(id) => id.as_str(),
        StatementSubject::Static(name) => name,
    };
    // The remainder is below 64.
    (short_digest(text) % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use grapevine_core::ids::{MeshName, NodeName};

    use super::super::issuer::IssuingKey;
    use super::super::token::KeyId;
    use super::*;

    struct Operator(IssuingKey);

    impl Operator {
        fn says(&self, said: &KeyStatement, at: u64) -> SignedStatement {
            let mesh = MeshName::new("production").expect("a name");
            let text = said.sign(&mesh, Duration::from_secs(at), &self.0);
            SignedStatement::open(&text.expect("a statement"), &[self.0.public()]).expect("signed")
        }

        fn revokes(&self, at: u64, until: u64) -> SignedStatement {
            let id = KeyId::generate().expect("an id");
            let until = Duration::from_secs(until);
            self.says(&KeyStatement::Revoke { id, until }, at)
        }

        fn removes(&self, name: &str, at: u64) -> SignedStatement {
            let name = NodeName::new(name).expect("a name");
            self.says(&KeyStatement::Remove { name }, at)
        }
    }

    fn operator() -> Operator {
        Operator(IssuingKey::generate().expect("a key"))
    }

    const NOW: Duration = Duration::from_secs(1_000_000);

    #[test]
    fn latest_statement_holds_in_whatever_order_they_arrive() {
        let operator = operator();
        let (early, late) = (operator.removes("app", 1), operator.removes("app", 2));
        let merged = |order: [&SignedStatement; 3]| {
            let mut set = Statements::default();
            for statement in order {
                set.merge(NOW, statement.clone());
            }
            set.digest()
        };
        let held = merged([&early, &late, &late]);
        assert_eq!(held, merged([&late, &early, &early]));
        let mut set = Statements::default();
        assert_eq!(set.merge(NOW, late.clone()), Merged::New);
        assert_eq!(set.merge(NOW, early), Merged::Known);
        assert_eq!(set.digest(), held);
    }

    #[test]
    fn two_sets_are_equal_after_each_sent_what_differs() {
        let operator = operator();
        let (mut here, mut there) = (Statements::default(), Statements::default());
        for index in 0..200 {
            let statement = operator.revokes(index, 2_000_000);
            if index % 3 != 0 {
                here.merge(NOW, statement.clone());
            }
            if index % 3 != 1 {
                there.merge(NOW, statement);
            }
        }
        let issuers = [operator.0.public()];
        let (to_there, to_here) = (
            here.differing(&there.digest()),
            there.differing(&here.digest()),
        );
        for (set, texts) in [(&mut there, to_there), (&mut here, to_here)] {
            for text in texts {
                set.merge(NOW, SignedStatement::open(&text, &issuers).expect("signed"));
            }
        }
        assert_eq!((here.len(), here.digest()), (200, there.digest()));
        assert!(here.differing(&there.digest()).is_empty());
    }

    #[test]
    fn revocation_is_forgotten_a_day_after_its_key_has_expired() {
        let operator = operator();
        let mut set = Statements::default();
        let statement = operator.revokes(1, NOW.as_secs());
        assert_eq!(set.merge(NOW, statement.clone()), Merged::New);
        let day = Duration::from_secs(86_400);
        assert!(!set.expire(NOW + day));
        assert!(set.expire(NOW + day + Duration::from_secs(1)));
        assert!(set.is_empty());
        let later = NOW + day * 2;
        assert_eq!(set.merge(later, statement), Merged::Expired);
        set.merge(later, operator.removes("app", 1));
        assert!(!set.expire(later * 100), "a removal has no end");
    }

    #[test]
    fn full_set_takes_no_new_subject() {
        let operator = operator();
        let known = operator.removes("app", 1);
        let mut set = Statements::default();
        for index in 0..STATEMENTS_MAX {
            let name: Arc<str> = index.to_string().into();
            set.0.insert(StatementSubject::Static(name), known.clone());
        }
        assert_eq!(set.merge(NOW, known), Merged::Full);
        assert_eq!(set.merge(NOW, operator.removes("7", 2)), Merged::New);
        assert_eq!(set.len(), STATEMENTS_MAX);
    }
}
