//! Files: written in pieces, visible whole.

use std::time::Duration;

use bytes::Bytes;
use grapevine_base::testing::{must, wait_until};

use super::{Bench, SOON, region};
use crate::id::{Id, Kind};
use crate::store::{End, FILE_BYTES_MAX, FileRecord, PIECE_BYTES, StoreError, Usage};
use crate::task::{NewTask, Submitter, Timestamp};

fn record(bench: &Bench, bytes: u64) -> FileRecord {
    FileRecord {
        id: Id::new(Kind::File, None),
        filename: "Größe 日本.jsonl".to_owned(),
        purpose: "batch".to_owned(),
        key: Some(bench.service.to_key()),
        account: format!("key {}", bench.service.to_key()),
        regions: vec![region("sgp")],
        bytes,
        created_at: Timestamp::now(),
        expires_at: None,
    }
}

trait ToKey {
    fn to_key(&self) -> String;
}

impl ToKey for crate::task::ServiceKeyText {
    fn to_key(&self) -> String {
        self.0.as_str().to_owned()
    }
}

async fn put(bench: &Bench, id: &Id, number: u32, piece: Vec<u8>) {
    let put = bench.store.put_piece(id, number, Bytes::from(piece));
    must("putting a piece", put.await);
}

async fn file(bench: &Bench, id: &Id) -> Option<FileRecord> {
    must("getting a file", bench.store.file(id).await)
}

async fn piece(bench: &Bench, id: &Id, number: u32) -> Option<Bytes> {
    must("getting a piece", bench.store.piece(id, number).await)
}

async fn listed(bench: &Bench, before: Option<&Id>, max: usize) -> Vec<Id> {
    let key = bench.service.to_key();
    let files = bench.store.files(Some(&key), before, max).await;
    let files = must("listing files", files);
    files.into_iter().map(|file| file.id).collect()
}

pub(super) async fn file_is_visible_whole_or_not_at_all(bench: Bench) {
    let wanted = record(&bench, PIECE_BYTES as u64 * 2 + 3);
    let id = wanted.id.clone();
    let is_refused = |refused: Result<(), StoreError>| match refused {
        Err(StoreError::Damaged { detail }) => assert!(detail.contains(id.as_str()), "{detail}"),
        other => panic!("accepted an incomplete file: {other:?}"),
    };
    put(&bench, &id, 0, vec![1; PIECE_BYTES]).await;
    put(&bench, &id, 2, vec![3; 3]).await;
    is_refused(bench.store.complete_file(wanted.clone()).await);
    put(&bench, &id, 1, vec![2; PIECE_BYTES - 1]).await;
    is_refused(bench.store.complete_file(wanted.clone()).await);
    assert_eq!(
        (file(&bench, &id).await, piece(&bench, &id, 0).await),
        (None, None)
    );
    assert_eq!(listed(&bench, None, 10).await, []);
    put(&bench, &id, 1, vec![2; PIECE_BYTES]).await;
    must(
        "completing",
        bench.store.complete_file(wanted.clone()).await,
    );
    assert_eq!(file(&bench, &id).await, Some(wanted));
    assert_eq!(
        piece(&bench, &id, 1).await,
        Some(vec![2; PIECE_BYTES].into())
    );
    assert_eq!(piece(&bench, &id, 2).await, Some(vec![3; 3].into()));
    assert_eq!(piece(&bench, &id, 3).await, None);
}

pub(super) async fn complete_file_does_not_change(bench: Bench) {
    let wanted = record(&bench, 4);
    put(&bench, &wanted.id, 0, b"text".to_vec()).await;
    must(
        "completing",
        bench.store.complete_file(wanted.clone()).await,
    );
    must(
        "completing again",
        bench.store.complete_file(wanted.clone()).await,
    );
    // A piece that comes twice, or late.
    let late = bench.store.put_piece(&wanted.id, 0, "evil".into()).await;
    drop(late);
    assert_eq!(piece(&bench, &wanted.id, 0).await, Some("text".into()));
    assert_eq!(file(&bench, &wanted.id).await, Some(wanted));
}

pub(super) async fn file_without_bytes_is_a_file(bench: Bench) {
    let wanted = record(&bench, 0);
    must(
        "completing",
        bench.store.complete_file(wanted.clone()).await,
    );
    assert_eq!(piece(&bench, &wanted.id, 0).await, None);
    assert_eq!(file(&bench, &wanted.id).await, Some(wanted));
}

pub(super) async fn files_are_listed_by_key_newest_first(bench: Bench) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        let wanted = record(&bench, 0);
        must(
            "completing",
            bench.store.complete_file(wanted.clone()).await,
        );
        ids.push(wanted.id);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    ids.reverse();
    assert_eq!(listed(&bench, None, 10).await, ids);
    assert_eq!(listed(&bench, None, 2).await, ids[..2]);
    assert_eq!(listed(&bench, Some(&ids[0]), 10).await, ids[1..]);
    let all = must("listing", bench.store.files(None, None, 100).await);
    assert!(ids.iter().all(|id| all.iter().any(|file| file.id == *id)));
    let nobody = bench.store.files(Some("nobody's key"), None, 100).await;
    assert_eq!(must("listing", nobody), []);
}

