//! Attacks by an upstream with answers that no upstream should send.

use std::time::Duration;

use grapevine_tests::client::{chat_body, http, whole};
use grapevine_tests::wait::must;

use super::Tally;
use super::tally::end_of_any;
use crate::odd::{GOOD, ODD, ODD_ANSWERS};
use crate::world::{HONEST_KEY, HOSTILE_KEY, World};

/// Longer than a node may take to detect an invalid answer.
const LIMIT: Duration = Duration::from_secs(20);

/// Each odd answer in turn; behind each a good one for another client, which must be its own.
pub(crate) async fn odd_answers(world: &World) -> Tally {
    let client = http();
    let url = world.url("/chat/completions");
    let mut tally = Tally::default();
    for odd in ODD_ANSWERS {
        let request = client.post(&url).timeout(LIMIT).bearer_auth(HOSTILE_KEY);
        let answer = whole(request.json(&chat_body(ODD, odd.name))).await;
        let end = end_of_any(&answer);
        tally.check(end.starts_with("502"), format!("{}: {end}", odd.name));
        tally.add(end);
        let request = client.post(&url).timeout(LIMIT).bearer_auth(HONEST_KEY);
        let good = must(odd.name, whole(request.json(&chat_body(ODD, GOOD))).await);
        let is_own = good.status == 200 && good.text().contains(GOOD);
        let seen = format!("behind {}: {} {}", odd.name, good.status, good.text());
        tally.check(is_own, seen);
    }
    tally
}
