//! One request: a plan, attempts in its order until one answers, and what is said when none does.
//!
//! Nothing is sent to the client before the first byte of an answer's body is here, so that until
//! then another attempt is free and invisible. Every decision is core's: the order is the plan's, and
//! each outcome's verdict says whether to go on.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use grapevine_core::engine::Event;
use grapevine_core::ids::RegionName;
use grapevine_core::limit::RetryBudget;
use grapevine_core::outcome::{Blame, Next, Outcome, Refusal};
use grapevine_core::route::{self, Ask, Choice, Plan, PlanError};
use grapevine_core::view::{UpstreamView, Way};
use http::{HeaderMap, Method};
use http_body::Frame;
use tokio::time::Instant;

use super::Context;
use super::door::{self, Wishes};
use super::due::{first_frame, within};
use super::explain;
use super::outgoing::{Outgoing, ReplyBody};
use super::problem::Problem;
use super::reply::{self, Reply};
use super::track::Track;
use super::visitor::Visitor;
use crate::asked::Asked;
use crate::clock::Clock;
use crate::exchange::{Answer, Call, CallLocal, CallPeer, Failure};
use crate::{headers, overdue};

/// A request that was let in.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Without credentials, hop-by-hop headers and our own.
    pub(super) headers: HeaderMap,
    pub(super) wishes: Wishes,
    pub(super) visitor: Visitor,
    pub(super) head: Asked,
    pub(super) body: Bytes,
    pub(super) rank: Rank,
}

/// Whose request it is, for who gives way to whom.
#[derive(Clone, Debug)]
pub(super) enum Rank {
    /// A client's.
    Client,
    /// This node's own: it leaves half of every upstream's places to clients, and spends retries of its own.
    Own(RetryBudget),
}

impl Rank {
    /// How many may be under way at `upstream` when it enters.
    fn places(&self, upstream: &UpstreamView) -> u32 {
        match self {
            Self::Client => upstream.places,
            Self::Own(_) => (upstream.in_flight_max.min(upstream.places) / 2).max(1),
        }
    }
}

/// Answers `request`.
pub(super) async fn answer<L: CallLocal, P: CallPeer>(
    context: &Context<L, P>,
    request: Admitted,
    track: Track,
) -> Reply {
    let allowed = request.wishes.timeout.unwrap_or(track.settings().deadline);
    let clock: Clock = context.desk.clock();
    let wished = &request.wishes.allow_regions;
    let errand = Errand {
        context,
        allow_regions: request.visitor.allowed(wished),
        deadline: clock.timer(track.arrived_at() + allowed),
        request,
        track,
        refused: Vec::new(),
        held: None,
        failure: None,
    };
    errand.run().await
}

/// The work for one request.
struct Errand<'a, L, P> {
    context: &'a Context<L, P>,
    request: Admitted,
    deadline: Instant,
    /// What the rules and the client leave; empty allows all.
    allow_regions: Arc<[RegionName]>,
    track: Track,
    /// Candidates that refused, as (node, upstream).
    refused: Vec<Arc<UpstreamView>>,
    /// The last answer that was not good enough, for when nothing better comes.
    held: Option<(Choice, Answer)>,
    /// How the last attempt without an answer ended.
    failure: Option<Outcome>,
}

/// What follows an attempt.
enum Step {
    Answered(Box<Answered>),
    /// The next candidate, if there is one; whether it costs the retry budget.
    GoOn {
        costs_retry: bool,
    },
    /// A peer would not take it and told its true load: look again, once.
    PickAgain,
    Stop,
}

/// An answer that goes to the client, and its first frame.
struct Answered {
    choice: Choice,
    answer: Answer,
    /// `None` when the body is empty.
    first: Option<Frame<Bytes>>,
    outcome: Option<Outcome>,
}

