//! The signatures of tokens, by ring, which is the node's one provider of cryptography.
//!
//! Issued keys are signed with Ed25519 alone. Tokens of identity providers are verified with what OpenID Connect
//! providers sign with: RSA of 2,048 bits or more (PKCS #1 and PSS), ECDSA over P-256 and P-384, and Ed25519. No HMAC:
//! its key would be a secret that verifies and forges alike.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, Ed25519KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// Makes ring the provider of jsonwebtoken in this process.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    // An error means that it was installed before.
    INSTALLED.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

/// What jsonwebtoken checks: the signature alone, by `algorithm`. Times and the audience are checked by this crate, against
/// the time that it is passed.
pub(super) fn signature_by(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| match algorithm {
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes());
            let pair = pair.map_err(|_| Error::from(ErrorKind::InvalidEddsaKey))?;
            Ok(Box::new(EdSigner(pair)))
        }
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let key = match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => PublicKey::Bytes(whole(*algorithm)?, bytes.clone()),
        DecodingKeyKind::RsaModulusExponent { n, e } => PublicKey::Rsa(
            rsa(*algorithm)?,
            RsaPublicKeyComponents {
                n: n.clone(),
                e: e.clone(),
            },
        ),
    };
    Ok(Box::new(RingVerifier(*algorithm, key)))
}

fn whole(algorithm: Algorithm) -> Result<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::EdDSA => Ok(&ED25519),
        Algorithm::ES256 => Ok(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Ok(&ECDSA_P384_SHA384_FIXED),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

fn rsa(algorithm: Algorithm) -> Result<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Ok(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Ok(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Ok(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Ok(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Ok(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Ok(&RSA_PSS_2048_8192_SHA512),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

struct EdSigner(Ed25519KeyPair);

impl Signer<Vec<u8>> for EdSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for EdSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

enum PublicKey {
    Bytes(&'static dyn VerificationAlgorithm, Vec<u8>),
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
}

struct RingVerifier(Algorithm, PublicKey);

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let verified = match &self.1 {
            PublicKey::Bytes(algorithm, bytes) => {
                UnparsedPublicKey::new(*algorithm, bytes).verify(message, given)
            }
            PublicKey::Rsa(parameters, key) => key.verify(parameters, message, given),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}
