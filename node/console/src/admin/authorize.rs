//! Who may use the operator's port: callers with the token, if one is set, and no foreign web page.
//!
//! Guessing is bounded by address ([`grapevine_core::guesses`]), on loopback too, where every program of
//! the machine can ask.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Json, Response};
use grapevine_base::clock;
use grapevine_base::listener::burst::Burst;
use grapevine_base::listener::metrics::{Listener, Unauthorized};
use grapevine_config::Secret;
use grapevine_core::guesses::{GuessVerdict, Guesses};
use grapevine_keys::rights::KeyScope;
use serde_json::json;
use tracing::warn;

use super::serve::Peer;
use super::{Admin, browsers};

/// The record of wrong tokens. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TokenGuard {
    guesses: Arc<Mutex<Guesses>>,
    burst: Burst,
}

impl TokenGuard {
    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token of a request, where one is required.
enum Shown {
    Right,
    /// An issued key that may read and nothing else.
    Reader,
    Nothing,
    Wrong,
    /// Not checked: the address is blocked for this long.
    Unread(Duration),
}

/// Lets in callers with the token, if one is set. Liveness and readiness stay open for orchestrators.
pub(super) async fn authorize(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = &admin.token else {
        return match browsers::refusal(request.headers()) {
            Some(error) => (StatusCode::FORBIDDEN, Json(json!({"error": error}))).into_response(),
            None => next.run(request).await,
        };
    };
    match shown(&admin, token, &request) {
        Shown::Right => return next.run(request).await,
        Shown::Reader if is_reading(&request) => return next.run(request).await,
        Shown::Reader => {
            let error = "this key has the scope admin:read; this needs admin:operate";
            return (StatusCode::FORBIDDEN, Json(json!({"error": error}))).into_response();
        }
        Shown::Unread(left) => return blocked(left),
        // Not a guess: a browser that opens the page, or a scraper without its token.
        Shown::Nothing => count(&admin, Unauthorized::Missing),
        Shown::Wrong => {}
    }
    let error = "this port asks for `Authorization: Bearer TOKEN`, with the value of admin.token";
    (StatusCode::UNAUTHORIZED, Json(json!({"error": error}))).into_response()
}

/// Whether the request may see everything. An open route must not reveal for free whether a token is right:
/// wrong ones count here too.
pub(super) fn is_operator(admin: &Admin, request: &Request) -> bool {
    let token = admin.token.as_ref();
    token.is_none_or(|token| {
        let shown = shown(admin, token, request);
        matches!(shown, Shown::Right | Shown::Reader)
    })
}

fn shown(admin: &Admin, token: &Secret, request: &Request) -> Shown {
    let header = request.headers().get(header::AUTHORIZATION);
    let Some(header) = header else {
        return Shown::Nothing;
    };
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map_or(Ipv4Addr::LOCALHOST.into(), |Peer(address)| *address);
    if let Some(left) = admin.guard.guesses().blocked(admin.driver.now(), peer) {
        count(admin, Unauthorized::Blocked);
        return Shown::Unread(left);
    }
    let given = header.to_str().ok();
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| token.matches(given)) {
        admin.guard.guesses().succeeded(peer);
        return Shown::Right;
    }
    if let Some(shown) = given.and_then(|given| issued(admin, given)) {
        admin.guard.guesses().succeeded(peer);
        return shown;
    }
    failed(admin, peer);
    Shown::Wrong
}

/// What an issued key permits here; `None` where `given` is none, or none for this port.
fn issued(admin: &Admin, given: &str) -> Option<Shown> {
    let ring = admin.keys.ring();
    let key = ring.check(given.as_bytes(), clock::wall(), &[]).ok()?;
    // A static key is for the API alone.
    key.id.as_ref()?;
    if key.is_for(KeyScope::AdminOperate) {
        return Some(Shown::Right);
    }
    key.is_for(KeyScope::AdminRead).then_some(Shown::Reader)
}

fn is_reading(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

fn count(admin: &Admin, reason: Unauthorized) {
    let metrics = admin.metrics.connections();
    metrics.unauthorized(Listener::Admin, reason);
}

fn failed(admin: &Admin, peer: IpAddr) {
    count(admin, Unauthorized::Wrong);
    let verdict = admin.guard.guesses().failed(admin.driver.now(), peer);
    if let GuessVerdict::Blocked(_) = verdict {
        let begin = || {
            warn!(
                peer.address = %peer,
                "wrong tokens at the admin port: their address is blocked for a while"
            );
        };
        let end = |blocks| warn!(blocks, "no more wrong tokens at the admin port");
        admin.guard.burst.hit(begin, end);
    }
}

fn blocked(left: Duration) -> Response {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let error = "too many wrong tokens came from this address; wait, or ask from another one";
    let answer = (StatusCode::TOO_MANY_REQUESTS, Json(json!({"error": error})));
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
