//! What was used: the ledger of this node, its sums, and those of peers.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use grapevine_base::clock;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallInside, InsideCall};
use grapevine_config::Config;
use grapevine_console::admin::ShowUsage;
use grapevine_core::date::CalendarDay;
use grapevine_core::ids::{NodeName, RegionName};
use grapevine_core::view::Reach;
use grapevine_observe::ledger::{Ledger, LedgerSettings};
use grapevine_observe::ledger_row::LedgerRow;
use grapevine_observe::record::RequestRecord;
use grapevine_observe::usage_book::{UsageBook, UsageEntry, UsageGroup, UsageNames, UsageSum};
use http::StatusCode;
use http::uri::PathAndQuery;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::NodeStartError;

/// The path of a peer's question.
pub(super) const PEER_PATH: &str = "/usage";

/// How long a peer may take.
const PEER_LIMIT: Duration = Duration::from_secs(3);

/// How long the end of a node waits for its ledger.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Sums of one answer.
const SUMS_MAX: usize = 10_000;

/// Sums what this node's clients used. Cheap to clone.
#[derive(Clone)]
pub(super) struct UsageDesk(Arc<Desk>);

struct Desk {
    region: RegionName,
    book: UsageBook,
    ledger: Option<Ledger>,
    driver: DriverHandle,
    inside: OnceLock<Arc<dyn CallInside>>,
}

/// What one node asks another.
#[derive(Serialize, Deserialize)]
struct UsageQuestion {
    since: String,
    by: Vec<UsageGroup>,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
struct UsageAnswer(Vec<(UsageNames, UsageSum)>);

impl UsageDesk {
    /// Opens the ledger, where there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn start(config: &Config, driver: &DriverHandle) -> Result<Self, NodeStartError> {
        let book = UsageBook::default();
        let open = |ledger: &grapevine_config::checked::LedgerConfig| {
            let settings = LedgerSettings {
                file: ledger.file.clone(),
                bytes_max: ledger.size.get(),
                age_max: ledger.age,
                retention: ledger.retention,
            };
            let opened = Ledger::open(settings, book.clone());
            opened.map_err(|source| NodeStartError::File {
                key: "ledger.file",
                path: ledger.file.clone(),
                source,
            })
        };
        let ledger = config.ledger.as_ref().map(open).transpose()?;
        Ok(Self(Arc::new(Desk {
            region: config.node.region.clone(),
            book,
            ledger,
            driver: driver.clone(),
            inside: OnceLock::new(),
        })))
    }

    /// From now on peers are asked through `inside`.
    pub(super) fn reach(&self, inside: Option<Arc<dyn CallInside>>) {
        if let Some(inside) = inside {
            // It is called once.
            let _ = self.0.inside.set(inside);
        }
    }

    /// Counts a finished request. One whose key was refused leaves no row: a stranger must not fill the disk.
    pub(super) fn record(&self, record: &RequestRecord) {
        if record.key.is_none() && record.status == StatusCode::UNAUTHORIZED.as_u16() {
            return;
        }
        let region = &self.0.region;
        let lost = LedgerRow::of_loser(record, region);
        let entries = lost.as_ref().map(UsageEntry::from);
        for entry in [UsageEntry::of(record, region)].iter().chain(&entries) {
            self.0.book.count(clock::wall(), entry);
        }
        if let Some(ledger) = &self.0.ledger {
            ledger.record(LedgerRow::of(record, region));
            if let Some(lost) = lost {
                ledger.record(lost);
            }
        }
    }

