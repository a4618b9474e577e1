//! What a node knows of a peer's upstream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::refusals::Refusals;
use crate::account::{AccountRests, AccountSpec};
use crate::cache_meter::CacheMeter;
use crate::fact::{Load, Standing, UpstreamFact};
use crate::ids::ModelName;
use crate::latency::{
    AnswerClass, AnswerTimes, ByClass, FirstByte, LatencyFigures, Low, TRIED_AGAIN_AFTER, Tries,
};
use crate::limit::InFlight;
use crate::time::Instant;
use crate::view::permits;

/// A peer's upstream.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) fact: Arc<UpstreamFact>,
    pub(super) reported_at: Instant,
    pub(super) stands_since: Instant,
    pub(super) figures_at: Instant,
    pub(super) ttft_received: Option<Duration>,
    /// The recent lows of the upstream as a whole.
    lows: ByClass<Option<Low>>,
    /// The same of each model that its owner measured.
    model_lows: BTreeMap<ModelName, ByClass<Option<Low>>>,
    /// The attempts of this node.
    pub(super) tries: Tries,
    /// The answers that this node got.
    pub(super) answer_times: AnswerTimes,
    pub(super) others_in_flight: u32,
    pub(super) in_flight: InFlight,
    pub(super) cache: CacheMeter,
    pub(super) hot_until: Option<Instant>,
    pub(super) refusals: Refusals,
    pub(super) returned_at: Option<Instant>,
    /// The account that it draws on.
    pub(super) account: Option<Arc<AccountSpec>>,
    /// What its owner says of it.
    pub(super) account_rests: AccountRests,
}

impl Remote {
    pub(super) fn new(now: Instant, fact: UpstreamFact, returned_at: Option<Instant>) -> Self {
        let mut remote = Self {
            others_in_flight: fact.in_flight,
            fact: Arc::new(fact),
            reported_at: now,
            stands_since: now,
            figures_at: now,
            ttft_received: None,
            lows: ByClass::default(),
            model_lows: BTreeMap::new(),
            tries: Tries::default(),
            answer_times: AnswerTimes::default(),
            in_flight: InFlight::default(),
            cache: CacheMeter::default(),
            hot_until: None,
            refusals: Refusals::default(),
            returned_at,
            account: None,
            account_rests: AccountRests::default(),
        };
        remote.see_account(now);
        remote.see_figures(now);
        remote
    }

    /// Requests in flight there, from all nodes, as far as is known.
    pub(super) fn in_flight_now(&self) -> u32 {
        self.others_in_flight.saturating_add(self.in_flight.count())
    }

    pub(super) fn load_received(&mut self, now: Instant, load: &Load) {
        self.others_in_flight = load.in_flight.saturating_sub(self.in_flight.count());
        self.ttft_received = (!load.ttft.is_zero()).then_some(load.ttft);
        self.figures_at = now;
        if let Some(figure) = self.ttft_received {
            see(&mut self.lows.stream, now, figure);
        }
    }

    /// What is known of it over all models. Its owner publishes figures again after `published_again` at most.
    pub(super) fn figures(&self, now: Instant, published_again: Duration) -> LatencyFigures {
        let further = &self.fact.further.all;
        let ttft = self.ttft_received.or(self.fact.ttft);
        LatencyFigures {
            times: times(now, ttft, further.whole, self.lows),
            per_kib: further.per_kib,
            tries: self.tries_known(published_again),
            p95: self.answer_times.p95(None),
        }
    }

    /// It limits how often `model` may be asked for. False where that may be its only one.
    pub(super) fn limited(&mut self, now: Instant, model: Option<&ModelName>) -> bool {
        model.is_some() && self.fact.models.len() > 1 && self.refused(now, model)
    }

    /// Its owner refused a request for `model` by the state of the upstream. False where it does not list the model:
    /// clients may name any at an upstream that takes all.
    pub(super) fn refused(&mut self, now: Instant, model: Option<&ModelName>) -> bool {
        if model.is_some_and(|model| !self.fact.models.contains_key(model)) {
            return false;
        }
        let of_model = model.and_then(|model| self.fact.models_out.get(model));
        let mut standings = of_model.into_iter().chain([&self.fact.standing]);
        // What the owner publishes is often here before its refusal, and says how long.
        if standings.all(|standing| permits(*standing, self.reported_at, now)) {
            self.refusals.note(now, model);
        }
        true
    }

