//! Attacks on what only the operator may do.

use std::net::{IpAddr, Ipv4Addr};

use grapevine_tests::client::http;
use grapevine_tests::wait::must;
use serde_json::{Value, json};

use super::Tally;
use super::requests::all_of;
use super::templates;
use crate::world::{TOKEN, World, workflow};

/// Where the guesses come from: the operator asks from another address.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Clients' keys that somebody guesses.
pub(crate) async fn guessed_keys(world: &World) -> Tally {
    let client = http();
    let guess = |index: usize| {
        let models = client.get(world.url("/models"));
        models.bearer_auth(format!("guess-{index}"))
    };
    all_of((0..2_000).map(guess).collect()).await
}

/// The operator's token, guessed from one address.
pub(crate) async fn guessed_tokens(world: &World) -> Tally {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .local_address(ELSEWHERE);
    let client = must("building an HTTP client", client.build());
    let guess = |index: usize| {
        let page = client.get(format!("http://{}/mesh", world.admin()));
        page.bearer_auth(format!("guess-{index}"))
    };
    let mut tally = all_of((0..2_000).map(guess).collect()).await;
    let right = client
        .get(format!("http://{}/mesh", world.admin()))
        .bearer_auth(TOKEN);
    let right = all_of(vec![right]).await;
    tally.check(
        !right.ends.contains_key("200"),
        "the right token was taken from the address that guessed",
    );
    let operator = world.target().try_admin_as("/mesh", TOKEN).await;
    tally.check(
        operator.is_ok_and(|page| page.status == 200),
        "the operator was kept out at another address",
    );
    tally
}

/// Webhooks to where a node must not be sent.
pub(crate) async fn inner_webhooks(world: &World) -> Tally {
    let admin = world.admin();
    let drain = format!("http://{admin}/drain");
    let mapped = format!("http://[::ffff:{}]:{}/drain", admin.ip(), admin.port());
    let urls = [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://user:password@example.net/",
        "http://example.net:22/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:80/",
        &drain,
        &mapped,
    ];
    let run = |url: &str| -> Value {
        let mut run = workflow("hello");
        run["webhook"] = json!(url);
        run
    };
    let runs = urls.iter().map(|url| run(url)).collect();
    let mut tally = templates::post_runs(world, runs).await;
    let phase = world.view().await.phase("n1").to_owned();
    tally.check(phase == "ready", format!("n1 is {phase}"));
    tally
}
