//! Tokens of Google: a service account's, by an assertion that its key signs (RFC 7523, Google's OAuth 2.0 for service
//! accounts), or the machine's, by the metadata server.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use grapevine_config::checked::{GoogleConfig, GoogleSource, ServiceAccount};
use http::HeaderName;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use super::CredentialFailure;
use super::endpoint::{EndpointClient, EndpointRequest, pairs};
use super::issue::Issue;
use super::token::{TokenAnswer, seconds_since_1970};

/// How an assertion is exchanged for a token.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How long an assertion holds: the longest that Google takes.
const ASSERTION_SECONDS: f64 = 3_600.0;

/// The metadata server answers only to requests with this header.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// The account of the machine.
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// A new token.
pub(super) async fn obtain(
    config: &GoogleConfig,
    client: &EndpointClient,
) -> Result<Issue, CredentialFailure> {
    let request = match &config.source {
        GoogleSource::ServiceAccount(account) => {
            let assertion = assertion(account, &config.scope, seconds_since_1970())?;
            let fields = [("grant_type", GRANT_TYPE), ("assertion", &assertion)];
            EndpointRequest::form(&account.token_url, &fields)
        }
        GoogleSource::Metadata { url } => {
            let path = format!("{METADATA_PATH}?{}", pairs(&[("scopes", &config.scope)]));
            EndpointRequest::get(url, &path).with(FLAVOR, "Google")
        }
    };
    client.json::<TokenAnswer>(request).await?.issue()
}

/// A JSON Web Token by which the account asks for a token at `now`, in seconds since 1970 (RFC 7519, RS256).
fn assertion(account: &ServiceAccount, scope: &str, now: f64) -> Result<String, CredentialFailure> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(account.private_key.expose().as_bytes());
    let key = key.map_err(|_| CredentialFailure::Key)?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der());
    let key = key.map_err(|_| CredentialFailure::Key)?;
    let mut header = serde_json::json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.key_id {
        header["kid"] = id.as_str().into();
    }
    let claims = serde_json::json!({
        "iss": account.client_email,
        "scope": scope,
        "aud": account.token_url.to_string(),
        "iat": now as u64,
        "exp": (now + ASSERTION_SECONDS) as u64,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut token = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    let signed = key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        token.as_bytes(),
        &mut signature,
    );
    signed.map_err(|_| CredentialFailure::Key)?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use grapevine_config::Secret;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// A key for tests alone.
    const KEY: &str = include_str!("tests/service-account-key.pem");

    fn account(key: &str) -> ServiceAccount {
        ServiceAccount {
            file: "account.json".into(),
            client_email: "node@project.example".to_owned(),
            key_id: Some("k1".to_owned()),
            private_key: Secret::new(key),
            token_url: "https://oauth2.example/token".parse().expect("a URL"),
        }
    }

    #[test]
    fn assertion_is_signed_by_the_accounts_key() {
        let token = assertion(&account(KEY), "scope", 1_000.5).expect("a good key");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64");
        let key = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).expect("a PEM file");
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).expect("a key");
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public().as_ref());
        public
            .verify(signed.as_bytes(), &decoded(signature))
            .expect("a good signature");
        let parts: Vec<serde_json::Value> = signed
            .split('.')
            .map(|part| serde_json::from_slice(&decoded(part)).expect("JSON"))
            .collect();
        assert_eq!(
            parts[0],
            serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
        );
        assert_eq!(parts[1]["aud"], "https://oauth2.example/token");
        assert_eq!(
            (&parts[1]["iat"], &parts[1]["exp"]),
            (&1_000.into(), &4_600.into())
        );
    }

    #[test]
    fn text_that_is_no_key_signs_nothing() {
        for key in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert_eq!(
                assertion(&account(key), "s", 0.0),
                Err(CredentialFailure::Key)
            );
        }
    }
}
