//! Which path is whose: health, the list of models, and everything that goes to an upstream.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::connection::Late;
use super::door;
use super::head;
use super::intake;
use super::keys::{Key, KeyError};
use super::listing::{self, Dialect};
use super::problem::Problem;
use super::reply::{self, Reply};
use super::request::{self, Admitted};
use super::track::Track;
use super::visitor::Visitor;
use super::{Context, Settings};
use crate::exchange::{CallLocal, CallPeer};
use crate::headers;

const MODELS_PATH: &str = "/v1/models";
const API_PREFIX: &str = "/v1/";

/// Paths that take `POST` only.
const POST_ONLY: [&str; 4] = [
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
];

/// Answers one request of a client.
pub(super) async fn serve<L: CallLocal, P: CallPeer>(
    context: &Context<L, P>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Reply {
    let settings = context.settings.load_full();
    let (head, body) = request.into_parts();
    let origin = head.headers.get(header::ORIGIN).cloned();
    let mut reply = dispatch(context, &settings, head, body, peer).await;
    if let Some(origin) = origin {
        settings.cors.mark(&origin, reply.headers_mut());
    }
    reply
}

async fn dispatch<L: CallLocal, P: CallPeer>(
    context: &Context<L, P>,
    settings: &Arc<Settings>,
    head: Parts,
    body: Incoming,
    peer: SocketAddr,
) -> Reply {
    if let Some((status, headers)) = settings.cors.preflight(&head.method, &head.headers) {
        return reply::empty(status, headers);
    }
    let path = head.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let is_read = head.method == Method::GET || head.method == Method::HEAD;
    let own = match path.path() {
        "/healthz" | "/health/liveliness" if is_read => {
            Some((StatusCode::OK, json!({"status": "alive"})))
        }
        "/readyz" | "/health/readiness" if is_read => {
            let reasons = context.readiness.reasons(&context.desk.view());
            let status = match reasons.is_ready() {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            Some((status, reasons.to_json()))
        }
        _ => None,
    };
    let track = Track::begin_request(
        &context.desk,
        &context.recorder,
        settings,
        door::request_id(&head.headers),
        (head.method.clone(), path),
    );
    if let Some((status, body)) = own {
        return reply::own_unrecorded(track, status, &body);
    }
    let is_models =
        track.path().path() == MODELS_PATH || track.path().path().starts_with("/v1/models/");
    let mut visit = Visit {
        context,
        settings,
        track,
    };
    let answered = if is_models {
        visit.models(&head)
    } else {
        match visit.admit(head, body, peer).await {
            Ok(admitted) => return request::answer(context, admitted, visit.track).await,
            Err(problem) => Err(problem),
        }
    };
    match answered {
        Ok(list) => reply::own(visit.track, StatusCode::OK, &list),
        Err(problem) => reply::problem(visit.track, &problem),
    }
}

/// One request at the door.
struct Visit<'a, L, P> {
    context: &'a Context<L, P>,
    settings: &'a Arc<Settings>,
    track: Track,
}

impl<L: CallLocal, P: CallPeer> Visit<'_, L, P> {
    /// Lets a request in that goes to an upstream, and takes its body.
    async fn admit(
        &mut self,
        mut head: Parts,
        mut body: Incoming,
        peer: SocketAddr,
    ) -> Result<Admitted, Problem> {
        let checked = self.check(&head);
        let (key, wishes) = match checked {
            Ok(checked) => checked,
            Err(problem) => {
                intake::linger(&mut body).await;
                return Err(problem);
            }
        };
        let budget = self.context.desk.budget();
        if budget.requests() >= self.settings.in_flight_max {
            return Err(Problem::node_full());
        }
        self.track.let_in(budget.request());
        let settings = self.settings;
        let (max, pause) = (settings.body_bytes_max, settings.body_timeout);
        let body: Bytes = intake::read(body, &head.headers, max, pause).await?;
        let path = self.track.path().path();
        let asked = head::read(&head.method, path, &head.headers, &body)?;
        self.track.body_is_in(&asked);
        let refusal = key
            .as_ref()
            .and_then(|key| key.refusal(asked.model.as_ref()));
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let whereabouts = self.context.locate.locate(peer, &head.headers);
        let key = key.map(|key| key.name.clone());
        let peers = &self.context.desk.view().peer_rules;
        let visitor = Visitor::new(settings, peers, whereabouts, key, asked.model.as_ref());
        if let Some(fence) = visitor.fence() {
            self.track.set_fence(fence);
        }
        door::clean(&mut head.headers);
        Ok(Admitted {
            headers: head.headers,
            wishes,
            visitor,
            head: asked,
            body,
        })
    }

    /// Everything that can be said before the body is here.
    fn check(&mut self, head: &Parts) -> Result<(Option<Arc<Key>>, door::Wishes), Problem> {
        if head.extensions.get::<Late>().is_some() {
            return Err(Problem::draining());
        }
        let path = self.track.path().path();
        if !path.starts_with(API_PREFIX) {
            return Err(Problem::unknown_path(path));
        }
        door::check_path(path)?;
        if head.method == Method::CONNECT || head.method == Method::TRACE {
            return Err(Problem::method_not_allowed("GET, POST, PUT, PATCH, DELETE"));
        }
        if POST_ONLY.contains(&path) && head.method != Method::POST {
            return Err(Problem::method_not_allowed("POST"));
        }
        if headers::has_passed(&head.headers, &self.settings.passed) {
            return Err(Problem::looped());
        }
        let key = self.key(head)?;
        let wishes = door::wishes(&head.headers)?;
        Ok((key, wishes))
    }

    fn key(&mut self, head: &Parts) -> Result<Option<Arc<Key>>, Problem> {
        let checked = self.settings.keys.check(&head.headers);
        let key = checked.map_err(|error| match error {
            KeyError::Missing => Problem::missing_key(),
            KeyError::Unknown => Problem::unknown_key(),
        })?;
        if let Some(key) = &key {
            self.track.set_key(key.name.clone());
        }
        Ok(key)
    }

    /// The list of models, or one of them.
    fn models(&mut self, head: &Parts) -> Result<serde_json::Value, Problem> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Problem::method_not_allowed("GET"));
        }
        let key = self.key(head)?;
        let dialect = Dialect::of(&head.headers);
        let view = self.context.desk.view();
        let path = self.track.path().path();
        let name = path
            .strip_prefix("/v1/models/")
            .filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Ok(listing::list(&view, key.as_deref(), dialect));
        };
        let model = listing::model_of(name);
        let found = model
            .as_ref()
            .and_then(|model| listing::find(&view, key.as_deref(), model, dialect));
        found.ok_or_else(|| match model {
            Some(model) => Problem::unknown_model(Some(&model), &[]),
            None => Problem::invalid(Some("model"), "the path names no model that could exist"),
        })
    }
}