    /// Rows that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.0.ledger.as_ref().map_or(0, Ledger::lost)
    }

    /// Waits until what was counted is on disk.
    pub(super) async fn flush(&self) {
        let Some(ledger) = self.0.ledger.clone() else {
            return;
        };
        let flushing = tokio::task::spawn_blocking(move || ledger.flush(FLUSH_LIMIT));
        // It cannot panic, and the node ends anyway.
        let _ = flushing.await;
    }

    /// Answers a peer.
    pub(super) fn serve(&self, body: &[u8]) -> (StatusCode, Bytes) {
        let question = serde_json::from_slice::<UsageQuestion>(body);
        let read = question
            .ok()
            .and_then(|it| Some((it.since.parse().ok()?, it.by)));
        let Some((since, by)) = read.filter(|(_, by)| by.len() <= UsageGroup::ALL.len()) else {
            return (StatusCode::BAD_REQUEST, Bytes::new());
        };
        let sums = self.0.book.sum(since, &by).into_iter().take(SUMS_MAX);
        match serde_json::to_vec(&UsageAnswer(sums.collect())) {
            Ok(answer) => (StatusCode::OK, answer.into()),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()),
        }
    }

    /// The sums of every peer; `None` of one that does not answer.
    async fn peers(
        &self,
        since: CalendarDay,
        by: &[UsageGroup],
    ) -> BTreeMap<NodeName, Option<UsageAnswer>> {
        let Some(inside) = self.0.inside.get() else {
            return BTreeMap::new();
        };
        let question = UsageQuestion {
            since: since.to_string(),
            by: by.to_vec(),
        };
        let question: Bytes = serde_json::to_vec(&question).unwrap_or_default().into();
        let view = self.0.driver.view().clone();
        let peers = view.nodes.iter().filter(|node| node.name != view.node);
        let mut asked = JoinSet::new();
        let mut answers = BTreeMap::new();
        for peer in peers {
            answers.insert(peer.name.clone(), None);
            if !peer.live || peer.reach == Reach::Down {
                continue;
            }
            let (inside, name) = (Arc::clone(inside), peer.name.clone());
            let call = InsideCall {
                path: PathAndQuery::from_static(PEER_PATH),
                body: question.clone(),
                timeout: PEER_LIMIT,
            };
            asked.spawn(async move {
                let answer = inside.call(&name, call).await.ok();
                let answer = answer.filter(|(status, _)| *status == StatusCode::OK);
                let sums = answer.and_then(|(_, body)| serde_json::from_slice(&body).ok());
                (name, sums)
            });
        }
        while let Some(answered) = asked.join_next().await {
            if let Ok((name, sums)) = answered {
                answers.insert(name, sums);
            }
        }
        answers
    }
}

#[async_trait]
impl ShowUsage for UsageDesk {
    async fn sum(&self, since: CalendarDay, by: Vec<UsageGroup>, is_mesh: bool) -> Value {
        let mut sums = self.0.book.sum(since, &by);
        let (mut nodes, mut missing) = (vec![self.0.driver.view().node.to_string()], Vec::new());
        let peers = match is_mesh {
            true => self.peers(since, &by).await,
            false => BTreeMap::new(),
        };
        for (name, answer) in peers {
            let Some(UsageAnswer(theirs)) = answer else {
                missing.push(name.to_string());
                continue;
            };
            nodes.push(name.to_string());
            let theirs = theirs
                .into_iter()
                .filter(|(names, _)| names.len() == by.len());
            for (names, sum) in theirs.take(SUMS_MAX) {
                sums.entry(names).or_default().add(&sum);
            }
        }
        let mut total = UsageSum::default();
        sums.values().for_each(|sum| total.add(sum));
        let mut rows: Vec<_> = sums.into_iter().collect();
        // The dearest first, but days in their order.
        if !by.contains(&UsageGroup::Day) {
            rows.sort_by_key(|(_, sum)| {
                std::cmp::Reverse((sum.cost_nano_usd, sum.tokens_in + sum.tokens_out))
            });
        }
        let all = rows.len();
        let rows = rows.iter().take(SUMS_MAX).map(|(names, sum)| {
            let mut row = to_json(sum);
            for (group, name) in by.iter().zip(names) {
                row[group.as_str()] = name.as_str().into();
            }
            row
        });
        json!({
            "since": since.to_string(),
            "by": by,
            "scope": if is_mesh { "mesh" } else { "node" },
            "nodes": nodes,
            "missing": missing,
            "rows": rows.collect::<Vec<_>>(),
            "rows_left_out": all.saturating_sub(SUMS_MAX),
            "total": to_json(&total),
        })
    }
}

fn to_json(sum: &UsageSum) -> Value {
    json!({
        "requests": sum.requests,
        "failed": sum.failed,
        "tokens_in": sum.tokens_in,
        "tokens_cached": sum.tokens_cached,
        "tokens_out": sum.tokens_out,
        "cost_usd": sum.cost().to_string(),
        "unpriced": sum.unpriced,
    })
}
