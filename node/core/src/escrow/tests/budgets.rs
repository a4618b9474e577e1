//! Budgets of a day and a month.

use super::*;

const BUDGET: LimitSpec = LimitSpec {
    amount: 960,
    window: LimitWindow::Month,
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Nodes on the second of a month.
fn mesh(count: usize) -> Mesh {
    let mut mesh = Mesh::new(count);
    mesh.run(secs(24 * 60 * 60 / 1_000));
    mesh
}

#[test]
fn whole_budget_is_spent_at_one_node_and_then_none() {
    let mut mesh = mesh(3);
    assert_eq!(mesh.load(&[1], BUDGET, 10, secs(30)), 960);
    assert_eq!(mesh.load(&[0, 1, 2], BUDGET, 10, secs(2)), 0);
}

#[test]
fn next_month_begins_anew_with_the_calendar() {
    let mut mesh = Mesh::new(2);
    assert_eq!(mesh.load(&[0], BUDGET, 10, secs(30)), 960);
    assert_eq!(mesh.load(&[0], BUDGET, 10, secs(26)), 0);
    assert_eq!(mesh.load(&[0], BUDGET, 10, secs(60)), 960);
}

#[test]
fn crash_loses_a_chunk_at_most_and_never_oversells() {
    let mut mesh = mesh(3);
    let before = mesh.load(&[0, 1, 2], BUDGET, 1, secs(5));
    mesh.crash(0);
    mesh.start(0);
    let all = before + mesh.load(&[0, 1, 2], BUDGET, 10, secs(20));
    // A chunk that was open, and one that was being opened, of 20 each.
    assert!((920..=960).contains(&all), "{all}");
}

#[test]
fn all_restart_and_the_month_goes_on() {
    let mut mesh = mesh(3);
    let before = mesh.load(&[0, 1, 2], BUDGET, 2, secs(5));
    for node in 0..3 {
        mesh.crash(node);
    }
    for node in 0..3 {
        mesh.start(node);
    }
    let all = before + mesh.load(&[0, 1, 2], BUDGET, 10, secs(20));
    assert!((840..=960).contains(&all), "{all}");
}

#[test]
fn disk_that_was_set_back_forfeits_the_share() {
    for disk in [
        StoreImage::default(),
        Mesh::new(3).nodes.swap_remove(1).disk,
    ] {
        let mut mesh = mesh(3);
        let before = mesh.load(&[0, 1, 2], BUDGET, 10, secs(5));
        mesh.crash(1);
        mesh.nodes[1].disk = disk;
        mesh.start(1);
        let after = mesh.load(&[0, 1, 2], BUDGET, 10, secs(30));
        assert!(before + after <= 960, "{before} {after}");
        assert!(mesh.reports.contains(&(1, EscrowReport::StoreIsOld)));
    }
}

#[test]
fn nothing_is_opened_before_it_is_on_disk_and_witnessed() {
    let mut first = mesh(3);
    first.disks_work = false;
    assert_eq!(first.load(&[0], BUDGET, 10, secs(5)), 0);
    first.disks_work = true;
    assert_eq!(first.load(&[0], BUDGET, 10, secs(40)), 960);
    let mut second = mesh(3);
    second.cut_off(&[0]);
    assert_eq!(second.load(&[0], BUDGET, 10, secs(5)), 0);
    assert_eq!(second.load(&[1], BUDGET, 10, secs(40)), 640);
}

#[test]
fn clock_that_is_set_while_the_node_runs_opens_no_window() {
    let mut mesh = mesh(2);
    assert_eq!(mesh.load(&[0], BUDGET, 10, secs(20)), 960);
    for ahead in [40 * 86_400, 400 * 86_400, 0] {
        mesh.nodes[0].wall_ahead = secs(ahead);
        assert_eq!(mesh.load(&[0], BUDGET, 10, secs(5)), 0);
    }
}

#[test]
fn node_that_starts_with_a_wrong_clock_spends_no_budget_until_it_is_right() {
    let mut mesh = mesh(3);
    assert_eq!(mesh.load(&[0], BUDGET, 10, secs(20)), 960);
    mesh.crash(0);
    mesh.nodes[0].wall_ahead = secs(40 * 86_400);
    mesh.start(0);
    assert_eq!(mesh.load(&[0], BUDGET, 10, secs(5)), 0);
    assert_eq!(mesh.reports, [(0, EscrowReport::ClockDiffers)]);
    mesh.nodes[0].wall_ahead = Duration::ZERO;
    assert_eq!(mesh.load(&[0], BUDGET, 10, secs(5)), 0);
}

#[test]
fn money_that_was_reserved_and_not_used_is_there_again() {
    let mut mesh = mesh(2);
    let purse = mesh.purse(0, BUDGET);
    let mut whole = None;
    for _ in 0..50 {
        whole = purse.take(mesh.now, 960).ok();
        if whole.is_some() {
            break;
        }
        mesh.handle(0, EscrowEvent::Empty(limit()));
        mesh.tick();
    }
    let _ = whole.expect("all of it").settle(mesh.now, 60);
    assert_eq!(mesh.load(&[0, 1], BUDGET, 10, secs(30)), 900);
}

#[test]
fn use_beyond_a_reservation_is_taken_from_what_comes_next() {
    let mut mesh = mesh(1);
    let spec = spec(100, LimitWindow::Day);
    mesh.take(0, spec);
    mesh.run(secs(1));
    let purse = mesh.purse(0, spec);
    let one = purse.take(mesh.now, 1).expect("one");
    let settled = one.settle(mesh.now, 51);
    assert_eq!(settled, super::super::purse::Settled::Overdrawn(50));
    let rest = mesh.load(&[0], spec, 10, secs(10));
    assert_eq!(rest, 49);
}

#[test]
fn message_between_midnight_and_the_next_tick_publishes_nothing_of_yesterday() {
    let mut mesh = Mesh::new(1);
    let spec = spec(960, LimitWindow::Day);
    mesh.load(&[0], spec, 1, secs(57));
    let purse = mesh.purse(0, spec);
    while mesh.now.since_start() < Duration::from_millis(59_900) {
        mesh.take(0, spec);
        mesh.tick();
    }
    assert!(purse.take(mesh.now, 1).is_ok());
    mesh.now = Instant::from_start(Duration::from_millis(60_001));
    mesh.handle(0, EscrowEvent::Empty(limit()));
    assert!(purse.take(mesh.now, 1).is_err());
}
