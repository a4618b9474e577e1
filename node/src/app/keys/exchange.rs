//! Statements between nodes.
//!
//! They are calls to the inside of peers, and need no trust in them: each statement is proven by its signature, so a
//! peer can withhold one and forge none. A node of an earlier build answers 404 and is left alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_base::clock;
use grapevine_base::driver::DriverHandle;
use grapevine_base::exchange::{CallInside, InsideCall};
use grapevine_core::ids::{Generation, NodeName};
use grapevine_core::view::{Reach, View};
use grapevine_keys::statements::{BUCKETS, StatementsDigest};
use http::StatusCode;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::{AT_ONCE_MAX, KeyKeeper, Push};

/// What the paths of these calls begin with.
pub(in super::super) const PREFIX: &str = "/keys/";

/// Takes statements, one a line.
pub(in super::super) const PUSH_PATH: &str = "/keys/push";

/// Takes a digest; answers with the own one and the statements that may be lacking there.
const EXCHANGE_PATH: &str = "/keys/exchange";

/// Peers that a statement is pushed to; they push on, so a larger mesh is reached too.
const PEERS_MAX: usize = 64;

/// Calls at once.
const CALLS_MAX: usize = 64;

/// How long a peer may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// How often the digest is compared with one peer's.
const COMPARE_INTERVAL: Duration = Duration::from_secs(30);

/// The longest answer with statements; the rest comes with the next comparison.
const ANSWER_BYTES_MAX: usize = 4 * 1_024 * 1_024;

const DIGEST_BYTES: usize = BUCKETS * 8;

