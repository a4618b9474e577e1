//! Whether a forwarded request is taken: the checks of the node that owns the upstream.
//!
//! A refusal costs the sender one round trip and counts against nobody; it carries the true load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use grapevine_core::fact::{Phase, Standing};
use grapevine_core::forwarding::{Forwarding, Scope};
use grapevine_core::ids::{ModelName, NodeName, UpstreamName};
use grapevine_core::limit::InFlightGuard;
use grapevine_core::link::CALLS_MAX;
use grapevine_core::outcome::Refusal;
use grapevine_core::residency::Question;
use grapevine_core::share::{Held, Over};
use grapevine_core::view::{UpstreamView, View};
use grapevine_proto::frame::RequestHead;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::hub::{Hub, own_fact};
use super::links::Link;
use crate::exchange::{Call, Caller, RequestId};
use crate::{asked, headers};

/// A request is forwarded once.
const HOPS_MAX: u8 = 1;

/// Forwarded requests under way at this node at most. One peer alone gets half of them: above the requests
/// that one link carries.
const UNDERWAY_MAX: u64 = 32_768;

const _: () = assert!(
    UNDERWAY_MAX / 2 >= CALLS_MAX as u64,
    "one peer's share is a full link"
);

/// Forwarded requests under way here.
#[derive(Clone, Debug, Default)]
pub(super) struct Underway(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    requests: BTreeSet<(RequestId, UpstreamName)>,
    /// How many of them each peer sent; none is in it without any.
    by_peer: BTreeMap<NodeName, u64>,
}

/// One of them; forgotten when dropped.
#[derive(Debug)]
struct UnderwayGuard {
    all: Underway,
    peer: NodeName,
    key: (RequestId, UpstreamName),
}

/// Why there will be no call.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) detail: String,
}

/// What a call holds until its answer has been relayed.
pub(super) struct Admission {
    _underway: UnderwayGuard,
    _in_flight: InFlightGuard,
}

impl Underway {
    /// Notes a request of `peer`; refuses one that is there already, or one too many.
    fn enter(
        &self,
        peer: &NodeName,
        id: &RequestId,
        upstream: &UpstreamName,
    ) -> Result<UnderwayGuard, Refused> {
        let key = (Arc::clone(id), upstream.clone());
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.requests.contains(&key) {
            return Err(refused(Refusal::Duplicate, "request is under way already"));
        }
        let held = Held {
            limit: UNDERWAY_MAX,
            all: places.requests.len() as u64,
            own: places.by_peer.get(peer).copied().unwrap_or_default(),
        };
        held.admit(1).map_err(|over| {
            let detail = match over {
                Over::Whole => "too many requests of peers are under way",
                Over::Share => "requests of this peer have their share of the places for peers",
            };
            refused(Refusal::Full, detail)
        })?;
        places.requests.insert(key.clone());
        *places.by_peer.entry(peer.clone()).or_default() += 1;
        Ok(UnderwayGuard {
            all: self.clone(),
            peer: peer.clone(),
            key,
        })
    }
}

impl Drop for UnderwayGuard {
    fn drop(&mut self) {
        let mut places = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.requests.remove(&self.key);
        if let Some(count) = places.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                places.by_peer.remove(&self.peer);
            }
        }
    }
}

pub(super) fn refused(refusal: Refusal, detail: impl Into<String>) -> Refused {
    let detail = detail.into();
    Refused { refusal, detail }
}

/// Checks a request by its head. Takes no place for it: its body is still to come.
pub(super) fn admit<L>(hub: &Hub<L>, head: &RequestHead<'_>) -> Result<(Scope, Call), Refused> {
    if head.hops > HOPS_MAX {
        return Err(refused(Refusal::HopLimit, "request was forwarded before"));
    }
    let view = hub.desk.view();
    if view.phase == Phase::Draining {
        return Err(refused(Refusal::Draining, "node is draining"));
    }
    if !serves_requests(&view) {
        let detail = "node serves no requests by its WORKER_MODE";
        return Err(refused(Refusal::UnknownUpstream, detail));
    }
    if !head.allow_regions.is_empty() && !head.allow_regions.contains(&view.region) {
        let detail = "request may not be answered in this region";
        return Err(refused(Refusal::Residency, detail));
    }
    own_rules(hub, head, &view)?;
    let unknown = || refused(Refusal::UnknownUpstream, "node has no such upstream");
    let upstream = view.own.get(&head.upstream).ok_or_else(unknown)?;
    if !serves(&view, &head.upstream, head.model.as_ref()) {
        let detail = "upstream does not serve the model";
        return Err(refused(Refusal::UnknownUpstream, detail));
    }
    if !head.last_resort && !takes_work(upstream, hub.desk.now()) {
        let detail = format!("upstream is {}", upstream.standing.as_str());
        return Err(refused(Refusal::Ejected, detail));
    }
    // Its body need not come at all.
    if upstream.in_flight.count() >= upstream.places {
        return Err(upstream_full());
    }
    call(head, &hub.rules.serving.load().forwarding)
}

