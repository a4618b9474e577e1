//! How long to wait before something is tried again.

use std::time::Duration;

use grapevine_base::entropy;
use tokio::time::{Instant, sleep};

use super::store::StoreError;

/// How long an attempt asks a store that cannot be used. The attempt itself ends with its lease.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// The first wait before a store is asked again; doubles up to `ASK_PAUSE_MAX`.
const ASK_PAUSE: Duration = Duration::from_millis(100);
const ASK_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Asks a store, and retries while it cannot be used, for about [`STORE_PATIENCE`]: for the reports of an
/// attempt whose work was paid for.
pub(super) async fn ask_patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let until = Instant::now() + STORE_PATIENCE;
    let mut pause = ASK_PAUSE;
    loop {
        match ask().await {
            Err(error) if error.passes() && Instant::now() < until => {}
            answer => return answer,
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(ASK_PAUSE_MAX);
    }
}

/// At random between half of `span` and all of it, so that many who wait do not come at once.
pub(super) fn jittered(span: Duration) -> Duration {
    let share = f64::from(u32::from_le_bytes(entropy::bytes())) / f64::from(u32::MAX);
    span.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(fails: u32, error: StoreError) -> (Result<u32, StoreError>, u32) {
        let mut asked = 0;
        let answer = ask_patiently(|| {
            asked += 1;
            std::future::ready(if asked > fails {
                Ok(asked)
            } else {
                Err(error.clone())
            })
        });
        (answer.await, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn store_that_is_away_is_asked_again_and_not_forever() {
        let away = StoreError::Unavailable {
            detail: String::new(),
        };
        assert_eq!(ask(3, away.clone()).await, (Ok(4), 4));
        let (answer, asked) = ask(u32::MAX, away.clone()).await;
        assert_eq!(answer, Err(away));
        assert!((30..80).contains(&asked), "{asked} times in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn damaged_store_is_asked_once() {
        let damaged = StoreError::Damaged {
            detail: String::new(),
        };
        assert_eq!(ask(3, damaged.clone()).await, (Err(damaged), 1));
    }

    #[test]
    fn jitter_stays_between_half_and_the_whole() {
        let span = Duration::from_secs(2);
        let drawn: Vec<_> = (0..100).map(|_| jittered(span)).collect();
        assert!(
            drawn
                .iter()
                .all(|it| (Duration::from_secs(1)..=span).contains(it))
        );
        assert!(drawn.iter().any(|it| *it != drawn[0]));
    }
}
