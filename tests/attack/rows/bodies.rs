//! Attacks by bodies that are large, slow or never end.

use std::net::SocketAddr;
use std::time::Duration;

use grapevine_tests::client::http;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Tally;
use super::requests::send_all;
use crate::world::{HOSTILE_KEY, World};

/// How long each is held, unless the node ends it before: longer than `limits.body_timeout`.
const HELD: Duration = Duration::from_secs(20);

/// The time between two bytes of a body that trickles.
const TRICKLE: Duration = Duration::from_secs(1);

const MEGABYTE: usize = 1_000_000;

/// The largest body that is taken.
const LARGEST: usize = 32 << 20;

/// Bodies of which all but the last byte comes.
pub(crate) async fn unfinished(world: &World) -> Tally {
    let address = world.public();
    let bodies = (0..40).map(|_| {
        let sent = vec![b' '; LARGEST - 1];
        one(address, "/v1/chat/completions", LARGEST, sent, None)
    });
    all(bodies).await
}

/// Bodies that are longer than any may be.
pub(crate) async fn too_long(world: &World) -> Tally {
    let address = world.public();
    let bodies = (0..40).map(|_| {
        let sent = vec![b' '; LARGEST];
        one(address, "/v1/chat/completions", LARGEST + 1, sent, None)
    });
    all(bodies).await
}

/// Bodies of which a byte comes now and then, to chat and to background work.
pub(crate) async fn trickling(world: &World) -> Tally {
    let address = world.public();
    let paths = ["/v1/chat/completions", "/v1/tasks", "/v1/workflows/runs"];
    let bodies = (0..198).map(|index| {
        let path = paths[index % paths.len()];
        one(address, path, 1_000, Vec::new(), Some(TRICKLE))
    });
    all(bodies).await
}

/// Uploads that are refused when they have come.
pub(crate) async fn rejected_uploads(world: &World) -> Tally {
    let line = "not a line of JSON\n";
    let lines = line.repeat(30 * MEGABYTE / line.len());
    let part = |head: &str, content: &str| {
        format!("--edge\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n")
    };
    let form = part("name=\"file\"; filename=\"lines.jsonl\"", &lines)
        + &part("name=\"purpose\"", "no-such-purpose")
        + "--edge--\r\n";
    let client = http();
    let uploads = (0..3).map(|_| {
        let upload = client.post(world.url("/files"));
        let upload = upload.header("content-type", "multipart/form-data; boundary=edge");
        upload.body(form.clone())
    });
    send_all(uploads.collect()).await
}

async fn all(bodies: impl Iterator<Item = impl Future<Output = String> + Send + 'static>) -> Tally {
    let mut held = JoinSet::new();
    bodies.for_each(|body| drop(held.spawn(body)));
    Tally::of(held.join_all().await)
}

/// Sends a head that announces `length` bytes, `first` of them, and then one each `trickle`; the status by which
/// the node ended it before [`HELD`].
async fn one(
    address: SocketAddr,
    path: &'static str,
    length: usize,
    first: Vec<u8>,
    trickle: Option<Duration>,
) -> String {
    let Ok(stream) = TcpStream::connect(address).await else {
        return "not connected".to_owned();
    };
    let (mut answer, mut body) = stream.into_split();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {HOSTILE_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let sending = async move {
        // The node may answer, and stop to read, at any byte; what it answered is read below.
        let _ = body.write_all(head.as_bytes()).await;
        let _ = body.write_all(&first).await;
        while let Some(pause) = trickle {
            sleep(pause).await;
            if body.write_all(b" ").await.is_err() {
                break;
            }
        }
        // Held open until the answer or the limit.
        std::future::pending::<()>().await;
    };
    let answered = async move {
        let mut status = [0; 12];
        match answer.read_exact(&mut status).await {
            Ok(_) => String::from_utf8_lossy(&status)
                .trim_start_matches("HTTP/1.1 ")
                .to_owned(),
            Err(_) => "closed".to_owned(),
        }
    };
    let ended = async {
        tokio::select! {
            status = answered => status,
            () = sending => "sent".to_owned(),
        }
    };
    let ended = timeout(HELD, ended).await;
    ended.unwrap_or_else(|_| "held".to_owned())
}