pub(super) async fn deleted_and_expired_files_are_gone(bench: Bench) {
    let deleted = record(&bench, 1);
    let expired = FileRecord {
        expires_at: Some(Timestamp(1)),
        ..record(&bench, 1)
    };
    let kept = record(&bench, 1);
    for wanted in [&deleted, &expired, &kept] {
        put(&bench, &wanted.id, 0, vec![0]).await;
        must(
            "completing",
            bench.store.complete_file(wanted.clone()).await,
        );
    }
    assert!(must("deleting", bench.store.delete_file(&deleted.id).await));
    assert!(!must(
        "deleting again",
        bench.store.delete_file(&deleted.id).await
    ));
    assert_eq!(piece(&bench, &deleted.id, 0).await, None);
    wait_until("the expired file's removal", SOON, async || {
        must("sweeping", bench.store.sweep(super::KEEP).await);
        match file(&bench, &expired.id).await {
            None => Ok(()),
            Some(_) => Err("still there".to_owned()),
        }
    })
    .await;
    assert_eq!(file(&bench, &deleted.id).await, None);
    assert_eq!(listed(&bench, None, 10).await, [kept.id]);
}

pub(super) async fn file_beyond_its_limits_is_refused(bench: Bench) {
    let wanted = record(&bench, FILE_BYTES_MAX + 1);
    let refused = bench.store.complete_file(wanted.clone()).await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { .. })),
        "{refused:?}"
    );
    let piece = Bytes::from(vec![0; PIECE_BYTES + 1]);
    let refused = bench.store.put_piece(&wanted.id, 0, piece).await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { .. })),
        "{refused:?}"
    );
    let past = (FILE_BYTES_MAX / PIECE_BYTES as u64) as u32;
    let refused = bench.store.put_piece(&wanted.id, past, "x".into()).await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { .. })),
        "{refused:?}"
    );
    let named = FileRecord {
        filename: "n".repeat(256),
        ..record(&bench, 0)
    };
    let refused = bench.store.complete_file(named).await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { .. })),
        "{refused:?}"
    );
}

/// What is discarded is gone at once, and no piece of it is taken any more; a complete file stays.
pub(super) async fn discarded_file_is_gone_and_takes_no_pieces(bench: Bench) {
    let wanted = record(&bench, PIECE_BYTES as u64 + 1);
    put(&bench, &wanted.id, 0, vec![1; PIECE_BYTES]).await;
    must("discarding", bench.store.discard_file(&wanted.id).await);
    let late = bench.store.put_piece(&wanted.id, 1, "x".into()).await;
    assert!(late.is_err(), "took a piece of a file that was discarded");
    let whole = bench.store.complete_file(wanted.clone()).await;
    assert!(whole.is_err(), "completed a file that was discarded");
    assert_eq!(file(&bench, &wanted.id).await, None);
    // Of one that has no piece yet, the first may be on its way.
    let unbegun = record(&bench, 1);
    must("discarding", bench.store.discard_file(&unbegun.id).await);
    let late = bench.store.put_piece(&unbegun.id, 0, "x".into()).await;
    assert!(late.is_err(), "took the first piece of a discarded file");
    let kept = record(&bench, 1);
    put(&bench, &kept.id, 0, vec![7]).await;
    must("completing", bench.store.complete_file(kept.clone()).await);
    must("discarding", bench.store.discard_file(&kept.id).await);
    assert_eq!(piece(&bench, &kept.id, 0).await, Some(vec![7].into()));
}

pub(super) async fn usage_counts_what_waits_and_what_is_stored(bench: Bench) {
    let key = bench.service.to_key();
    let account = format!("key {key}");
    let usage = async || must("asking for usage", bench.store.usage(&account).await);
    assert_eq!(usage().await, Usage::default());
    let submitter = Submitter {
        key: Some(key.as_str().into()),
        ..Submitter::default()
    };
    for delay in [Duration::ZERO, super::LONG] {
        bench
            .add(NewTask {
                submitter: submitter.clone(),
                delay,
                ..bench.task()
            })
            .await;
    }
    let first = record(&bench, 3);
    let second = record(&bench, 4);
    for wanted in [&first, &second] {
        put(&bench, &wanted.id, 0, vec![0; wanted.bytes as usize]).await;
        must(
            "completing",
            bench.store.complete_file(wanted.clone()).await,
        );
    }
    let open = record(&bench, 5);
    put(&bench, &open.id, 0, vec![0; 5]).await;
    let full = Usage {
        waiting: 2,
        files: 2,
        file_bytes: 7,
    };
    assert_eq!(usage().await, full);
    let (lease, _) = bench.take().await;
    assert!(must("deleting", bench.store.delete_file(&first.id).await));
    let less = Usage {
        waiting: 1,
        files: 1,
        file_bytes: 4,
    };
    assert_eq!(usage().await, less);
    bench.finish(&lease, End::Returned).await;
    assert_eq!(usage().await.waiting, 2);
    let nobody = must("asking for usage", bench.store.usage("key nobody").await);
    assert_eq!(nobody, Usage::default());
}
