//! What this node says without being asked: hellos, lines that are due, renewals.

use std::collections::BTreeMap;

use crate::Instant;

use super::leases::LeaseKey;
use super::message::{
    AskLine, EscrowMessage, GrantLine, LINES_MAX, MessageBody, RightsAsk, RightsGrant, StartHello,
};
use super::seats::Seat;
use super::spec::{LeaseClass, LimitId, LimitWindow};
use super::store::ForfeitedWindows;
use super::{Escrow, EscrowEffect, EscrowReport};

impl Escrow {
    /// One message.
    pub(super) fn message(&self, to: Seat, body: MessageBody) -> EscrowEffect {
        let seats = self.seats.digest();
        EscrowEffect::Send(to, EscrowMessage { seats, body })
    }

    /// Says what is due about these limits.
    pub(super) fn speak(
        &mut self,
        now: Instant,
        limits: &[LimitId],
        effects: &mut Vec<EscrowEffect>,
    ) {
        let mut asks: BTreeMap<LeaseKey, Vec<AskLine>> = BTreeMap::new();
        let mut grants: BTreeMap<LeaseKey, Vec<GrantLine>> = BTreeMap::new();
        for limit in limits {
            let Some(known) = self.accounts.get_mut(limit) else {
                continue;
            };
            let account = &mut known.account;
            let class = account.class();
            for (seat, line) in account.ask_lines(now, *limit) {
                asks.entry((class, seat)).or_default().push(line);
            }
            for (seat, line) in account.grant_lines(now, *limit) {
                grants.entry((class, seat)).or_default().push(line);
            }
        }
        for (key, lines) in asks {
            for lines in lines.chunks(LINES_MAX) {
                self.ask(now, key, lines.to_vec(), effects);
            }
        }
        for (key, lines) in grants {
            for lines in lines.chunks(LINES_MAX) {
                self.grant(key, lines.to_vec(), effects);
            }
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        key: LeaseKey,
        lines: Vec<AskLine>,
        effects: &mut Vec<EscrowEffect>,
    ) {
        let (lease, sent_at) = self.leases.ask(now, self.standing.generation, key);
        let ask = RightsAsk {
            lease,
            sent_at,
            lines,
        };
        effects.push(self.message(key.1, MessageBody::Ask(ask)));
    }

    /// Answers a borrower, with or without lines.
    pub(super) fn grant(
        &self,
        key: LeaseKey,
        lines: Vec<GrantLine>,
        effects: &mut Vec<EscrowEffect>,
    ) {
        if let Some((lease, echo)) = self.leases.answer(self.standing.generation, key) {
            let grant = RightsGrant { lease, echo, lines };
            effects.push(self.message(key.1, MessageBody::Grant(grant)));
        }
    }

    /// Renews the leases under which something is held.
    pub(super) fn renew(&mut self, now: Instant, effects: &mut Vec<EscrowEffect>) {
        let due = self.leases.to_renew(now);
        if due.is_empty() {
            return;
        }
        let held = self.accounts.values().flat_map(|known| {
            let class = known.account.class();
            known.account.creditors().map(move |seat| (class, seat))
        });
        let held: std::collections::BTreeSet<LeaseKey> = held.collect();
        for key in due.into_iter().filter(|key| held.contains(key)) {
            self.ask(now, key, Vec::new(), effects);
        }
    }

    /// Goes on with the start: asks the others, and concludes from what they said.
    pub(super) fn start(&mut self, now: Instant, effects: &mut Vec<EscrowEffect>) {
        self.prove_clock(now);
        if let Some(is_old) = self.standing.conclude(self.clock.is_proven()) {
            if is_old {
                self.forfeit(now);
                effects.push(EscrowEffect::Report(EscrowReport::StoreIsOld));
            }
            self.writer.write_own();
        }
        let needs_word = self.standing.is_asking() || !self.clock.is_proven();
        let needs_held = !self.standing.is_all_known() && self.holds_cold_seats();
        if !self.standing.should_repeat(now) {
            return;
        }
        self.report(effects);
        if needs_word || needs_held {
            let hello = StartHello {
                generation: self.standing.generation,
                sent_at: now.since_start(),
            };
            let silent: Vec<Seat> = self.seats.others().collect();
            for seat in silent.into_iter().filter(|seat| self.standing.asks(*seat)) {
                effects.push(self.message(seat, MessageBody::Hello(hello.clone())));
            }
        }
        if self.standing.is_contradicted() && !self.clock.is_proven() && !self.has_reported_clock {
            self.has_reported_clock = true;
            effects.push(EscrowEffect::Report(EscrowReport::ClockDiffers));
        }
    }

    /// Opens the calendar where most nodes have the same time.
    pub(super) fn prove_clock(&mut self, now: Instant) {
        if !self.clock.is_proven() && self.standing.is_clock_agreed() {
            self.clock.prove();
            self.reopen(now);
        }
    }

    /// Whether a limit on concurrency waits for others to say what they hold.
    fn holds_cold_seats(&self) -> bool {
        let held = |account: &super::Account| account.class() == LeaseClass::Held;
        let mut all = self.accounts.values().map(|known| &known.account);
        all.any(|account| held(account) && account.cold() > 0)
    }

    /// The calendar is open: budgets that became known before are in the window that is now.
    fn reopen(&mut self, now: Instant) {
        let wall = self.clock.read(now);
        for (limit, known) in &mut self.accounts {
            let account = &mut known.account;
            if account.class() == LeaseClass::Budget {
                let window = account.spec.window;
                let number = wall.window(window);
                let spent = self.writer.image().opened(*limit, window, number);
                account.roll(number, spent);
            }
        }
    }

    /// This node spends nothing more of the windows that run.
    fn forfeit(&mut self, now: Instant) {
        self.note = None;
        let wall = self.clock.read(now);
        self.writer.forfeit(ForfeitedWindows {
            day: wall.window(LimitWindow::Day),
            month: wall.window(LimitWindow::Month),
        });
        self.reopen(now);
    }
}
