//! What a task remembers of its own work.

use std::time::Duration;

use grapevine_base::testing::must;

use super::{Bench, LONG, SHORT, failed};
use crate::store::{LeaseHold, NOTE_BYTES_MAX, NOTES_PAGE, Note, StoreError};
use crate::task::{NewTask, TaskProgress, TaskState};

fn note(number: u64, content: impl Into<Vec<u8>>) -> Note {
    Note {
        number,
        content: content.into().into(),
    }
}

pub(super) async fn notes_come_back_in_order_and_the_first_stays(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    let bytes: Vec<u8> = (0..=255).collect();
    let first = [note(7, bytes), note(2, "two"), note(0, "")];
    let held = must("saving", bench.store.save(&lease, &first).await);
    assert_eq!(held, LeaseHold::Kept);
    let again = [note(2, "other"), note(9_000_000_000, "far")];
    must("saving", bench.store.save(&lease, &again).await);
    must("saving", bench.store.save(&lease, &[]).await);
    let mut wanted = first.to_vec();
    wanted.reverse();
    wanted.push(again[1].clone());
    assert_eq!(must("notes", bench.store.notes(&id, 0).await), wanted);
    assert_eq!(must("notes", bench.store.notes(&id, 3).await), wanted[2..]);
    let past = must("notes", bench.store.notes(&id, 9_000_000_001).await);
    assert_eq!(past, []);
}

pub(super) async fn notes_survive_attempts_and_requeues(bench: Bench) {
    let asked = NewTask {
        attempts_max: 2,
        ..bench.task()
    };
    let id = bench.add(asked).await;
    let (lease, _) = bench.take_for(SHORT).await;
    must("saving", bench.store.save(&lease, &[note(1, "a")]).await);
    bench.swept_to(&id, TaskState::Waiting).await;
    let (lease, _) = bench.take().await;
    must("saving", bench.store.save(&lease, &[note(2, "b")]).await);
    bench.finish(&lease, failed(Some(Duration::ZERO))).await;
    assert_eq!(bench.requeue(&id).await.state, TaskState::Waiting);
    bench.take().await;
    let notes = must("notes", bench.store.notes(&id, 0).await);
    assert_eq!(notes, [note(1, "a"), note(2, "b")]);
}

pub(super) async fn long_notes_come_in_pages(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    let count = NOTES_PAGE as u64 + 40;
    let short: Vec<_> = (0..count).map(|number| note(number, "short")).collect();
    for some in short.chunks(100) {
        must("saving", bench.store.save(&lease, some).await);
    }
    let long: Vec<_> = (0..3)
        .map(|number| note(count + number, vec![b'x'; NOTE_BYTES_MAX]))
        .collect();
    for one in &long {
        must(
            "saving",
            bench.store.save(&lease, std::slice::from_ref(one)).await,
        );
    }
    let mut seen = Vec::new();
    loop {
        let from = seen.last().map_or(0, |last: &Note| last.number + 1);
        let page = must("notes", bench.store.notes(&id, from).await);
        assert!(page.len() <= NOTES_PAGE);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen.len(), short.len() + long.len());
    assert!(
        seen.into_iter().eq(short.into_iter().chain(long)),
        "all as they were"
    );
    let longer = note(9_999, vec![b'x'; NOTE_BYTES_MAX + 1]);
    let refused = bench.store.save(&lease, &[longer]).await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { .. })),
        "{refused:?}"
    );
}

pub(super) async fn progress_is_taken_along(bench: Bench) {
    let (id, lease) = bench.running(bench.task()).await;
    assert_eq!(bench.get(&id).await.progress, None);
    let progress = TaskProgress {
        completed: 5,
        failed: 1,
        total: 10,
    };
    must(
        "renewing",
        bench.store.renew(&lease, LONG, Some(progress)).await,
    );
    must("renewing", bench.store.renew(&lease, LONG, None).await);
    assert_eq!(bench.get(&id).await.progress, Some(progress));
}
