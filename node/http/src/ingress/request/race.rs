//! Up to two attempts of one request at once: each goes its own way to an answer that can be given, and what happens to
//! either is core's to judge. The way of one attempt alone (`Driver::attempt`) is another: it holds no future on the
//! heap for what few requests need.
//!
//! A leg is what is awaited of one attempt: its answer's head, the first piece of its body, or the rest of that. Dropping
//! it cancels the attempt's call, across the hop too.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use grapevine_base::exchange::{CallFailure, CallLocal, CallPeer};
use grapevine_core::latency::STALL_MIN;
use grapevine_core::request::{Action, AttemptEvent, AttemptId};
use grapevine_core::route::Choice;
use http_body::Frame;
use tokio::time::{Instant, sleep_until};

use super::called::{Called, call_once};
use super::{Begun, Driver, failed};
use crate::ingress::due::LOOKS_AROUND_EVERY;

/// One of two attempts.
struct Leg<'a> {
    attempt: AttemptId,
    choice: Choice,
    /// When to look whether the wait for its head is in vain; `None` once that came.
    looks_at: Option<grapevine_core::Instant>,
    /// Whether its upstream was asked for token counts that the client did not ask for.
    asks_usage: bool,
    is_last_resort: bool,
    coming: Pin<Box<dyn Future<Output = Came<'a>> + Send + 'a>>,
}

/// What came of a leg.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and each leg has one such head"
)]
enum Came<'a> {
    Head(Called<'a>),
    First(Box<Begun<'a>>, Result<Option<Frame<Bytes>>, CallFailure>),
    Rest(Box<Begun<'a>>, Result<(), CallFailure>),
}

/// What happened first.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and nearly all are of the largest kind"
)]
enum Next<'a> {
    Came(Leg<'a>, Came<'a>),
    Late,
    LooksAround,
}

impl<'a, L: CallLocal, P: CallPeer> Driver<'a, L, P> {
    /// Makes the attempt, and a second one beside it where core says so, until there is something else to do.
    pub(super) async fn race(
        &mut self,
        attempt: AttemptId,
        choice: Choice,
        is_last_resort: bool,
    ) -> Option<Action> {
        let mut legs = vec![self.begin(attempt, choice, is_last_resort)];
        loop {
            let clock = self.context.driver.clock();
            let late_at = self.track.hedge_at().map(|at| clock.timer(at));
            let looks_at = legs.iter().filter_map(|leg| leg.looks_at).min();
            let looks_at = looks_at.map(|at| clock.timer(at));
            let action = match next_of(&mut legs, late_at, looks_at).await? {
                Next::Late => self.track.hedge(),
                Next::LooksAround => self.look_around(&mut legs),
                Next::Came(leg, came) => self.came(&mut legs, leg, came),
            };
            legs.retain(|leg| self.track.is_in_flight(leg.attempt));
            match action {
                None => {}
                Some(Action::Try {
                    attempt,
                    choice,
                    is_last_resort,
                }) => legs.push(self.begin(attempt, choice, is_last_resort)),
                action => return action,
            }
        }
    }

