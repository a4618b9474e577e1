//! Signatures that only this mock can write: of thinking, of calls, and of reasoning that a client keeps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Signs what clients must bring back unchanged. The key follows from the mock's name and seed, so that a mock started
/// again still knows its signatures.
#[derive(Debug)]
pub(super) struct Seal {
    key: hmac::Key,
}

impl Seal {
    pub(super) fn new(name: &str, seed: u64) -> Self {
        let secret = format!("grapevine mock {name} {seed}");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        }
    }

    /// The signature of `content` for one `purpose`, in base64.
    pub(super) fn sign(&self, purpose: &str, content: &str) -> String {
        STANDARD.encode(hmac::sign(&self.key, signed(purpose, content).as_bytes()))
    }

    pub(super) fn verify(&self, purpose: &str, content: &str, signature: &str) -> bool {
        STANDARD.decode(signature).is_ok_and(|tag| {
            hmac::verify(&self.key, signed(purpose, content).as_bytes(), &tag).is_ok()
        })
    }
}

fn signed(purpose: &str, content: &str) -> String {
    format!("{purpose}\n{content}")
}
