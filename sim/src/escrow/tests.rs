//! The short cases hold; each deliberate break is noticed; and the same seed gives the same run.

use super::*;

fn find(name: &str) -> Case {
    let mut cases = cases(Depth::Short).into_iter();
    cases.find(|case| case.name == name).expect("a case")
}

fn assert_holds(name: &str) {
    let case = find(name);
    let outcome = World::new(&case, 1, Breach::None).run();
    assert!(
        outcome.violation.is_none(),
        "{name}: {:?}",
        outcome.violation
    );
}

/// The case must notice the break with one of eight seeds.
fn assert_noticed(name: &str, breach: Breach) {
    let case = find(name);
    let noticed = (1..=8).any(|seed| World::new(&case, seed, breach).run().violation.is_some());
    assert!(noticed, "{breach:?} goes unnoticed in {name}");
}

#[test]
fn limits_hold_wherever_the_demand_is() {
    for name in ["one-3", "some-3", "all-3"] {
        assert_holds(name);
    }
}

#[test]
fn limits_hold_in_a_bad_network() {
    for name in ["network-3", "partition-3", "one-way-3"] {
        assert_holds(name);
    }
}

#[test]
fn limits_hold_through_crashes_disks_that_are_set_back_and_clocks_that_jump() {
    for name in ["crash-3", "stop-3", "set-back-3", "clock-3", "stall-3"] {
        assert_holds(name);
    }
}

#[test]
fn limits_hold_in_a_storm_of_all_faults() {
    assert_holds("storm-3");
}

#[test]
fn moving_demand_gets_most_of_its_limit() {
    assert_holds("moving-10");
}

#[test]
fn each_side_of_a_cut_uses_what_its_homes_hold() {
    let case = find("split-6");
    let outcome = World::new(&case, 1, Breach::None).run();
    assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
    assert_eq!(outcome.sides.len(), 4);
    for side in &outcome.sides {
        let least = side.share * 0.95;
        assert!((least..=side.share).contains(&side.used), "{side:?}");
    }
}

#[test]
fn same_seed_gives_the_same_run_and_another_another() {
    let case = find("storm-3");
    let digest = |seed| World::new(&case, seed, Breach::None).run().to_string();
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}

#[test]
fn checker_notices_a_lender_that_forgets_to_subtract() {
    assert_noticed("one-3", Breach::ForgetsToSubtract);
}

#[test]
fn checker_notices_leases_that_outlast_their_lenders() {
    assert_noticed("partition-3", Breach::LeasesOutlast);
}

#[test]
fn checker_notices_a_disk_that_nobody_witnessed() {
    assert_noticed("set-back-3", Breach::NobodyWitnesses);
}

#[test]
fn checker_notices_used_rights_that_are_returned() {
    assert_noticed("all-3", Breach::ReturnsWhatWasUsed);
}

#[test]
fn checker_notices_clocks_that_run_fast() {
    assert_noticed("all-3", Breach::ClocksRunFast);
}
