//! The entry's side of a request: drives core's [`Request`], as the product's listener does.

use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::engine::Event;
use grapevine_core::forwarding::PathScope;
use grapevine_core::ids::{ModelName, RegionName};
use grapevine_core::latency::STALL_MIN;
use grapevine_core::limit::InFlightGuard;
use grapevine_core::outcome::{Blame, Finding, Outcome};
use grapevine_core::request::{
    Action, AttemptEvent, AttemptId, FallbackModels, HedgeTerms, Request, RequestPriority,
    RequestTerms,
};
use grapevine_core::residency::{ClientOrigin, Permitted, ResidencyQuestion};
use grapevine_core::route::{Choice, RouteReason};
use grapevine_core::view::Way;

use super::asks::Asks;
use super::ending::{ending, failed};
use super::node::IncarnationNumber;
use super::{Policy, World, WorldEvent};
use crate::check::Seen;
use crate::membership::NodeIndex;

/// How long routing without sharing avoids an upstream that failed it.
const SHUNNED_FOR: Duration = Duration::from_secs(10);

/// One request of a client.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) id: u64,
    pub(super) asked_at: Instant,
    pub(super) model: ModelName,
    pub(super) origin: ClientOrigin,
    pub(super) clientele: usize,
    /// Which of the equally near entries it tries first.
    pub(super) first_entry: usize,
    pub(super) tries: u32,
    pub(super) asks: Asks,
    pub(super) session: Option<u64>,
    pub(super) entry: Option<(NodeIndex, IncarnationNumber)>,
    pub(super) entered_at: Instant,
    pub(super) deadline: Instant,
    pub(super) permitted: Permitted,
    pub(super) planned_at: Instant,
    /// At the node that it entered; `None` between two.
    pub(super) request: Option<Request>,
    /// Counts attempts over all entries: names the calls.
    pub(super) number: u32,
    pub(super) current: Option<Attempt>,
    pub(super) first_attempt_at: Option<Instant>,
    /// The answer that it got has begun.
    pub(super) committed: bool,
    /// Upstreams that worked on it.
    pub(super) paid: u32,
    /// The tokens of its prompt that the last upstream had in its cache.
    pub(super) cached: u64,
}

/// An attempt in flight.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) number: u32,
    pub(super) owner: NodeIndex,
    pub(super) choice: Choice,
    pub(super) started_at: Instant,
    /// Of its answer, once that began.
    pub(super) status: Option<u16>,
    /// What the first piece of its body will show, where it is no answer.
    pub(super) hides: Option<Finding>,
    pub(super) is_last_resort: bool,
    /// Its slot among the requests that the link to its owner carries.
    pub(super) sent: Option<InFlightGuard>,
}

impl ClientRequest {
    pub(super) fn new(id: u64, now: Instant, model: ModelName) -> Self {
        Self {
            id,
            asked_at: now,
            model,
            origin: ClientOrigin::Unknown,
            clientele: 0,
            first_entry: 0,
            tries: 0,
            asks: Asks::of(id),
            session: None,
            entry: None,
            entered_at: now,
            deadline: now,
            permitted: Permitted::All,
            planned_at: now,
            request: None,
            number: 0,
            current: None,
            first_attempt_at: None,
            committed: false,
            paid: 0,
            cached: 0,
        }
    }
}

impl World {
    /// A request reaches a node's listener, and waits until the node has read it.
    pub(super) fn enters(&mut self, id: u64, entry: NodeIndex) {
        let now = self.now;
        let work = self.scenario.processing.request;
        let Some(client) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(process) = &mut self.nodes[entry.at()].process else {
            self.connection_refused(id, entry);
            return;
        };
        client.entered_at = now;
        let entry = (entry, process.incarnation);
        let read_at = process.cpu.takes(now, work);
        self.plan(read_at, WorldEvent::HasRead { request: id, entry });
    }

    /// A node has read a request.
    pub(super) fn has_read(
        &mut self,
        id: u64,
        (entry, incarnation): (NodeIndex, IncarnationNumber),
    ) {
        let now = self.now;
        let deadline = now + self.scenario.routing.deadline;
        let shape = self.shape(id);
        let Some(client) = self.requests.get_mut(&id) else {
            return;
        };
        let process = self.nodes[entry.at()].process.as_mut();
        let Some(process) = process.filter(|process| process.incarnation == incarnation) else {
            self.connection_refused(id, entry);
            return;
        };
        process.active.insert(id);
        let question = ResidencyQuestion {
            client: client.origin,
            key: None,
            model: Some(&client.model),
        };
        let terms = RequestTerms {
            policy: self.failover.clone(),
            priority: RequestPriority::Interactive,
            is_client_retrying: false,
            scope: PathScope::Inference,
            model: Some(client.model.clone()),
            fallbacks: FallbackModels::default(),
            is_stream: client.asks.is_stream,
            shape,
            hedge: HedgeTerms::Off,
            arrived_at: now,
            number: id,
            client: client.asks.client,
        };
        let mesh_rules = process.engine.mesh_rules();
        client.permitted = self.rules[entry.at()].permits_with(mesh_rules, &question);
        let entered = Seen::Entered {
            request: id,
            entry,
            client: client.origin,
            model: &client.model,
        };
        self.checks.see(now, &entered);
        client.entry = Some((entry, process.incarnation));
        client.deadline = deadline;
        client.planned_at = now;
        // What an earlier entry began is over.
        client.request = Some(Request::new(terms, process.budget.request()));
        client.current = None;
        self.plan(deadline, WorldEvent::Deadline { request: id });
        let planned = self.planned(id);
        self.drive(id, |request, now| Some(request.start(now, planned)));
    }

