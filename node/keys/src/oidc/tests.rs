use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use serde_json::json;

use super::super::issuer::IssuingKey;
use super::super::jws::{self, Purpose};
use super::*;

const ISSUER: &str = "https://id.example.com/";

/// Of no other use than to sign what these tests read.
const RSA_KEY: &str = "MIIEowIBAAKCAQEApYV3JQpUSMEbrbJ0yVqomcbjqumlp3Hcs2X1PpOEfXY8bJ+DwJl7mrzsk9YU3D+KTJqat0KumuB//65rLtPk \
     TkfBhvvR79DiByfS5ZszmZ5VL691+5dq72KORf986MPPnyDbjT5xZFvpoBRlIOQf9GayqhCk/IaZls8SaHIMk8qA/fVj0srinNpc \
     namS4IOb9tJgPgnItbiA26qU1HCfBiirzfx/s+wShNCXGE+Id6wJCoIqCq3UEoxTXL/9fKkGa1pwC6P/Oss2BVs2sGoywXtkUbPI \
     VIWCadGYORXYp8ZdbVI+dsZS1z4H5WrJ9rbaXxjv6q7uxZ0kMCv01Hyx8QIDAQABAoIBACdkM7ZqNqRI5son7ADGdVUBfwmcCMso \
     fx5nr52IlHGaS6eLL9sMe9zXxNKrEnRXH9X6vkLKWQztTDEAZKw0i8Mwcwdpky0IUF5lFR0FGlrfEkVis8igILgfQ543fxXTEex8 \
     MJv05h38/MTWzblt6QfsT+1GwEkDzHYWSjp2l/UszG5p0A4xE6mZlpu91XqBFy+Ke+f4gDnSlbIzaJIviU1lMUkZxbYHFqEg1Gqg \
     KhZxqnpyN789OGO/w7SCHU21U0SCiQrMILHY7Vxgxy+AvFjzil6ole2mcNuvmenaw8vRYOgIEmo+IgEaELwl5eoZGjMdDELf3CYs \
     +QqRCFVc37UCgYEA2n4xtWIq24/nOSbNuxLKZolJSUuNrgs2kM+8naIYdF5mreit8kLGMFWAZVvcJv9LmDIwHbe0ndShygLqQDHn \
     UN38aRWKR5p8E2N26doeMkVngNUIGVtNh7uJOlraY9vGo52lUf/0E+q/Eu/mAWwIVO2MbY2m5WEp9RSB/W2jXEUCgYEAwe9m77q3 \
     51QIhJ2TUdRi4+HwQjfvyeOX5Q+oaH+r6/TIfAnJCNGT2Ckkc3taTR6dR4SDXjmXG/0arsUF9jextdmxse7a6iK2ug5MOOgCLxBJ \
     bL0uZHKL7lG36p7FG2gZK+qeb3Xr/Z4/JsEwkFMv0sTZKtF30D1H4qHKin6f970CgYATe7VLC1nvAkIIIqGt0NsjkZJrasVTg8R1 \
     3VBgbhfoKJLXZyw7siCiJr2wTCSxhYpkI/WOcNc2S8Oxk9j3qHuMBn9/j2ApSmlOAUyVRdHzgaTdJCH4wN+E/wAZqAhZZzurU19u \
     lHhbXk9zjNjhv5RunlArZLpBMgzfwdhllOVAUQKBgGzda+ZE5XlZBdMT9Z/o3n5X1ZwGdHfbZ+fwyzOl/6db6LMgdxaZNyoPpmOh \
     KgbCmb2M2IWrRHU0tqbG+NrHVt3jT0m38HGgfPyijA0hyCANP3poFEPUvVJR0zFEYRdKb17kvH2LL6dWDtM9fXp3CBCD6fiMT3q4 \
     +8Jv2he2jyvtAoGBALkXfQyBfN62VIG4HVYXtZGFh3ALZZuzBxZvutegWXLu+/PWlN8UZxtL91zuCOr+qnkZ7RP9FA+afe0eJVOK \
     WxNwhbeXnU0ZsKQZqMpmRpLSwhsFitf5fOwG94IuMgOUoihbkqSxFKikSq2Fl307n4gEGX1X3INPWl+BMcYCHryj";

/// An identity provider with a P-256 key called `p` and an RSA key called `r`.
struct Provider {
    p256: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl Provider {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("random bytes");
        let p256 = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a key");
        let der = STANDARD.decode(RSA_KEY.replace(' ', "")).expect("base64");
        let rsa = RsaKeyPair::from_der(&der).expect("a key");
        Self { p256, rsa }
    }

