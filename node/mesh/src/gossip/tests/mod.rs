//! Several nodes in one process, in real time, on a network in memory.

mod filtering;
mod format;
mod hostile;
pub(super) mod net;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use grapevine_core::engine::Via;
use grapevine_core::fact::{Fact, FactKey, FurtherFigures, Phase, Standing, UpstreamFact};
use grapevine_core::health::EjectionReason;
use grapevine_core::ids::{Generation, ModelName, UpstreamName};
use grapevine_core::units::{Share, Tier, Weight};
use tokio::time::Instant;

use net::{World, address, node};

fn upstream(name: &str, models: usize) -> UpstreamFact {
    let model = |number| ModelName::new(&format!("vendor/model-{number:03}")).expect("valid");
    UpstreamFact {
        name: UpstreamName::new(name).expect("a valid name"),
        models: (0..models)
            .map(|number| (model(number), None))
            .collect::<BTreeMap<_, _>>(),
        standing: Standing::Ejected {
            reason: EjectionReason::ErrorRate,
        },
        ttft: Some(Duration::from_millis(310)),
        error_rate: Share::ZERO,
        break_rate: Share::ZERO,
        in_flight: 0,
        in_flight_max: 64,
        tier: Tier::default(),
        weight: Weight::default(),
        dialects: grapevine_core::dialect::DialectSet::ALL,
        websocket: false,
        models_out: BTreeMap::new(),
        further: FurtherFigures::default(),
        account: None,
    }
}

/// Shown with `--nocapture`: durations for a reader, beside what the test asserts.
fn report(what: &str, since: Instant) {
    eprintln!("{what}: {} ms", since.elapsed().as_millis());
}

#[tokio::test]
async fn five_nodes_see_each_other_and_each_others_facts() {
    let world = World::new();
    let since = Instant::now();
    let mut nodes = world.start_all(5).await;
    report("5 nodes see each other", since);
    let since = Instant::now();
    nodes[3].publish_phase(Phase::Ready).await;
    let author = nodes[3].name.clone();
    for other in nodes.iter_mut().filter(|other| other.name != author) {
        other.until_phase(&author, Phase::Ready).await;
        let received = other.last(&author, &FactKey::Phase).expect("received");
        assert_eq!(received.via, Via::Gossip);
    }
    report("a fact reaches 4 others by gossip", since);
}

#[tokio::test]
async fn newcomer_receives_what_was_published_before() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    nodes[1].publish_phase(Phase::Ready).await;
    nodes[1]
        .publish(Fact::Upstream(upstream("primary", 3)), true)
        .await;
    nodes[0].until_phase(&node("n2"), Phase::Ready).await;
    let mut newcomer = world.start(3, 1);
    newcomer.until_phase(&node("n2"), Phase::Ready).await;
    let key = Fact::Upstream(upstream("primary", 3)).key();
    newcomer
        .until("the upstream", |newcomer| {
            newcomer.last(&node("n2"), &key).is_some()
        })
        .await;
}

#[tokio::test]
async fn urgent_fact_comes_as_a_rumor_and_only_once() {
    let world = World::new();
    let mut nodes = world.start_all(5).await;
    let fact = Fact::Upstream(upstream("primary", 3));
    let since = Instant::now();
    let stamp = nodes[0].publish(fact.clone(), true).await;
    let author = nodes[0].name.clone();
    for other in &mut nodes[1..] {
        other
            .until("the rumor", |other| {
                other.last(&author, &fact.key()).is_some()
            })
            .await;
    }
    report("an urgent fact reaches 4 others", since);
    nodes[0].publish_phase(Phase::Draining).await;
    for other in &mut nodes[1..] {
        other.until_phase(&author, Phase::Draining).await;
        let received: Vec<_> = other
            .received
            .iter()
            .filter(|received| received.fact == fact)
            .collect();
        assert_eq!(received.len(), 1);
        assert_eq!((received[0].via, received[0].stamp), (Via::Rumor, stamp));
    }
}

#[tokio::test]
async fn rumor_needs_no_gossip() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    world.net.loses_gossip.store(true, Ordering::Relaxed);
    let mut stranger = world.start(3, 1);
    stranger.publish(Fact::Phase(Phase::Ready), true).await;
    for other in &mut nodes {
        other.until_phase(&node("n3"), Phase::Ready).await;
        assert!(!other.members.contains(&node("n3")));
    }
}

