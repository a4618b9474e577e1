//! A call of an own upstream, for a request of this node or of a peer: it waits in the upstream's line, begins,
//! answers, ends.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::forwarding::PathScope;
use grapevine_core::health::Witness;
use grapevine_core::ids::{ModelName, UpstreamName};
use grapevine_core::latency::RequestShape;
use grapevine_core::outcome::{Blame, Outcome, Stage};
use grapevine_core::request::{LongWait, UpstreamCall};
use grapevine_proto::frame::reset;

use super::asks::Asks;
use super::event::CallMessage;
use super::serve::Admission;
use super::{World, WorldEvent};
use crate::endpoint::{CallKey, Reaction, Reception};
use crate::membership::NodeIndex;
use crate::scenario::ErrorAnswer;

/// A call of an own upstream.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) owner: NodeIndex,
    pub(super) entry: NodeIndex,
    upstream: UpstreamName,
    endpoint: usize,
    model: ModelName,
    wait: LongWait,
    /// The first byte must have come by then.
    patience_ends_at: Instant,
    /// What the upstream does next, and when: a reaction planned for another moment is void.
    reacts_at: Instant,
    outcome: Outcome,
    /// The error with words that it answers with.
    error: Option<Arc<ErrorAnswer>>,
    /// Its body breaks off after this share of it.
    breaks_after: Option<f64>,
    asks: Asks,
    answering: bool,
    /// The whole of it must have come by then.
    total_at: Instant,
    /// When its last byte comes, unless something keeps it from coming.
    ends_at: Instant,
    /// When its upstream breaks it off, where it does.
    breaks_at: Option<Instant>,
    /// Since when its answer is paused.
    paused_at: Option<Instant>,
    /// When it ends, one way or another: an end planned for another moment is void.
    due_at: Instant,
    /// Of a forwarded request: what it holds here, and what this node reports of it. The entry's own calls are
    /// reported by the request itself.
    forwarded: Option<(Admission, UpstreamCall)>,
}

impl Call {
    /// When its answer ends, and how: complete, or because its caller waits no longer than `idle` within an answer, and
    /// no longer than its limit in all.
    fn end(&self, idle: Duration) -> (Instant, Outcome) {
        let (at, outcome) = match (self.paused_at, self.breaks_at) {
            (Some(paused_at), _) => (paused_at + idle, Outcome::TimedOut(Stage::Idle)),
            (None, Some(breaks_at)) => (breaks_at, Outcome::BrokenOff),
            (None, None) => (self.ends_at, self.outcome),
        };
        match self.total_at < at {
            true => (self.total_at, Outcome::TimedOut(Stage::Total)),
            false => (at, outcome),
        }
    }
}

impl World {
    /// Calls an own upstream, for a request of this node or of a peer.
    pub(super) fn call(
        &mut self,
        owner: NodeIndex,
        entry: NodeIndex,
        key: CallKey,
        upstream: UpstreamName,
        admission: Option<Admission>,
    ) {
        let now = self.now;
        let (Some(endpoint), Some(request)) = (
            self.endpoint_of(owner, &upstream),
            self.requests.get(&key.0),
        ) else {
            return;
        };
        let (model, asks) = (request.model.clone(), request.asks);
        let patience_ends_at = now + self.patience(&asks);
        let demand = self.demand(key, &model, patience_ends_at, &asks);
        let reception = self.endpoints[endpoint].receive(now, &demand);
        let reaction = match reception {
            Reception::Reacts(reaction) => reaction,
            Reception::Waits => {
                self.record.tally.queued += 1;
                Reaction::new(demand.patience, Outcome::TimedOut(demand.stage))
            }
        };
        if self.endpoints[endpoint].works_on(key) {
            self.found_cached(key, reaction.cached);
            self.paid(key.0);
        }
        let shape = self.shape(key.0);
        let witness = witness(key.0, asks.client, now);
        let wait = self.long_wait(owner, &upstream, &model, shape, witness);
        let reported = UpstreamCall::of_own(
            upstream.clone(),
            PathScope::Inference,
            Some(model.clone()),
            shape,
            witness,
        );
        let reacts_at = now + reaction.after;
        let call = Call {
            owner,
            entry,
            upstream,
            endpoint,
            model,
            wait,
            patience_ends_at,
            reacts_at,
            outcome: reaction.outcome,
            error: reaction.error,
            breaks_after: reaction.breaks_after,
            asks,
            answering: false,
            total_at: now + self.scenario.routing.total,
            ends_at: now,
            breaks_at: None,
            paused_at: None,
            due_at: now,
            forwarded: admission.map(|admission| (admission, reported)),
        };
        self.calls.insert(key, call);
        self.plan(reacts_at, WorldEvent::Reacts { call: key });
        // The report of a quicker answer never falls due.
        if reacts_at > wait.due_at() {
            self.plan(wait.due_at(), WorldEvent::Awaits { call: key });
        }
    }

