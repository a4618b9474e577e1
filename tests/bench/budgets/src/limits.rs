//! What a request of a key with limits does beyond one of a key without: finds its purses, takes of each, reads the
//! figures for its answer's headers, and settles. The bound of tokens and money is read with the body, and not here.

use std::collections::HashMap;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use grapevine_base::clock::Clock;
use grapevine_base::limits::{
    KeyPurses, KeySpecs, LimitHolder, LimitKind, LimitTable, LimitsHandle, OpenLimit,
};
use grapevine_core::Instant;
use grapevine_core::escrow::calendar::WallTime;
use grapevine_core::escrow::seats::Seats;
use grapevine_core::escrow::spec::{LimitSpec, LimitWindow};
use grapevine_core::escrow::{Escrow, EscrowEffect, EscrowEvent, EscrowStart};
use grapevine_core::ids::NodeName;

/// Keys in the table beside the one that is looked for.
const KEYS: usize = 1_000;

/// Of each limit: more than is ever taken.
const AMOUNT: u64 = 1 << 40;

/// What a request takes of each of its limits, and uses.
const USES: [(LimitKind, u64, u64); 3] = [
    (LimitKind::Requests, 1, 1),
    (LimitKind::Tokens, 1_200, 300),
    (LimitKind::Money, 5_000, 2_000),
];

/// Requests of one key, `count` times.
pub fn requests(count: u32) -> anyhow::Result<()> {
    let clock = Clock::start();
    let (handle, _orders) = LimitsHandle::new();
    // The purse of a budget is the same; it would need a disk.
    let spec = LimitSpec {
        amount: AMOUNT,
        window: LimitWindow::Minute,
    };
    let mut specs = KeySpecs::default();
    for (kind, ..) in USES {
        specs[kind as usize] = Some(spec);
    }
    handle.publish(table(specs)?);
    let holder = holder(KEYS / 2);
    let now = clock.now();
    let deadline = ready(async { tokio::time::Instant::now() })?;
    for _ in 0..count {
        let purses = ready(handle.purses(now, black_box(&holder), specs))??;
        let mut taken = [None, None, None];
        for (taken, (kind, units, _)) in taken.iter_mut().zip(USES) {
            let limit = purses.limit(kind).context("it is open")?;
            let reserved = ready(handle.take(clock, limit, units, deadline))?;
            *taken = Some(reserved.map_err(|empty| anyhow::anyhow!("{empty:?}"))?);
        }
        for kind in [LimitKind::Requests, LimitKind::Tokens] {
            black_box(purses.figures(now, kind));
        }
        for (taken, (.., used)) in taken.into_iter().flatten().zip(USES) {
            black_box(taken.settle(now, used));
        }
    }
    Ok(())
}

fn holder(index: usize) -> LimitHolder {
    LimitHolder::Issued(format!("gvk_{index:024x}").into())
}

/// All keys, with rights.
fn table(specs: KeySpecs) -> anyhow::Result<LimitTable> {
    let own = NodeName::new("sgp")?;
    let seats = Seats::new(vec![own.clone()], &own)?;
    let mut escrow = Escrow::new(Instant::START, seats, EscrowStart::default());
    let mut table = HashMap::new();
    for index in 0..=KEYS {
        let holder = holder(index);
        let mut limits = [const { None }; LimitKind::ALL.len()];
        for (kind, ..) in USES {
            let spec = specs[kind as usize].context("each has a limit")?;
            let id = holder.limit(kind, spec);
            limits[kind as usize] = Some(OpenLimit {
                kind,
                id,
                purse: escrow.open(Instant::START, id, spec)?,
                opened_at: Instant::START,
                refusals: Arc::default(),
            });
        }
        table.insert(
            holder,
            Arc::new(KeyPurses::new(Instant::START, specs, limits)),
        );
    }
    // It starts, notes that on its disk, and fills its purses.
    for second in 1..=3 {
        let now = Instant::START + Duration::from_secs(second);
        let wall = WallTime(Duration::from_secs(1_700_000_000 + second));
        let open = table
            .values()
            .flat_map(|purses: &Arc<KeyPurses>| purses.open());
        let mut events: Vec<EscrowEvent> = open
            .map(|(limit, _)| EscrowEvent::Empty(limit.id))
            .collect();
        events.push(EscrowEvent::Tick { wall });
        while let Some(event) = events.pop() {
            let effects = escrow.handle(now, event);
            events.extend(effects.into_iter().filter_map(|effect| match effect {
                EscrowEffect::Store(write) => Some(EscrowEvent::Stored(write.number)),
                EscrowEffect::Send(..) | EscrowEffect::Report(_) => None,
            }));
        }
    }
    for (limit, _) in table
        .values()
        .flat_map(|purses: &Arc<KeyPurses>| purses.open())
    {
        let here = limit.purse.figures(Instant::START).here;
        ensure!(here == AMOUNT, "{here} of {AMOUNT} are here");
    }
    Ok(table)
}

/// What a future gives that does not wait.
fn ready<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => bail!("it waits"),
    }
}
