//! The last events, as text: what a replay prints of the moments before a violation.

use std::collections::VecDeque;

use grapevine_core::Instant;

use super::WorldEvent;
use crate::membership::Observed;

/// The last events of a run, the oldest first. Keeps at most as many as it was made for; none by default,
/// and then no text is made.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    most: usize,
    lines: VecDeque<String>,
}

impl Tail {
    /// Of at most `most` events.
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            lines: VecDeque::new(),
        }
    }

    /// Adds the event that `describe` returns; `None` leaves it out.
    pub(super) fn add(&mut self, now: Instant, describe: impl FnOnce() -> Option<String>) {
        if self.most == 0 {
            return;
        }
        let Some(text) = describe() else {
            return;
        };
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        let seconds = now.since_start().as_secs_f64();
        self.lines.push_back(format!("{seconds:>11.6} s  {text}"));
    }

    /// What is kept.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

impl WorldEvent {
    /// What happens, as text; `None` for what happens all the time: wake-ups, keep-alives, echoes.
    pub(super) fn describe(&self) -> Option<String> {
        let call =
            |(request, number): &(u64, u32)| format!("attempt {number} of request {request}");
        Some(match self {
            Self::Wake { .. } | Self::Poll { .. } | Self::Ping { .. } => return None,
            Self::Pong { .. } | Self::Inspection | Self::LooksAround { .. } => return None,
            Self::HasRead { .. } | Self::HasReadHop { .. } => return None,
            Self::Resumes { request, .. } => format!("the pause of request {request} is over"),
            Self::Dialled { node, peer, .. } => format!("n{} dials n{}", node.0, peer.0),
            Self::Members { node, .. } => format!("n{} takes changes of its members", node.0),
            Self::Rumor {
                node,
                from,
                published,
                ..
            } => format!(
                "n{} receives a rumor of n{} ({}) from n{}",
                node.0, published.author.0, published.key, from.0
            ),
            Self::EarlierIncarnation { node, .. } => {
                format!("n{} learns of its earlier incarnation", node.0)
            }
            Self::Probed { node, report, .. } => format!(
                "n{} probed {}: {}",
                node.0,
                report.upstream,
                report.outcome.as_str()
            ),
            Self::LoadRead { node, report, .. } => {
                format!("n{} read the load of {}", node.0, report.upstream)
            }
            Self::Asks => "a client sends a request".into(),
            Self::Arrives { before, .. } => format!("client {} of an arrival", before + 1),
            Self::Enters { request, entry } => format!("request {request} enters at n{}", entry.0),
            Self::Hops {
                from,
                owner,
                attempt,
                ..
            } => format!(
                "{} hops from n{} to n{}",
                call(attempt),
                from.0.0,
                owner.0.0
            ),
            Self::Reacts { call: it } => format!("an upstream reacts to {}", call(it)),
            Self::Awaits { call: it } => format!("{} waits for unusually long", call(it)),
            Self::BodyEnds { call: it } => format!("the body of {} ends", call(it)),
            Self::Returns { attempt, .. } => format!("the answer of {} is back", call(attempt)),
            Self::Ends {
                attempt,
                broken: None,
            } => format!("the answer of {} is complete", call(attempt)),
            Self::Ends { attempt, .. } => format!("the answer of {} breaks off", call(attempt)),
            Self::SendsAgain { attempt, .. } => {
                format!("what belongs to {} is sent again", call(attempt))
            }
            Self::Cancels { call: it } => format!("{} is cancelled", call(it)),
            Self::Unreached { attempt } => {
                format!("the dial for {} runs out of time", call(attempt))
            }
            Self::Deadline { request } => format!("the deadline of request {request} passes"),
            Self::Breaks { fault } => format!("fault {fault} begins"),
            Self::Heals { fault } => format!("fault {fault} is over"),
            Self::Crashes { node } => format!("n{} crashes", node.0),
            Self::Starts { node } => format!("n{} starts", node.0),
            Self::Drains { node, .. } => format!("n{} drains", node.0),
            Self::Closes { node, .. } => format!("n{} closes", node.0),
        })
    }
}

impl Observed {
    /// What gossip learned, as text.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Up { node, .. } => format!("that n{} is alive", node.0),
            Self::Down { node } => format!("that n{} is dead", node.0),
            Self::Value { author, entry, .. } => format!("the {} of n{}", entry.key, author.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_the_last_events_are_kept() {
        let mut tail = Tail::of(2);
        for second in 1..=3 {
            let now = Instant::from_start(Duration::from_secs(second));
            tail.add(now, || Some(format!("event {second}")));
            tail.add(now, || None);
        }
        let lines = tail.into_lines();
        assert_eq!(lines, ["   2.000000 s  event 2", "   3.000000 s  event 3"]);
    }

    #[test]
    fn no_text_is_made_where_none_is_kept() {
        let mut tail = Tail::default();
        tail.add(Instant::START, || unreachable!("nothing is kept"));
        assert!(tail.into_lines().is_empty());
    }
}
