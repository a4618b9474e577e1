//! What other nodes say.

use crate::Instant;
use crate::ids::Generation;

use super::account::Account;
use super::leases::{Asked, Granted};
use super::message::{
    EscrowMessage, LINES_MAX, LeaseName, MessageBody, RightsAsk, RightsGrant, StartHello,
    StartTestimony,
};
use super::seats::Seat;
use super::spec::{LeaseClass, LimitId};
use super::{Escrow, EscrowEffect};

impl Escrow {
    /// Takes a message of the node in `from`. One from a node with another list of seats is dropped.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        from: Seat,
        message: EscrowMessage,
        effects: &mut Vec<EscrowEffect>,
    ) {
        let is_known = self.seats.name(from).is_some() && from != self.seats.own();
        if message.seats != self.seats.digest() || !is_known {
            return;
        }
        match message.body {
            MessageBody::Ask(ask) => self.receive_ask(now, from, &ask, effects),
            MessageBody::Grant(grant) => self.receive_grant(now, from, &grant, effects),
            MessageBody::Hello(hello) => self.receive_hello(now, from, &hello, effects),
            MessageBody::Testimony(testimony) => self.receive_testimony(now, from, &testimony),
            MessageBody::Wrote { version } => {
                self.witness(from, version, effects);
                self.write(now, effects);
            }
            MessageBody::Witnessed { version } => {
                self.standing.witnessed(from, version);
                self.prove(now);
            }
        }
    }

    fn receive_ask(
        &mut self,
        now: Instant,
        from: Seat,
        ask: &RightsAsk,
        effects: &mut Vec<EscrowEffect>,
    ) {
        let class = ask.lease.class;
        let own = self.standing.generation;
        let asked = (self.leases).receive_ask(now, own, from, ask.lease, ask.sent_at);
        match asked {
            Asked::Stale => return,
            Asked::Tell => return self.tell(from, ask.lease, effects),
            Asked::Valid => {}
            Asked::Renewed => self.each_of(class, |account| account.close_lent(now, from)),
            Asked::Restarted => self.each_of(class, |account| account.free_lent(now, from)),
        }
        let mut limits = Vec::new();
        for line in ask.lines.iter().take(LINES_MAX) {
            if line.spec.window.class() != class {
                continue;
            }
            if let Ok(known) = self.know(now, line.limit, line.spec, false) {
                known.account.receive_ask(now, from, line);
                limits.push(line.limit);
            }
        }
        for limit in &limits {
            self.settle(now, *limit);
        }
        let before = effects.len();
        self.speak(now, &limits, effects);
        let is_answer = |effect: &EscrowEffect| matches!(effect, EscrowEffect::Send(to, message) if *to == from && matches!(message.body, MessageBody::Grant(_)));
        if !effects[before..].iter().any(is_answer) {
            self.grant((class, from), Vec::new(), effects);
        }
    }

    /// Tells a borrower of which process it speaks to, or that a later one of its own is known.
    fn tell(&self, to: Seat, asked: LeaseName, effects: &mut Vec<EscrowEffect>) {
        let known = self.leases.known_borrower((asked.class, to));
        let lease = LeaseName {
            borrower: asked.borrower.max(known),
            lender: self.standing.generation,
            ..asked
        };
        let grant = RightsGrant {
            lease,
            echo: std::time::Duration::ZERO,
            lines: Vec::new(),
        };
        effects.push(self.message(to, MessageBody::Grant(grant)));
    }

    fn receive_grant(
        &mut self,
        now: Instant,
        from: Seat,
        grant: &RightsGrant,
        effects: &mut Vec<EscrowEffect>,
    ) {
        let own = self.standing.generation;
        let class = grant.lease.class;
        match self
            .leases
            .receive_grant(now, own, from, grant.lease, grant.echo)
        {
            Granted::Stale => return,
            Granted::Restarted => return self.void_loans(now, class, from),
            Granted::Valid => {}
        }
        let mut limits = Vec::new();
        for line in grant.lines.iter().take(LINES_MAX) {
            if let Some(known) = self.accounts.get_mut(&line.limit)
                && known.account.class() == class
            {
                known.account.receive_grant(now, from, line);
                limits.push(line.limit);
            }
        }
        for limit in &limits {
            self.settle(now, *limit);
        }
        self.speak(now, &limits, effects);
    }

    fn receive_hello(
        &mut self,
        now: Instant,
        from: Seat,
        hello: &StartHello,
        effects: &mut Vec<EscrowEffect>,
    ) {
        let known = LeaseClass::ALL.map(|class| self.leases.known((class, from)));
        let known = known.into_iter().fold(hello.generation, Generation::max);
        for class in LeaseClass::ALL {
            if self.leases.meet_lender((class, from), hello.generation) {
                self.void_loans(now, class, from);
            }
            if self.leases.meet_borrower((class, from), hello.generation) {
                self.each_of(class, |account| account.free_lent(now, from));
                self.standing.forget_witness(from);
            }
        }
        let strays = |account: &Account| account.strays_of(from);
        let held = self.accounts.iter();
        let held = held.map(|(limit, known)| (*limit, strays(&known.account)));
        let mut held: Vec<(LimitId, u64)> = held.filter(|(_, units)| *units > 0).collect();
        let is_whole = held.len() <= LINES_MAX;
        held.truncate(LINES_MAX);
        let testimony = StartTestimony {
            generation: hello.generation,
            known,
            echo: hello.sent_at,
            version: self.version_of(from),
            wall: self.clock.read(now),
            held,
            is_whole,
        };
        effects.push(self.message(from, MessageBody::Testimony(testimony)));
    }

    fn receive_testimony(&mut self, now: Instant, from: Seat, testimony: &StartTestimony) {
        let own = self.standing.generation;
        if testimony.generation != own || testimony.echo > now.since_start() {
            return;
        }
        if testimony.known > own {
            // The clock went back between two starts. While nothing was asked or lent, the name can be a later one.
            if self.standing.is_asking() && !self.leases.has_asked() {
                self.standing.rename(Generation(testimony.known.0 + 1));
            }
            return;
        }
        if self.standing.is_news(from) {
            for (limit, units) in testimony.held.iter().take(LINES_MAX) {
                match self.accounts.get_mut(limit) {
                    Some(known) => known.account.adopt_strays(now, *units),
                    None => *self.adopted.entry(*limit).or_default() += units,
                }
            }
        }
        let wall = self.clock.read(now);
        self.standing.testify(now, from, testimony, wall);
        // At once: before the next tick the wall clock may be set.
        self.prove_clock(now);
    }
}
