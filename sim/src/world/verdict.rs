//! What follows from how an attempt ended: the answer, the next attempt, or an error for the client.
//!
//! Each outcome's verdict says it; this is the product's `ingress/request.rs` from its `judge` on.

use std::collections::VecDeque;
use std::time::Duration;

use grapevine_core::engine::{AttemptReport, Event};
use grapevine_core::fact::Load;
use grapevine_core::ids::{NodeName, UpstreamName};
use grapevine_core::outcome::{Blame, Next, Outcome, RetryOn};
use grapevine_core::route::Choice;
use grapevine_core::view::Way;

use super::happening::Word;
use super::node;
use super::serve::SHUNNED_FOR;
use super::{Policy, World};
use crate::check::Seen;
use crate::record::{Answered, Ending};

impl World {
    /// An upstream answered with `status`.
    pub(super) fn head_came(&mut self, id: u64, status: u16, retry_after: Option<Duration>) {
        let outcome = Outcome::Status {
            status,
            retry_after,
        };
        let verdict = outcome.verdict(&RetryOn::default());
        if self.sabotage.loses_answer(id) {
            return;
        }
        if verdict.next == Next::GoOn {
            self.ends_attempt(id, outcome);
            if let Some(request) = self.requests.get_mut(&id) {
                request.failure = Some(outcome);
                if verdict.blame != Blame::Credential {
                    request.held = Some(status);
                }
            }
            self.go_on(id, verdict.costs_retry);
            return;
        }
        self.commit(id, status);
    }

    fn commit(&mut self, id: u64, status: u16) {
        let now = self.now;
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.committed = true;
        let Some(attempt) = &mut request.current else {
            return;
        };
        attempt.has_head = true;
        let first_byte = now.since(attempt.started_at);
        // From the first attempt or closed door to this attempt, doors between them included.
        let failover = request
            .first_attempt_at
            .map(|first| attempt.started_at.since(first))
            .filter(|span| request.number > 1 || !span.is_zero());
        let key = {
            let upstream = &attempt.choice.candidate.upstream;
            (upstream.node.clone(), upstream.name.clone())
        };
        let mut kinds = self.scenario.upstreams.iter();
        let price = kinds.find(|one| one.name == key.1).map(|one| one.price);
        self.record.answered(Answered {
            asked_at: request.asked_at,
            waited: now.since(request.entered_at),
            failover,
            price: price.unwrap_or_default(),
        });
        if let Some((entry, _)) = request.entry
            && let Some(life) = &mut self.nodes[entry.at()].life
        {
            let before = life.seen.get(&key).copied().unwrap_or(first_byte);
            life.seen.insert(key, (before * 4 + first_byte) / 5);
        }
        self.checks.see(now, &Seen::Ended { request: id });
        self.digest.words(&[201, id, u64::from(status)]);
    }

    /// The attempt under way failed.
    pub(super) fn attempt_failed(&mut self, id: u64, outcome: Outcome, load: Option<Load>) {
        if self.sabotage.loses_answer(id) {
            return;
        }
        let told_load = load.is_some();
        if let Some(load) = load {
            self.load_heard(id, load);
        }
        self.record.attempts_failed += 1;
        let Some((node, name)) = self.ends_attempt(id, outcome) else {
            return;
        };
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        request.failure = Some(outcome);
        if matches!(outcome, Outcome::Refused(_)) {
            request.refused.push((node, name));
        }
        let verdict = outcome.verdict(&RetryOn::default());
        match verdict.next {
            Next::GoOn if told_load && !request.picked_again => {
                request.picked_again = true;
                self.pick_again(id);
                self.next_attempt(id);
            }
            Next::GoOn => self.go_on(id, verdict.costs_retry && !told_load),
            Next::Answer | Next::Stop => self.give_up(id),
        }
    }

    fn pick_again(&mut self, id: u64) {
        let Some((fresh, _)) = self.choices(id) else {
            return;
        };
        let now = self.now;
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let has_refused = |choice: &Choice| {
            let upstream = &choice.candidate.upstream;
            let mut refused = request.refused.iter();
            refused.any(|(node, name)| *node == upstream.node && *name == upstream.name)
        };
        let fresh: VecDeque<Choice> = fresh.into_iter().filter(|it| !has_refused(it)).collect();
        if !fresh.is_empty() {
            request.queue = fresh;
            request.planned_at = now;
        }
    }

