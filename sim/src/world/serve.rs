//! The owner's side of a request: admission, and what it sends back.
//!
//! Follows the product's `mesh/serve.rs`; admission is core's.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::admission::{self, ForwardKey, Forwarded, ForwardsInFlight, OwnerNode};
use grapevine_core::fact::Load;
use grapevine_core::ids::{NodeName, UpstreamName};
use grapevine_core::limit::InFlightGuard;
use grapevine_core::link::CALLS_MAX;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_core::residency::{MeshRules, Residency};
use grapevine_proto::frame::{
    LENGTH_BYTES, NoAnswer, RequestHead, ResponseHead, ResponseStart, WireLoad,
};

use super::event::{AnswerStart, CallMessage};
use super::hop::RETRY_AFTER;
use super::node::IncarnationNumber;
use super::{World, WorldEvent};
use crate::check::Seen;
use crate::membership::NodeIndex;
use crate::scenario::ErrorAnswer;

/// What a forwarded request holds while it is in flight here.
#[derive(Debug)]
pub(super) struct Admission {
    /// It holds the id that the entry chose: another entry gives the same client's request another one.
    key: ForwardKey,
    _in_flight: InFlightGuard,
    /// Its slot among the requests that the link to its entry carries; none if that link is gone.
    _served: Option<InFlightGuard>,
}

impl Admission {
    /// Releases what it holds, at the end of a request of `entry`.
    pub(super) fn leave(self, forwards_in_flight: &mut ForwardsInFlight, entry: &NodeName) {
        forwards_in_flight.leave(entry, &self.key);
    }
}

impl World {
    /// A forwarded request's head arrived, and waits until the node has read it.
    pub(super) fn hop_arrives(
        &mut self,
        from: (NodeIndex, IncarnationNumber),
        owner: (NodeIndex, IncarnationNumber),
        attempt: (u64, u32),
        frame: Vec<u8>,
    ) {
        let work = self.scenario.processing.hop;
        let process = self.nodes[owner.0.at()].process.as_mut();
        let Some(process) = process.filter(|process| process.incarnation == owner.1) else {
            return;
        };
        let read = WorldEvent::HasReadHop {
            from,
            owner,
            attempt,
            frame,
        };
        let read_at = process.cpu.takes(self.now, work);
        self.plan(read_at, read);
    }

    /// A node has read a forwarded request's head.
    pub(super) fn has_read_hop(
        &mut self,
        (entry, _): (NodeIndex, IncarnationNumber),
        (owner, incarnation): (NodeIndex, IncarnationNumber),
        attempt: (u64, u32),
        frame: &[u8],
    ) {
        if !self.is_incarnation(owner, incarnation) {
            return;
        }
        let Ok(head) = RequestHead::decode(frame.get(LENGTH_BYTES..).unwrap_or_default()) else {
            self.refuse(owner, entry, attempt, None, Refusal::Protocol);
            return;
        };
        let seen = Seen::Hopped {
            request: attempt.0,
            hops: head.hops,
        };
        self.checks.see(self.now, &seen);
        match self.admit(entry, owner, &head) {
            Ok(admission) => {
                let served = Seen::Served {
                    request: attempt.0,
                    owner,
                };
                self.checks.see(self.now, &served);
                let upstream = head.upstream.clone();
                self.call(owner, entry, attempt, upstream, Some(admission));
            }
            Err(refusal) => self.refuse(owner, entry, attempt, Some(&head.upstream), refusal),
        }
    }

