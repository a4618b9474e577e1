//! Delegates, summaries, their merge, and the order of offers.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::*;
use crate::fact::FactChange;
use crate::ids::Generation;

const NOW: Instant = Instant::from_start(Duration::from_secs(1_000));

fn node(index: usize) -> NodeName {
    NodeName::new(&format!("n{index:02}")).expect("a valid name")
}

fn stamp(version: u64) -> Stamp {
    Stamp {
        generation: Generation(1),
        version,
    }
}

fn offer(cell: usize, index: usize, ttft_ms: u64, version: u64) -> CellOffer {
    CellOffer {
        cell: CellName::new(&format!("c{cell}")).expect("a valid name"),
        node: node(index),
        upstream: UpstreamName::new("primary").expect("a valid name"),
        address: SocketAddr::from(([10, 0, 0, 1], 7_171)),
        region: RegionName::new(&format!("r{cell}")).expect("a valid name"),
        place: None,
        stamp: stamp(version),
        ttft: Duration::from_millis(ttft_ms),
        load: Share::ZERO,
        in_flight_max: 10,
    }
}

fn named(delegates: &[&NodeName]) -> Vec<String> {
    delegates.iter().map(|name| name.to_string()).collect()
}

#[test]
fn delegates_are_the_first_that_have_been_ready_for_long() {
    let names: Vec<NodeName> = (0..6).map(node).collect();
    let ready_for = [1_u64, 100, 100, 100, 100, 100];
    let member = |(name, seconds)| CellMember {
        name,
        ready_since: Some(Instant::from_start(Duration::from_secs(1_000 - seconds))),
    };
    let members = || names.iter().zip(ready_for).map(member);
    assert_eq!(named(&delegates(NOW, members())), ["n01", "n02", "n03"]);
    let alone = members().take(2);
    assert_eq!(named(&delegates(NOW, alone)), ["n01", "n00"]);
    let draining = members().map(|it| CellMember {
        ready_since: None,
        ..it
    });
    assert!(delegates(NOW, draining).is_empty());
}

#[test]
fn summary_has_the_best_and_counts_the_rest() {
    let all = (0..8).map(|index| (offer(1, index, 300 + 50 * index as u64, 1), index != 0));
    let summary = summarise(&CellSummary::default(), all);
    let listed: Vec<String> = summary
        .offers
        .iter()
        .map(|it| it.node.to_string())
        .collect();
    assert_eq!(listed, ["n01", "n02", "n03", "n04", "n05"]);
    assert_eq!((summary.others, summary.withdrawn.len()), (2, 0));
}

#[test]
fn listed_offer_stays_until_another_is_clearly_better() {
    let all = |last: u64| {
        let others = (0..OFFERS_MAX).map(|index| (offer(1, index, 300, 1), true));
        others.chain([(offer(1, 9, last, 1), true)])
    };
    let before = summarise(&CellSummary::default(), all(400));
    let has_last = |summary: &CellSummary| summary.offers.iter().any(|it| it.node == node(9));
    assert!(!has_last(&summarise(&before, all(280))));
    assert!(has_last(&summarise(&before, all(260))));
}

#[test]
fn withdrawal_is_a_transition_and_a_small_move_is_nothing() {
    let all = |ttft, usable| [(offer(1, 0, ttft, 2), usable), (offer(1, 1, 300, 1), true)];
    let before = summarise(&CellSummary::default(), all(300, true));
    let same = summarise(&before, all(310, true));
    assert_eq!(change(&before, &same), FactChange::Little);
    let slower = summarise(&before, all(400, true));
    assert_eq!(change(&before, &slower), FactChange::Figures);
    let gone = summarise(&before, all(300, false));
    assert_eq!(change(&before, &gone), FactChange::Transition);
    assert_eq!(gone.withdrawn.len(), 1);
    let still_gone = summarise(&gone, all(300, false));
    assert_eq!(change(&gone, &still_gone), FactChange::Little);
}

#[test]
fn upstream_that_one_delegate_withdraws_is_gone_though_another_still_lists_it() {
    let stale = CellSummary {
        offers: vec![offer(1, 0, 300, 4)],
        ..CellSummary::default()
    };
    let withdrawn = |version| CellSummary {
        withdrawn: vec![(node(0), offer(1, 0, 0, 0).upstream, stamp(version))],
        ..CellSummary::default()
    };
    assert!(merge([&stale, &withdrawn(5)]).offers.is_empty());
    assert_eq!(merge([&stale, &withdrawn(3)]).offers, stale.offers);
}

#[test]
fn outlook_takes_few_of_each_cell() {
    let cells: Vec<CellSummary> = (0..20)
        .map(|cell| CellSummary {
            offers: (0..5)
                .map(|index| offer(cell, 5 * cell + index, 300 + cell as u64, 1))
                .collect(),
            ..CellSummary::default()
        })
        .collect();
    let seen = outlook(None, &cells);
    assert_eq!(seen.len(), OUTLOOK_MAX);
    let of_first = seen.iter().filter(|it| it.cell == cells[0].offers[0].cell);
    assert_eq!(of_first.count(), OFFERS_PER_CELL);
}