    fn go_on(&mut self, id: u64, costs_retry: bool) {
        let now = self.now;
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let Some((entry, _)) = request.entry else {
            return;
        };
        if costs_retry
            && !request.queue.is_empty()
            && let Some(life) = &mut self.nodes[entry.at()].life
        {
            life.budget.refill(now.since(life.refilled_at));
            life.refilled_at = now;
            if !life.budget.take_retry(false) {
                self.end(id, Ending::BudgetSpent);
                return;
            }
        }
        self.next_attempt(id);
    }

    /// Takes the attempt away, and reports it where it went to a peer; an own upstream's is reported by
    /// the side that serves it. Returns whose upstream it was.
    fn ends_attempt(&mut self, id: u64, outcome: Outcome) -> Option<(NodeName, UpstreamName)> {
        let now = self.now;
        let request = self.requests.get_mut(&id)?;
        let attempt = request.current.take()?;
        let model = request.model.clone();
        let (entry, _) = request.entry?;
        let upstream = &attempt.choice.candidate.upstream;
        let key = (upstream.node.clone(), upstream.name.clone());
        let is_alone = self.policy == Policy::LeastLatencyAlone;
        if let Some(life) = self.nodes[entry.at()].life.as_mut().filter(|_| is_alone)
            && outcome.verdict(&RetryOn::default()).blame != Blame::Success
        {
            life.shunned.insert(key.clone(), now + SHUNNED_FOR);
        }
        let call = (id, attempt.number);
        if upstream.way == Way::Peer {
            let in_vain = matches!(outcome, Outcome::DeadlinePassed);
            let report = AttemptReport {
                peer: Some(key.0.clone()),
                upstream: key.1.clone(),
                model: Some(model),
                outcome,
                first_byte: in_vain.then(|| now.since(attempt.started_at)),
            };
            drop(attempt);
            self.tell(entry, Event::AttemptEnded(report));
            if matches!(
                outcome,
                Outcome::PeerLost | Outcome::PeerUnreached | Outcome::DeadlinePassed
            ) && let Some(owner) = node::index_of(&key.0)
            {
                self.send_word((entry, owner), call, Word::Cancel);
            }
        } else if outcome == Outcome::DeadlinePassed {
            drop(attempt);
            self.cancelled_for(call, Outcome::DeadlinePassed);
        }
        Some(key)
    }

    /// The last byte of an answer came.
    pub(super) fn answer_ends(&mut self, (id, number): (u64, u32)) {
        if self.current(id, number).is_some() {
            self.ends_attempt(id, Outcome::status(200));
            self.over(id);
        }
    }

    /// An answer that had begun broke off.
    pub(super) fn broken_off(&mut self, id: u64) {
        self.ends_attempt(id, Outcome::BrokenOff);
        self.record.broken += 1;
        self.digest.words(&[202, id]);
        self.over(id);
    }

    pub(super) fn deadline(&mut self, id: u64) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        if request.deadline > self.now || request.entry.is_none() || self.sabotage.loses_answer(id)
        {
            return;
        }
        if request.committed {
            self.broken_off(id);
            return;
        }
        self.ends_attempt(id, Outcome::DeadlinePassed);
        self.end(id, Ending::DeadlinePassed);
    }

    /// Nothing answered well: the last answer there was, else an error of our own.
    pub(super) fn give_up(&mut self, id: u64) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let ending = match (request.held, request.failure) {
            (Some(status), _) => Ending::Answered { status },
            (None, Some(Outcome::Refused(_))) => Ending::Refused,
            (None, _) => Ending::Failed,
        };
        self.end(id, ending);
    }

    /// The client gets an error of our own, or an upstream's.
    pub(super) fn end(&mut self, id: u64, ending: Ending) {
        if !self.requests.contains_key(&id) {
            return;
        }
        let word = ending.word();
        self.record.failed(ending);
        self.checks.see(self.now, &Seen::Ended { request: id });
        self.digest.words(&[203, id, word]);
        self.over(id);
    }

    pub(super) fn client_gives_up(&mut self, id: u64) {
        self.end(id, Ending::Unreachable);
    }

    /// The client's connection to its entry broke: it knocks elsewhere, unless its answer had begun.
    pub(super) fn entry_lost(&mut self, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let entry = request.entry.take();
        request.current = None;
        request.queue.clear();
        request._under_way = None;
        if request.committed {
            self.record.broken += 1;
            self.over(id);
        } else if let Some((entry, _)) = entry {
            self.door_closed(id, entry);
        }
    }

    fn over(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        if let Some((entry, number)) = request.entry
            && let Some(life) = &mut self.nodes[entry.at()].life
            && life.number == number
        {
            life.active.remove(&request.id);
        }
    }
}
