//! What the model of the world does, each in a small world of its own.

use std::sync::Arc;
use std::time::Duration;

use grapevine_core::link::CALLS_MAX;

use crate::policy::Policy;
use crate::run::{self, Run};
use crate::scenario::Scenario;
use crate::world::Setup;

/// Two nodes a round trip of some 90 ms apart. `more` is the rest of the scenario.
fn run(more: &str) -> Run {
    run_with(more, Setup::new(1))
}

fn run_with(more: &str, setup: Setup) -> Run {
    let text = format!(
        "name: small\nabout: small\nduration: 30s\nwarm_up: 5s\nsettle: 8s\n\
         nodes: {{count: 2, regions: [westeurope, eastus]}}\n{more}\n"
    );
    let scenario = Arc::new(Scenario::parse(&text).expect("a good scenario"));
    run::run_as(&scenario, setup)
}

#[test]
fn link_of_a_stopped_peer_is_silent_within_600_ms() {
    let run = run(
        "upstreams: [{name: one, models: [gpt], first_byte: 200ms}]\n\
         faults: [{at: 10s, for: 3s, what: stall, who: [n1]}]",
    );
    let first = run.record.silences.first().expect("n0 notices");
    let after = first.at.since_start() - Duration::from_secs(10);
    let range = Duration::from_millis(350)..=Duration::from_millis(600);
    assert!(range.contains(&after), "{after:?}");
}

/// One upstream at n1 that works on one request at a time, for half a second each; `more` is of the upstream.
fn one_at_a_time(per_second: f64, more: &str) -> Run {
    run(&format!(
        "upstreams: [{{name: one, models: [gpt], first_byte: 100ms, at: [n1], capacity: 1{more}}}]\n\
         workload: {{per_second: {per_second}, body: 400ms}}"
    ))
}

#[test]
fn request_to_a_busy_upstream_waits_for_its_turn() {
    let (quiet, busy) = (one_at_a_time(0.5, ""), one_at_a_time(1.5, ""));
    assert!(busy.record.tally.queued > quiet.record.tally.queued);
    assert!(busy.wait_quantile(0.9) > quiet.wait_quantile(0.5) + Duration::from_millis(300));
    assert_eq!(busy.counts().failed, 0);
}

#[test]
fn full_line_refuses_with_its_status() {
    let full = one_at_a_time(20.0, ", queue: 2").record.tally;
    assert!(full.unavailable > 0 && full.limited == 0, "{full:?}");
    let full = one_at_a_time(20.0, ", queue: 2, when_full: 429")
        .record
        .tally;
    assert!(full.limited > 0 && full.unavailable == 0, "{full:?}");
}

/// With this seed the second plan of a request, made once all upstreams were ejected, was once carried out as if
/// they were not: `second_plan_of_last_resort_is_tried_as_one` in core.
#[test]
fn dead_upstream_resets_waiting_requests() {
    let run = run(
        "upstreams: [{name: one, models: [gpt], first_byte: 4s, capacity: 2}]\n\
         workload: {per_second: 2, body: 400ms}\n\
         faults: [{at: 12s, for: 5s, what: upstream_down}]",
    );
    assert!(
        run.record.attempts_failed > 2,
        "{}",
        run.record.attempts_failed
    );
    assert_eq!(run.violation, None);
}

#[test]
fn link_at_its_limit_refuses_at_once() {
    // This baseline does not look at what a link carries.
    let setup = Setup {
        policy: Policy::PriorityList,
        ..Setup::new(1)
    };
    let run = run_with(
        "upstreams: [{name: one, models: [gpt], first_byte: 50ms, at: [n1], in_flight_max: 20000}]\n\
         workload: {per_second: 2000, body: 30s, clients: {westeurope: 1}}\n\
         routing: {attempts: 1}",
        setup,
    );
    let tally = run.record.tally;
    assert_eq!(tally.streams_per_hop, u64::from(CALLS_MAX));
    assert!(tally.hops_full > 100, "{tally:?}");
}

#[test]
fn request_that_comes_in_faster_than_it_is_read_waits() {
    let wait = |cores: usize| {
        let run = run(&format!(
            "upstreams: [{{name: one, models: [gpt], first_byte: 50ms, spread: 0}}]\n\
             node: {{cores: {cores}, request: 30ms}}\n\
             workload: {{per_second: 30, body: 100ms, clients: {{westeurope: 1}}}}"
        ));
        assert_eq!(run.counts().failed, 0);
        run.mean_wait()
    };
    let (one, many) = (wait(1), wait(32));
    assert!(
        one > many + Duration::from_millis(50),
        "{one:?} and {many:?}"
    );
}