#[tokio::test]
async fn killed_node_leaves_all_members() {
    let world = World::new();
    let mut nodes = world.start_all(5).await;
    let killed = nodes.remove(2);
    let since = Instant::now();
    drop(killed);
    for other in &mut nodes {
        other
            .until("the death", |other| !other.members.contains(&node("n3")))
            .await;
        assert_eq!(other.members.len(), 3);
    }
    report("a killed node is gone from 4 others", since);
}

#[tokio::test]
async fn restarted_node_is_received_in_its_new_incarnation() {
    let world = World::new();
    let mut nodes = world.start_all(3).await;
    nodes[2].publish_phase(Phase::Ready).await;
    for other in &mut nodes[..2] {
        other.until_phase(&node("n3"), Phase::Ready).await;
    }
    drop(nodes.pop());
    let since = Instant::now();
    let mut restarted = world.start(3, 2);
    restarted.publish_phase(Phase::Joining).await;
    for other in &mut nodes {
        other.until_phase(&node("n3"), Phase::Joining).await;
        let received = other.last(&node("n3"), &FactKey::Phase).expect("received");
        assert_eq!(received.stamp.generation, Generation(2));
        other
            .until("the new incarnation to be alive", |other| {
                other.members.contains(&node("n3"))
            })
            .await;
    }
    report("2 others received a restarted node", since);
}

#[tokio::test]
async fn node_with_a_clock_that_went_back_between_two_incarnations_is_received() {
    const STEP: u64 = 3_600_000;
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    let former = Generation(2 * STEP);
    let mut third = world.start(3, former.0);
    third.publish_phase(Phase::Draining).await;
    for other in &mut nodes {
        other.until_phase(&node("n3"), Phase::Draining).await;
    }
    drop(third);
    let since = Instant::now();
    let mut third = world.start(3, former.0 - STEP);
    third.publish_phase(Phase::Joining).await;
    third
        .until("its earlier incarnation", |third| {
            third.former == Some(former)
        })
        .await;
    third.publish_phase(Phase::Ready).await;
    let key = Fact::Upstream(upstream("primary", 3)).key();
    third
        .publish(Fact::Upstream(upstream("primary", 3)), false)
        .await;
    for other in &mut nodes {
        other.until_phase(&node("n3"), Phase::Ready).await;
        other
            .until("the upstream", |other| {
                other.last(&node("n3"), &key).is_some()
            })
            .await;
        let received = other.last(&node("n3"), &FactKey::Phase).expect("received");
        assert_eq!(received.stamp.generation, Generation(former.0 + 1));
        assert_eq!(received.via, Via::Gossip);
        other
            .until("the new incarnation to be alive", |other| {
                other.members.contains(&node("n3"))
            })
            .await;
    }
    report(
        "2 others received a node with a clock that went back",
        since,
    );
    // It has earlier incarnations of gossip too, and rises above none of them again.
    nodes[0].publish_phase(Phase::Draining).await;
    third.until_phase(&node("n1"), Phase::Draining).await;
    assert_eq!(third.former, Some(former));
}

#[tokio::test]
async fn second_process_of_a_name_is_not_risen_above_while_it_speaks() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    // The newer one has another address, as behind a load balancer or on another host.
    let mut twin = world.start_as(&node("n2"), 9, 5);
    twin.publish_phase(Phase::Ready).await;
    nodes[0].until_phase(&node("n2"), Phase::Ready).await;
    let deadline = Instant::now() + Duration::from_secs(4);
    while Instant::now() < deadline {
        nodes[0].publish_phase(Phase::Ready).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    nodes[0].publish_phase(Phase::Draining).await;
    nodes[1].until_phase(&node("n1"), Phase::Draining).await;
    assert_eq!(nodes[1].former, None);
}

#[tokio::test]
async fn node_that_was_cut_off_comes_back() {
    let world = World::new();
    let mut nodes = world.start_all(3).await;
    world
        .net
        .cut_off
        .lock()
        .expect("not poisoned")
        .insert(address(3));
    nodes[2].until_members(0).await;
    nodes[0].until_members(1).await;
    nodes[1].publish_phase(Phase::Draining).await;
    world.net.cut_off.lock().expect("not poisoned").clear();
    let since = Instant::now();
    nodes[2].until_members(2).await;
    nodes[2].until_phase(&node("n2"), Phase::Draining).await;
    nodes[0].until_members(2).await;
    report("a node that was cut off is back", since);
}

