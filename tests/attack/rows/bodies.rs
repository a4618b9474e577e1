//! Attacks by bodies that are large, slow or never end.

use std::net::SocketAddr;
use std::time::Duration;

use grapevine_tests::client::{http, whole};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Tally;
use crate::world::{HOSTILE_KEY, World, hostile_headers};

/// How long each is held, unless the node ends it before.
const HELD: Duration = Duration::from_secs(15);

/// The time between two bytes of a body that trickles.
const TRICKLE: Duration = Duration::from_secs(1);

const MEGABYTE: usize = 1_000_000;

/// Bodies of which all but the last byte comes.
pub(crate) async fn unfinished(world: &World) -> Tally {
    let address = world.public();
    let bodies = (0..40).map(|_| {
        let sent = vec![b' '; 33 * MEGABYTE - 1];
        one(address, "/v1/chat/completions", 33 * MEGABYTE, sent, None)
    });
    all(bodies).await
}

/// Bodies of which a byte comes now and then, to chat and to background work.
pub(crate) async fn trickling(world: &World) -> Tally {
    let address = world.public();
    let paths = [
        "/v1/chat/completions",
        "/v1/tasks",
        "/v1/files",
        "/v1/workflows/runs",
    ];
    let bodies = (0..200).map(|index| {
        let path = paths[index % paths.len()];
        one(address, path, 1_000, Vec::new(), Some(TRICKLE))
    });
    all(bodies).await
}

/// Uploads that are refused when they have come.
pub(crate) async fn rejected_uploads(world: &World) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..3 {
        let line = "not a line of JSON\n";
        let lines = line.repeat(30 * MEGABYTE / line.len());
        let part = |head: &str, content: &str| {
            format!("--edge\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n")
        };
        let form = part("name=\"file\"; filename=\"lines.jsonl\"", &lines)
            + &part("name=\"purpose\"", "no-such-purpose")
            + "--edge--\r\n";
        let upload = http()
            .post(world.url("/files"))
            .headers(hostile_headers())
            .header("content-type", "multipart/form-data; boundary=edge")
            .body(form);
        let is_taken = whole(upload).await.is_ok_and(|answer| answer.status < 400);
        tally.sent += 1;
        tally.refused += usize::from(!is_taken);
    }
    tally
}

async fn all(bodies: impl Iterator<Item = impl Future<Output = bool> + Send + 'static>) -> Tally {
    let mut held = JoinSet::new();
    bodies.for_each(|body| drop(held.spawn(body)));
    let sent = held.len();
    let ended = held.join_all().await;
    let refused = ended.into_iter().filter(|is_ended| *is_ended).count();
    Tally { sent, refused }
}

/// Sends a head that announces `length` bytes, `first` of them, and then one each `trickle`; whether the node
/// ended it before [`HELD`].
async fn one(
    address: SocketAddr,
    path: &'static str,
    length: usize,
    first: Vec<u8>,
    trickle: Option<Duration>,
) -> bool {
    let Ok(stream) = TcpStream::connect(address).await else {
        return true;
    };
    let (mut answer, mut body) = stream.into_split();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {HOSTILE_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let sending = async move {
        if body.write_all(head.as_bytes()).await.is_err() || body.write_all(&first).await.is_err() {
            return;
        }
        while let Some(pause) = trickle {
            sleep(pause).await;
            if body.write_all(b" ").await.is_err() {
                return;
            }
        }
        // Held open until the answer or the limit.
        std::future::pending::<()>().await;
    };
    let answered = async move {
        let mut first = [0; 1];
        // An answer or an end: both say that the node waits no longer.
        let _ = answer.read(&mut first).await;
    };
    let ended = async {
        tokio::select! {
            () = answered => {}
            () = sending => {}
        }
    };
    timeout(HELD, ended).await.is_ok()
}
