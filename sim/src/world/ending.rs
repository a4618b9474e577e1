//! The outcome of a request: its answer, its end, or the next entry.

use std::time::Duration;

use grapevine_core::fact::Load;
use grapevine_core::outcome::{Finding, Outcome};
use grapevine_core::request::{AttemptEvent, AttemptId, Request, RequestError};
use grapevine_core::view::Way;
use grapevine_proto::frame::reset;

use super::World;
use super::event::CallMessage;
use crate::check::Seen;
use crate::record::{Answered, Ending};
use crate::scenario::{ClientFault, ErrorAnswer};

impl World {
    /// An upstream answered with `status`, and a peer reported its load.
    pub(super) fn head_came(
        &mut self,
        id: u64,
        (status, retry_after): (u16, Option<Duration>),
        error: Option<&ErrorAnswer>,
        load: Option<Load>,
    ) {
        if self.sabotage.loses_answer(id) {
            return;
        }
        let Some(client) = self.requests.get_mut(&id) else {
            return;
        };
        let names_identity = client.asks.client_fault == Some(ClientFault::Organization);
        let shown = error.map(|error| error.finding(names_identity));
        let by_status = Finding::of_status(status);
        // The words of an error come in its body. What is hidden under a good status is read with its first byte.
        let (finding, hides) = match by_status {
            Finding::Answered => (by_status, shown.filter(|it| *it != Finding::Answered)),
            _ => (shown.unwrap_or(by_status), None),
        };
        if let Some(current) = &mut client.current {
            current.status = Some(status);
            current.hides = hides;
        }
        let head = AttemptEvent::Head {
            status,
            retry_after,
            finding,
            detail: None,
            load,
        };
        self.attempt_event(id, head);
    }

    /// What the first piece of an answer shows, where it is no answer.
    pub(super) fn hidden_in(&self, id: u64, attempt: AttemptId) -> Option<Finding> {
        let current = self.requests.get(&id)?.current.as_ref()?;
        current.hides.filter(|_| current.id == attempt)
    }

    /// The client gets the answer of `attempt`.
    pub(super) fn answers(&mut self, id: u64, attempt: AttemptId) {
        let now = self.now;
        let Some(client) = self.requests.get_mut(&id) else {
            return;
        };
        let current = client
            .current
            .as_mut()
            .filter(|current| current.id == attempt);
        let Some(current) = current else {
            // It was kept in case nothing better came, and is over.
            let ended = client
                .request
                .as_ref()
                .map(Request::ended)
                .unwrap_or_default();
            let ending = match ended.get(attempt.index() as usize).map(|it| it.outcome) {
                Some(Outcome::Status { status, .. }) => Ending::Answered { status },
                _ => Ending::Failed,
            };
            self.end(id, ending);
            return;
        };
        let status = current.status.unwrap_or_default();
        let ending = Ending::Answered { status };
        if !ending.is_good() {
            self.drive(id, |request, now| {
                request.body_ended(now);
                None
            });
            self.end(id, ending);
            return;
        }
        client.committed = true;
        let first_byte = now.since(current.started_at);
        // From the first attempt or refused connection to this attempt, refused connections between them included.
        let failover = client
            .first_attempt_at
            .map(|first| current.started_at.since(first))
            .filter(|span| client.number > 1 || !span.is_zero());
        let upstream = &current.choice.candidate.upstream;
        let (key, is_local) = (
            (upstream.node.clone(), upstream.name.clone()),
            upstream.way == Way::Local,
        );
        let mut kinds = self.scenario.upstreams.iter();
        let price = kinds.find(|one| one.name == key.1).map(|one| one.price);
        self.record.answered(Answered {
            asked_at: client.asked_at,
            waited: now.since(client.entered_at),
            failover,
            price: price.unwrap_or_default(),
            upstream: key.1.clone(),
            model: client.model.clone(),
            is_local,
            is_long_prompt: client.asks.long_prompt.is_some(),
        });
        if let Some((entry, _)) = client.entry
            && let Some(process) = &mut self.nodes[entry.at()].process
        {
            let before = process.seen.get(&key).copied().unwrap_or(first_byte);
            process.seen.insert(key, (before * 4 + first_byte) / 5);
        }
        self.checks.see(now, &Seen::Ended { request: id });
        self.digest.words(&[201, id, u64::from(status)]);
        self.drive(id, |request, now| {
            request.body_goes_on(now);
            None
        });
    }

    /// The attempt in flight failed.
    pub(super) fn attempt_failed(&mut self, id: u64, outcome: Outcome, load: Option<Load>) {
        if self.sabotage.loses_answer(id) {
            return;
        }
        self.record.attempts_failed += 1;
        self.leave(id, outcome);
        self.attempt_event(id, failed(outcome, load));
    }

