//! Streams over a hop while their owner is alive and when it dies. `tests/bench/hold` does it with 10,000.

use std::time::Duration;

use grapevine_tests::hold::{Options, hold};
use grapevine_tests::load::failures;

/// A link with a silent peer is given up after ten seconds; a process that is gone is noticed
/// long before.
const END_MAX: Duration = Duration::from_secs(8);

#[tokio::test]
async fn streams_over_a_hop_stand_until_their_owner_is_killed_and_then_end_with_an_error_each() {
    const STREAMS: usize = 300;
    let report = hold(Options {
        streams: STREAMS,
        hold: Duration::from_secs(2),
        calm: Duration::from_millis(500),
        interval: Duration::from_secs(1),
    })
    .await;
    assert_eq!(report.ended_early, 0);
    assert_eq!(
        (report.ends.len(), report.ended_clearly),
        (STREAMS, STREAMS)
    );
    let last = report.ends.last();
    assert!(last.is_some_and(|last| *last < END_MAX), "{last:?}");
    for samples in [&report.calm, &report.held, &report.moved] {
        assert_eq!(failures(samples), Vec::<String>::new());
        assert!(!samples.is_empty());
    }
}
