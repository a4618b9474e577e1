//! Signed assertions (JWT): what they claim, and Google's signature scheme.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::Value;

use super::exchange::{seconds, text};

/// The identifier of RSA in a public key's DER.
const RSA: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// An assertion taken apart; nothing of it is verified yet.
pub(super) struct Assertion<'a> {
    pub(super) header: Value,
    pub(super) claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Assertion<'a> {
    pub(super) fn read(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json =
            |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: json(header)?,
            claims: json(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// Whether RS256 with `key` made the signature.
    pub(super) fn is_signed_by(&self, key: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
        text(&self.header, "alg") == "RS256"
            && key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }

    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.claims["exp"]
            .as_u64()
            .is_none_or(|expires| expires <= seconds(now))
    }
}

/// The public key, as PKCS#1, of a PEM text with a public or a private key, or of the JSON of a service account's key.
pub(super) fn public_key(text: &str) -> Option<Vec<u8>> {
    let account: Option<Value> = serde_json::from_str(text).ok();
    let account_key = account
        .as_ref()
        .and_then(|account| account["private_key"].as_str());
    let pem = account_key.unwrap_or(text);
    let inside: String = pem
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = STANDARD.decode(inside).ok()?;
    if pem.contains("BEGIN PRIVATE KEY") {
        return Some(
            RsaKeyPair::from_pkcs8(&der)
                .ok()?
                .public_key()
                .as_ref()
                .to_vec(),
        );
    }
    if pem.contains("BEGIN RSA PRIVATE KEY") {
        return Some(
            RsaKeyPair::from_der(&der)
                .ok()?
                .public_key()
                .as_ref()
                .to_vec(),
        );
    }
    let Some(at) = der.windows(RSA.len()).position(|window| window == RSA) else {
        return Some(der);
    };
    // A bit string: its tag, its length, and no unused bits.
    let bits = der.get(at + RSA.len() + 1..)?;
    let length_bytes = match bits.first()? {
        long if *long >= 0x80 => usize::from(long & 0x7f),
        _ => 0,
    };
    bits.get(1 + length_bytes + 1..).map(<[u8]>::to_vec)
}
