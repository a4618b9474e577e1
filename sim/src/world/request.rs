//! The entry's side of a request: a plan, attempts in its order, and what the client gets.
//!
//! Follows the product's `ingress/request.rs` step by step; the order is the plan's, and each outcome's
//! verdict says whether to go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::Event;
use grapevine_core::fact::Load;
use grapevine_core::ids::{ModelName, NodeName, RegionName, UpstreamName};
use grapevine_core::limit::InFlightGuard;
use grapevine_core::outcome::{Outcome, Refusal};
use grapevine_core::residency::{Origin, Permitted, Question};
use grapevine_core::route::{Choice, Reason};
use grapevine_core::view::Way;
use grapevine_proto::frame::{RequestHead, ResponseStart};

use super::node::{self, LifeNumber};
use super::{Happening, Policy, World};
use crate::check::Seen;
use crate::membership::NodeIndex;
use crate::record::Ending;

/// A prompt and its envelope.
pub(super) const BODY_BYTES: usize = 2_048;

/// One request of a client.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) asked_at: Instant,
    pub(super) model: ModelName,
    pub(super) origin: Origin,
    pub(super) clientele: usize,
    pub(super) door: usize,
    pub(super) tries: u32,
    /// From the first byte of its answer to the last, as its upstream will take.
    pub(super) body: Duration,
    pub(super) session: Option<u64>,
    pub(super) entry: Option<(NodeIndex, LifeNumber)>,
    pub(super) entered_at: Instant,
    pub(super) deadline: Instant,
    pub(super) permitted: Permitted,
    pub(super) planned_at: Instant,
    pub(super) queue: VecDeque<Choice>,
    pub(super) last_resort: bool,
    pub(super) picked_again: bool,
    /// Attempts at this entry so far, those included that were turned away.
    pub(super) attempts: u32,
    /// Counts attempts over all entries: names the calls.
    pub(super) number: u32,
    pub(super) current: Option<Attempt>,
    pub(super) refused: Vec<(NodeName, UpstreamName)>,
    pub(super) failure: Option<Outcome>,
    pub(super) held: Option<u16>,
    pub(super) first_attempt_at: Option<Instant>,
    pub(super) committed: bool,
    pub(super) _under_way: Option<InFlightGuard>,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) owner: NodeIndex,
    pub(super) choice: Choice,
    pub(super) started_at: Instant,
    pub(super) has_head: bool,
    pub(super) _guard: InFlightGuard,
}

impl Request {
    pub(super) fn new(id: u64, now: Instant, model: ModelName) -> Self {
        Self {
            id,
            asked_at: now,
            model,
            origin: Origin::Unknown,
            clientele: 0,
            door: 0,
            tries: 0,
            body: Duration::ZERO,
            session: None,
            entry: None,
            entered_at: now,
            deadline: now,
            permitted: Permitted::All,
            planned_at: now,
            queue: VecDeque::new(),
            last_resort: false,
            picked_again: false,
            attempts: 0,
            number: 0,
            current: None,
            refused: Vec::new(),
            failure: None,
            held: None,
            first_attempt_at: None,
            committed: false,
            _under_way: None,
        }
    }
}