    /// Cancels the call of the attempt in flight, since nobody waits for it.
    fn leave(&mut self, id: u64, outcome: Outcome) {
        let gave_up = matches!(
            outcome,
            Outcome::PeerLost | Outcome::PeerUnreached | Outcome::DeadlinePassed
        );
        let client = self.requests.get(&id).filter(|_| gave_up);
        let Some((entry, attempt)) =
            client.and_then(|it| Some((it.entry?.0, it.current.as_ref()?)))
        else {
            return;
        };
        let (call, owner) = ((id, attempt.number), attempt.owner);
        match attempt.choice.candidate.upstream.way {
            Way::Peer => self.send_message((entry, owner), call, CallMessage::Cancel),
            Way::Local => self.cancelled(call),
        }
    }

    /// The last byte of an answer came.
    pub(super) fn answer_ends(&mut self, (id, number): (u64, u32)) {
        if self.current(id, number).is_some() {
            self.drive(id, |request, now| {
                request.body_ended(now);
                None
            });
            self.over(id);
        }
    }

    /// The end of an answer came from a peer, with a code where it is not clean.
    pub(super) fn end_comes(&mut self, attempt: (u64, u32), broken: Option<u32>) {
        match broken {
            None => self.answer_ends(attempt),
            Some(code) => self.answer_breaks(attempt, reset::outcome(u64::from(code))),
        }
    }

    /// The end of an incomplete answer came.
    pub(super) fn answer_breaks(&mut self, attempt: (u64, u32), outcome: Outcome) {
        if self.is_current(attempt) {
            self.broken_off(attempt.0, outcome);
        }
    }

    /// An answer that had begun broke off.
    pub(super) fn broken_off(&mut self, id: u64, outcome: Outcome) {
        self.drive(id, |request, now| {
            request.broke_off(now, outcome, None);
            None
        });
        self.record.broken += 1;
        self.digest.words(&[202, id]);
        self.over(id);
    }

    /// The time for the first byte of an answer is over.
    pub(super) fn deadline(&mut self, id: u64) {
        let Some(client) = self.requests.get(&id) else {
            return;
        };
        let is_due = client.deadline <= self.now && client.entry.is_some() && !client.committed;
        if is_due && !self.sabotage.loses_answer(id) {
            self.leave(id, Outcome::DeadlinePassed);
            self.attempt_event(id, failed(Outcome::DeadlinePassed, None));
        }
    }

    /// The client gets an error of our own, or an upstream's.
    pub(super) fn end(&mut self, id: u64, ending: Ending) {
        if !self.requests.contains_key(&id) {
            return;
        }
        let code = ending.code();
        match self.fault_of_client(id) {
            Some(fault) => self.faulty_ends(id, fault, ending),
            None => self.record.failed(ending),
        }
        self.checks.see(self.now, &Seen::Ended { request: id });
        self.digest.words(&[203, id, code]);
        self.over(id);
    }

    fn fault_of_client(&self, id: u64) -> Option<ClientFault> {
        self.requests.get(&id)?.asks.client_fault
    }

    /// A request that could not succeed, whatever was done, is over.
    fn faulty_ends(&mut self, id: u64, fault: ClientFault, ending: Ending) {
        let attempts = self.attempts_of(id);
        let tally = &mut self.record.tally;
        match fault {
            ClientFault::Poison => tally.poisoned += 1,
            ClientFault::Organization => {
                tally.identity_answers += u64::from(ending == Ending::Answered { status: 401 });
                tally.identity_repeats += u64::from(attempts.saturating_sub(1));
            }
        }
    }

    pub(super) fn client_gives_up(&mut self, id: u64) {
        self.end(id, Ending::Unreachable);
    }

    /// The client's connection to its entry broke: it connects elsewhere, unless its answer had begun.
    pub(super) fn entry_lost(&mut self, id: u64) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let entry = request.entry.take();
        request.current = None;
        request.request = None;
        if request.committed {
            self.record.broken += 1;
            self.over(id);
        } else if let Some((entry, _)) = entry {
            self.connection_refused(id, entry);
        }
    }

    fn over(&mut self, id: u64) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        if let Some((entry, incarnation)) = request.entry
            && let Some(process) = &mut self.nodes[entry.at()].process
            && process.incarnation == incarnation
        {
            process.active.remove(&request.id);
        }
    }
}

pub(super) fn ending(error: &RequestError) -> Ending {
    match error {
        RequestError::NoPlan(_) => Ending::NoPlan,
        RequestError::RetriesSpent => Ending::BudgetSpent,
        RequestError::Failed(Outcome::Refused(_)) => Ending::Refused,
        RequestError::Failed(Outcome::DeadlinePassed) => Ending::DeadlinePassed,
        RequestError::Failed(_) => Ending::Failed,
    }
}

/// An attempt that brought no answer.
pub(super) fn failed(outcome: Outcome, load: Option<Load>) -> AttemptEvent {
    AttemptEvent::Failed {
        outcome,
        detail: String::new(),
        load,
    }
}