/// Takes the places of a request that is here as a whole.
pub(super) fn enter<L>(hub: &Hub<L>, link: &Link, call: &Call) -> Result<Admission, Refused> {
    let view = hub.desk.view();
    let unknown = || refused(Refusal::UnknownUpstream, "node has no such upstream");
    let upstream = view.own.get(&call.upstream).ok_or_else(unknown)?;
    let places = &hub.underway;
    let underway = places.enter(&link.peer, &call.request_id, &call.upstream)?;
    let in_flight = upstream
        .in_flight
        .enter_below(upstream.places)
        .ok_or_else(upstream_full)?;
    Ok(Admission {
        _underway: underway,
        _in_flight: in_flight,
    })
}

fn upstream_full() -> Refused {
    refused(Refusal::Full, "upstream is at its limit")
}

/// Checks the body against the head: what rules and the choice of the upstream went by is what the upstream
/// will read.
pub(super) fn held_to_its_head<L>(hub: &Hub<L>, scope: Scope, call: Call) -> Result<Call, Refused> {
    let path = call.path.path();
    let asked = asked::read(scope, &call.method, path, &call.headers, &call.body);
    let asked =
        asked.map_err(|error| refused(Refusal::Protocol, format!("request's body: {error}")))?;
    if asked.model != call.model {
        let detail = "request's body names another model than its head";
        return Err(refused(Refusal::Protocol, detail));
    }
    let rules = hub.rules.serving.load();
    let view = hub.desk.view();
    let is_unclear = call.model.is_none()
        && !call.body.is_empty()
        && rules
            .residency
            .depends_on_model(&view.mesh_rules, &call.caller.question());
    if is_unclear {
        let detail = "request names no model, and rules about models concern it";
        return Err(refused(Refusal::Residency, detail));
    }
    Ok(call)
}

/// Whether the node answers requests at all; what others see of it may be older.
fn serves_requests(view: &View) -> bool {
    let own = view.nodes.first().and_then(|node| node.fact.as_ref());
    own.is_none_or(|fact| fact.serves_requests)
}

/// Asks this node's own residency rules, and those of peers that have others: the sender's may be older, or
/// have none.
fn own_rules<L>(hub: &Hub<L>, head: &RequestHead<'_>, view: &View) -> Result<(), Refused> {
    let question = Question {
        client: head.client,
        key: head.key,
        model: head.model.as_ref(),
    };
    let rules = hub.rules.serving.load();
    let permitted = rules.residency.permits_with(&view.mesh_rules, &question);
    match permitted.fence() {
        Some(fence) if !permitted.allows(&view.region) => {
            let detail = format!("{fence} keeps the request out of this region");
            Err(refused(Refusal::Residency, detail))
        }
        _ => Ok(()),
    }
}

/// Whether an own upstream may be called now: it is in use, or this is its trial.
fn takes_work(upstream: &UpstreamView, now: grapevine_core::Instant) -> bool {
    match upstream.standing {
        Standing::Ready => true,
        Standing::CoolingDown { remaining } => now.since(upstream.said_at) >= remaining,
        Standing::Probing { .. } => upstream.trial,
        Standing::Ejected { .. } => false,
    }
}

/// Whether an own upstream serves `model`; every one serves requests without a model.
fn serves(view: &View, upstream: &UpstreamName, model: Option<&ModelName>) -> bool {
    let Some(model) = model else { return true };
    own_fact(view, upstream).is_some_and(|fact| {
        fact.models.contains_key(model) || fact.models.contains_key(ModelName::ANY)
    })
}

/// The call that a head describes, without its body and deadline. What a peer sends is held to what a client
/// is held to, whatever the peer did with it before.
fn call(head: &RequestHead<'_>, forwarding: &Forwarding) -> Result<(Scope, Call), Refused> {
    let malformed =
        |what: &str| refused(Refusal::Protocol, format!("request's {what} is malformed"));
    let path: PathAndQuery = head.path.parse().map_err(|_| malformed("path"))?;
    if path.as_str() != head.path {
        return Err(malformed("path"));
    }
    let scope = forwarding
        .permit(head.method, path.path(), path.query())
        .map_err(|error| {
            refused(
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
        headers,
        body: Bytes::new(),
        deadline: Instant::now(),
        last_resort: head.last_resort,
        allow_regions: head.allow_regions.as_slice().into(),
        caller: Caller {
            client: head.client,
            key: head.key.map(Into::into),
        },
    };
    Ok((scope, call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_peer_gets_all_places() {
        let [greedy, other] = ["b", "c"].map(|name| NodeName::new(name).expect("a valid name"));
        let upstream = UpstreamName::new("primary").expect("a valid name");
        let places = Underway::default();
        let enter = |peer, id: u64| places.enter(peer, &id.to_string().into(), &upstream).ok();
        let held: Vec<_> = (0..UNDERWAY_MAX)
            .map_while(|id| enter(&greedy, id))
            .collect();
        assert_eq!(held.len() as u64, UNDERWAY_MAX / 2);
        assert!(enter(&other, UNDERWAY_MAX).is_some());
        drop(held);
        assert!(enter(&greedy, 0).is_some());
    }
}