    fn admit(
        &mut self,
        entry: NodeIndex,
        owner: NodeIndex,
        head: &RequestHead<'_>,
    ) -> Result<Admission, Refusal> {
        let peer = self.nodes[entry.at()].name.clone();
        let is_sabotaged = self.sabotage.serves_anything();
        let node = &mut self.nodes[owner.at()];
        let region = &self.scenario.atlas.region(node.region).name;
        let Some(process) = &mut node.process else {
            return Err(Refusal::UnknownUpstream);
        };
        let link = process.links.get(&entry);
        let served = link.map(|link| link.served.enter_below(CALLS_MAX).ok_or(Refusal::Full));
        let served = served.transpose()?;
        let none = (&Residency::default(), &MeshRules::of_one());
        let (residency, mesh_rules) = match is_sabotaged {
            true => none,
            false => (&*self.rules[owner.at()], process.engine.mesh_rules()),
        };
        let node = OwnerNode {
            region,
            phase: process.phase,
            serves_requests: true,
            residency,
            mesh_rules,
        };
        let request = Forwarded {
            allow_regions: match is_sabotaged {
                true => &[],
                false => &head.allow_regions,
            },
            ..head.forwarded()
        };
        let own = process.engine.own_upstream(self.now, &head.upstream);
        let upstream = own.as_ref().map(|(upstream, fact)| (upstream, fact));
        let admitted = admission::admit(&node, upstream, &request, self.now);
        admitted.map_err(|refused| refused.refusal)?;
        let (upstream, _) = own.ok_or(Refusal::UnknownUpstream)?;
        let key: ForwardKey = (head.request_id.into(), head.upstream.clone());
        let entered = process.forwards_in_flight.enter(&peer, key.clone());
        entered.map_err(|refused| refused.refusal)?;
        let guard = upstream.in_flight.enter_below(upstream.admission_max);
        if guard.is_none() {
            process.forwards_in_flight.leave(&peer, &key);
        }
        Ok(Admission {
            key,
            _in_flight: guard.ok_or(Refusal::Full)?,
            _served: served,
        })
    }

    fn refuse(
        &mut self,
        owner: NodeIndex,
        entry: NodeIndex,
        attempt: (u64, u32),
        upstream: Option<&UpstreamName>,
        refusal: Refusal,
    ) {
        self.record.refused += 1;
        if refusal == Refusal::Residency {
            self.record.tally.rules_refused += 1;
        }
        self.send_failure(owner, entry, attempt, upstream, Outcome::Refused(refusal));
    }

    pub(super) fn send_failure(
        &mut self,
        owner: NodeIndex,
        entry: NodeIndex,
        attempt: (u64, u32),
        upstream: Option<&UpstreamName>,
        outcome: Outcome,
    ) {
        let load = upstream.and_then(|upstream| self.load(owner, upstream));
        let none = NoAnswer {
            outcome,
            load,
            detail: outcome.as_str(),
        };
        if let Ok(frame) = ResponseStart::None(none).encode() {
            self.send_message(
                (owner, entry),
                attempt,
                CallMessage::Answer(AnswerStart { frame, error: None }),
            );
        }
    }

    /// Sends the head of an upstream's answer.
    pub(super) fn send_head(
        &mut self,
        (owner, entry): (NodeIndex, NodeIndex),
        attempt: (u64, u32),
        upstream: &UpstreamName,
        (status, retry_after): (u16, Option<Duration>),
        error: Option<Arc<ErrorAnswer>>,
    ) {
        let none = WireLoad {
            in_flight: 0,
            ttft: Duration::ZERO,
        };
        let value = retry_after.map(|span| span.as_secs_f64().to_string());
        let headers = value.iter().map(|value| (RETRY_AFTER, value.as_bytes()));
        let head = ResponseHead {
            status,
            headers: headers.collect(),
            load: self.load(owner, upstream).unwrap_or(none),
        };
        if let Ok(frame) = ResponseStart::Answer(head).encode() {
            self.send_message(
                (owner, entry),
                attempt,
                CallMessage::Answer(AnswerStart { frame, error }),
            );
        }
    }

    fn load(&self, owner: NodeIndex, upstream: &UpstreamName) -> Option<WireLoad> {
        let process = self.nodes[owner.at()].process.as_ref()?;
        let loads = process.engine.own_loads(self.now);
        let load: &Load = loads.iter().find(|load| load.upstream == *upstream)?;
        Some(WireLoad {
            in_flight: load.in_flight,
            ttft: load.ttft,
        })
    }
}
