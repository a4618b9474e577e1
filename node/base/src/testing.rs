//! Waiting for conditions, never for time to pass.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition rests between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Looks at `condition` until it holds, and returns what it gave and how long that took.
///
/// The error of `condition` is what was seen instead; the last one is part of the failure.
///
/// # Panics
///
/// When the condition does not hold within `limit`.
pub async fn wait_until<T, F>(what: &str, limit: Duration, mut condition: F) -> (T, Duration)
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let start = Instant::now();
    let mut last = String::from("nothing: the first look did not return");
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, condition()).await {
            Ok(Ok(value)) => return (value, start.elapsed()),
            Ok(Err(seen)) => last = seen,
            // The check itself took too long; the result of the one before it is reported below.
            Err(_) => {}
        }
        assert!(
            start.elapsed() < limit,
            "{what}: not within {limit:?}; last seen: {last}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits for `future` at most `limit`.
///
/// # Panics
///
/// When the future is not done by then: nothing in a test may hang.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Unwraps a result of the harness itself, naming what was being done.
///
/// # Panics
///
/// When `result` is an error.
#[track_caller]
pub fn must<T, E: Display>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let wait = wait_until("third look", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(format!("look {looks}"))
            }
        });
        assert_eq!(wait.await.0, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "last seen: still 7")]
    async fn a_condition_that_never_holds_fails_with_what_was_seen() {
        let limit = Duration::from_millis(50);
        wait_until("eight", limit, async || Err::<(), _>("still 7".to_string())).await;
    }

    #[tokio::test]
    #[should_panic(expected = "not within")]
    async fn a_look_that_hangs_fails_too() {
        let limit = Duration::from_millis(50);
        wait_until("hang", limit, async || {
            std::future::pending::<Result<(), String>>().await
        })
        .await;
    }
}
