//! Whether a forwarded request is accepted: the checks of the node that owns the upstream.
//!
//! A refusal costs the sender one round trip and counts against nobody; it carries the current load.

use std::sync::Arc;

use grapevine_base::call_body::CallBody;
use grapevine_base::exchange::{Call, Caller, is_stream};
use grapevine_base::{asked, headers};
use grapevine_core::admission::{self, ForwardRefused, OwnerNode};
use grapevine_core::forwarding::{Forwarding, PathScope, websocket_model};
use grapevine_core::limit::InFlightGuard;
use grapevine_core::outcome::Refusal;
use grapevine_core::view::View;
use grapevine_proto::frame::RequestHead;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::forwards::ForwardGuard;
use super::hub::Hub;
use super::link::PeerLink;
use super::loads::own_fact;

/// What a call holds until its answer has been relayed.
pub(super) struct Admission {
    _forward: ForwardGuard,
    _in_flight: InFlightGuard,
}

/// Checks a request by its head. Takes no slot for it: its body is still to come.
pub(super) fn admit<L>(
    hub: &Hub<L>,
    head: &RequestHead<'_>,
) -> Result<(PathScope, Call), ForwardRefused> {
    let view = hub.driver.view();
    let rules = hub.rules.serving.load();
    let owner = OwnerNode {
        region: &view.region,
        phase: view.phase,
        serves_requests: serves_requests(&view),
        residency: &rules.residency,
        mesh_rules: &view.mesh_rules,
    };
    let upstream = view.own.get(&head.upstream).map(|upstream| &**upstream);
    let upstream = upstream.zip(own_fact(&view, &head.upstream));
    admission::admit(&owner, upstream, &head.forwarded(), hub.driver.now())?;
    call(head, &rules.forwarding)
}

/// Takes the slots of a request that was received as a whole.
pub(super) fn enter<L>(
    hub: &Hub<L>,
    link: &PeerLink,
    call: &Call,
) -> Result<Admission, ForwardRefused> {
    let view = hub.driver.view();
    let unknown = || ForwardRefused::new(Refusal::UnknownUpstream, "node has no such upstream");
    let upstream = view.own.get(&call.upstream).ok_or_else(unknown)?;
    let key = (Arc::clone(&call.request_id), call.upstream.clone());
    let forward = hub.forwards.enter(&link.peer, key)?;
    let in_flight = upstream
        .in_flight
        .enter_below(upstream.admission_max)
        .ok_or_else(ForwardRefused::upstream_full)?;
    Ok(Admission {
        _forward: forward,
        _in_flight: in_flight,
    })
}

/// The call with what its body asks for, checked against the head: the rules and the choice of the upstream must have used what the
/// upstream will read.
pub(super) fn check_against_head<L>(
    hub: &Hub<L>,
    scope: PathScope,
    call: Call,
) -> Result<Call, ForwardRefused> {
    if call.is_tunnel() {
        return check_tunnel(call);
    }
    let path = call.path.path();
    let asked = asked::read(
        scope,
        &call.method,
        path,
        &call.headers,
        call.body.received(),
    );
    let asked = asked.map_err(|error| {
        ForwardRefused::new(Refusal::Protocol, format!("request's body: {error}"))
    })?;
    if asked.model != call.model {
        let detail = "request's body names another model than its head";
        return Err(ForwardRefused::new(Refusal::Protocol, detail));
    }
    let rules = hub.rules.serving.load();
    let view = hub.driver.view();
    let is_unclear = call.model.is_none()
        && !call.body.is_empty()
        && rules
            .residency
            .depends_on_model(&view.mesh_rules, &call.caller.question());
    if is_unclear {
        let detail = "request names no model, and rules about models concern it";
        return Err(ForwardRefused::new(Refusal::Residency, detail));
    }
    let stream = is_stream(&call.path, asked.stream);
    Ok(Call { stream, ..call })
}

/// A WebSocket's model is that of its query, where that names one, else what its entry found in the client's first message.
fn check_tunnel(call: Call) -> Result<Call, ForwardRefused> {
    let named = websocket_model(call.path.query());
    let named = named.map_err(|error| ForwardRefused::new(Refusal::Protocol, error.to_string()))?;
    if named.is_some_and(|named| call.model.as_ref().is_none_or(|it| it.as_str() != named)) {
        let detail = "request's query names another model than its head";
        return Err(ForwardRefused::new(Refusal::Protocol, detail));
    }
    Ok(Call {
        stream: true,
        ..call
    })
}

/// Whether the node answers requests at all; peers may still have an older value.
fn serves_requests(view: &View) -> bool {
    let own = view.nodes.first().and_then(|node| node.fact.as_ref());
    own.is_none_or(|fact| fact.serves_requests)
}

/// The call that a head describes, without what its body holds and without a deadline. A peer's request must pass the same checks
/// as a client's, whatever the peer checked before.
fn call(
    head: &RequestHead<'_>,
    forwarding: &Forwarding,
) -> Result<(PathScope, Call), ForwardRefused> {
    let malformed = |what: &str| {
        ForwardRefused::new(Refusal::Protocol, format!("request's {what} is malformed"))
    };
    let path: PathAndQuery = head.path.parse().map_err(|_| malformed("path"))?;
    if path.as_str() != head.path {
        return Err(malformed("path"));
    }
    let scope = forwarding
        .permit(head.method, path.path(), path.query())
        .map_err(|error| {
            ForwardRefused::new(
                Refusal::Protocol,
                format!("request is not forwarded here: {error}"),
            )
        })?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed("header name"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| malformed("header value"))?;
        headers.append(name, value);
    }
    headers::clean_request(&mut headers);
    let call = Call {
        request_id: head.request_id.into(),
        upstream: head.upstream.clone(),
        model: head.model.clone(),
        method: Method::from_bytes(head.method.as_bytes()).map_err(|_| malformed("method"))?,
        path,
        headers: Arc::new(headers),
        body: CallBody::default(),
        stream: false,
        deadline: Instant::now(),
        last_resort: head.last_resort,
        allow_regions: head.allow_regions.as_slice().into(),
        caller: Caller {
            client: head.client,
            key: head.key.map(Into::into),
            mark: head.mark,
            lossy: head.lossy,
        },
    };
    Ok((scope, call))
}
