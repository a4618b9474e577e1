//! Limits per minute.

use super::*;

const RATE: LimitSpec = LimitSpec {
    amount: 100,
    window: LimitWindow::Minute,
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn first_request_anywhere_is_admitted_within_the_wait() {
    let mut mesh = Mesh::new(30);
    let mut ticks = Vec::new();
    for node in 0..30 {
        let mut waited = 0;
        while mesh.take(node, RATE).is_none() {
            mesh.tick();
            waited += 1;
        }
        ticks.push(waited);
    }
    assert!(
        ticks.iter().all(|ticks| TICK * *ticks <= ASK_WAIT),
        "{ticks:?}"
    );
    assert!(
        ticks.iter().filter(|ticks| **ticks <= 1).count() >= 25,
        "{ticks:?}"
    );
}

#[test]
fn ten_times_the_rate_at_one_node_gets_the_whole_limit_and_no_more() {
    let mut mesh = Mesh::new(5);
    let mut minutes = Vec::new();
    for _ in 0..10 {
        minutes.push(mesh.load(&[2], RATE, 2, secs(60)));
    }
    assert!(
        minutes.iter().all(|minute| (95..=100).contains(minute)),
        "{minutes:?}"
    );
}

#[test]
fn ten_times_the_rate_at_all_nodes_gets_the_whole_limit_and_no_more() {
    let mut mesh = Mesh::new(5);
    for minute in 0..5 {
        let admitted = mesh.load(&[0, 1, 2, 3, 4], RATE, 1, secs(60));
        assert!((95..=100).contains(&admitted), "{minute}: {admitted}");
    }
}

#[test]
fn side_that_is_cut_off_has_its_own_shares() {
    let mut mesh = Mesh::new(5);
    mesh.load(&[0], RATE, 2, secs(1));
    mesh.run(secs(130));
    mesh.cut_off(&[0, 1]);
    mesh.run(secs(80));
    assert_eq!(mesh.load(&[0, 1], RATE, 2, secs(50)), 40);
    assert_eq!(mesh.load(&[2, 3, 4], RATE, 2, secs(50)), 60);
}

#[test]
fn borrowed_rights_end_with_their_lease_and_come_back_to_their_home() {
    let mut mesh = Mesh::new(3);
    assert!(mesh.load(&[0], RATE, 2, secs(20)) == 100);
    mesh.cut_off(&[0]);
    // What node 0 had borrowed is void after ten seconds; its own third is ready a window after its use.
    assert!(mesh.load(&[0], RATE, 2, secs(61)) <= 34);
    mesh.cut.clear();
    mesh.run(secs(80));
    assert_eq!(mesh.load(&[1], RATE, 2, secs(50)), 100);
}

#[test]
fn restarted_node_waits_for_what_it_may_have_used() {
    let mut mesh = Mesh::new(3);
    mesh.load(&[0, 1, 2], RATE, 2, secs(10));
    mesh.crash(1);
    mesh.run(secs(1));
    mesh.start(1);
    assert_eq!(mesh.load(&[0, 1, 2], RATE, 2, secs(48)), 0);
    let admitted = mesh.load(&[0, 1, 2], RATE, 2, secs(30));
    assert!((67..=100).contains(&admitted), "{admitted}");
}

#[test]
fn node_alone_admits_at_once_and_waits_a_window_after_a_restart() {
    let mut mesh = Mesh::new(1);
    assert_eq!(mesh.load(&[0], RATE, 20, secs(1)), 100);
    mesh.crash(0);
    mesh.start(0);
    assert_eq!(mesh.load(&[0], RATE, 20, secs(60)), 0);
    assert_eq!(mesh.load(&[0], RATE, 20, secs(2)), 100);
}

#[test]
fn node_without_a_disk_is_known_to_others_after_its_restart() {
    let mut mesh = Mesh::new(2);
    assert_eq!(mesh.load(&[0], RATE, 2, secs(20)), 100);
    mesh.crash(0);
    mesh.nodes[0].disk = StoreImage::default();
    mesh.start(0);
    assert_eq!(mesh.load(&[0, 1], RATE, 2, secs(40)), 0);
}

#[test]
fn demand_elsewhere_gets_rights_back_from_one_that_holds_them_all() {
    let mut mesh = Mesh::new(3);
    mesh.load(&[0], RATE, 2, secs(65));
    mesh.load(&[0, 1], RATE, 2, secs(120));
    let mut at_one = 0;
    for _ in 0..600 {
        mesh.take(0, RATE);
        at_one += u64::from(mesh.take(1, RATE).is_some());
        mesh.tick();
    }
    assert!(at_one >= 30, "{at_one}");
}

#[test]
fn unused_reservation_is_ready_again_and_a_late_return_is_not() {
    let mut mesh = Mesh::new(1);
    let spec = spec(1_000, LimitWindow::Minute);
    let purse = mesh.purse(0, spec);
    mesh.tick();
    let whole = purse.take(mesh.now, 1_000).expect("all of it");
    mesh.tick();
    assert!(purse.take(mesh.now, 1).is_err());
    let _ = whole.settle(mesh.now, 100);
    mesh.tick();
    let rest = purse.take(mesh.now, 900).expect("what was not used");
    assert!(purse.take(mesh.now, 1).is_err());
    mesh.run(secs(62));
    // It is ready by the passing of the window already.
    let _ = rest.settle(mesh.now, 0);
    mesh.tick();
    assert!(purse.take(mesh.now, 1_001).is_err());
    assert!(purse.take(mesh.now, 1_000).is_ok());
}

#[test]
fn refused_client_is_told_when_there_will_be_some() {
    let mut mesh = Mesh::new(1);
    let purse = mesh.purse(0, RATE);
    mesh.tick();
    let _ = purse.take(mesh.now, 60).expect("enough");
    mesh.run(secs(20));
    let _ = purse.take(mesh.now, 40).expect("enough");
    mesh.tick();
    for units in [1, 61] {
        let empty = purse.take(mesh.now, units).expect_err("none is left");
        assert!(!empty.may_wait);
        mesh.run(empty.retry_after + TICK);
        assert!(
            purse.take(mesh.now, units).is_ok(),
            "{units} after {:?}",
            empty.retry_after
        );
        mesh.run(secs(130));
        let _ = purse.take(mesh.now, 60);
        mesh.run(secs(20));
        let _ = purse.take(mesh.now, 40);
        mesh.tick();
    }
}

#[test]
fn lowered_limit_takes_away_and_a_raised_one_adds() {
    let mut mesh = Mesh::new(3);
    assert_eq!(mesh.load(&[0], RATE, 2, secs(20)), 100);
    for node in 0..3 {
        mesh.purse(node, spec(30, LimitWindow::Minute));
    }
    assert_eq!(
        mesh.load(&[0], spec(30, LimitWindow::Minute), 2, secs(40)),
        0
    );
    let minute = mesh.load(&[0], spec(30, LimitWindow::Minute), 2, secs(60));
    assert!((28..=30).contains(&minute), "{minute}");
    for node in 0..3 {
        mesh.purse(node, RATE);
    }
    // The 70 at once, and of the 30 those that have rested.
    let admitted = mesh.load(&[0], RATE, 2, secs(20));
    assert!((70..=100).contains(&admitted), "{admitted}");
}