/// Spreads and compares until the future is dropped.
pub(super) async fn run(
    keeper: KeyKeeper,
    mut pushes: mpsc::Receiver<Push>,
    driver: DriverHandle,
    inside: Arc<dyn CallInside>,
) {
    let mut changes = driver.changes();
    let mut ticks = interval(COMPARE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = JoinSet::new();
    let mut reached = BTreeMap::new();
    let mut turn = VecDeque::new();
    loop {
        tokio::select! {
            Some(push) = pushes.recv() => {
                let peers = peers(&driver.view());
                for peer in to_push(&driver.view().node, peers, push.from.as_ref()) {
                    let (inside, texts) = (Arc::clone(&inside), Arc::clone(&push.texts));
                    bounded(&mut calls).await;
                    calls.spawn(async move { push_to(&*inside, &peer, &texts).await });
                }
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = peers(&driver.view());
                for (peer, generation) in &now {
                    if reached.get(peer) != Some(generation) {
                        turn.push_front(peer.clone());
                    }
                }
                reached = now;
                compare(&keeper, &inside, &mut turn, &reached, &mut calls, usize::MAX).await;
            }
            _ = ticks.tick() => {
                if turn.is_empty() {
                    turn.extend(reached.keys().cloned());
                    // One peer at a time, each in its turn; nodes do not all begin with the same one.
                    let own = turn.iter().position(|peer| *peer > driver.view().node);
                    turn.rotate_left(own.unwrap_or(0));
                }
                compare(&keeper, &inside, &mut turn, &reached, &mut calls, 1).await;
            }
            Some(_) = calls.join_next() => {}
        }
    }
}

/// Without a mesh there is nobody to hear of revocations from but the operator: the node is never stale.
pub(super) async fn alone(keeper: KeyKeeper, mut pushes: mpsc::Receiver<Push>) {
    let mut ticks = interval(COMPARE_INTERVAL);
    loop {
        tokio::select! {
            push = pushes.recv() => if push.is_none() { return },
            _ = ticks.tick() => keeper.ring().confirm(clock::wall()),
        }
    }
}

/// The peers that can be called now, with their generations.
fn peers(view: &View) -> BTreeMap<NodeName, Generation> {
    let others = view.nodes.iter().filter(|node| node.name != view.node);
    let reached = others.filter(|node| node.live && node.reach != Reach::Down);
    reached
        .map(|node| (node.name.clone(), node.generation))
        .collect()
}

/// Whom to push to: those that follow this node in the order of names, so that in a large mesh every node is somebody's.
fn to_push(
    own: &NodeName,
    peers: BTreeMap<NodeName, Generation>,
    from: Option<&NodeName>,
) -> Vec<NodeName> {
    let (before, after): (Vec<_>, Vec<_>) = peers.into_keys().partition(|peer| peer < own);
    let ring = after.into_iter().chain(before);
    let others = ring.filter(|peer| from != Some(peer));
    others.take(PEERS_MAX).collect()
}

/// Compares with the next peers in turn, at most `count`.
async fn compare(
    keeper: &KeyKeeper,
    inside: &Arc<dyn CallInside>,
    turn: &mut VecDeque<NodeName>,
    reached: &BTreeMap<NodeName, Generation>,
    calls: &mut JoinSet<()>,
    count: usize,
) {
    for _ in 0..count.min(turn.len()) {
        let Some(peer) = turn.pop_front() else { return };
        if !reached.contains_key(&peer) {
            continue;
        }
        let (keeper, inside) = (keeper.clone(), Arc::clone(inside));
        bounded(calls).await;
        calls.spawn(async move { keeper.compare_with(&*inside, peer).await });
    }
}

async fn bounded(calls: &mut JoinSet<()>) {
    while calls.len() >= CALLS_MAX {
        calls.join_next().await;
    }
}

async fn push_to(inside: &dyn CallInside, peer: &NodeName, texts: &[String]) {
    for texts in texts.chunks(AT_ONCE_MAX) {
        call(inside, peer, PUSH_PATH, texts.join("\n").into()).await;
    }
}

async fn call(
    inside: &dyn CallInside,
    peer: &NodeName,
    path: &'static str,
    body: Bytes,
) -> Option<Bytes> {
    let call = InsideCall {
        path: PathAndQuery::from_static(path),
        body,
        timeout: CALL_LIMIT,
    };
    match inside.call(peer, call).await {
        Ok((StatusCode::OK, answer)) => Some(answer),
        Ok((status, _)) => {
            debug!(peer.name = %peer, path, %status, "peer takes no statements about keys");
            None
        }
        Err(failure) => {
            debug!(peer.name = %peer, path, failure.detail, "peer cannot be called about keys");
            None
        }
    }
}

impl KeyKeeper {
    /// Sends what the peer lacks, and takes what this node lacks.
    async fn compare_with(&self, inside: &dyn CallInside, peer: NodeName) {
        let ours = encode(&self.ring().digest());
        let answer = call(inside, &peer, EXCHANGE_PATH, ours.into()).await;
        let Some((theirs, texts)) = answer.as_deref().and_then(read) else {
            return;
        };
        self.ring().confirm(clock::wall());
        if !texts.is_empty() {
            self.take(texts, Some(peer.clone())).await;
        }
        let lacking = self.ring().differing(&theirs);
        let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        push_to(inside, &peer, &lacking).await;
    }

    /// Answers a peer's call.
    pub(in super::super) async fn serve(
        &self,
        peer: &NodeName,
        path: &str,
        body: Bytes,
    ) -> (StatusCode, Bytes) {
        match path {
            PUSH_PATH => {
                let texts = lines(&body);
                self.take(texts, Some(peer.clone())).await;
                (StatusCode::OK, Bytes::new())
            }
            EXCHANGE_PATH => match read(&body) {
                Some((theirs, _)) => {
                    self.ring().confirm(clock::wall());
                    let mut answer = encode(&self.ring().digest());
                    for text in self.ring().differing(&theirs) {
                        if answer.len() + text.len() > ANSWER_BYTES_MAX {
                            break;
                        }
                        answer.extend_from_slice(text.as_bytes());
                        answer.push(b'\n');
                    }
                    (StatusCode::OK, answer.into())
                }
                None => (StatusCode::BAD_REQUEST, Bytes::new()),
            },
            _ => (StatusCode::NOT_FOUND, Bytes::new()),
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.take(AT_ONCE_MAX).map(str::to_owned).collect()
}

fn encode(digest: &StatementsDigest) -> Vec<u8> {
    digest.iter().flat_map(|sum| sum.to_le_bytes()).collect()
}

/// A digest and the statements behind it.
fn read(bytes: &[u8]) -> Option<(StatementsDigest, Vec<String>)> {
    let (digest, rest) = bytes.split_at_checked(DIGEST_BYTES)?;
    let mut sums = [0; BUCKETS];
    for (sum, bytes) in sums.iter_mut().zip(digest.chunks_exact(8)) {
        *sum = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some((sums, lines(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<NodeName> {
        let names = names.iter();
        names
            .map(|name| NodeName::new(name).expect("a name"))
            .collect()
    }

    #[test]
    fn statement_goes_round_the_names_and_not_back() {
        let peers = |all: &[&str]| {
            let named = names(all).into_iter();
            named.map(|name| (name, Generation(1))).collect()
        };
        let [own, from] = ["c", "d"].map(|name| NodeName::new(name).expect("a name"));
        let pushed = to_push(&own, peers(&["a", "b", "d", "e"]), Some(&from));
        assert_eq!(pushed, names(&["e", "a", "b"]));
        let many: Vec<String> = (0..200).map(|index| format!("n{index:03}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(to_push(&own, peers(&many), None).len(), PEERS_MAX);
    }

    #[test]
    fn digest_and_statements_are_read_back_and_shorter_texts_are_refused() {
        let mut digest = [0; BUCKETS];
        (digest[0], digest[63]) = (7, u64::MAX);
        let mut bytes = encode(&digest);
        bytes.extend_from_slice(b"one\n\ntwo\n");
        let texts = vec!["one".to_owned(), "two".to_owned()];
        assert_eq!(read(&bytes), Some((digest, texts)));
        assert_eq!(read(&bytes[..DIGEST_BYTES - 1]), None);
    }
}
