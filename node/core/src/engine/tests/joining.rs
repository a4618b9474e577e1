//! When a node that joins a mesh is ready, and when it knows all of it.

use super::*;

/// The phase of a node that joins at `Instant::START`, after `meet`.
fn phase_after(meet: impl Fn(&mut Bench)) -> Phase {
    let mut bench = Bench::new();
    bench.handle(Event::JoinBegan { has_seeds: true });
    meet(&mut bench);
    bench.engine.view(bench.now).phase
}

/// Whether a node that joins at `Instant::START` knows all of its mesh, after `meet`.
fn is_settled(meet: impl Fn(&mut Bench)) -> bool {
    let mut bench = Bench::new();
    bench.handle(Event::JoinBegan { has_seeds: true });
    meet(&mut bench);
    bench.engine.view(bench.now).settled
}

#[test]
fn node_that_joins_is_ready_once_each_live_peer_published_its_facts() {
    let one_of_two = |bench: &mut Bench| {
        set_members(bench, &["jpn", "sgp"]);
        bench.meet("jpn", NEAR, TTFT);
    };
    assert_eq!(phase_after(|_| {}), Phase::Joining);
    assert_eq!(phase_after(one_of_two), Phase::Joining);
    let whole = |bench: &mut Bench| {
        one_of_two(bench);
        bench.receive("sgp", 1, Fact::Node(node_fact("sgp")));
        bench.receive("sgp", 2, Fact::Phase(Phase::Joining));
    };
    assert_eq!(phase_after(whole), Phase::Ready);
}

#[test]
fn node_that_joins_alone_is_ready_when_its_wait_is_over() {
    let after = |span| phase_after(|bench| drop(bench.wait(span)));
    assert_eq!(after(Duration::from_millis(1_999)), Phase::Joining);
    assert_eq!(after(Duration::from_secs(2)), Phase::Ready);
}

#[test]
fn node_that_drains_while_it_joins_does_not_become_ready() {
    let drained = |bench: &mut Bench| {
        bench.handle(Event::PhaseChanged(Phase::Draining));
        bench.wait(Duration::from_secs(3));
    };
    assert_eq!(phase_after(drained), Phase::Draining);
}

#[test]
fn first_node_of_a_mesh_is_ready_and_settled_until_another_joins() {
    let mut bench = Bench::new();
    bench.handle(Event::JoinBegan { has_seeds: false });
    let view = bench.engine.view(bench.now);
    assert_eq!((view.phase, view.settled), (Phase::Ready, true));
    bench.meet("jpn", NEAR, TTFT);
    assert!(!bench.engine.view(bench.now).settled);
}

#[test]
fn node_knows_all_a_while_after_it_met_the_last_complete_peer() {
    let met = |span| {
        is_settled(|bench| {
            set_members(bench, &["jpn"]);
            bench.meet("jpn", NEAR, TTFT);
            bench.wait(Duration::from_secs(3));
            set_members(bench, &["jpn", "sgp"]);
            bench.meet("sgp", NEAR, TTFT);
            bench.wait(Duration::from_millis(span));
        })
    };
    assert_eq!((met(499), met(500)), (false, true));
}

#[test]
fn node_waits_no_longer_than_a_time_for_peers_that_never_say_what_they_have() {
    let silent = |span| {
        is_settled(|bench| {
            set_members(bench, &["jpn", "sgp"]);
            bench.meet("jpn", NEAR, TTFT);
            bench.wait(Duration::from_secs(span));
        })
    };
    assert_eq!((silent(29), silent(30)), (false, true));
}

#[test]
fn node_that_met_nobody_knows_all_when_its_wait_is_over() {
    let alone = |span| {
        is_settled(|bench| {
            bench.wait(Duration::from_secs(span));
        })
    };
    assert_eq!((alone(29), alone(30)), (false, true));
}

#[test]
fn node_without_a_mesh_knows_all_at_once() {
    let mut bench = Bench::new();
    bench.handle(Event::PhaseChanged(Phase::Ready));
    assert!(bench.engine.view(bench.now).settled);
}

#[test]
fn peer_that_starts_again_may_bring_what_is_unknown() {
    let mut bench = Bench::new();
    bench.handle(Event::JoinBegan { has_seeds: true });
    set_members(&mut bench, &["jpn"]);
    bench.meet("jpn", NEAR, TTFT);
    bench.wait(Duration::from_secs(5));
    assert!(bench.engine.view(bench.now).settled);
    bench.receive_in(4, "jpn", 1, Fact::Node(node_fact("jpn")));
    assert!(!bench.engine.view(bench.now).settled);
    bench.receive_in(4, "jpn", 2, Fact::Phase(Phase::Ready));
    bench.wait(Duration::from_secs(5));
    assert!(bench.engine.view(bench.now).settled);
}
