//! What a node may use after it stopped in order.

use super::*;

const RATE: LimitSpec = LimitSpec {
    amount: 60,
    window: LimitWindow::Minute,
};

const BUDGET: LimitSpec = LimitSpec {
    amount: 960,
    window: LimitWindow::Month,
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A node alone that used 40 of 60 a minute, and has stopped in order.
fn stopped() -> Mesh {
    let mut mesh = Mesh::new(1);
    mesh.purse(0, RATE);
    mesh.tick();
    let taken = (0..40).filter(|_| mesh.take(0, RATE).is_some());
    assert_eq!(taken.count(), 40);
    mesh.stop(0);
    mesh
}

#[test]
fn node_alone_goes_on_after_a_stop_where_it_was() {
    let mut mesh = stopped();
    mesh.run(secs(5));
    mesh.start(0);
    assert_eq!(mesh.load(&[0], RATE, 10, secs(2)), 20);
    // The window of what was used before begins anew.
    assert_eq!(mesh.load(&[0], RATE, 10, secs(55)), 0);
    assert_eq!(mesh.load(&[0], RATE, 10, secs(10)), 60);
}

#[test]
fn limit_that_was_never_met_is_whole_after_a_stop() {
    let mut mesh = Mesh::new(1);
    mesh.stop(0);
    mesh.start(0);
    assert_eq!(mesh.load(&[0], RATE, 10, secs(2)), 60);
}

#[test]
fn second_stop_in_a_row_keeps_what_the_first_said() {
    let mut mesh = stopped();
    mesh.start(0);
    mesh.run(secs(1));
    mesh.stop(0);
    mesh.start(0);
    assert_eq!(mesh.load(&[0], RATE, 10, secs(2)), 20);
}

#[test]
fn stopped_node_admits_and_lends_nothing() {
    let mut mesh = Mesh::new(3);
    mesh.load(&[0, 1, 2], RATE, 1, secs(1));
    mesh.handle(1, EscrowEvent::Stop);
    assert!(mesh.take(1, RATE).is_none());
    let at_others = mesh.load(&[0, 2], RATE, 10, secs(5));
    assert!(at_others <= 40, "{at_others}");
}

#[test]
fn node_of_a_mesh_goes_on_within_a_minute_and_waits_later() {
    for (down, restarts_whole) in [(2, true), (58, true), (70, false)] {
        let mut mesh = Mesh::new(3);
        mesh.load(&[1], RATE, 0, secs(1));
        mesh.stop(1);
        mesh.run(secs(down));
        mesh.start(1);
        // Nobody lends to it or borrows from it.
        mesh.run(secs(1));
        mesh.cut_off(&[1]);
        let admitted = mesh.load(&[1], RATE, 10, secs(5));
        assert_eq!(admitted, if restarts_whole { 20 } else { 0 }, "{down}");
    }
}

#[test]
fn note_is_used_once_though_the_disk_is_set_back() {
    let mut mesh = Mesh::new(3);
    mesh.load(&[1], RATE, 0, secs(1));
    mesh.stop(1);
    let disk = mesh.nodes[1].disk.clone();
    assert!(disk.stopped.is_some());
    mesh.start(1);
    let before = mesh.load(&[1], RATE, 10, secs(5));
    mesh.crash(1);
    mesh.nodes[1].disk = disk;
    mesh.start(1);
    let after = mesh.load(&[0, 1, 2], RATE, 10, secs(5));
    assert!(mesh.reports.contains(&(1, EscrowReport::StoreIsOld)));
    assert!(before + after <= 60, "{before} {after}");
}

#[test]
fn crash_after_a_start_leaves_no_note() {
    let mut mesh = Mesh::new(1);
    mesh.load(&[0], RATE, 1, secs(1));
    mesh.stop(0);
    mesh.start(0);
    mesh.load(&[0], RATE, 10, secs(5));
    mesh.crash(0);
    assert_eq!(mesh.nodes[0].disk.stopped, None);
    mesh.start(0);
    assert_eq!(mesh.load(&[0], RATE, 10, secs(50)), 0);
}

#[test]
fn limit_that_was_lowered_meanwhile_counts_what_was_used() {
    let mut mesh = stopped();
    mesh.start(0);
    let lower = LimitSpec { amount: 45, ..RATE };
    assert_eq!(mesh.load(&[0], lower, 10, secs(2)), 5);
}

#[test]
fn stop_loses_nothing_of_a_budget() {
    let mut mesh = Mesh::new(3);
    mesh.run(secs(90));
    let mut all = 0;
    for _ in 0..4 {
        all += mesh.load(&[0, 1, 2], BUDGET, 1, secs(2));
        for node in 0..3 {
            mesh.stop(node);
            mesh.start(node);
            mesh.run(secs(1));
        }
    }
    all += mesh.load(&[0, 1, 2], BUDGET, 10, secs(30));
    assert_eq!(all, 960);
}
