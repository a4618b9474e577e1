//! The owner's side of a request: admission, the call of its own upstream, what it tells of it.
//!
//! Follows the product's `mesh/serve.rs`; admission is core's. Calls of the entry's own upstreams come here too,
//! without admission.

use std::time::Duration;

use grapevine_core::admission::{self, Forwarded, Owner, UnderwayKey};
use grapevine_core::fact::Load;
use grapevine_core::forwarding::Scope;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::limit::InFlightGuard;
use grapevine_core::outcome::{Blame, Outcome, Refusal};
use grapevine_core::request::{LongWait, UpstreamCall};
use grapevine_core::residency::{MeshRules, Residency};
use grapevine_proto::frame::{
    LENGTH_BYTES, NoAnswer, RequestHead, ResponseHead, ResponseStart, WireLoad,
};

use super::happening::Word;
use super::hop::RETRY_AFTER;
use super::node::LifeNumber;
use super::{Happening, World};
use crate::chance;
use crate::check::Seen;
use crate::membership::NodeIndex;

/// A call of an own upstream.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) owner: NodeIndex,
    pub(super) entry: NodeIndex,
    upstream: UpstreamName,
    endpoint: usize,
    model: ModelName,
    wait: LongWait,
    outcome: Outcome,
    body: Duration,
    answering: bool,
    /// Of a forwarded request: what it holds here, and what this node reports of it. What the entry calls of its
    /// own is reported by the request itself.
    forwarded: Option<(Admission, UpstreamCall)>,
}

/// What a forwarded request holds while it is under way here.
#[derive(Debug)]
pub(super) struct Admission {
    /// Its id is what its entry calls it: another entry calls the same client's request otherwise.
    key: UnderwayKey,
    _in_flight: InFlightGuard,
}

