//! A second attempt beside one that is late.

use grapevine_base::asked::twice::leaves_nothing;
use grapevine_core::Instant;
use grapevine_core::forwarding::PathScope;
use grapevine_core::price::BilledTokens;
use grapevine_core::request::{Action, AttemptId, HedgeTerms, Request};
use grapevine_observe::record::{HedgeLoser, HedgeRecord, Served};

use super::Track;

impl Track {
    /// Neither the client nor its key forbids to send it twice: it may be, where nothing is left of it upstream.
    pub(in super::super) fn may_hedge(&mut self, scope: PathScope, body: &[u8]) {
        self.may_hedge = self.settings.hedge.is_some()
            && scope == PathScope::Inference
            && leaves_nothing(&self.method, self.path.path(), body);
    }

    pub(super) fn hedge_terms(&self) -> HedgeTerms {
        match (&self.settings.hedge, self.may_hedge) {
            (None, _) => HedgeTerms::Off,
            (Some(budget), false) => HedgeTerms::Once(budget.clone()),
            (Some(budget), true) => HedgeTerms::Twice(budget.clone()),
        }
    }

    /// Whether two attempts may be in flight.
    pub(in super::super) fn hedges(&self) -> bool {
        self.request.as_deref().is_some_and(Request::may_hedge)
    }

    /// When the attempt in flight is late.
    pub(in super::super) fn hedge_at(&self) -> Option<Instant> {
        self.request.as_deref()?.hedge_at()
    }

    /// The attempt in flight is late: the second one, where there may be one. It takes its own share of the limits of
    /// the request's key.
    pub(in super::super) fn hedge(&mut self) -> Option<Action> {
        let now = self.clock.now();
        let has_rights = (self.rights.as_deref_mut()).is_none_or(|it| it.take_beside(now));
        let action = self.request.as_deref_mut()?.hedge(now, has_rights);
        if action.is_none()
            && let Some(rights) = &mut self.rights
        {
            rights.release_beside(now);
        }
        self.report();
        action
    }

    /// Whether `attempt` is in flight.
    pub(in super::super) fn is_in_flight(&self, attempt: AttemptId) -> bool {
        let request = self.request.as_deref();
        request.is_some_and(|request| request.is_in_flight(attempt))
    }

    /// Records what became of the second attempt. The upstream of the one that lost has read the prompt, as far as is
    /// known, and will bill that; what it made of an answer until it was cancelled nobody reports.
    pub(super) fn note_hedge(&mut self) {
        let Some(request) = self.request.as_deref() else {
            return;
        };
        let Some(result) = request.hedge_result() else {
            return;
        };
        let lost = request.hedge_loser();
        let lost = lost.and_then(|lost| request.ended().iter().find(|ended| ended.id == lost));
        let loser = lost.map(|ended| {
            let upstream = &ended.choice.candidate.upstream;
            let read = self.record.tokens.input.map(|input| BilledTokens {
                input,
                ..BilledTokens::default()
            });
            let price = ended.model.as_ref();
            let price = price.and_then(|model| self.settings.model_notes.prices.of(model));
            HedgeLoser {
                served: Served {
                    node: upstream.node.clone(),
                    region: upstream.region.clone(),
                    upstream: upstream.name.clone(),
                    account: upstream.account.as_ref().map(|it| it.name.clone()),
                },
                input: read.map(|read| read.input),
                cost: price.zip(read).map(|(price, read)| price.cost(read)),
            }
        });
        self.record.hedge = Some(Box::new(HedgeRecord { result, loser }));
    }
}