    /// When a call of `upstream` that begins now is reported as one that waits.
    fn long_wait(
        &self,
        owner: NodeIndex,
        upstream: &UpstreamName,
        model: &ModelName,
        shape: RequestShape,
        witness: Witness,
    ) -> LongWait {
        let process = self.nodes[owner.at()].process.as_ref();
        let own = process.and_then(|process| process.engine.own_upstream(self.now, upstream));
        let expected = own.and_then(|(_, fact)| fact.expected(Some(model), shape));
        let p99 = process.and_then(|process| process.engine.own_p99(upstream, shape.class));
        LongWait::new(witness, shape, expected, p99)
    }

    /// A call reached the front of the line.
    fn begin_waiting(&mut self, key: CallKey) {
        let now = self.now;
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let demand = self.demand(key, &call.model, call.patience_ends_at, &call.asks);
        let reaction = self.endpoints[call.endpoint].begin(now, &demand);
        let reacts_at = now + reaction.after;
        self.paid(key.0);
        self.found_cached(key, reaction.cached);
        if let Some(call) = self.calls.get_mut(&key) {
            call.outcome = reaction.outcome;
            call.error = reaction.error;
            call.breaks_after = reaction.breaks_after;
            call.reacts_at = reacts_at;
        }
        self.plan(reacts_at, WorldEvent::Reacts { call: key });
    }

