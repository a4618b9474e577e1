//! Limits of what runs at once.

use super::*;

const SEATS: LimitSpec = LimitSpec {
    amount: 60,
    window: LimitWindow::Held,
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Starts as many requests as are admitted within some seconds.
fn fill(mesh: &mut Mesh, node: usize) -> Vec<Reservation> {
    let mut held = Vec::new();
    for _ in 0..50 {
        held.extend(mesh.take(node, SEATS));
        held.extend(mesh.take(node, SEATS));
        mesh.tick();
        mesh.assert_kept();
    }
    held
}

#[test]
fn whole_limit_is_held_at_one_node_and_free_when_its_requests_end() {
    let mut mesh = Mesh::new(3);
    let held = fill(&mut mesh, 0);
    assert_eq!(held.len(), 60);
    assert!(fill(&mut mesh, 1).is_empty());
    drop(held);
    mesh.run(secs(10));
    assert_eq!(fill(&mut mesh, 2).len(), 60);
}

#[test]
fn restarted_borrower_holds_nothing() {
    let mut mesh = Mesh::new(3);
    let held = fill(&mut mesh, 0);
    mesh.crash(0);
    drop(held);
    mesh.start(0);
    mesh.run(secs(5));
    assert_eq!(fill(&mut mesh, 1).len(), 60);
}

#[test]
fn restarted_lender_learns_what_others_still_hold() {
    let mut mesh = Mesh::new(3);
    let held = fill(&mut mesh, 0);
    assert_eq!(held.len(), 60);
    mesh.crash(1);
    mesh.start(1);
    mesh.run(secs(5));
    let mut more = fill(&mut mesh, 1);
    more.extend(fill(&mut mesh, 2));
    assert!(more.is_empty(), "{}", more.len());
    drop(held);
    mesh.run(secs(20));
    // What stood at the restarted lender is free when no request of then can still run.
    assert_eq!(fill(&mut mesh, 2).len(), 40);
}

#[test]
fn short_cut_ends_no_request_and_frees_none() {
    let mut mesh = Mesh::new(3);
    let held = fill(&mut mesh, 0);
    mesh.cut_off(&[0]);
    mesh.run(secs(60));
    assert!(fill(&mut mesh, 1).is_empty());
    mesh.cut.clear();
    drop(held);
    mesh.run(secs(20));
    assert_eq!(fill(&mut mesh, 1).len(), 60);
}

#[test]
fn lender_whose_clock_went_back_is_no_other_node_to_those_that_borrowed_of_it() {
    let mut mesh = Mesh::new(3);
    // Node 0 knows the others as lenders alone.
    mesh.crash(0);
    mesh.start(0);
    mesh.run(secs(5));
    let held = fill(&mut mesh, 0);
    assert_eq!(held.len(), 60);
    mesh.crash(1);
    mesh.nodes[1].disk = StoreImage::default();
    mesh.nodes[1].generation = 0;
    mesh.start(1);
    mesh.run(secs(10));
    assert!(fill(&mut mesh, 1).is_empty());
}

#[test]
fn end_of_a_request_frees_nothing_that_runs_elsewhere() {
    let mut mesh = Mesh::new(3);
    let mut at_zero = fill(&mut mesh, 0);
    assert_eq!(at_zero.len(), 60);
    mesh.crash(1);
    mesh.start(1);
    // All of node 1's share stands still for what node 0 runs; what node 1 runs is borrowed.
    at_zero.truncate(20);
    mesh.run(secs(10));
    let mut at_one = fill(&mut mesh, 1);
    assert_eq!(at_one.len(), 40);
    at_one.truncate(20);
    mesh.run(secs(10));
    let at_two = fill(&mut mesh, 2);
    mesh.crash(1);
    drop(at_one);
    mesh.start(1);
    mesh.run(secs(10));
    let mut running = at_zero.len() + at_two.len();
    for node in [0, 1, 2] {
        let more = fill(&mut mesh, node);
        running += more.len();
        at_zero.extend(more);
    }
    assert!(running <= 60, "{running}");
}

#[test]
fn right_that_was_given_back_since_the_last_tick_is_worth_a_wait() {
    let mut mesh = Mesh::new(1);
    let one = LimitSpec { amount: 1, ..SEATS };
    let purse = mesh.purse(0, one);
    mesh.tick();
    let first = purse.take(mesh.now, 1).expect("one is there");
    let empty = purse.take(mesh.now, 1).expect_err("none is left");
    assert!(!empty.may_wait);
    drop(first);
    let empty = purse.take(mesh.now, 1).expect_err("it is not collected");
    assert!(empty.may_wait);
    mesh.handle(0, EscrowEvent::Empty(limit()));
    assert!(purse.take_again(mesh.now, 1).is_ok());
}