/// Answers of ten seconds from n1's upstream, which pauses for a while.
fn paused_for(span: &str, routing: &str) -> Run {
    run(&format!(
        "upstreams: [{{name: one, models: [gpt], first_byte: 100ms, at: [n1]}}]\n\
         workload: {{per_second: 2, body: 8s}}\nrouting: {{{routing}}}\n\
         faults: [{{at: 12s, for: {span}, what: upstream_pauses}}]"
    ))
}

#[test]
fn answer_that_pauses_for_too_long_breaks_off() {
    let broken = paused_for("4s", "idle: 3s").record;
    assert!(broken.tally.idle_timeouts > 5, "{:?}", broken.tally);
    assert!(broken.broken >= broken.tally.idle_timeouts);
    assert_eq!(broken.tally.total_timeouts, 0);
}

#[test]
fn answer_that_resumes_in_time_is_complete_and_later() {
    let run = paused_for("2s", "idle: 3s");
    assert_eq!((run.record.broken, run.record.tally.idle_timeouts), (0, 0));
    assert_eq!(run.counts().failed, 0);
}

#[test]
fn answer_that_takes_too_long_in_all_breaks_off() {
    let tally = paused_for("1s", "total: 9s").record.tally;
    assert!(
        tally.total_timeouts > 5 && tally.idle_timeouts == 0,
        "{tally:?}"
    );
}

#[test]
fn narrow_lines_make_requests_wait_for_one_another() {
    let wait = |bandwidth: &str| {
        let run = run(&format!(
            "upstreams: [{{name: one, models: [gpt], first_byte: 50ms, spread: 0, at: [n1]}}]\n\
             network: {{{bandwidth}}}\n\
             workload: {{per_second: 8, body: 100ms, request_bytes: 100000, answer_bytes: 100000, clients: {{westeurope: 1}}}}"
        ));
        assert_eq!(run.counts().failed, 0);
        run.mean_wait()
    };
    let (wide, narrow) = (wait(""), wait("bandwidth: 1MB/s"));
    assert!(
        narrow > wide + Duration::from_millis(100),
        "{wide:?} and {narrow:?}"
    );
}

/// n1's rules keep clients of the EU in westeurope, where n0 is, which has a slow upstream.
const RULES_OF_ONE: &str = "upstreams:\n  \
    - {name: slow, models: [gpt], first_byte: 900ms, at: [n0]}\n  \
    - {name: quick, models: [gpt], first_byte: 50ms, at: [n1]}\n\
    workload: {per_second: 10, body: 100ms, clients: {westeurope: 1}}\n";

#[test]
fn owner_applies_its_own_rules_whatever_the_entry_has() {
    let rules = "residency: [{clients: [EU], regions: [westeurope], at: [n1]}]";
    let (free, ruled) = (run(RULES_OF_ONE), run(&format!("{RULES_OF_ONE}{rules}")));
    assert_eq!(free.record.tally.rules_refused, 0);
    assert!(
        ruled.record.tally.rules_refused > 10,
        "{:?}",
        ruled.record.tally
    );
    assert_eq!((ruled.violation, ruled.record.failed.len()), (None, 0));
}

#[test]
fn rules_may_change_while_requests_run() {
    let changes = "faults: [{at: 12s, what: rules, who: [n1], rules: [{clients: [EU], regions: [westeurope]}]}]";
    let ruled = run(&format!("{RULES_OF_ONE}{changes}"));
    let all = ruled.record.requests() as u64;
    let refused = ruled.record.tally.rules_refused;
    assert!(refused > 10 && refused < all, "{refused} of {all}");
    assert_eq!(ruled.violation, None);
}

#[test]
fn requests_held_up_by_a_stopped_process_arrive_when_it_goes_on() {
    // Too short for the link to fall silent, and there is nobody else.
    let run = run(
        "upstreams: [{name: one, models: [gpt], first_byte: 100ms, at: [n1]}]\n\
         workload: {per_second: 40, body: 200ms, clients: {westeurope: 1}}\n\
         faults: [{at: 12s, for: 400ms, what: stall, who: [n1]}]",
    );
    assert_eq!(run.counts().failed, 0, "{}", run.endings());
    assert!(run.wait_quantile(1.0) < Duration::from_secs(1));
}

/// One upstream at n1 and one of lower priority at n0, where all clients are; `fault` is of the former.
fn with_spare(fault: &str) -> Run {
    run(&format!(
        "upstreams:\n  \
         - {{name: one, models: [gpt], first_byte: 100ms, at: [n1]}}\n  \
         - {{name: spare, models: [gpt], first_byte: 200ms, tier: 2, at: [n0]}}\n\
         workload: {{per_second: 6, body: 200ms, clients: {{westeurope: 1}}}}\n\
         faults: [{{at: 12s, for: 8s, what: upstream_answers, upstream: one, {fault}}}]"
    ))
}

