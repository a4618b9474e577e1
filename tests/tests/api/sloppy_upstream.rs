//! A third-party upstream that leaves out much of what the format asks for
//! (`created`, `usage`, `index`): its answers pass as they are.

use grapevine_tests::client::{self, EventStream, Next, chat_body, http, streamed_text, try_post};
use grapevine_tests::script::{Upstream, run_client};
use grapevine_tests::{Mesh, within};
use serde_json::json;

use std::time::Duration;

const MODEL: &str = "gpt-4";
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_sloppy_answer_passes_through_a_hop_as_it_is() {
    let (mesh, upstream) = mesh_with_sloppy_upstream().await;
    let direct = format!("{}/chat/completions", upstream.base_url());
    let direct = try_post(&http(), &direct, &chat_body(MODEL, "a vine")).await;
    let direct = direct.unwrap_or_else(|error| panic!("no direct answer: {error:?}"));

    let answer = client::chat(&mesh["sgp"], MODEL, "a vine").await;
    assert_eq!(
        (answer.status, answer.header("x-grapevine-node")),
        (200, "jpn")
    );
    // Ids differ from call to call; everything else is equal.
    let (mut ours, mut theirs) = (answer.json(), direct.json());
    ours["id"] = json!(null);
    theirs["id"] = json!(null);
    assert_eq!(ours, theirs);
    assert_eq!(answer.content(), direct.content());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sloppy_stream_passes_to_its_end() {
    let (mesh, _upstream) = mesh_with_sloppy_upstream().await;
    let whole = client::chat(&mesh["sgp"], MODEL, "a vine").await.content();
    let stream = EventStream::chat(&mesh["sgp"], MODEL, "a vine").await;
    assert_eq!(stream.status, 200);
    let (events, end) = within("the stream", LIMIT, stream.rest()).await;
    assert_eq!((streamed_text(&events), end), (whole, Next::CleanEnd));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_reads_sloppy_answers_through_the_mesh() {
    let (mesh, _upstream) = mesh_with_sloppy_upstream().await;
    let printed = run_client("sloppy_client.py", &[&mesh["sgp"].base_url(), MODEL]).await;
    assert!(printed.contains("0 do not"), "{printed}");
}

async fn mesh_with_sloppy_upstream() -> (Mesh, Upstream) {
    let upstream = Upstream::sloppy().await;
    let entry = json!({"name": "sloppy", "base_url": upstream.base_url(), "models": [MODEL]});
    let mesh = Mesh::builder()
        .node("sgp", |node| node)
        .node("jpn", |node| node.raw_upstream(entry))
        .start()
        .await;
    (mesh, upstream)
}