    fn keys(&self) -> SigningKeySet {
        let point = self.p256.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let set = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "p", "use": "sig", "x": text(x), "y": text(y)},
            {"kty": "RSA", "kid": "r", "alg": "RS256", "n": text(&public.n), "e": text(&public.e)},
        ]});
        SigningKeySet::read(set.to_string().as_bytes()).expect("a set")
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match header["kid"] == "r" {
            true => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                let signed = self.rsa.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    message.as_bytes(),
                    &mut signature,
                );
                signed.expect("a signature");
                signature
            }
            false => {
                let signed = self.p256.sign(&random, message.as_bytes());
                signed.expect("a signature").as_ref().to_vec()
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn es256() -> Value {
    json!({"alg": "ES256", "kid": "p", "typ": "JWT"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["account", "grapevine"], "sub": "auth0|5f7c", "exp": 2_000, "nbf": 1_000.5,
        "groups": ["staff", "research"], "realm_access": {"roles": ["llm"]}, "email_verified": true,
    })
}

fn wanted(claims: &[(&str, &[&str])]) -> WantedClaims {
    let text = |text: &&str| (*text).to_owned();
    let claims = claims.iter();
    claims
        .map(|(name, values)| ((*name).to_owned(), values.iter().map(text).collect()))
        .collect()
}

fn clients(claims: &[(&str, &[&str])], rpm: u64) -> OidcClients {
    let mut rights = KeyRights::default();
    rights.limits.rpm = Some(rpm);
    OidcClients {
        claims: wanted(claims),
        rights,
    }
}

fn rules() -> OidcRules {
    OidcRules {
        issuer: ISSUER.to_owned(),
        audiences: ["grapevine".to_owned()].into(),
        name_claim: "sub".to_owned(),
        claims: WantedClaims::new(),
        clients: vec![clients(&[], 1)],
    }
}

fn oidc(provider: &Provider, rules: OidcRules) -> Oidc {
    Oidc {
        rules,
        keys: Some(ProviderKeys {
            set: provider.keys(),
            fetched_at: Duration::ZERO,
        }),
        ask_for_keys: Arc::new(|| {}),
    }
}

fn refusal(oidc: &Oidc, token: &str) -> &'static str {
    let opened = oidc.open(token.as_bytes());
    opened.map_or_else(|refusal| refusal.code(), |_| "taken")
}

#[test]
fn token_of_the_provider_is_a_key_with_the_rights_of_the_rules() {
    let provider = Provider::new();
    let oidc = oidc(&provider, rules());
    let rs256 = json!({"alg": "RS256", "kid": "r"});
    for header in [es256(), rs256] {
        let token = provider.sign(&header, &claims());
        let key = oidc.open(token.as_bytes()).expect("a key");
        assert_eq!(key.rights.limits.rpm, Some(1));
        assert!(key.name.starts_with("oidc.auth0-5f7c."), "{}", key.name);
        assert_eq!(key.expires_at, Some(Duration::from_secs(2_000)));
        assert_eq!(key.not_before, Duration::from_millis(940_500));
        let again = oidc.open(token.as_bytes()).expect("a key");
        assert_eq!(again.id, key.id, "a holder has one id");
    }
}

#[test]
fn claims_choose_among_the_rules_and_nobody_else_is_let_in() {
    let provider = Provider::new();
    let mut rules = rules();
    rules.clients = vec![
        clients(&[("groups", &["admins"])], 1),
        clients(
            &[
                ("realm_access.roles", &["llm"]),
                ("email_verified", &["true"]),
            ],
            2,
        ),
        clients(&[("groups", &["research", "other"])], 3),
    ];
    let rpm = |change: &dyn Fn(&mut Value), rules: &OidcRules| {
        let mut claims = claims();
        change(&mut claims);
        let token = provider.sign(&es256(), &claims);
        let opened = oidc(&provider, rules.clone()).open(token.as_bytes());
        opened
            .map(|key| key.rights.limits.rpm)
            .map_err(|refusal| refusal.code())
    };
    assert_eq!(rpm(&|_| {}, &rules), Ok(Some(2)));
    assert_eq!(
        rpm(&|claims| claims["email_verified"] = false.into(), &rules),
        Ok(Some(3))
    );
    let in_no_group = |claims: &mut Value| {
        claims["groups"] = json!([["research"], {"research": true}]);
        claims["realm_access"] = "roles".into();
    };
    assert_eq!(rpm(&in_no_group, &rules), Err("client_not_allowed"));
    rules.claims = wanted(&[("tenant", &["a"])]);
    assert_eq!(rpm(&|_| {}, &rules), Err("client_not_allowed"));
    assert_eq!(
        rpm(&|claims| claims["tenant"] = "a".into(), &rules),
        Ok(Some(2))
    );
}