    /// Applies a step to a request at its entry, and carries out what follows.
    pub(super) fn drive(
        &mut self,
        id: u64,
        step: impl FnOnce(&mut Request, Instant) -> Option<Action>,
    ) {
        let mut next = self.stepped(id, step);
        while let Some(action) = next {
            next = match action {
                Action::Plan => {
                    let planned = self.planned(id);
                    let now = self.now;
                    if let Some(client) = self.requests.get_mut(&id)
                        && planned.is_ok()
                    {
                        client.planned_at = now;
                    }
                    self.stepped(id, |request, now| Some(request.replan(now, planned)))
                }
                // No scenario has models that stand in for others.
                Action::PlanFor { .. } => {
                    self.stepped(id, |request, now| Some(request.start_fallback(now, None)))
                }
                Action::Try {
                    attempt,
                    choice,
                    is_last_resort,
                } => match self.begin_attempt(id, attempt, choice, is_last_resort) {
                    Ok(()) => None,
                    Err(outcome) => {
                        self.record.attempts_failed += 1;
                        self.on_attempt(id, attempt, failed(outcome, None))
                    }
                },
                // Here the first byte comes with the head, and no event says that more is to come.
                Action::AwaitBody(attempt) | Action::AwaitRest { attempt, .. } => {
                    let finding = self.hidden_in(id, attempt);
                    let came = AttemptEvent::FirstByte { finding };
                    self.on_attempt(id, attempt, came)
                }
                Action::Pause { until } => {
                    let attempts = self.attempts_of(id);
                    self.plan(
                        until,
                        WorldEvent::Resumes {
                            request: id,
                            attempts,
                        },
                    );
                    None
                }
                Action::Relay(attempt) => {
                    self.reports_usage(id);
                    self.answers(id, attempt);
                    None
                }
                Action::Fail(error) => {
                    self.end(id, ending(&error));
                    None
                }
            };
        }
    }

    /// `event` happened to the attempt in flight.
    pub(super) fn attempt_event(&mut self, id: u64, event: AttemptEvent) {
        let client = self.requests.get(&id);
        let current = client.and_then(|client| client.current.as_ref());
        if let Some(attempt) = current.map(|current| current.id) {
            self.drive(id, |request, now| request.on(now, attempt, event));
        }
    }

    fn on_attempt(&mut self, id: u64, attempt: AttemptId, event: AttemptEvent) -> Option<Action> {
        self.stepped(id, |request, now| request.on(now, attempt, event))
    }

    /// One step of core's, and what it reports.
    fn stepped(
        &mut self,
        id: u64,
        step: impl FnOnce(&mut Request, Instant) -> Option<Action>,
    ) -> Option<Action> {
        let now = self.now;
        let client = self.requests.get_mut(&id)?;
        let (entry, _) = client.entry?;
        let process = self.nodes[entry.at()].process.as_mut()?;
        process.budget.refill(now.since(process.refilled_at));
        process.refilled_at = now;
        let request = client.request.as_mut()?;
        let action = step(request, now);
        let reports = request.reports();
        let in_flight = request.in_flight();
        let is_over = |current: &mut Attempt| in_flight != Some(current.id);
        client.current.take_if(is_over);
        for report in reports {
            self.learn_alone(entry, &report.event);
            self.deliver(entry, report.event);
        }
        action
    }

    /// Routing without sharing uses the failures that its own node saw.
    fn learn_alone(&mut self, entry: NodeIndex, event: &Event) {
        let Event::AttemptEnded(report) = event else {
            return;
        };
        if self.policy != Policy::LeastLatencyAlone || report.outcome.blame() == Blame::Success {
            return;
        }
        let until = self.now + SHUNNED_FOR;
        let own = &self.nodes[entry.at()].name;
        let key = (
            report.peer.as_ref().unwrap_or(own).clone(),
            report.upstream.clone(),
        );
        if let Some(process) = &mut self.nodes[entry.at()].process {
            process.shunned.insert(key, until);
        }
    }

    /// Calls the candidate.
    ///
    /// # Errors
    /// How the attempt ended, where it did at once.
    fn begin_attempt(
        &mut self,
        id: u64,
        attempt: AttemptId,
        choice: Choice,
        is_last_resort: bool,
    ) -> Result<(), Outcome> {
        let now = self.now;
        let upstream = choice.candidate.upstream.clone();
        let owner = NodeIndex::of(&upstream.node).ok_or(Outcome::PeerUnreached)?;
        let Some(client) = self.requests.get_mut(&id) else {
            return Ok(());
        };
        client.number += 1;
        client.first_attempt_at.get_or_insert(now);
        let number = client.number;
        let excused = is_last_resort || choice.reason == RouteReason::Trial;
        let attempts = client.request.as_ref().map_or(0, Request::attempts);
        self.checks.see(
            now,
            &Seen::Attempted {
                request: id,
                owner,
                is_own: upstream.way == Way::Local,
                upstream: &upstream.name,
                attempts,
                region: &upstream.region,
                planned_at: client.planned_at,
                excused: excused || self.policy != Policy::Grapevine,
            },
        );
        self.record.attempted(now, owner);
        client.current = Some(Attempt {
            id: attempt,
            number,
            owner,
            choice,
            started_at: now,
            status: None,
            hides: None,
            is_last_resort,
            sent: None,
        });
        let Some((entry, incarnation)) = client.entry else {
            return Ok(());
        };
        let looks_at = now + STALL_MIN;
        self.plan(
            looks_at,
            WorldEvent::LooksAround {
                attempt: (id, number),
            },
        );
        match upstream.way {
            Way::Local => {
                self.call(owner, entry, (id, number), upstream.name.clone(), None);
                Ok(())
            }
            Way::Peer => self.forward((id, number), (entry, incarnation), owner),
        }
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
        is_forwarded.then_some((attempt.owner, attempt.status.is_some()))
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