impl<L: CallLocal, P: CallPeer> Errand<'_, L, P> {
    async fn run(mut self) -> Reply {
        if self.request.wishes.dry_run {
            let (desk, visitor) = (&self.context.desk, &self.request.visitor);
            let (plan, problem) = explain::explain(desk, &self.ask(), visitor);
            return reply::plan(self.track, plan, problem);
        }
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(error) => {
                let problem =
                    Problem::no_plan(self.track.model(), error, self.request.visitor.fence());
                return reply::problem(self.track, &problem);
            }
        };
        let attempts_max = self.track.settings().attempts_max as usize;
        let last_resort = plan.last_resort;
        self.track.set_plan(plan.choices.into());
        let mut picked_again = false;
        while let Some(choice) = self.track.next_choice() {
            match self.attempt(choice, last_resort).await {
                Step::Answered(answered) => return self.commit(*answered),
                Step::Stop => break,
                Step::PickAgain if !picked_again => {
                    picked_again = true;
                    self.pick_again();
                }
                Step::GoOn { costs_retry: true } if self.track.has_choices() => {
                    let is_retrying = self.request.wishes.is_retrying;
                    let budget = match &self.request.rank {
                        Rank::Client => self.context.desk.budget(),
                        Rank::Own(budget) => budget,
                    };
                    if !budget.take_retry(is_retrying) {
                        return self.give_up(Some(Problem::budget_spent())).await;
                    }
                }
                Step::GoOn { .. } | Step::PickAgain => {}
            }
            if self.track.attempts() >= attempts_max {
                break;
            }
        }
        self.give_up(None).await
    }

    fn ask(&self) -> Ask<'_> {
        let settings = self.track.settings();
        // A second plan has only what the first has left.
        let attempts = u32::try_from(self.track.attempts()).unwrap_or(u32::MAX);
        let (wishes, visitor) = (&self.request.wishes, &self.request.visitor);
        Ask {
            model: self.request.head.model.as_ref(),
            strategy: settings.strategy,
            session: wishes.session.or(self.request.head.session),
            client_place: visitor.place,
            home_regions: &visitor.homes,
            prefer_region: wishes.prefer_region.as_ref(),
            allow_regions: &wishes.allow_regions,
            fence: visitor.permitted.regions(),
            attempts_max: settings.attempts_max.saturating_sub(attempts).max(1),
        }
    }

    fn plan(&self) -> Result<Plan, PlanError> {
        let desk = &self.context.desk;
        door::with_rng(|rng| route::plan(&desk.view(), &self.ask(), desk.now(), rng))
    }

    /// Takes a new order by the newest view, without those that refused, unless that is empty.
    fn pick_again(&mut self) {
        let has_refused = |choice: &Choice| {
            let upstream = &choice.candidate.upstream;
            let same = |it: &UpstreamView| it.node == upstream.node && it.name == upstream.name;
            self.refused.iter().any(|refused| same(refused))
        };
        let fresh = self.plan().map(|plan| plan.choices).unwrap_or_default();
        let fresh: VecDeque<Choice> = fresh.into_iter().filter(|it| !has_refused(it)).collect();
        self.track.set_plan(fresh);
    }

    async fn attempt(&mut self, choice: Choice, last_resort: bool) -> Step {
        let upstream = &choice.candidate.upstream;
        let places = self.request.rank.places(upstream);
        let guard = match (upstream.way, &self.request.rank) {
            (Way::Local, _) | (Way::Peer, Rank::Own(_)) => upstream.in_flight.enter_below(places),
            (Way::Peer, Rank::Client) => Some(upstream.in_flight.enter()),
        };
        let Some(guard) = guard else {
            let outcome = Outcome::Refused(Refusal::Full);
            self.track.turned_away(&choice, outcome);
            self.failure = Some(outcome);
            return Step::GoOn { costs_retry: false };
        };
        self.track.begin(&choice, guard);
        let call = self.call(upstream, last_resort);
        let context = self.context;
        match upstream.way {
            Way::Local => {
                let scope = self.track.scope();
                let (name, model) = (upstream.name.clone(), call.model.clone());
                let step = async { self.called(choice, context.local.call(call).await).await };
                overdue::watched(&context.desk, scope, &name, model.as_ref(), step).await
            }
            Way::Peer => {
                let called = context.peers.call(&upstream.node, call);
                let called = within(self.deadline, called).await;
                self.called(choice, called).await
            }
        }
    }

    async fn called(&mut self, choice: Choice, called: Result<Answer, Failure>) -> Step {
        match called {
            Ok(answer) => self.judge(choice, answer).await,
            Err(failure) => self.failed(&choice, failure),
        }
    }

    fn call(&mut self, upstream: &UpstreamView, last_resort: bool) -> Call {
        let request_id = match upstream.way {
            Way::Local => self.track.id().clone(),
            Way::Peer => self.track.id_for_peers(),
        };
        Call {
            request_id,
            upstream: upstream.name.clone(),
            model: self.request.head.model.clone(),
            method: self.track.method().clone(),
            path: self.track.path().clone(),
            headers: self.track.headers_of_attempt(&self.request.headers),
            body: self.request.body.clone(),
            deadline: self.deadline,
            last_resort,
            allow_regions: self.allow_regions.clone(),
            caller: self.request.visitor.caller.clone(),
        }
    }

    /// What to do with an answer's head.
    async fn judge(&mut self, choice: Choice, mut answer: Answer) -> Step {
        if let Some(load) = answer.load.take() {
            let peer = choice.candidate.upstream.node.clone();
            let loads = vec![load];
            self.context.recorder.tell(Event::LoadHeard { peer, loads });
        }
        let status = answer.status.as_u16();
        let retry_after = (status >= 400)
            .then(|| headers::retry_after(&answer.headers, std::time::SystemTime::now()))
            .flatten();
        let outcome = Outcome::Status {
            status,
            retry_after,
        };
        let verdict = outcome.verdict(&self.track.settings().retry_on);
        if verdict.next == Next::GoOn {
            self.track.first_byte_came();
            self.track.end(outcome, None);
            self.failure = Some(outcome);
            // A refused credential is ours, not the client's, and its error may show a part of it.
            if verdict.blame != Blame::Credential {
                self.held = Some((choice, answer));
            }
            let costs_retry = verdict.costs_retry;
            return Step::GoOn { costs_retry };
        }
        match first_frame(&choice, &mut answer, self.deadline).await {
            Ok(first) => {
                self.track.first_byte_came();
                Step::Answered(Box::new(Answered {
                    choice,
                    answer,
                    first,
                    outcome: Some(outcome),
                }))
            }
            Err(failure) => self.failed(&choice, failure),
        }
    }

    fn failed(&mut self, choice: &Choice, failure: Failure) -> Step {
        let upstream = &choice.candidate.upstream;
        let told_load = failure.load.is_some();
        if let Some(load) = failure.load {
            let peer = upstream.node.clone();
            let loads = vec![load];
            self.context
                .recorder
                .tell_now(Event::LoadHeard { peer, loads });
        }
        let outcome = failure.outcome;
        self.track.end(outcome, Some(failure.detail));
        self.failure = Some(outcome);
        let verdict = outcome.verdict(&self.track.settings().retry_on);
        if matches!(outcome, Outcome::Refused(_)) {
            self.refused.push(upstream.clone());
        }
        match verdict.next {
            Next::GoOn if told_load => Step::PickAgain,
            Next::GoOn => Step::GoOn {
                costs_retry: verdict.costs_retry,
            },
            Next::Answer | Next::Stop => Step::Stop,
        }
    }

    /// Nothing answered well: the last answer there was, else an error of our own.
    async fn give_up(mut self, problem: Option<Problem>) -> Reply {
        if let Some((choice, mut answer)) = self.held.take() {
            // Its head may be all that ever comes; then an error of our own says more.
            if let Ok(first) = first_frame(&choice, &mut answer, self.deadline).await {
                return self.commit(Answered {
                    choice,
                    answer,
                    first,
                    outcome: None,
                });
            }
        }
        let failed = || match self.failure.unwrap_or(Outcome::PeerLost) {
            Outcome::Refused(Refusal::Residency) => {
                Problem::residency(self.request.visitor.fence())
            }
            outcome => Problem::failed(&outcome),
        };
        let problem = problem.unwrap_or_else(failed);
        reply::problem(self.track, &problem)
    }

    /// The commit point: from here on the answer is this one.
    fn commit(mut self, answered: Answered) -> Reply {
        let Answered {
            choice,
            mut answer,
            first,
            outcome,
        } = answered;
        reply::adopt(&mut answer.headers, &mut self.track, &choice, answer.status);
        let mut reply = http::Response::new(ReplyBody::empty());
        *reply.status_mut() = answer.status;
        let is_head = *self.track.method() == Method::HEAD;
        let body = Outgoing::start(answer.body, first, &mut answer.headers, outcome, self.track);
        *reply.body_mut() = if is_head { ReplyBody::empty() } else { body };
        *reply.headers_mut() = answer.headers;
        reply
    }
}
