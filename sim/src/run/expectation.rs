//! Whether a run fulfils what its scenario expects.

use std::sync::Arc;

use super::{Run, percent};
use crate::record::Answered;
use crate::scenario::Scenario;

/// The first expectation that `run` does not fulfil.
pub(crate) fn unmet(scenario: &Arc<Scenario>, seed: u64, run: &Run) -> Option<String> {
    let expect = &scenario.expect;
    failures(scenario, run)
        .or_else(|| counts(scenario, run))
        .or_else(|| routes(scenario, run))
        .or_else(|| {
            let regret_max = expect.regret_max?;
            let regret = super::regret(scenario, seed, run);
            above(regret, regret_max, "first bytes")
        })
        .or_else(|| {
            let regret_max = expect.short_prompts_regret_max?;
            let ideal = super::ideal(scenario, seed).mean_wait_of_short_prompts();
            let regret = super::ratio(run.mean_wait_of_short_prompts(), ideal);
            above(regret, regret_max, "first bytes of short prompts")
        })
}

fn failures(scenario: &Scenario, run: &Run) -> Option<String> {
    let expect = &scenario.expect;
    let counts = run.counts();
    let of_all = |count: f64| count / counts.requests.max(1) as f64;
    if of_all(counts.failed as f64) > expect.failed_share_max {
        let endings = run.endings();
        return Some(format!(
            "{} of {} requests failed ({endings}), at most {} expected",
            counts.failed,
            counts.requests,
            percent(expect.failed_share_max)
        ));
    }
    let most = expect.broken_share_max?;
    (of_all(counts.broken as f64) > most).then(|| {
        format!(
            "{} of {} answers broke off, at most {} expected",
            counts.broken,
            counts.requests,
            percent(most)
        )
    })
}

fn counts(scenario: &Scenario, run: &Run) -> Option<String> {
    let expect = &scenario.expect;
    if expect.fault_bites && !scenario.faults.is_empty() && !run.was_disturbed() {
        return Some("the faults had no effect: the scenario shows nothing".into());
    }
    let tally = &run.record.tally;
    let short = tally.short_of(&expect.at_least);
    short.or_else(|| expect.at_most.exceeded_by(tally))
}

/// Which upstreams answered.
fn routes(scenario: &Scenario, run: &Run) -> Option<String> {
    let expect = &scenario.expect;
    if let Some((model, most)) = &expect.elsewhere {
        let asked = |one: &&Answered| model.as_ref().is_none_or(|model| one.model == *model);
        let elsewhere = share(run.learned().filter(asked), |one| !one.is_local);
        if elsewhere > *most {
            let (elsewhere, most) = (percent(elsewhere), percent(*most));
            return Some(format!(
                "{elsewhere} of the answers came from other nodes, at most {most} expected"
            ));
        }
    }
    let least = expect.upstream_share_min.iter();
    least.clone().find_map(|(name, least)| {
        let short = run.learned().filter(|one| !one.is_long_prompt);
        let given = share(short, |one| one.upstream == *name);
        (given < *least).then(|| {
            let (given, least) = (percent(given), percent(*least));
            format!(
                "{name} gave {given} of the answers to short prompts, at least {least} expected"
            )
        })
    })
}

/// The share of `answers` that are so.
fn share<'a>(
    answers: impl Iterator<Item = &'a Answered>,
    is_so: impl Fn(&Answered) -> bool,
) -> f64 {
    let (count, all) = answers.fold((0u32, 0u32), |(count, all), one| {
        (count + u32::from(is_so(one)), all + 1)
    });
    f64::from(count) / f64::from(all.max(1))
}

fn above(regret: f64, most: f64, what: &str) -> Option<String> {
    (regret > most).then(|| {
        let (regret, most) = (percent(regret - 1.0), percent(most - 1.0));
        format!("{what} take {regret} longer than ideal, at most {most} expected")
    })
}
