//! Checks of second attempts.

use grapevine_core::units::Share;

use super::super::file::{BudgetedHedgeFile, HedgeAfterWord, HedgeFile, HedgeWord};
use super::Checker;

/// The share of requests that may be sent twice unless the file says otherwise.
const BUDGET: f64 = 0.03;

/// The largest: beyond it, an upstream is late so often that it needs another remedy.
const BUDGET_MAX: f64 = 0.20;

impl Checker<'_> {
    /// The share of all requests that may be sent a second time; `None` is none of them.
    pub(super) fn hedge(&mut self, file: Option<&HedgeFile>) -> Option<Share> {
        let BudgetedHedgeFile { after, budget } = match file? {
            HedgeFile::Word(HedgeWord::Off) => return None,
            HedgeFile::Budgeted(budgeted) => budgeted,
        };
        match after {
            None | Some(HedgeAfterWord::P95) => {}
        }
        let Some(written) = budget else {
            return Some(Share::clamped(BUDGET));
        };
        let number = written.strip_suffix('%').map(str::trim);
        let share = number.and_then(|number| number.parse::<f64>().ok());
        let share = share.map(|percent| percent / 100.0);
        if let Some(share) = share.filter(|share| *share > 0.0 && *share <= BUDGET_MAX) {
            return Some(Share::clamped(share));
        }
        let problem = format!("{written} is not a share of requests above 0% and at most 20%");
        self.problem(
            "routing.hedge.budget",
            problem,
            "write a percentage such as 3%",
        );
        None
    }
}
