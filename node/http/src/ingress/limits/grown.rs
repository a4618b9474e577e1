//! A stream as it passes, against what its request has taken of its key's limits.

use std::sync::LazyLock;

use grapevine_base::limits::{LimitKind, LimitsHandle};
use grapevine_core::Instant;
use grapevine_core::escrow::growth::{GROWTH_STEP, GrowthStep, OverrunRule};
use grapevine_core::price::{BilledTokens, ModelPrice};
use grapevine_observe::record::Tokens;
use memchr::memmem::Finder;

use super::super::problem::{Problem, Reached};
use super::{HeldLimits, HeldRights};

/// Begins the data of an event; within text it takes a token too.
static DATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"data:"));

/// In the head of each of Amazon's frames.
static FRAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b":event-type"));

/// How the events of a stream become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum StreamForm {
    /// Server-sent events.
    Text,
    /// Amazon's frames.
    Frames,
}

/// Events of a stream that carry no token: its first, or those that follow the last counts, such as `[DONE]`.
const EVENTS_WITHOUT: u64 = 2;

/// Nothing is reported yet.
const NONE: Tokens = Tokens {
    input: None,
    cached: None,
    cache_written: None,
    output: None,
};

/// What of a stream was seen.
#[derive(Debug)]
pub(super) struct Grown {
    /// What was reported last.
    reported: Tokens,
    /// Events since then.
    events: u64,
    /// What the stream used at least.
    pub(super) tokens: u64,
    /// What that costs, in millionths of a dollar.
    pub(super) money: u64,
    has_overrun: bool,
}

/// A piece of a stream that is about to pass.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct StreamPiece<'a> {
    pub(in super::super) form: StreamForm,
    pub(in super::super) bytes: &'a [u8],
    /// What the upstream has reported until its end.
    pub(in super::super) reported: Tokens,
}

impl HeldRights {
    /// Takes more of the limits where the stream has grown with `piece`; `price` is that of the model that answers.
    ///
    /// # Errors
    /// Where the stream must end: a limit has no more.
    pub(in super::super) fn grow(
        &mut self,
        now: Instant,
        piece: StreamPiece<'_>,
        price: Option<ModelPrice>,
        rule: OverrunRule,
    ) -> Result<(), Problem> {
        let grown = &mut self.grown;
        let step = grown.see(piece, price);
        let bytes = piece.bytes.len() as u64;
        let used = [
            (LimitKind::Tokens, (grown.tokens, step.0)),
            (LimitKind::Money, (grown.money, step.1)),
        ];
        for held in &mut self.held {
            for (kind, used) in used {
                let lacking = held.grow(now, &self.limits, (kind, used), bytes);
                let Some(lacking) = lacking else { continue };
                if !std::mem::replace(&mut grown.has_overrun, true) {
                    self.limits.count_overrun(kind);
                }
                if rule == OverrunRule::End {
                    return Err(Problem::budget_exceeded(lacking));
                }
            }
        }
        Ok(())
    }
}

impl HeldLimits {
    /// Takes more of `kind`. Returns the limit that has no more for a stream that used more than it had.
    fn grow(
        &mut self,
        now: Instant,
        limits: &LimitsHandle,
        (kind, used): (LimitKind, (u64, u64)),
        bytes: u64,
    ) -> Option<Reached<'_>> {
        let at = kind as usize;
        let (limit, taken) = self.purses.limit(kind).zip(self.taken[at].as_mut())?;
        match self.growths[at].grow(now, taken, used, bytes) {
            GrowthStep::GoOn => None,
            GrowthStep::Ask => {
                limits.ask(limit.id);
                None
            }
            GrowthStep::End => Some(Reached {
                kind,
                spec: self.purses.specs[at]?,
                model: self.model.as_ref(),
            }),
        }
    }
}

impl Grown {
    pub(super) const fn none() -> Self {
        Self {
            reported: NONE,
            events: 0,
            tokens: 0,
            money: 0,
            has_overrun: false,
        }
    }

    /// Counts what came with `piece`. Returns the tokens and the money that are taken ahead.
    fn see(&mut self, piece: StreamPiece<'_>, price: Option<ModelPrice>) -> (u64, u64) {
        let events = match piece.form {
            StreamForm::Text => &DATA,
            StreamForm::Frames => &FRAME,
        };
        let events = events.find_iter(piece.bytes).count() as u64;
        if piece.reported == self.reported {
            self.events += events;
        } else {
            // Those of the piece are within what was reported, or will be in what is reported next.
            self.events = 0;
            self.reported = piece.reported;
        }
        let reported = piece.reported.billed().unwrap_or_default();
        let since = self.events.saturating_sub(EVENTS_WITHOUT);
        let used = BilledTokens {
            output: reported.output.saturating_add(since),
            ..reported
        };
        self.tokens = used.input.saturating_add(used.output);
        let ahead = BilledTokens {
            output: used.output.saturating_add(GROWTH_STEP),
            ..used
        };
        let money = |tokens| price.map_or(0, |price| price.cost(tokens).micros());
        self.money = money(used);
        (GROWTH_STEP, money(ahead).saturating_sub(self.money))
    }
}

#[cfg(test)]
mod tests {
    use grapevine_core::price::NanoUsd;

    use super::*;

    fn seen(grown: &mut Grown, bytes: &[u8], reported: Tokens) -> (u64, u64) {
        let form = StreamForm::Text;
        let piece = StreamPiece {
            form,
            bytes,
            reported,
        };
        let price = ModelPrice {
            output: NanoUsd(2_000_000_000),
            ..ModelPrice::default()
        };
        grown.see(piece, Some(price));
        (grown.tokens, grown.money)
    }

    #[test]
    fn each_event_since_the_last_counts_is_a_token_but_two() {
        let mut grown = Grown::none();
        let none = Tokens::default();
        let three = b"data: a\n\ndata: b\n\ndata: c\n\nda";
        assert_eq!(seen(&mut grown, three, none), (1, 2));
        assert_eq!(seen(&mut grown, b"ta: d\n\n", none), (1, 2));
        let reported = Tokens {
            input: Some(1_000),
            output: Some(1),
            ..none
        };
        assert_eq!(seen(&mut grown, b"data: e\n\n", reported), (1_001, 2));
        assert_eq!(seen(&mut grown, three, reported), (1_002, 4));
        let reported = Tokens {
            output: Some(500),
            ..reported
        };
        assert_eq!(seen(&mut grown, b"data: f\n\n", reported), (1_500, 1_000));
        // The end of the stream.
        let last = b"data: [DONE]\n\n";
        assert_eq!(seen(&mut grown, last, reported), (1_500, 1_000));
    }

    #[test]
    fn frames_are_counted_by_their_heads() {
        let mut grown = Grown::none();
        let piece = StreamPiece {
            form: StreamForm::Frames,
            bytes: &b"\0\0\0\x80\x0b:event-type\x07\0\x11contentBlockDelta data: data:".repeat(3),
            reported: Tokens::default(),
        };
        assert_eq!(grown.see(piece, None), (GROWTH_STEP, 0));
        assert_eq!((grown.tokens, grown.money), (1, 0));
    }
}