impl World {
    /// A forwarded request's head came in.
    pub(super) fn hop_arrives(
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
        let is_sabotaged = self.sabotage.ignores_residency();
        let node = &mut self.nodes[owner.at()];
        let region = &self.scenario.atlas.region(node.region).name;
        let Some(life) = &mut node.life else {
            return Err(Refusal::UnknownUpstream);
        };
        let none = (&Residency::default(), &MeshRules::of_one());
        let (residency, mesh_rules) = match is_sabotaged {
            true => none,
            false => (&self.scenario.residency, life.engine.mesh_rules()),
        };
        let node = Owner {
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
        let key: UnderwayKey = (head.request_id.into(), head.upstream.clone());
        let entered = life.underway.enter(&peer, key.clone());
        entered.map_err(|refused| refused.refusal)?;
        let guard = upstream.in_flight.enter_below(upstream.places);
        if guard.is_none() {
            life.underway.leave(&peer, &key);
        }
        Ok(Admission {
            key,
            _in_flight: guard.ok_or(Refusal::Full)?,
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
        self.send_failure(owner, entry, attempt, upstream, Outcome::Refused(refusal));
    }

    fn send_failure(
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

    fn send_back(
        &mut self,
        owner: NodeIndex,
        entry: NodeIndex,
        attempt: (u64, u32),
        frame: Vec<u8>,
    ) {
        if let Some(at) = self.network.stream(self.now, owner, entry, frame.len()) {
            self.plan(at, Happening::Returns { attempt, frame });
        }
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

    /// Calls an own upstream, for a request of this node or of a peer.
    pub(super) fn call(
        &mut self,
        owner: NodeIndex,
        entry: NodeIndex,
        attempt: (u64, u32),
        upstream: UpstreamName,
        admission: Option<Admission>,
    ) {
        let now = self.now;
        let (Some(endpoint), Some(request)) = (
            self.endpoint_of(owner, &upstream),
            self.requests.get(&attempt.0),
        ) else {
            return;
        };
        let luck = chance::hash(&[self.chance.seed, 78, attempt.0, u64::from(attempt.1)]);
        let patience = self.scenario.routing.first_byte;
        let reaction = self.endpoints[endpoint].react(now, luck, patience);
        self.endpoints[endpoint].in_flight += 1;
        let model = request.model.clone();
        let life = self.nodes[owner.at()].life.as_ref();
        let own = life.and_then(|life| life.engine.own_upstream(now, &upstream));
        let expected = own.and_then(|(_, fact)| fact.first_byte(Some(&model)));
        let wait = LongWait::new(now, expected);
        let reported =
            UpstreamCall::of_own(upstream.clone(), Scope::Inference, Some(model.clone()), now);
        let call = Call {
            owner,
            entry,
            upstream,
            endpoint,
            model,
            wait,
            outcome: reaction.outcome,
            body: request.body,
            answering: false,
            forwarded: admission.map(|admission| (admission, reported)),
        };
        self.calls.insert(attempt, call);
        let reacts_at = now + reaction.after;
        self.plan(reacts_at, Happening::Reacts { call: attempt });
        // The report of a quicker answer never falls due.
        if reacts_at > wait.due_at() {
            self.plan(wait.due_at(), Happening::Awaits { call: attempt });
        }
    }

    /// A call waits for its first byte for unusually long: its engine is told.
    pub(super) fn awaits(&mut self, key: (u64, u32)) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&key).filter(|call| !call.answering) else {
            return;
        };
        let (upstream, model) = (call.upstream.clone(), Some(call.model.clone()));
        let event = call.wait.report(now, upstream, model);
        let (owner, due_at) = (call.owner, call.wait.due_at());
        self.plan(due_at, Happening::Awaits { call: key });
        self.tell(owner, event);
    }

    /// An upstream answered or failed.
    pub(super) fn reacts(&mut self, key: (u64, u32)) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let (owner, entry, outcome) = (call.owner, call.entry, call.outcome);
        let upstream = call.upstream.clone();
        if outcome.blame() == Blame::Success {
            call.answering = true;
            let ends_at = now + call.body;
            let own = call.forwarded.as_mut().map(|(_, own)| own);
            let report = own.and_then(|own| own.answer_goes_on(now));
            self.plan(ends_at, Happening::BodyEnds { call: key });
            if let Some(report) = report {
                self.tell(owner, report.event);
            }
        } else {
            self.call_over(key, outcome);
        }
        let is_local = owner == entry;
        match outcome {
            Outcome::Status {
                status,
                retry_after,
            } if is_local => {
                self.head_came(key.0, status, retry_after, None);
            }
            Outcome::Status {
                status,
                retry_after,
            } => {
                let wish = retry_after.map(|span| span.as_secs_f64().to_string());
                let none = WireLoad {
                    in_flight: 0,
                    ttft: Duration::ZERO,
                };
                let head = ResponseHead {
                    status,
                    headers: wish
                        .iter()
                        .map(|wish| (RETRY_AFTER, wish.as_bytes()))
                        .collect(),
                    load: self.load(owner, &upstream).unwrap_or(none),
                };
                if let Ok(frame) = ResponseStart::Answer(head).encode() {
                    self.send_back(owner, entry, key, frame);
                }
            }
            outcome if is_local => self.attempt_failed(key.0, outcome, None),
            outcome => self.send_failure(owner, entry, key, Some(&upstream), outcome),
        }
    }

    /// The last byte came from the upstream.
    pub(super) fn body_ends(&mut self, key: (u64, u32)) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let (owner, entry, outcome) = (call.owner, call.entry, call.outcome);
        self.call_over(key, outcome);
        if owner == entry {
            self.answer_ends(key);
        } else {
            self.send_word((owner, entry), key, Word::End);
        }
    }

    /// The caller does not wait any more.
    pub(super) fn cancelled(&mut self, key: (u64, u32)) {
        self.call_over(key, Outcome::Cancelled);
    }

    /// Takes a call away; its owner reports it where it was a peer's.
    fn call_over(&mut self, key: (u64, u32), outcome: Outcome) {
        if self.sabotage.hoards() {
            return;
        }
        let Some(call) = self.calls.remove(&key) else {
            return;
        };
        let endpoint = &mut self.endpoints[call.endpoint];
        endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        let Some((admission, own)) = call.forwarded else {
            return;
        };
        let entry = self.nodes[call.entry.at()].name.clone();
        if let Some(life) = &mut self.nodes[call.owner.at()].life {
            life.underway.leave(&entry, &admission.key);
        }
        drop(admission);
        self.tell(call.owner, own.ended(self.now, outcome).event);
    }

    /// Answers under way at these endpoints break off.
    pub(super) fn break_answers(&mut self, endpoints: &[usize]) {
        let met = |call: &Call| call.answering && endpoints.contains(&call.endpoint);
        let broken = self.calls.iter().filter(|(_, call)| met(call));
        for key in broken.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.call_over(key, Outcome::BrokenOff);
            // The end comes with the last of what was sent; the way is left out.
            if self.is_current(key) {
                self.broken_off(key.0);
            }
        }
    }

    /// A node died: its calls are gone, and its upstreams hear no more of them.
    pub(super) fn calls_lost(&mut self, owner: NodeIndex) {
        let lost = self.calls.iter().filter(|(_, call)| call.owner == owner);
        for key in lost.map(|(key, _)| *key).collect::<Vec<_>>() {
            if let Some(call) = self.calls.remove(&key) {
                let endpoint = &mut self.endpoints[call.endpoint];
                endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            }
        }
    }
}
