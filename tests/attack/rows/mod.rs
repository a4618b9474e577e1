//! The attacks, each bounded in count and time.

mod admin;
mod bodies;
mod forms;
mod gossip;
mod peers;
mod requests;
mod sockets;
mod table;
mod tally;
mod tasks;
mod templates;
mod upstreams;

use std::pin::Pin;
use std::rc::Rc;

use crate::world::World;

pub(crate) use table::ROWS;
pub(crate) use tally::Tally;

type Attack = fn(Rc<World>) -> Pin<Box<dyn Future<Output = Tally>>>;

/// An attack by name.
pub(crate) struct Row {
    /// What is put in.
    pub(crate) name: &'static str,
    /// The outcomes of refusals; each of them must occur.
    refusals: &'static [&'static str],
    /// The permitted outcomes of what is let through or only held.
    passes: &'static [&'static str],
    /// Runs it, and waits for its outcome.
    pub(crate) attack: Attack,
}

impl Row {
    /// How many were refused, and as they must be.
    pub(crate) fn refused(&self, tally: &Tally) -> usize {
        let counts = self.refusals.iter().filter_map(|end| tally.ends.get(*end));
        counts.sum()
    }

    /// What of the tally shows that there was no such attack, or no such refusal.
    pub(crate) fn problems(&self, tally: &Tally) -> Vec<String> {
        let mut problems = Vec::new();
        if tally.sent == 0 {
            problems.push("nothing was sent".to_owned());
        }
        for refusal in self.refusals {
            if !tally.ends.contains_key(*refusal) {
                problems.push(format!(
                    "nothing was refused by {refusal:?}: {:?}",
                    tally.ends
                ));
            }
        }
        for (end, count) in &tally.ends {
            let is_known = self
                .refusals
                .iter()
                .chain(self.passes)
                .any(|known| known == end);
            if !is_known {
                problems.push(format!("{count} ended by {end:?}"));
            }
        }
        problems
    }
}
