//! An identity provider: publishes its keys, and issues tokens.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::wait::must;

/// An OpenID Connect provider on loopback, gone when dropped.
#[derive(Debug)]
pub struct IdentityProvider {
    address: SocketAddr,
    key: EcdsaKeyPair,
    key_id: String,
    published: Arc<Mutex<Value>>,
    server: JoinSet<()>,
}

fn new_key() -> EcdsaKeyPair {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = must("a key", EcdsaKeyPair::generate_pkcs8(algorithm, &random));
    must(
        "the key",
        EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random),
    )
}

fn key_set(key: &EcdsaKeyPair, id: &str) -> Value {
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": x, "y": y}]})
}

impl IdentityProvider {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start() -> Self {
        let listener = must(
            "listening",
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
        );
        let address = must("the address", listener.local_addr());
        let key = new_key();
        let published = Arc::new(Mutex::new(key_set(&key, "key-1")));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&published)));
        Self {
            address,
            key,
            key_id: "key-1".to_owned(),
            published,
            server,
        }
    }

    /// Its issuer URL.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Signs with a new key from now on, and publishes that one alone.
    pub fn rotate(&mut self) {
        (self.key, self.key_id) = (new_key(), "key-2".to_owned());
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *published = key_set(&self.key, &self.key_id);
    }

    /// Answers no more.
    pub async fn stop(&mut self) {
        self.server.shutdown().await;
    }

    /// A token with these claims, and those that every token has.
    ///
    /// # Panics
    /// When `claims` is no object.
    #[must_use]
    pub fn issue(&self, claims: &Value) -> String {
        let mut all = json!({"iss": self.issuer(), "aud": "grapevine", "exp": 4_000_000_000_u64});
        let more = claims.as_object().into_iter().flatten();
        for (name, value) in more {
            all[name] = value.clone();
        }
        let header = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&all));
        let signed = self.key.sign(&SystemRandom::new(), message.as_bytes());
        let signature = must("a signature", signed);
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn serve(listener: TcpListener, published: Arc<Mutex<Value>>) {
    while let Ok((stream, _)) = listener.accept().await {
        // A client that goes away is not waited for.
        let _ = answer(stream, &published).await;
    }
}

async fn answer(mut stream: TcpStream, published: &Mutex<Value>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let issuer = format!("http://{}", stream.local_addr()?);
    let (status, body) = match head.split(' ').nth(1) {
        Some("/.well-known/openid-configuration") => (
            200,
            json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys?v=1")}),
        ),
        Some("/keys?v=1") => {
            let published = published.lock().unwrap_or_else(PoisonError::into_inner);
            (200, published.clone())
        }
        _ => (404, json!({})),
    };
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
