//! Tokens that the mock issued, each until it expires.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::seal::Seal;

/// The most tokens known at once; beyond, the oldest is forgotten.
const TOKENS_MAX: usize = 4_096;

/// What a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Issuer {
    Entra,
    Google,
    Aws,
    /// A session of the instance's metadata, which opens its credentials and nothing else.
    Metadata,
}

/// Whether a token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Valid,
    Expired,
    Unknown,
}

/// A token, or the key and the secret that go with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IssuedToken {
    pub(super) issuer: Issuer,
    pub(super) token: String,
    /// The id of the access key that AWS issues with a session's token.
    pub(super) access_key: String,
    pub(super) secret: String,
    pub(super) expires_at: SystemTime,
}

/// The tokens that were issued.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) lifetime: Duration,
    table: Mutex<TokenTable>,
}

#[derive(Debug, Default)]
struct TokenTable {
    issued: u64,
    live: VecDeque<IssuedToken>,
}

impl Tokens {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            table: Mutex::default(),
        }
    }

    pub(super) fn issue(&self, issuer: Issuer, now: SystemTime, seal: &Seal) -> IssuedToken {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.issued += 1;
        let number = table.issued;
        let sealed =
            |purpose: &str| URL_SAFE_NO_PAD.encode(seal.sign(purpose, &number.to_string()));
        let issued = IssuedToken {
            issuer,
            token: format!("mock-{number}-{}", sealed("token")),
            access_key: format!("ASIAMOCK{number:012}"),
            secret: sealed("secret"),
            expires_at: now + self.lifetime,
        };
        table.live.push_back(issued.clone());
        if table.live.len() > TOKENS_MAX {
            table.live.pop_front();
        }
        issued
    }

    pub(super) fn standing(&self, issuer: Issuer, token: &str, now: SystemTime) -> Standing {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table
            .live
            .iter()
            .find(|one| one.issuer == issuer && one.token == token)
        {
            None => Standing::Unknown,
            Some(one) if one.expires_at <= now => Standing::Expired,
            Some(_) => Standing::Valid,
        }
    }

    /// The session of AWS with this access key.
    pub(super) fn session(&self, access_key: &str) -> Option<IssuedToken> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let found = table
            .live
            .iter()
            .find(|one| one.issuer == Issuer::Aws && one.access_key == access_key);
        found.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_issuer_until_it_expires() {
        let tokens = Tokens::new(Duration::from_secs(60));
        let now = SystemTime::UNIX_EPOCH;
        let issued = tokens.issue(Issuer::Entra, now, &Seal::new("m", 0));
        let standing = |issuer, after| {
            tokens.standing(issuer, &issued.token, now + Duration::from_secs(after))
        };
        assert_eq!(standing(Issuer::Entra, 59), Standing::Valid);
        assert_eq!(standing(Issuer::Entra, 60), Standing::Expired);
        assert_eq!(standing(Issuer::Google, 0), Standing::Unknown);
    }

    #[test]
    fn the_oldest_tokens_are_forgotten() {
        let tokens = Tokens::new(Duration::from_secs(60));
        let (now, seal) = (SystemTime::UNIX_EPOCH, Seal::new("m", 0));
        let first = tokens.issue(Issuer::Google, now, &seal);
        for _ in 0..TOKENS_MAX {
            tokens.issue(Issuer::Google, now, &seal);
        }
        assert_eq!(
            tokens.standing(Issuer::Google, &first.token, now),
            Standing::Unknown
        );
    }
}