fn candidate(offer: &CellOffer, is_own_cell: bool) -> CellCandidate<'_> {
    CellCandidate {
        offer,
        rtt: Duration::from_millis(20),
        is_linked: true,
        is_own_cell,
        received_at: NOW,
        in_flight: 0,
        unreached_at: None,
    }
}

#[test]
fn own_cell_goes_first_unless_another_is_clearly_better() {
    let (own, other, best) = (
        offer(1, 0, 310, 1),
        offer(2, 1, 300, 1),
        offer(3, 2, 200, 1),
    );
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let two = [candidate(&other, false), candidate(&own, true)];
    assert_eq!(order(NOW, &two, None, 6, &mut rng), [1, 0]);
    let three = [
        candidate(&other, false),
        candidate(&own, true),
        candidate(&best, false),
    ];
    assert_eq!(order(NOW, &three, None, 2, &mut rng), [2, 0]);
    let fence = BTreeSet::from([own.region.clone()]);
    assert_eq!(order(NOW, &three, Some(&fence), 6, &mut rng), [1]);
}

#[test]
fn nodes_with_one_outlook_spread_over_those_that_are_about_as_good() {
    let offers: Vec<CellOffer> = (0..4).map(|index| offer(index, index, 300, 1)).collect();
    let all: Vec<_> = offers.iter().map(|it| candidate(it, false)).collect();
    let first = |seed| order(NOW, &all, None, 1, &mut ChaCha8Rng::seed_from_u64(seed))[0];
    let chosen: BTreeSet<usize> = (0..100).map(first).collect();
    assert_eq!(chosen.len(), 4);
}

#[test]
fn full_old_and_unlinked_offers_cost_more() {
    let (one, other) = (offer(1, 0, 300, 1), offer(2, 1, 300, 1));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let worse = |edit: &dyn Fn(&mut CellCandidate<'_>)| {
        let mut all = [candidate(&one, false), candidate(&other, false)];
        edit(&mut all[0]);
        order(NOW, &all, None, 6, &mut ChaCha8Rng::seed_from_u64(3))
    };
    assert_eq!(worse(&|it| it.in_flight = 9), [1, 0]);
    assert_eq!(worse(&|it| it.is_linked = false), [1, 0]);
    assert_eq!(worse(&|it| it.unreached_at = Some(NOW)), [1, 0]);
    assert_eq!(worse(&|it| it.received_at = Instant::START), [1, 0]);
    let old = CellCandidate {
        received_at: Instant::START,
        ..candidate(&one, false)
    };
    assert_eq!(
        order(NOW, &[old], None, 6, &mut rng),
        [0],
        "where nothing else is left"
    );
}

/// Facts of one owner do not differ under one stamp.
fn summaries() -> impl Strategy<Value = Vec<CellSummary>> {
    let offers = prop::collection::vec((0_usize..6, 1_u64..5), 0..5);
    let withdrawn = prop::collection::vec((0_usize..6, 1_u64..5), 0..5);
    let summary = (offers, withdrawn, 0_u32..9).prop_map(|(offers, withdrawn, others)| {
        let offers = offers.into_iter();
        let withdrawn = withdrawn.into_iter();
        CellSummary {
            offers: offers
                .map(|(index, version)| offer(1, index, 100 * version, version))
                .collect(),
            withdrawn: withdrawn
                .map(|(index, version)| (node(index), offer(1, 0, 0, 0).upstream, stamp(version)))
                .collect(),
            others,
        }
    });
    prop::collection::vec(summary, 1..5)
}

proptest! {
    #[test]
    fn merge_knows_no_order_and_no_repetition(all in summaries(), turn in 0_usize..5) {
        let merged = merge(&all);
        let mut turned = all.clone();
        turned.rotate_left(turn % all.len());
        prop_assert_eq!(&merge(&turned), &merged);
        prop_assert_eq!(&merge(all.iter().chain(&all)), &merged);
        for offer in &merged.offers {
            let newest = all.iter().flat_map(|it| &it.offers).filter(|it| it.key() == offer.key());
            prop_assert_eq!(newest.map(|it| it.stamp).max(), Some(offer.stamp));
        }
    }

    #[test]
    fn summary_fits_its_bounds_and_holds_no_unusable_upstream(
        all in prop::collection::vec((1_u64..900, any::<bool>()), 0..80),
        before in summaries(),
    ) {
        let offers = || {
            let all = all.iter().enumerate();
            all.map(|(index, (ttft, usable))| (offer(1, index, *ttft, 9), *usable))
        };
        let summary = summarise(&merge(&before), offers());
        prop_assert!(summary.offers.len() <= OFFERS_MAX && summary.withdrawn.len() <= WITHDRAWN_MAX);
        let usable = all.iter().filter(|it| it.1).count();
        prop_assert_eq!(summary.offers.len() + summary.others as usize, usable);
        for listed in &summary.offers {
            prop_assert!(offers().any(|(it, usable)| usable && it.key() == listed.key()));
        }
    }
}
