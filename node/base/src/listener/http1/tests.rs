use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    count_max: 64,
    bytes_max: 4_096,
};

/// A body in pieces; one that is `None` breaks.
struct Pieces(Vec<Option<&'static str>>, Option<u64>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.0.remove(0).ok_or_else(|| io::Error::other("broken"));
        Poll::Ready(Some(piece.map(|piece| Frame::data(piece.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// `respond`, each of whose futures has memory of its own.
fn boxed<F>(
    respond: impl Fn(Request<RequestBody>) -> F,
) -> impl Fn(Request<RequestBody>) -> Pin<Box<F>> {
    move |request| Box::pin(respond(request))
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// Answers with what was asked for: method, target, and body.
async fn echo(request: Request<RequestBody>) -> Response<String> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(error) => format!("({:?})", error.kind()),
    };
    Response::new(format!("{} {} {body}", head.method, head.uri))
}

/// All that a client reads that sends `pieces`, each when the one before was read, and then closes its side.
async fn exchanged<F, B>(
    pieces: &[&[u8]],
    respond: impl Fn(Request<RequestBody>) -> F,
) -> (String, io::Result<()>)
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    let (ours, theirs) = duplex(256 * 1_024);
    let connection = Connection::new(ours, LIMITS, boxed(respond));
    let client = async {
        let (mut read, mut write) = tokio::io::split(theirs);
        let send = async {
            for piece in pieces {
                write.write_all(piece).await.expect("room");
                tokio::task::yield_now().await;
            }
            // The end only once all is answered: a client that ends early goes away.
            tokio::time::sleep(Duration::from_millis(20)).await;
            write.shutdown().await.ok();
        };
        let mut answer = Vec::new();
        let receive = async { read.read_to_end(&mut answer).await.expect("readable") };
        tokio::join!(send, receive);
        String::from_utf8(answer).expect("text")
    };
    // The connection's stream ends with it.
    let (ended, answer) = tokio::join!(connection, client);
    (without_dates(&answer), ended)
}

fn without_dates(answer: &str) -> String {
    let lines = answer.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

async fn echoed(sent: &str) -> String {
    exchanged(&[sent.as_bytes()], echo).await.0
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_in_order_however_many_arrive_at_once() {
    let sent = "POST /1 HTTP/1.1\r\ncontent-length: 3\r\n\r\none\r\nGET /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nth\r\n3;x=y\r\nree\r\n0\r\nt: x\r\n\r\nGET /4 HTTP/1.1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nPOST /1 oneHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nGET /2 HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nPOST /3 threeHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nGET /4 ";
    assert_eq!(echoed(sent).await, answer);
    let bytes: Vec<&[u8]> = sent.as_bytes().chunks(1).collect();
    assert_eq!(exchanged(&bytes, echo).await.0, answer, "byte by byte");
}

#[tokio::test(start_paused = true)]
async fn what_two_readers_could_read_differently_is_refused() {
    let refused = [
        (
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            "400",
        ),
        ("POST / HTTP/1.1\r\ncontent-length: 3, 3\r\n\r\nabc", "400"),
        ("POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc", "400"),
        ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\ncontent-length:\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "501",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "501",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "501",
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "501",
        ),
        ("GET / HTTP/1.1\r\na : b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\na: \0\r\n\r\n", "400"),
        ("GET  / HTTP/1.1\r\n\r\n", "400"),
        ("GET / x HTTP/1.1\r\n\r\n", "400"),
        ("GET /\r\n\r\n", "400"),
        ("G(T / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/2.0\r\n\r\n", "505"),
        ("GET / HTTP/1.2\r\n\r\n", "505"),
    ];
    for (sent, status) in refused {
        let answer = echoed(sent).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{sent:?}: {answer}");
        assert!(
            answer.ends_with("content-length: 0\r\nconnection: close\r\n\r\n"),
            "{answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1").count(),
            1,
            "{sent:?}: nothing after it is read"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn head_beyond_its_limits_is_refused() {
    let long = "x".repeat(4_096);
    let many = "a: b\r\n".repeat(65);
    for (sent, status) in [
        (format!("GET /{long}"), "414"),
        (format!("GET / HTTP/1.1\r\na: {long}"), "431"),
        (format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), "431"),
    ] {
        let answer = echoed(&sent).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    let most = "a: b\r\n".repeat(64);
    let answer = echoed(&format!("GET / HTTP/1.1\r\n{most}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn connection_is_kept_as_the_version_has_it() {
    for (head, kept) in [
        ("HTTP/1.1\r\n", ""),
        (
            "HTTP/1.1\r\nconnection: x, Close\r\n",
            "connection: close\r\n",
        ),
        ("HTTP/1.0\r\n", ""),
        (
            "HTTP/1.0\r\nconnection: Keep-Alive\r\n",
            "connection: keep-alive\r\n",
        ),
    ] {
        let version = &head[..8];
        let answer = echoed(&format!("GET / {head}\r\nGET /2 {head}\r\n")).await;
        let first = format!("{version} 200 OK\r\ncontent-length: 6\r\n{kept}\r\nGET / ");
        let is_kept = head == "HTTP/1.1\r\n" || kept.contains("keep-alive");
        let second = format!("{version} 200 OK\r\ncontent-length: 7\r\n{kept}\r\nGET /2 ");
        let expected = [first, if is_kept { second } else { String::new() }].concat();
        assert_eq!(answer, expected, "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn answer_without_a_body_has_none_whatever_it_holds() {
    for (method, status, length) in [
        ("HEAD", 200, "content-length: 4\r\n"),
        ("GET", 304, "content-length: 4\r\n"),
        ("GET", 204, ""),
    ] {
        let respond = async |_: Request<RequestBody>| {
            let mut response = Response::new("body".to_owned());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            if !length.is_empty() {
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, 4.into());
            }
            response
        };
        let sent = format!("{method} / HTTP/1.1\r\n\r\n");
        let (answer, _) = exchanged(&[sent.as_bytes()], respond).await;
        assert!(answer.ends_with(&format!("{length}\r\n")), "{answer}");
        assert!(!answer.contains("body"), "{answer}");
    }
}

fn in_pieces(pieces: &[Option<&'static str>], length: Option<u64>) -> Response<Pieces> {
    Response::new(Pieces(pieces.to_vec(), length))
}

#[tokio::test(start_paused = true)]
async fn body_of_unknown_length_is_sent_in_chunks() {
    let pieces = [Some("hello "), Some(""), Some("a world of words")];
    let (answer, ended) = exchanged(&[b"GET / HTTP/1.1\r\n\r\n"], async |_| {
        in_pieces(&pieces, None)
    })
    .await;
    assert!(
        answer.ends_with("chunked\r\n\r\n6\r\nhello \r\n10\r\na world of words\r\n0\r\n\r\n"),
        "{answer}"
    );
    ended.expect("it ended in order");
    let (answer, _) = exchanged(&[b"GET / HTTP/1.0\r\n\r\n"], async |_| {
        in_pieces(&pieces, None)
    })
    .await;
    assert!(
        answer.ends_with("\r\n\r\nhello a world of words"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn broken_body_is_never_ended_as_a_whole_one() {
    for (pieces, length) in [
        (vec![Some("part"), None], None),
        (vec![Some("part"), None], Some(8)),
        (vec![Some("part")], Some(8)),
        (vec![Some("part"), Some("and more")], Some(8)),
    ] {
        let respond = async |_| in_pieces(&pieces, length);
        let sent = b"GET / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n";
        let (answer, ended) = exchanged(&[sent], respond).await;
        assert!(
            answer.ends_with("part") || answer.ends_with("part\r\n"),
            "{answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(ended.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn body_that_nobody_reads_ends_the_connection_unless_it_is_at_hand() {
    let respond = async |_| Response::new("no".to_owned());
    for (sent, answers) in [
        ("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\npart", 1),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
            1,
        ),
        (
            "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\npartGET / HTTP/1.1\r\n\r\n",
            2,
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            2,
        ),
        (
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nnone\r\n",
            1,
        ),
    ] {
        let (answer, _) = exchanged(&[sent.as_bytes()], respond).await;
        assert_eq!(
            answer.matches("HTTP/1.1 200").count(),
            answers,
            "{sent:?}: {answer}"
        );
        assert_eq!(
            answer.contains("connection: close"),
            answers == 1,
            "{answer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn broken_request_body_is_answered_and_nothing_after_it_is_read() {
    let sent =
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nGET /2 HTTP/1.1\r\n\r\n";
    let answer = echoed(sent).await;
    assert!(
        answer.ends_with("connection: close\r\n\r\nPOST / (InvalidData)"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn client_is_told_to_continue_only_when_somebody_reads() {
    let head = "POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let (ours, mut theirs) = duplex(4_096);
    let client = async {
        theirs.write_all(head.as_bytes()).await.expect("room");
        let told = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut answer = vec![0; told.len()];
        theirs.read_exact(&mut answer).await.expect("readable");
        assert_eq!(answer, told);
        theirs.write_all(b"body").await.expect("room");
        answer.resize(256, 0);
        let read = theirs.read(&mut answer).await.expect("readable");
        drop(theirs);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    let connection = Connection::new(ours, LIMITS, boxed(echo));
    let (_, answer) = tokio::join!(connection, client);
    assert!(answer.ends_with("POST / body"), "{answer}");
    let refuse = async |_| Response::new("no".to_owned());
    let (answer, _) = exchanged(&[head.as_bytes()], refuse).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

/// Counts what is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn gone(stream: DuplexStream, sent: &[u8]) -> DuplexStream {
    let mut stream = stream;
    stream.write_all(sent).await.expect("room");
    tokio::task::yield_now().await;
    stream
}

#[tokio::test(start_paused = true)]
async fn client_that_goes_away_ends_the_work_for_it() {
    let dropped = Arc::new(AtomicUsize::new(0));
    for sent in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab",
    ] {
        dropped.store(0, Ordering::Relaxed);
        let (ours, theirs) = duplex(4_096);
        let respond = |_| {
            let guard = Dropped(Arc::clone(&dropped));
            async move {
                std::future::pending::<()>().await;
                drop(guard);
                Response::new(String::new())
            }
        };
        let connection = Connection::new(ours, LIMITS, boxed(respond));
        let client = async { drop(gone(theirs, sent).await) };
        let (ended, ()) = tokio::join!(connection, client);
        assert!(ended.is_err());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_goes_away_while_a_stream_is_silent_ends_it() {
    let (ours, theirs) = duplex(4_096);
    let respond = async |_| Response::new(Silent);
    let connection = Connection::new(ours, LIMITS, boxed(respond));
    let client = async { drop(gone(theirs, b"GET / HTTP/1.1\r\n\r\n").await) };
    let (ended, ()) = tokio::join!(connection, client);
    assert!(ended.is_err());
}

struct Silent;

impl Body for Silent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_to_end_ends_at_once_where_it_waits_and_after_its_answer_else() {
    let (ours, _theirs) = duplex(4_096);
    let mut idle = Connection::new(ours, LIMITS, boxed(echo));
    Pin::new(&mut idle).end();
    idle.await.expect("it ended in order");

    let (ours, mut theirs) = duplex(4_096);
    let mut busy = Connection::new(ours, LIMITS, boxed(echo));
    theirs.write_all(b"GET / HTTP/1.1\r\n").await.expect("room");
    assert!(poll_once(&mut busy).is_pending());
    Pin::new(&mut busy).end();
    theirs.write_all(b"\r\n").await.expect("room");
    busy.await.expect("it ended in order");
    let mut answer = String::new();
    theirs.read_to_string(&mut answer).await.expect("text");
    assert!(
        without_dates(&answer).contains("connection: close\r\n\r\nGET / "),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn large_body_arrives_whole_and_in_pieces_of_bounded_size() {
    let body = "0123456789abcdef".repeat(20_000);
    let sent = format!(
        "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let respond = async |request: Request<RequestBody>| {
        let (mut body, mut longest, mut length) = (request.into_body(), 0, 0);
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("it is whole").into_data().expect("data").len();
            longest = longest.max(piece);
            length += piece;
        }
        assert!(longest <= crate::http1::READ_BYTES, "{longest}");
        Response::new(length.to_string())
    };
    let (ours, mut theirs) = duplex(30_000);
    let connection = Connection::new(ours, LIMITS, boxed(respond));
    let client = async {
        theirs.write_all(sent.as_bytes()).await.expect("it is read");
        let mut answer = vec![0; 4_096];
        let read = theirs.read(&mut answer).await.expect("an answer");
        drop(theirs);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    let (_, answer) = tokio::join!(connection, client);
    assert!(answer.ends_with("\r\n\r\n320000"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn slow_reader_bounds_what_is_taken_of_a_body() {
    struct Endless(Arc<AtomicUsize>);
    impl Body for Endless {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            self.0.fetch_add(1_024, Ordering::Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1_024])))))
        }
    }
    let taken = Arc::new(AtomicUsize::new(0));
    let respond = async |_| Response::new(Endless(Arc::clone(&taken)));
    let (ours, mut theirs) = duplex(1_024);
    let mut connection = Connection::new(ours, LIMITS, boxed(respond));
    theirs
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("room");
    for _ in 0..100 {
        assert!(poll_once(&mut connection).is_pending());
    }
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken <= 67 * 1_024, "{taken}");
}

const TOKENS: &[&str] = &[
    "GET",
    "POST",
    " ",
    "/",
    "HTTP/1.1",
    "HTTP/1.0",
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "content-length: ",
    "transfer-encoding: ",
    "chunked",
    "expect: 100-continue\r\n",
    "connection: close\r\n",
    "0",
    "1",
    "5",
    "a",
    "hello",
    ":",
    ";",
    "\0",
    "\u{e9}",
];

proptest! {
    #[test]
    fn requests_are_the_same_in_whatever_pieces_they_arrive(
        tokens in proptest::collection::vec(proptest::sample::select(TOKENS), 0..60),
        size in 1_usize..20,
    ) {
        let bytes = tokens.concat().into_bytes();
        let whole = probes::requests([&bytes[..]], (64, 4_096));
        let pieces = probes::requests(bytes.chunks(size), (64, 4_096));
        prop_assert_eq!(whole, pieces);
    }
}

const OFFER: &str =
    "GET /ws HTTP/1.1\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n";

/// Takes an offer up, and sends back what comes; answers others with what was asked for.
async fn mirror(request: Request<RequestBody>) -> Response<RequestBody> {
    let (head, body) = request.into_parts();
    let offer = head.extensions.get::<crate::websocket::UpgradeOffer>();
    let mut response = match offer {
        Some(crate::websocket::UpgradeOffer { fault: None }) if head.uri == "/ws" => {
            Response::new(body)
        }
        Some(crate::websocket::UpgradeOffer { fault: None }) => {
            let text = Bytes::from_static(b"declined");
            return Response::new(RequestBody::Whole(text));
        }
        Some(crate::websocket::UpgradeOffer { fault: Some(fault) }) => {
            let text = format!("{} {fault}", head.method);
            return Response::new(RequestBody::Whole(text.into()));
        }
        None => return Response::new(RequestBody::Whole(format!("{} plain", head.method).into())),
    };
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
}

#[tokio::test(start_paused = true)]
async fn offer_that_is_taken_up_carries_bytes_both_ways_to_the_clients_end() {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    // What follows is no request, whether it came with the head or later.
    let (answer, ended) = exchanged(
        &[
            format!("{OFFER}GET /smuggled HTTP/1.1\r\n\r\n").as_bytes(),
            b"\x01\x00",
            b"more",
        ],
        mirror,
    )
    .await;
    let carried = format!("{head}GET /smuggled HTTP/1.1\r\n\r\n\u{1}\0more");
    assert_eq!(answer, carried);
    ended.expect("the client ended first, and got all of it");
}

#[tokio::test(start_paused = true)]
async fn offer_that_is_declined_ends_the_connection_and_nothing_behind_it_is_a_request() {
    let declined = OFFER.replace("/ws", "/other");
    let (answer, _) = exchanged(
        &[format!("{declined}GET /smuggled HTTP/1.1\r\n\r\n").as_bytes()],
        mirror,
    )
    .await;
    let only = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\ndeclined";
    assert_eq!(answer, only);
}

#[tokio::test(start_paused = true)]
async fn offer_that_is_malformed_is_told_and_one_of_another_protocol_ignored() {
    for (lines, told) in [
        (
            "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n\r\nabc",
            "GET it must not have a body",
        ),
        (
            "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n",
            "GET it must not have a body",
        ),
        (
            "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET it must not have a body",
        ),
        (
            "upgrade: websocket\r\n\r\n",
            "GET it must have 'Connection: Upgrade'",
        ),
        ("connection: upgrade\r\nupgrade: h2c\r\n\r\n", "GET plain"),
        (
            "connection: upgrade\r\nupgrade: h2c\r\nupgrade: websocket\r\n\r\n",
            "GET it must have one",
        ),
        (
            "connection: upgrade\r\nupgrade: websockets\r\n\r\n",
            "GET plain",
        ),
    ] {
        let sent = format!("GET /ws HTTP/1.1\r\n{lines}");
        let (answer, _) = exchanged(&[sent.as_bytes()], mirror).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(told), "{lines}: {answer}");
    }
    let old = "GET /ws HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert!(
        exchanged(&[old.as_bytes()], mirror)
            .await
            .0
            .contains("it needs HTTP/1.1")
    );
    let post = OFFER.replace("GET", "POST");
    assert!(
        exchanged(&[post.as_bytes()], mirror)
            .await
            .0
            .contains("POST plain")
    );
    let raw = "CONNECT /ws HTTP/1.1\r\n\r\n";
    assert!(
        exchanged(&[raw.as_bytes()], mirror)
            .await
            .0
            .contains("CONNECT plain")
    );
}

#[tokio::test(start_paused = true)]
async fn client_that_goes_away_before_its_offer_is_answered_ends_the_work_for_it() {
    let (ours, theirs) = duplex(4_096);
    let connection = Connection::new(
        ours,
        LIMITS,
        boxed(|_| std::future::pending::<Response<String>>()),
    );
    let client = async { drop(gone(theirs, OFFER.as_bytes()).await) };
    let (ended, ()) = tokio::join!(connection, client);
    ended.expect_err("the client has gone");
}

/// A body that always has more.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1_024])))))
    }
}

#[tokio::test(start_paused = true)]
async fn client_of_a_tunnel_that_reads_nothing_may_still_send() {
    const SENT: usize = 200_000;
    let (ours, mut theirs) = duplex(1_024);
    let (all_in, all) = tokio::sync::oneshot::channel();
    let all_in = std::sync::Mutex::new(Some(all_in));
    let respond = |request: Request<RequestBody>| {
        let all_in = all_in.lock().expect("no panic").take();
        tokio::spawn(async move {
            let (mut body, mut received) = (request.into_body(), 0);
            while received < SENT {
                let frame = body.frame().await.expect("more").expect("no failure");
                received += frame.into_data().expect("data").len();
            }
            all_in.expect("one request").send(received).expect("a test");
        });
        let mut response = Response::new(Endless);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        std::future::ready(response)
    };
    let connection = Connection::new(ours, LIMITS, boxed(respond));
    let client = async {
        theirs.write_all(OFFER.as_bytes()).await.expect("room");
        theirs.write_all(&vec![1; SENT]).await.expect("it is read");
        all.await.expect("all of it")
    };
    tokio::select! {
        ended = connection => panic!("the connection ended: {ended:?}"),
        received = client => assert_eq!(received, SENT),
    }
}