    fn begin(&mut self, attempt: AttemptId, choice: Choice, is_last_resort: bool) -> Leg<'a> {
        let refusals = &self.context.usage_refusals;
        let (upstream, now) = (&choice.candidate.upstream, self.context.driver.now());
        let asks_usage =
            self.request.body.asks_usage() && !refusals.has(upstream, self.track.model(), now);
        self.calling(attempt, choice, is_last_resort, asks_usage)
    }

    fn calling(
        &mut self,
        attempt: AttemptId,
        choice: Choice,
        is_last_resort: bool,
        asks_usage: bool,
    ) -> Leg<'a> {
        let mut call = self.call(attempt, &choice, is_last_resort);
        if !asks_usage {
            call.body.ask_no_usage();
        }
        let context = self.context;
        let watched = (self.track.scope(), self.track.witness());
        let looks_at = watched.1.began_at + LOOKS_AROUND_EVERY.max(STALL_MIN);
        let called = choice.clone();
        Leg {
            attempt,
            choice,
            looks_at: Some(looks_at),
            asks_usage,
            is_last_resort,
            coming: Box::pin(async move {
                Came::Head(call_once(context, call, &called, watched).await)
            }),
        }
    }

    fn came(&mut self, legs: &mut Vec<Leg<'a>>, leg: Leg<'a>, came: Came<'a>) -> Option<Action> {
        match came {
            Came::Head(called) => self.head_came(legs, leg, called),
            Came::First(_, Err(failure)) | Came::Rest(_, Err(failure)) => {
                self.track.on(leg.attempt, failed(failure))
            }
            Came::First(mut begun, Ok(first)) => {
                let event = self.first_came(&begun, first.as_ref());
                begun.first = Some(first);
                self.go_on(legs, leg, begun, event)
            }
            Came::Rest(begun, Ok(())) => {
                let event = AttemptEvent::FirstByte { finding: None };
                self.go_on(legs, leg, begun, event)
            }
        }
    }

    fn head_came(
        &mut self,
        legs: &mut Vec<Leg<'a>>,
        leg: Leg<'a>,
        called: Called<'a>,
    ) -> Option<Action> {
        let Leg {
            attempt,
            choice,
            asks_usage,
            is_last_resort,
            ..
        } = leg;
        if asks_usage && called.refuses_usage() {
            // The refused call is over before the next begins.
            drop(called);
            self.track.renew_id_for_peers();
            legs.push(self.calling(attempt, choice, is_last_resort, false));
            return None;
        }
        if self.request.body.asks_usage() && !asks_usage && called.is_success() {
            let (refusals, now) = (&self.context.usage_refusals, self.context.driver.now());
            refusals.add(&choice.candidate.upstream, self.track.model(), now);
        }
        let (answer, event, overdue) = match called {
            Called::Came {
                answer,
                event,
                overdue,
                ..
            } => (answer, event, overdue),
            Called::Failed(event) => return self.track.on(attempt, event),
            Called::Moved(action) => return Some(action),
        };
        let begun = Box::new(Begun {
            attempt,
            choice: choice.clone(),
            first: None,
            answer,
            overdue,
        });
        let leg = Leg {
            attempt,
            choice,
            looks_at: None,
            asks_usage,
            is_last_resort,
            coming: Box::pin(std::future::pending()),
        };
        self.go_on(legs, leg, begun, event)
    }

    /// `event` happened to the answer that has begun: awaits more of it, or keeps it for what core does with it.
    fn go_on(
        &mut self,
        legs: &mut Vec<Leg<'a>>,
        mut leg: Leg<'a>,
        mut begun: Box<Begun<'a>>,
        event: AttemptEvent,
    ) -> Option<Action> {
        let action = self.track.on(leg.attempt, event);
        let deadline = self.deadline;
        match action {
            Some(Action::AwaitBody(attempt)) if attempt == leg.attempt => {
                leg.coming = Box::pin(async move {
                    let first = begun.first_frame(deadline).await;
                    Came::First(begun, first)
                });
            }
            Some(Action::AwaitRest { attempt, until }) if attempt == leg.attempt => {
                let until = self.context.driver.clock().timer(until);
                leg.coming = Box::pin(async move {
                    let gathered = begun.gather(until).await;
                    Came::Rest(begun, gathered)
                });
            }
            action => {
                if self.request.body.asks_usage() && !leg.asks_usage {
                    // What counts is what this upstream was asked for.
                    self.track.hide_usage(false);
                }
                self.keep(begun);
                return action;
            }
        }
        legs.push(leg);
        None
    }

    /// Waits for heads that are long, and perhaps in vain.
    fn look_around(&mut self, legs: &mut [Leg<'a>]) -> Option<Action> {
        let driver = &self.context.driver;
        let (view, now) = (driver.view(), driver.now());
        for leg in legs {
            if leg.looks_at.is_none_or(|at| now < at) {
                continue;
            }
            leg.looks_at = Some(now + LOOKS_AROUND_EVERY);
            let upstream = &leg.choice.candidate.upstream;
            let candidate = view.candidate(self.track.model(), upstream);
            if candidate.is_none_or(|it| it.answers_nobody()) {
                let moved = self.track.on(leg.attempt, AttemptEvent::Stalled);
                if moved.is_some() {
                    return moved;
                }
            }
        }
        None
    }
}

/// Waits for what happens first. `None` where nothing is awaited.
async fn next_of<'a>(
    legs: &mut Vec<Leg<'a>>,
    late_at: Option<Instant>,
    looks_at: Option<Instant>,
) -> Option<Next<'a>> {
    let mut late = pin!(until(late_at));
    let mut look = pin!(until(looks_at));
    poll_fn(|context| {
        for at in 0..legs.len() {
            if let Poll::Ready(came) = legs[at].coming.as_mut().poll(context) {
                return Poll::Ready(Some(Next::Came(legs.remove(at), came)));
            }
        }
        if legs.is_empty() {
            return Poll::Ready(None);
        }
        if late.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Next::Late));
        }
        look.as_mut()
            .poll(context)
            .map(|()| Some(Next::LooksAround))
    })
    .await
}

/// Ready at the moment `at`; never where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