    /// A call waits for its first byte for unusually long: that is reported to the engine.
    pub(super) fn awaits(&mut self, key: CallKey) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&key).filter(|call| !call.answering) else {
            return;
        };
        let (upstream, model) = (call.upstream.clone(), Some(call.model.clone()));
        let event = call.wait.report(now, upstream, model);
        let (owner, due_at) = (call.owner, call.wait.due_at());
        self.plan(due_at, WorldEvent::Awaits { call: key });
        self.deliver(owner, event);
    }

    /// An upstream answered or failed.
    pub(super) fn reacts(&mut self, key: CallKey) {
        let now = self.now;
        let is_due = |call: &&mut Call| !call.answering && call.reacts_at == now;
        let Some(call) = self.calls.get_mut(&key).filter(is_due) else {
            return;
        };
        let (owner, entry, outcome) = (call.owner, call.entry, call.outcome);
        let (upstream, error) = (call.upstream.clone(), call.error.clone());
        if error.is_some() && call.asks.client_fault.is_none() {
            self.record.tally.error_answers += 1;
        }
        if outcome.blame() == Blame::Success {
            call.answering = true;
            let body = call.asks.body_after_head();
            call.ends_at = now + body;
            call.breaks_at = call.breaks_after.map(|share| now + body.mul_f64(share));
            let is_paused = self.endpoints[call.endpoint].is_paused();
            call.paused_at = is_paused.then_some(now);
            let own = call.forwarded.as_mut().map(|(_, own)| own);
            let report = own.and_then(|own| own.answer_goes_on(now));
            self.plan_end(key);
            if let Some(report) = report {
                self.deliver(owner, report.event);
            }
        } else {
            self.record.tally.answered_with(outcome);
            self.call_over(key, outcome);
        }
        let is_local = owner == entry;
        match outcome {
            Outcome::Status {
                status,
                retry_after,
                ..
            } if is_local => self.head_came(key.0, (status, retry_after), error.as_deref(), None),
            Outcome::Status {
                status,
                retry_after,
                ..
            } => self.send_head((owner, entry), key, &upstream, (status, retry_after), error),
            outcome if is_local => self.attempt_failed(key.0, outcome, None),
            outcome => self.send_failure(owner, entry, key, Some(&upstream), outcome),
        }
    }

    /// Plans the end of an answer as things stand now.
    fn plan_end(&mut self, key: CallKey) {
        let idle = self.scenario.routing.idle;
        if let Some(call) = self.calls.get_mut(&key) {
            let (due_at, _) = call.end(idle);
            call.due_at = due_at;
            self.plan(due_at, WorldEvent::BodyEnds { call: key });
        }
    }

    /// The last byte came from the upstream, or a time limit passed.
    pub(super) fn body_ends(&mut self, key: CallKey) {
        let is_due = |call: &&Call| call.answering && call.due_at == self.now;
        let Some(call) = self.calls.get(&key).filter(is_due) else {
            return;
        };
        let (owner, entry) = (call.owner, call.entry);
        let (_, outcome) = call.end(self.scenario.routing.idle);
        self.record.tally.answered_with(outcome);
        self.call_over(key, outcome);
        let is_broken = matches!(outcome, Outcome::TimedOut(_) | Outcome::BrokenOff);
        match (owner == entry, is_broken) {
            (true, false) => self.answer_ends(key),
            (true, true) => self.answer_breaks(key, outcome),
            (false, false) => self.send_message((owner, entry), key, CallMessage::End),
            (false, true) => {
                let message = CallMessage::Broken(reset::code(&outcome));
                self.send_message((owner, entry), key, message);
            }
        }
    }

    /// The answers of these endpoints pause.
    pub(super) fn pause_answers(&mut self, endpoints: &[usize]) {
        let now = self.now;
        self.replan_answers(endpoints, |call| {
            let goes_on = call.paused_at.is_none();
            call.paused_at.get_or_insert(now);
            goes_on
        });
    }

    /// They resume where they paused.
    pub(super) fn resume_answers(&mut self, endpoints: &[usize]) {
        let now = self.now;
        self.replan_answers(endpoints, |call| {
            let paused_at = call.paused_at.take();
            let longer = paused_at.map_or(Duration::ZERO, |paused_at| now.since(paused_at));
            call.ends_at = call.ends_at + longer;
            call.breaks_at = call.breaks_at.map(|at| at + longer);
            paused_at.is_some()
        });
    }

    /// Plans the ends of the answers again that `change` changes.
    fn replan_answers(&mut self, endpoints: &[usize], change: impl Fn(&mut Call) -> bool) {
        let met = |call: &Call| call.answering && endpoints.contains(&call.endpoint);
        let calls = self.calls.iter_mut().filter(|(_, call)| met(call));
        let changed = calls.filter_map(|(key, call)| change(call).then_some(*key));
        for key in changed.collect::<Vec<_>>() {
            self.plan_end(key);
        }
    }

    /// The caller does not wait any more.
    pub(super) fn cancelled(&mut self, key: CallKey) {
        self.call_over(key, Outcome::Cancelled);
    }

    /// Removes a call, and gives its slot to the next in line; its owner reports it if it was a peer's.
    fn call_over(&mut self, key: CallKey, outcome: Outcome) {
        if self.sabotage.hoards() {
            return;
        }
        let Some(call) = self.calls.remove(&key) else {
            return;
        };
        if let Some(next) = self.endpoints[call.endpoint].leave(key) {
            self.begin_waiting(next);
        }
        let Some((admission, own)) = call.forwarded else {
            return;
        };
        let entry = self.nodes[call.entry.at()].name.clone();
        if let Some(process) = &mut self.nodes[call.owner.at()].process {
            admission.leave(&mut process.forwards_in_flight, &entry);
        }
        self.deliver(call.owner, own.ended(self.now, outcome, None).event);
    }

    /// These endpoints die: answers break off, and what waits for its first byte is reset.
    pub(super) fn break_answers(&mut self, endpoints: &[usize]) {
        let met = |call: &Call| call.answering && endpoints.contains(&call.endpoint);
        let broken = self.calls.iter().filter(|(_, call)| met(call));
        for key in broken.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.call_over(key, Outcome::BrokenOff);
            // The end comes with the last of what was sent; the delay is left out.
            if self.is_current(key) {
                self.broken_off(key.0, Outcome::BrokenOff);
            }
        }
        let waits = |call: &Call| !call.answering && endpoints.contains(&call.endpoint);
        let now = self.now;
        let waiting = self.calls.iter_mut().filter(|(_, call)| waits(call));
        let reset = waiting.map(|(key, call)| {
            call.outcome = Outcome::Reset;
            call.reacts_at = now;
            *key
        });
        for call in reset.collect::<Vec<_>>() {
            self.plan(now, WorldEvent::Reacts { call });
        }
    }

    /// A node died: its calls are gone, and its upstreams drop them.
    pub(super) fn calls_lost(&mut self, owner: NodeIndex) {
        let lost = self.calls.iter().filter(|(_, call)| call.owner == owner);
        for key in lost.map(|(key, _)| *key).collect::<Vec<_>>() {
            if let Some(call) = self.calls.remove(&key) {
                // The next call in line is lost with it.
                let _ = self.endpoints[call.endpoint].leave(key);
            }
        }
    }
}

pub(super) const fn witness(request: u64, client: u64, began_at: Instant) -> Witness {
    Witness {
        request,
        client,
        began_at,
        is_doubtful: false,
    }
}
