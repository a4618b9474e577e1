//! The results of a run: how requests ended, which node noticed what and when, where the load went.

use std::collections::BTreeMap;
use std::time::Duration;

use grapevine_core::Instant;
use grapevine_core::fact::{Fact, Standing};
use grapevine_core::ids::{ModelName, Stamp, UpstreamName};

use crate::membership::NodeIndex;
use crate::scenario::Scenario;
use crate::standings::Standings;
use crate::tally::Tally;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// An upstream's answer with this status.
    Answered { status: u16 },
    /// 503: nothing could be planned.
    NoPlan,
    /// 503: every peer refused.
    Refused,
    /// 502: every attempt failed.
    Failed,
    /// 503: the retry budget is spent.
    BudgetSpent,
    /// 504.
    DeadlinePassed,
    /// No node accepted the connection.
    Unreachable,
}

impl Ending {
    /// A number for the trace.
    pub(crate) const fn code(self) -> u64 {
        match self {
            Self::Answered { status } => status as u64,
            Self::NoPlan => 1,
            Self::Refused => 2,
            Self::Failed => 3,
            Self::BudgetSpent => 4,
            Self::DeadlinePassed => 5,
            Self::Unreachable => 6,
        }
    }

    /// Whether the client got what it asked for.
    pub(crate) const fn is_good(self) -> bool {
        matches!(self, Self::Answered { status: 200..=299 })
    }
}

/// A good answer.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) asked_at: Instant,
    /// From the request's arrival at its entry to the first byte there.
    pub(crate) waited: Duration,
    /// From the first attempt to the one that answered, where it was another one.
    pub(crate) failover: Option<Duration>,
    /// Of the upstream that answered.
    pub(crate) price: f64,
    pub(crate) upstream: UpstreamName,
    pub(crate) model: ModelName,
    /// Whether it is the entry's own.
    pub(crate) is_local: bool,
    pub(crate) is_long_prompt: bool,
}

/// A request that ended without a good answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) ending: Ending,
}

/// A node was considered dead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) at: Instant,
    pub(crate) observer: NodeIndex,
    pub(crate) node: NodeIndex,
    pub(crate) is_false: bool,
}

/// Which nodes have received one transition.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    author: NodeIndex,
    pub(crate) published: Option<(Instant, Stamp)>,
    pub(crate) received: BTreeMap<NodeIndex, Instant>,
}

/// The results of a run.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) answered: Vec<Answered>,
    pub(crate) failed: Vec<Failed>,
    pub(crate) broken: u64,
    pub(crate) connections_refused: u64,
    pub(crate) refused: u64,
    pub(crate) attempts_failed: u64,
    pub(crate) tally: Tally,
    standings: Standings,
    pub(crate) deaths: Vec<Death>,
    pub(crate) crashes: Vec<(Instant, NodeIndex)>,
    pub(crate) silences: Vec<Death>,
    /// Attempts by node and second.
    pub(crate) heat: Vec<Vec<u32>>,
    pub(crate) watches: Vec<Watch>,
}

impl Record {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let seconds = scenario.duration.as_secs() as usize + 2;
        Self {
            answered: Vec::new(),
            failed: Vec::new(),
            broken: 0,
            connections_refused: 0,
            refused: 0,
            attempts_failed: 0,
            tally: Tally::default(),
            standings: Standings::default(),
            deaths: Vec::new(),
            crashes: Vec::new(),
            silences: Vec::new(),
            heat: vec![vec![0; seconds]; scenario.nodes.len()],
            watches: Vec::new(),
        }
    }

    pub(crate) fn answered(&mut self, answered: Answered) {
        self.answered.push(answered);
    }

    pub(crate) fn failed(&mut self, ending: Ending) {
        self.failed.push(Failed { ending });
    }

    pub(crate) fn attempted(&mut self, now: Instant, owner: NodeIndex) {
        let second = now.since_start().as_secs() as usize;
        if let Some(count) = self.heat[owner.at()].get_mut(second) {
            *count += 1;
        }
    }

    pub(crate) fn crashed(&mut self, now: Instant, node: NodeIndex) {
        self.crashes.push((now, node));
    }

    pub(crate) fn death(
        &mut self,
        at: Instant,
        observer: NodeIndex,
        node: NodeIndex,
        is_false: bool,
    ) {
        self.deaths.push(Death {
            at,
            observer,
            node,
            is_false,
        });
    }

    pub(crate) fn silence(
        &mut self,
        at: Instant,
        observer: NodeIndex,
        node: NodeIndex,
        is_false: bool,
    ) {
        self.silences.push(Death {
            at,
            observer,
            node,
            is_false,
        });
    }

    /// A node published how one of its upstreams stands.
    pub(crate) fn stands(&mut self, node: NodeIndex, fact: &Fact) {
        if let Fact::Upstream(fact) = fact {
            self.standings.published(node, fact, &mut self.tally);
        }
    }

    /// Watches how the next transition of `author` spreads.
    pub(crate) fn watch(&mut self, author: NodeIndex) {
        self.watches.push(Watch {
            author,
            published: None,
            received: BTreeMap::new(),
        });
    }

    pub(crate) fn watch_published(
        &mut self,
        now: Instant,
        node: NodeIndex,
        stamp: Stamp,
        fact: &Fact,
    ) {
        let is_out = |standing: Standing| matches!(standing, Standing::Ejected { .. });
        let is_transition = matches!(fact, Fact::Upstream(fact) if is_out(fact.standing));
        for watch in &mut self.watches {
            if watch.author == node && watch.published.is_none() && is_transition {
                watch.published = Some((now, stamp));
            }
        }
    }

    pub(crate) fn watch_received(
        &mut self,
        now: Instant,
        observer: NodeIndex,
        author: NodeIndex,
        stamp: Stamp,
    ) {
        for watch in &mut self.watches {
            let is_it = watch.author == author && observer != author;
            if is_it
                && watch
                    .published
                    .is_some_and(|(_, published)| stamp >= published)
            {
                watch.received.entry(observer).or_insert(now);
            }
        }
    }

    /// Requests that ended, successful or not.
    pub(crate) fn requests(&self) -> usize {
        self.answered.len() + self.failed.len()
    }

    /// The mean wait for the first byte at the entry, of answers to requests asked within a span.
    pub(crate) fn mean_wait(&self, from: Instant, to: Instant) -> Option<Duration> {
        let within = self
            .answered
            .iter()
            .filter(|one| one.asked_at >= from && one.asked_at < to);
        let (sum, count) = within.fold((Duration::ZERO, 0u32), |(sum, count), one| {
            (sum + one.waited, count + 1)
        });
        (count > 0).then(|| sum / count.max(1))
    }
}