#[tokio::test]
async fn seed_that_comes_up_later_is_joined() {
    let world = World::new();
    let seeds = vec![
        format!("localhost:{}", address(1).port()),
        "nowhere.invalid:1".to_owned(),
    ];
    let mut early = world.start_with(2, 1, seeds, 64);
    let caught = || world.net.caught.lock().expect("not poisoned").len();
    // It has tried the seed, which is not there.
    while caught() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut seed = world.start_with(1, 1, Vec::new(), 64);
    let since = Instant::now();
    seed.until_members(1).await;
    early.until_members(1).await;
    report("a seed that came up later is joined", since);
}

#[expect(
    clippy::disallowed_methods,
    reason = "stands for a stopped process: the whole runtime is to be blocked"
)]
fn stop_this_thread() {
    std::thread::sleep(Duration::from_secs(3));
}

#[tokio::test]
async fn node_that_was_stopped_declares_no_member_dead() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    // On a thread and runtime of its own, which sleeps as a whole, as a stopped process does.
    let (woken_in, woken) = tokio::sync::oneshot::channel();
    let world = Arc::new(world);
    let theirs = Arc::clone(&world);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async move {
            let mut third = theirs.start(3, 1);
            third.until_members(2).await;
            // Its links time out meanwhile, so that nothing waits for it when it wakes.
            let cut_off = || theirs.net.cut_off.lock().expect("not poisoned");
            cut_off().insert(address(3));
            stop_this_thread();
            cut_off().clear();
            third.members_least = usize::MAX;
            woken_in.send(()).expect("the test waits");
            third.until_phase(&node("n1"), Phase::Draining).await;
            third.members_least
        })
    });
    // The others saw it die, and then come back.
    nodes[0].until_members(2).await;
    nodes[0].until_members(1).await;
    woken.await.expect("the thread runs");
    nodes[0].until_members(2).await;
    nodes[1].until_members(2).await;
    nodes[0].publish_phase(Phase::Draining).await;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    let members_least = joined.expect("not cancelled").expect("no panic");
    assert!(members_least >= 2, "saw only {members_least} members");
}

#[tokio::test]
async fn renewed_certificate_counts_for_everything_published() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    nodes[1].publish_phase(Phase::Ready).await;
    nodes[0].until_phase(&node("n2"), Phase::Ready).await;
    let renewed = world.credentials(&node("n2"));
    nodes[1].signer.replace(&renewed).expect("an Ed25519 key");
    nodes[1].publish_phase(Phase::Draining).await;
    nodes[0].until_phase(&node("n2"), Phase::Draining).await;
    let mut newcomer = world.start(3, 1);
    newcomer.until_phase(&node("n2"), Phase::Draining).await;
}

#[tokio::test]
async fn gossip_does_not_wait_for_an_engine_that_takes_no_events() {
    let world = World::new();
    let mut stalled = world.start_with(2, 1, vec![address(1).to_string()], 1);
    let mut other = world.start(1, 1);
    for round in 0..200 {
        let phase = if round % 2 == 0 {
            Phase::Ready
        } else {
            Phase::Joining
        };
        other.publish_phase(phase).await;
        stalled.publish_phase(phase).await;
    }
    stalled.publish_phase(Phase::Draining).await;
    other.until_phase(&node("n2"), Phase::Draining).await;
}

#[tokio::test]
async fn upstream_without_room_is_published_as_gone_and_counted() {
    let world = World::new();
    let mut nodes = world.start_all(2).await;
    for number in 0..8 {
        let fact = upstream(&format!("u{number}"), 60);
        nodes[0].publish(Fact::Upstream(fact), false).await;
    }
    nodes[0].publish_phase(Phase::Ready).await;
    let (author, receiver) = nodes.split_at_mut(1);
    receiver[0].until_phase(&node("n1"), Phase::Ready).await;
    let last = FactKey::Upstream(UpstreamName::new("u7").expect("valid"));
    let is_gone = |receiver: &net::Node| {
        receiver
            .last(&node("n1"), &last)
            .is_some_and(|received| matches!(received.fact, Fact::UpstreamGone(_)))
    };
    receiver[0].until("u7 to be gone", is_gone).await;
    let counters = author[0].gossip.counters();
    assert!(counters.upstreams_left_out.load(Ordering::Relaxed) >= 1);
    assert!(counters.models_left_out.load(Ordering::Relaxed) > 100);
}