impl World {
    /// A request comes to a node's door.
    pub(super) fn enters(&mut self, id: u64, entry: NodeIndex) {
        let now = self.now;
        let deadline = now + self.scenario.routing.deadline;
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(life) = &mut self.nodes[entry.at()].life else {
            self.door_closed(id, entry);
            return;
        };
        life.active.insert(id);
        let question = Question {
            client: request.origin,
            key: None,
            model: Some(&request.model),
        };
        let permitted = self.scenario.residency.permits(&question);
        // What an earlier door began is over.
        *request = Request {
            entry: Some((entry, life.number)),
            entered_at: now,
            deadline,
            permitted,
            tries: request.tries,
            number: request.number,
            first_attempt_at: request.first_attempt_at,
            origin: request.origin,
            clientele: request.clientele,
            door: request.door,
            body: request.body,
            session: request.session,
            _under_way: Some(life.budget.request()),
            ..Request::new(id, request.asked_at, request.model.clone())
        };
        self.plan(deadline, Happening::Deadline { request: id });
        match self.choices(id) {
            Some((choices, last_resort)) => {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.queue = choices;
                    request.last_resort = last_resort;
                    request.planned_at = now;
                }
                self.next_attempt(id);
            }
            None => self.end(id, Ending::NoPlan),
        }
    }

    /// Begins the next attempt, or gives up.
    pub(super) fn next_attempt(&mut self, id: u64) {
        let attempts_max = self
            .sabotage
            .attempts_max(self.scenario.routing.attempts_max);
        loop {
            let Some(request) = self.requests.get_mut(&id) else {
                return;
            };
            if request.attempts >= attempts_max {
                break;
            }
            let Some(choice) = request.queue.pop_front() else {
                break;
            };
            if self.begin_attempt(id, choice) {
                return;
            }
        }
        self.give_up(id);
    }

    /// False when there is no room for it.
    fn begin_attempt(&mut self, id: u64, choice: Choice) -> bool {
        let now = self.now;
        let upstream = Arc::clone(&choice.candidate.upstream);
        let Some(owner) = node::index_of(&upstream.node) else {
            return false;
        };
        let Some(request) = self.requests.get_mut(&id) else {
            return true;
        };
        request.attempts += 1;
        let guard = match upstream.way {
            Way::Local => upstream.in_flight.enter_below(upstream.places),
            Way::Peer => Some(upstream.in_flight.enter()),
        };
        let Some(guard) = guard else {
            request.failure = Some(Outcome::Refused(Refusal::Full));
            return false;
        };
        request.number += 1;
        request.first_attempt_at.get_or_insert(now);
        let number = request.number;
        let excused = request.last_resort || choice.reason == Reason::Trial;
        let excused = excused || self.policy != Policy::Grapevine;
        self.checks.see(
            now,
            &Seen::Attempted {
                request: id,
                owner,
                upstream: &upstream.name,
                attempts: request.attempts,
                region: &upstream.region,
                permitted: &request.permitted,
                planned_at: request.planned_at,
                excused,
            },
        );
        self.record.attempted(now, owner);
        request.current = Some(Attempt {
            number,
            owner,
            choice,
            started_at: now,
            has_head: false,
            _guard: guard,
        });
        let Some((entry, life)) = request.entry else {
            return true;
        };
        match upstream.way {
            Way::Local => self.call(owner, entry, (id, number), upstream.name.clone(), None),
            Way::Peer => self.forward((id, number), (entry, life), owner),
        }
        true
    }

    /// Sends a request's head to the owner of the chosen upstream.
    fn forward(
        &mut self,
        attempt: (u64, u32),
        (entry, life): (NodeIndex, LifeNumber),
        owner: NodeIndex,
    ) {
        let all_seeing = self.policy == Policy::Oracle;
        let links = self.nodes[entry.at()].life.as_ref();
        let link = links.and_then(|life| life.links.get(&owner));
        let owner_life = match link {
            Some(link) => Some(link.life),
            None => self.life_of(owner).filter(|_| all_seeing),
        };
        let (Some(owner_life), Some(frame)) = (owner_life, self.head(attempt.0)) else {
            self.attempt_failed(attempt.0, Outcome::PeerUnreached, None);
            return;
        };
        let bytes = frame.len() + BODY_BYTES;
        if let Some(at) = self.network.stream(self.now, entry, owner, bytes) {
            let hops = Happening::Hops {
                from: (entry, life),
                owner: (owner, owner_life),
                attempt,
                frame,
            };
            self.plan(at, hops);
        }
    }

    fn head(&self, id: u64) -> Option<Vec<u8>> {
        let request = self.requests.get(&id)?;
        let attempt = request.current.as_ref()?;
        let name = format!("r{id}.{}", request.tries);
        let regions = request.permitted.regions().unwrap_or_default();
        let ignores = self.sabotage.ignores_residency();
        let head = RequestHead {
            request_id: &name,
            upstream: attempt.choice.candidate.upstream.name.clone(),
            model: Some(request.model.clone()),
            method: "POST",
            path: "/v1/chat/completions",
            headers: Vec::new(),
            body_bytes: BODY_BYTES,
            remaining: self.now.until(request.deadline),
            hops: self.sabotage.hops(),
            last_resort: request.last_resort
                || self.policy != Policy::Grapevine
                || self.sabotage.ignores_ejection(),
            allow_regions: if ignores {
                Vec::new()
            } else {
                regions.to_vec()
            },
            traceparent: None,
            client: if ignores {
                Origin::Unknown
            } else {
                request.origin
            },
            key: None,
        };
        head.encode().ok()
    }

    /// The first frame of an answer came from a peer.
    pub(super) fn returns(&mut self, (id, number): (u64, u32), frame: &[u8]) {
        let Some(attempt) = self.current(id, number) else {
            return;
        };
        let upstream = attempt.choice.candidate.upstream.name.clone();
        let payload = frame
            .get(grapevine_proto::frame::LENGTH_BYTES..)
            .unwrap_or_default();
        match ResponseStart::decode(payload) {
            Ok(ResponseStart::Answer(head)) => {
                self.load_heard(id, head.load.of(upstream));
                self.head_came(id, head.status, None);
            }
            Ok(ResponseStart::None(none)) => {
                let load = none.load.map(|load| load.of(upstream));
                self.attempt_failed(id, none.outcome, load);
            }
            Err(_) => self.attempt_failed(id, Outcome::Refused(Refusal::Protocol), None),
        }
    }

    pub(super) fn load_heard(&mut self, id: u64, load: Load) {
        let Some((entry, peer)) = self.ends_of(id) else {
            return;
        };
        let peer = self.nodes[peer.at()].name.clone();
        let loads = vec![load];
        self.tell(entry, Event::LoadHeard { peer, loads });
    }

    /// The entry and the owner of the attempt under way.
    fn ends_of(&self, id: u64) -> Option<(NodeIndex, NodeIndex)> {
        let request = self.requests.get(&id)?;
        let (entry, _) = request.entry?;
        Some((entry, request.current.as_ref()?.owner))
    }

    pub(super) fn current(&self, id: u64, number: u32) -> Option<&Attempt> {
        let current = self.requests.get(&id)?.current.as_ref()?;
        (current.number == number).then_some(current)
    }

    pub(super) fn is_current(&self, (id, number): (u64, u32)) -> bool {
        self.current(id, number).is_some()
    }

    /// Where a request waits for a peer, and whether its answer has begun.
    pub(super) fn waits_at(&self, id: u64) -> Option<(NodeIndex, bool)> {
        let attempt = self.requests.get(&id)?.current.as_ref()?;
        let is_forwarded = attempt.choice.candidate.upstream.way == Way::Peer;
        is_forwarded.then_some((attempt.owner, attempt.has_head))
    }

    /// When the attempt that a request waits for was sent.
    pub(super) fn sent_at(&self, id: u64) -> Option<Instant> {
        Some(self.requests.get(&id)?.current.as_ref()?.started_at)
    }

    /// The regions that a request may be answered in, as its plan is asked for.
    pub(super) fn fence_of(&self, id: u64) -> Option<Vec<RegionName>> {
        if self.sabotage.ignores_residency() {
            return None;
        }
        let request = self.requests.get(&id)?;
        request.permitted.regions().map(<[RegionName]>::to_vec)
    }
}
