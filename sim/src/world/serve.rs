//! The owner's side of a request: admission, and what it sends back.
//!
//! Follows the product's `mesh/serve.rs`; admission is core's.

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

use super::happening::Word;
use super::hop::RETRY_AFTER;
use super::node::LifeNumber;
use super::{Happening, World};
use crate::check::Seen;
use crate::membership::NodeIndex;

/// What a forwarded request holds while it is under way here.
#[derive(Debug)]
pub(super) struct Admission {
    /// Its id is what its entry calls it: another entry calls the same client's request otherwise.
    key: ForwardKey,
    _in_flight: InFlightGuard,
    /// Its place among the requests that the link to its entry carries; none where no link leads there any more.
    _served: Option<InFlightGuard>,
}

impl Admission {
    /// Gives back what it holds, at the end of a request of `entry`.
    pub(super) fn leave(self, underway: &mut ForwardsInFlight, entry: &NodeName) {
        underway.leave(entry, &self.key);
    }
}

impl World {
    /// A forwarded request's head came in, and waits until the node has read it.
    pub(super) fn hop_arrives(
        &mut self,
        from: (NodeIndex, LifeNumber),
        owner: (NodeIndex, LifeNumber),
        attempt: (u64, u32),
        frame: Vec<u8>,
    ) {
        let work = self.scenario.processing.hop;
        let life = self.nodes[owner.0.at()].life.as_mut();
        let Some(life) = life.filter(|life| life.number == owner.1) else {
            return;
        };
        let read = Happening::HasReadHop {
            from,
            owner,
            attempt,
            frame,
        };
        let read_at = life.cpu.takes(self.now, work);
        self.plan(read_at, read);
    }

    /// A node has read a forwarded request's head.
    pub(super) fn has_read_hop(
        &mut self,
        (entry, _): (NodeIndex, LifeNumber),
        (owner, number): (NodeIndex, LifeNumber),
        attempt: (u64, u32),
        frame: &[u8],
    ) {
        if !self.is_life(owner, number) {
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
        let Some(life) = &mut node.life else {
            return Err(Refusal::UnknownUpstream);
        };
        let link = life.links.get(&entry);
        let served = link.map(|link| link.served.enter_below(CALLS_MAX).ok_or(Refusal::Full));
        let served = served.transpose()?;
        let none = (&Residency::default(), &MeshRules::of_one());
        let (residency, mesh_rules) = match is_sabotaged {
            true => none,
            false => (&*self.rules[owner.at()], life.engine.mesh_rules()),
        };
        let node = OwnerNode {
            region,
            phase: life.phase,
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
        let own = life.engine.own_upstream(self.now, &head.upstream);
        let upstream = own.as_ref().map(|(upstream, fact)| (upstream, fact));
        let admitted = admission::admit(&node, upstream, &request, self.now);
        admitted.map_err(|refused| refused.refusal)?;
        let (upstream, _) = own.ok_or(Refusal::UnknownUpstream)?;
        let key: ForwardKey = (head.request_id.into(), head.upstream.clone());
        let entered = life.underway.enter(&peer, key.clone());
        entered.map_err(|refused| refused.refusal)?;
        let guard = upstream.in_flight.enter_below(upstream.admission_max);
        if guard.is_none() {
            life.underway.leave(&peer, &key);
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
            self.send_back(owner, entry, attempt, frame);
        }
    }

    /// Sends the head of an upstream's answer.
    pub(super) fn send_head(
        &mut self,
        (owner, entry): (NodeIndex, NodeIndex),
        attempt: (u64, u32),
        upstream: &UpstreamName,
        (status, retry_after): (u16, Option<Duration>),
    ) {
        let none = WireLoad {
            in_flight: 0,
            ttft: Duration::ZERO,
        };
        let wish = retry_after.map(|span| span.as_secs_f64().to_string());
        let wish = wish.iter().map(|wish| (RETRY_AFTER, wish.as_bytes()));
        let head = ResponseHead {
            status,
            headers: wish.collect(),
            load: self.load(owner, upstream).unwrap_or(none),
        };
        if let Ok(frame) = ResponseStart::Answer(head).encode() {
            self.send_back(owner, entry, attempt, frame);
        }
    }

    fn send_back(
        &mut self,
        owner: NodeIndex,
        entry: NodeIndex,
        attempt: (u64, u32),
        frame: Vec<u8>,
    ) {
        self.send_word((owner, entry), attempt, Word::Answer(frame));
    }

    fn load(&self, owner: NodeIndex, upstream: &UpstreamName) -> Option<WireLoad> {
        let life = self.nodes[owner.at()].life.as_ref()?;
        let loads = life.engine.own_loads();
        let load: &Load = loads.iter().find(|load| load.upstream == *upstream)?;
        Some(WireLoad {
            in_flight: load.in_flight,
            ttft: load.ttft,
        })
    }
}