    /// The models it serves, each with what is known of it.
    pub(super) fn models(
        &self,
        now: Instant,
        published_again: Duration,
    ) -> Vec<(ModelName, LatencyFigures)> {
        let tries = self.tries_known(published_again);
        let models = self.fact.models.iter();
        let figures = |(model, ttft): (&ModelName, &Option<Duration>)| {
            let further = self.fact.further.of(Some(model));
            let lows = self.model_lows.get(model).copied().unwrap_or_default();
            let figures = LatencyFigures {
                times: times(now, *ttft, further.whole, lows),
                per_kib: further.per_kib,
                tries,
                p95: self.answer_times.p95(Some(model)),
            };
            (model.clone(), figures)
        };
        models.map(figures).collect()
    }

    /// When it was asked last, by this node or another: of others this is known late, and counts from when it would
    /// be known.
    fn tries_known(&self, published_again: Duration) -> ByClass<Tries> {
        let others = self.fact.further.asked_ago.map(|ago| {
            let asked_at = Instant::from_start(self.reported_at.since_start().saturating_sub(ago));
            asked_at + TRIED_AGAIN_AFTER + published_again
        });
        // A node of an earlier version publishes no age: it has one from when it published anything.
        let others = Tries::answered_elsewhere(others.unwrap_or(self.reported_at));
        let tries = match self.tries.is_hopeful() {
            true => self.tries.later(others),
            // What failed for this node may fail again, whatever it does for others.
            false => self.tries,
        };
        ByClass::each(|_| tries)
    }

    fn see_figures(&mut self, now: Instant) {
        if let Some(figure) = self.ttft_received.or(self.fact.ttft) {
            see(&mut self.lows.stream, now, figure);
        }
        if let Some(figure) = self.fact.further.all.whole {
            see(&mut self.lows.whole, now, figure);
        }
        self.model_lows
            .retain(|model, _| self.fact.models.contains_key(model));
        for (model, ttft) in &self.fact.models {
            let whole = self.fact.further.of(Some(model)).whole;
            if ttft.is_none() && whole.is_none() {
                continue;
            }
            let lows = self.model_lows.entry(model.clone()).or_default();
            let figures = ByClass {
                stream: *ttft,
                whole,
            };
            for class in AnswerClass::ALL {
                if let Some(figure) = *figures.of(class) {
                    see(lows.of_mut(class), now, figure);
                }
            }
        }
    }

    pub(super) fn update(&mut self, now: Instant, fact: UpstreamFact) {
        let was_out = matches!(
            self.fact.standing,
            Standing::Ejected { .. } | Standing::Probing { .. }
        );
        let returns = was_out
            && matches!(
                fact.standing,
                Standing::Ready | Standing::Untested | Standing::Suspect { .. }
            );
        if returns {
            self.returned_at = Some(now);
            // What it refused while it was ejected no longer counts.
            self.hot_until = None;
        }
        if !fact.standing.is_alike(self.fact.standing) {
            self.stands_since = now;
        }
        self.others_in_flight = fact.in_flight.saturating_sub(self.in_flight.count());
        self.ttft_received = None;
        self.refusals.clear();
        self.fact = Arc::new(fact);
        self.reported_at = now;
        self.figures_at = now;
        self.see_account(now);
        self.see_figures(now);
    }

    fn see_account(&mut self, now: Instant) {
        let Some(fact) = &self.fact.account else {
            self.account = None;
            self.account_rests = AccountRests::default();
            return;
        };
        if self.account.as_deref() != Some(&fact.spec) {
            self.account = Some(Arc::new(fact.spec.clone()));
        }
        self.account_rests = AccountRests::of_fact(fact, now);
    }
}

fn times(
    now: Instant,
    ttft: Option<Duration>,
    whole: Option<Duration>,
    lows: ByClass<Option<Low>>,
) -> ByClass<Option<FirstByte>> {
    let first_byte = |expected: Option<Duration>, low: Option<Low>| {
        let expected = expected?;
        let low = low.map_or(expected, |low| low.at(now));
        Some(FirstByte { expected, low })
    };
    ByClass {
        stream: first_byte(ttft, lows.stream),
        whole: first_byte(whole, lows.whole),
    }
}

fn see(low: &mut Option<Low>, now: Instant, figure: Duration) {
    match low {
        Some(low) => low.see(now, figure),
        None => *low = Some(Low::new(now, figure)),
    }
}