#[test]
fn tokens_for_others_of_others_and_without_a_holder_are_refused() {
    let provider = Provider::new();
    let oidc = oidc(&provider, rules());
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        refusal(&oidc, &provider.sign(&es256(), &claims))
    };
    assert_eq!(with("aud", "grapevine".into()), "taken");
    assert_eq!(with("aud", "other".into()), "key_for_another_audience");
    assert_eq!(with("aud", json!([])), "key_for_another_audience");
    assert_eq!(
        with("iss", "https://id.example.com".into()),
        "key_issuer_unknown"
    );
    for name in [json!(""), json!(7), json!("x".repeat(256)), Value::Null] {
        assert_eq!(with("sub", name), "key_without_a_name");
    }
    assert_eq!(with("exp", Value::Null), "key_not_understood");
    assert_eq!(with("exp", "soon".into()), "key_not_understood");
    let far = with("exp", json!(1e300));
    assert_eq!(
        far, "taken",
        "it is refused as expired where times are checked"
    );
}

#[test]
fn cut_changed_and_unsigned_tokens_are_refused() {
    let provider = Provider::new();
    let oidc = oidc(&provider, rules());
    let token = provider.sign(&es256(), &claims());
    for length in 0..token.len() {
        assert_ne!(refusal(&oidc, &token[..length]), "taken", "{length}");
    }
    let mut other = claims();
    other["sub"] = "root".into();
    let other = provider.sign(&es256(), &other);
    let (parts, others): (Vec<_>, Vec<_>) =
        (token.split('.').collect(), other.split('.').collect());
    let mixed = [parts[0], others[1], parts[2]].join(".");
    assert_eq!(refusal(&oidc, &mixed), "key_signature_wrong");
    for algorithm in ["none", "HS256", "RS256", "ES384"] {
        let header = json!({"alg": algorithm, "kid": "p"});
        assert_ne!(
            refusal(&oidc, &provider.sign(&header, &claims())),
            "taken",
            "{algorithm}"
        );
    }
    let critical = json!({"alg": "ES256", "kid": "p", "crit": ["x"], "x": 1});
    assert_eq!(
        refusal(&oidc, &provider.sign(&critical, &claims())),
        "key_malformed"
    );
    let long = "e".repeat(OIDC_TOKEN_BYTES_MAX + 1);
    assert_eq!(refusal(&oidc, &long), "key_malformed");
}

#[test]
fn issued_key_is_no_token_of_the_provider() {
    let provider = Provider::new();
    let key = IssuingKey::generate().expect("a key");
    let issued = jws::sign(Purpose::Key, &claims(), &key).expect("a token");
    assert_eq!(
        refusal(&oidc(&provider, rules()), &issued),
        "key_issuer_unknown"
    );
}

#[test]
fn unknown_signing_key_is_asked_for_and_without_any_key_the_node_says_so() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let provider = Provider::new();
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let mut oidc = oidc(&provider, rules());
    oidc.ask_for_keys = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let header = json!({"alg": "ES256", "kid": "new"});
    let token = provider.sign(&header, &claims());
    assert_eq!(refusal(&oidc, &token), "key_issuer_unknown");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    oidc.keys = None;
    assert_eq!(refusal(&oidc, &token), "identity_provider_keys_unknown");
}

#[test]
fn names_of_holders_are_of_one_form_and_no_two_are_alike() {
    let long = "x".repeat(200);
    let longer = "x".repeat(201);
    let holders = [
        "alice",
        "a@b.c",
        "a-b.c",
        "a b.c",
        "ä",
        "ö",
        "-",
        "-a",
        "a-",
        &long,
        &longer,
        "a-b.c.0123456789ab",
    ];
    let names: BTreeSet<String> = holders.iter().map(|holder| name(holder)).collect();
    assert_eq!(names.len(), holders.len(), "{names:?}");
    for name in &names {
        assert!(grapevine_core::ids::NodeName::new(name).is_ok(), "{name}");
    }
    assert_eq!(name("alice"), "oidc.alice");
    let hashed = name("a@b.c");
    let chosen = hashed.strip_prefix(NAME_PREFIX).expect("the prefix");
    assert_ne!(name(chosen), hashed);
    assert_ne!(KeyId::of_holder("ab", "c"), KeyId::of_holder("a", "bc"));
}
