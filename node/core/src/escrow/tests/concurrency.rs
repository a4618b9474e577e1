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