#[test]
fn error_is_read_by_its_words_at_both_ends_of_a_hop() {
    let by_words = with_spare("status: 429, code: insufficient_quota");
    let tally = by_words.record.tally;
    assert_eq!((tally.account_ejections, by_words.counts().failed), (1, 0));
    let by_status = with_spare("status: 429").record.tally;
    assert_eq!(by_status.ejections, 0, "{by_status:?}");
}

#[test]
fn error_under_a_good_status_comes_with_the_first_byte_and_goes_on() {
    let hidden = with_spare("status: 200, code: server_error");
    assert!(hidden.record.tally.error_answers > 2);
    assert_eq!((hidden.counts().failed, hidden.record.broken), (0, 0));
}

#[test]
fn model_that_is_missing_is_out_by_itself() {
    let tally = with_spare("status: 404, code: model_not_found")
        .record
        .tally;
    assert_eq!((tally.model_ejections, tally.ejections), (1, 0));
}

#[test]
fn organization_of_a_client_gets_the_answer_that_it_caused_once() {
    let run = run(
        "upstreams: [{name: one, models: [gpt], first_byte: 100ms, at: [n1]}]\n\
         workload: {per_second: 10, body: 200ms, clients: {westeurope: 1}, faulty: [{what: organization, share: 0.5}]}",
    );
    let tally = run.record.tally;
    assert!(tally.identity_answers > 30, "{tally:?}");
    assert_eq!((tally.identity_repeats, tally.ejections), (0, 0));
    assert_eq!(run.counts().failed, 0, "those of the others");
}

#[test]
fn answer_that_is_no_stream_begins_when_it_is_made() {
    let wait = |whole: &str| {
        run(&format!(
            "upstreams: [{{name: one, models: [gpt], first_byte: 100ms}}]\n\
             workload: {{per_second: 4, body: 2s, {whole}}}"
        ))
        .wait_quantile(0.1)
    };
    assert!(wait("") < Duration::from_millis(200));
    assert!(wait("whole: 1.0") > Duration::from_secs(1));
}

#[test]
fn thinking_stays_within_its_bounds() {
    let run = run(
        "upstreams: [{name: one, models: [gpt], first_byte: 100ms, spread: 0}]\n\
         workload: {per_second: 8, whole: 1.0, thinking: {median: 2s, spread: 2.0, least: 1s, most: 5s}}",
    );
    let (least, most) = (run.wait_quantile(0.0), run.wait_quantile(1.0));
    let second = Duration::from_secs(1);
    assert!(least >= second && least < second * 2, "{least:?}");
    assert!(most > second * 4 && most < second * 6, "{most:?}");
}

#[test]
fn broken_streams_are_the_clients_loss_and_whole_answers_are_asked_for_again() {
    let broken = |whole: &str| {
        let run = run(&format!(
            "upstreams: [{{name: one, models: [gpt], first_byte: 100ms}}]\n\
             workload: {{per_second: 8, body: 500ms, {whole}}}\n\
             faults: [{{at: 10s, for: 10s, what: upstream_breaks, share: 0.2, who: [n0]}}]"
        ));
        (run.record.broken > 0, run.record.attempts_failed > 0)
    };
    assert_eq!(broken(""), (true, false));
    assert_eq!(broken("whole: 1.0"), (false, true));
}

#[test]
fn clients_that_arrive_at_once_all_ask() {
    let asked = |arrivals: &str| {
        let run = run(&format!(
            "upstreams: [{{name: one, models: [gpt], first_byte: 100ms}}]\n\
             workload: {{per_second: 2, body: 500ms, clients: {{westeurope: 1}}, {arrivals}}}"
        ));
        run.record.requests()
    };
    let more = "arrivals: [{at: 12s, clients: 50, region: westeurope}]";
    assert!(asked(more) >= asked("") + 40, "chance changes the others");
}

#[test]
fn long_prompt_takes_longer_and_sends_all_of_its_bytes() {
    let run = run(
        "upstreams: [{name: one, models: [gpt], first_byte: 100ms, spread: 0, at: [n1]}]\n\
         network: {bandwidth: 1MB/s}\n\
         workload: {per_second: 2, body: 100ms, clients: {westeurope: 1}, \
         long_prompts: {share: 0.2, factor: 10, request_bytes: 500000}}",
    );
    let long = run.learned().filter(|one| one.is_long_prompt);
    let least = long.map(|one| one.waited).min().expect("there are some");
    assert!(least > Duration::from_millis(1_500), "{least:?}");
    assert!(run.mean_wait_of_short_prompts() < Duration::from_millis(600));
}
