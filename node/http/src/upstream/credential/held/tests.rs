//! Renewals on a clock of the test's own: how many, when, and who waits.

use std::sync::atomic::{AtomicUsize, Ordering};

use grapevine_config::Secret;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::Notify;

use super::super::issue::AwsCredentials;
use super::*;

/// Issues what it is set to, once it is let go.
#[derive(Clone)]
struct Issuing {
    calls: Arc<AtomicUsize>,
    go: Arc<Notify>,
    result: Arc<Mutex<Result<Duration, CredentialFailure>>>,
    is_held_back: bool,
}

impl Issuing {
    fn at_once(lifetime: u64) -> Self {
        Self {
            calls: Arc::default(),
            go: Arc::default(),
            result: Arc::new(Mutex::new(Ok(Duration::from_secs(lifetime)))),
            is_held_back: false,
        }
    }

    fn held_back(lifetime: u64) -> Self {
        Self {
            is_held_back: true,
            ..Self::at_once(lifetime)
        }
    }

    fn set(&self, result: Result<Duration, CredentialFailure>) {
        *self.result.lock().expect("no panic") = result;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl ObtainCredential for Issuing {
    async fn obtain(self) -> Result<Issue, CredentialFailure> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_held_back {
            self.go.notified().await;
        }
        let lifetime = (*self.result.lock().expect("no panic"))?;
        Ok(Issue {
            issued: Issued::Aws(AwsCredentials {
                id: number.to_string(),
                secret: Secret::new("s"),
                session_token: None,
            }),
            lifetime: Some(lifetime),
        })
    }
}

fn credential() -> Arc<HeldCredential> {
    Arc::new(HeldCredential::new("test", ChaCha8Rng::seed_from_u64(1)))
}

/// Which issue it is.
fn number(held: &Held) -> &str {
    match &held.issued {
        Issued::Aws(keys) => &keys.id,
        Issued::Bearer(_) => "none",
    }
}

/// Lets other tasks run until they wait.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_requests_wait_for_one_renewal() {
    let (credential, issuing) = (credential(), Issuing::held_back(3_600));
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let (credential, issuing) = (credential.clone(), issuing.clone());
            tokio::spawn(async move {
                credential
                    .get(&issuing)
                    .await
                    .map(|held| number(&held).to_owned())
            })
        })
        .collect();
    settle().await;
    assert_eq!(issuing.calls(), 1);
    issuing.go.notify_one();
    for request in requests {
        assert_eq!(request.await.expect("no panic").as_deref(), Ok("1"));
    }
    assert_eq!(issuing.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn old_one_is_used_while_the_next_is_obtained_ahead_of_its_end() {
    let (credential, issuing) = (credential(), Issuing::held_back(1_000));
    issuing.go.notify_one();
    let first = credential.get(&issuing).await.expect("an issue");
    assert_eq!(number(&first), "1");
    tokio::time::advance(Duration::from_secs(650)).await;
    credential.get(&issuing).await.expect("the first one");
    settle().await;
    assert_eq!(issuing.calls(), 1, "long before the end");
    tokio::time::advance(Duration::from_secs(200)).await;
    for _ in 0..3 {
        let held = credential.get(&issuing).await.expect("the first one");
        assert_eq!(number(&held), "1");
        settle().await;
    }
    assert_eq!(issuing.calls(), 2);
    issuing.go.notify_one();
    settle().await;
    let held = credential.get(&issuing).await.expect("the second one");
    assert_eq!(number(&held), "2");
}

#[tokio::test(start_paused = true)]
async fn old_one_is_used_until_its_end_where_renewals_fail() {
    let (credential, issuing) = (credential(), Issuing::at_once(1_000));
    credential.get(&issuing).await.expect("an issue");
    issuing.set(Err(CredentialFailure::Unavailable));
    tokio::time::advance(Duration::from_secs(850)).await;
    for _ in 0..5 {
        let held = credential.get(&issuing).await.expect("the first one");
        assert_eq!(number(&held), "1");
        settle().await;
    }
    assert_eq!(issuing.calls(), 2, "the next attempt comes after a pause");
    let state = credential.state();
    assert_eq!(
        state.last_failure.map(|(_, failure)| failure),
        Some(CredentialFailure::Unavailable)
    );
    tokio::time::advance(Duration::from_secs(146)).await;
    assert_eq!(
        credential.get(&issuing).await.err(),
        Some(CredentialFailure::Unavailable)
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_requests_fail_at_once_until_the_pause_is_over() {
    let (credential, issuing) = (credential(), Issuing::at_once(1_000));
    issuing.set(Err(CredentialFailure::Refused));
    for _ in 0..10 {
        assert_eq!(
            credential.get(&issuing).await.err(),
            Some(CredentialFailure::Refused)
        );
    }
    assert_eq!(issuing.calls(), 1);
    issuing.set(Ok(Duration::from_secs(1_000)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(credential.get(&issuing).await.is_ok());
    assert_eq!(
        credential.state().last_failure.map(|(_, failure)| failure),
        Some(CredentialFailure::Refused)
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_at_once_is_a_failure_and_not_asked_for_again_at_once() {
    let (credential, issuing) = (credential(), Issuing::at_once(0));
    for _ in 0..5 {
        let failure = credential.get(&issuing).await.err();
        assert_eq!(failure, Some(CredentialFailure::Expired));
    }
    assert_eq!(issuing.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn issuer_that_never_answers_is_given_up() {
    let (credential, issuing) = (credential(), Issuing::held_back(1_000));
    // The paused clock goes on by itself while everybody waits.
    assert_eq!(
        credential.get(&issuing).await.err(),
        Some(CredentialFailure::TimedOut)
    );
}

#[tokio::test(start_paused = true)]
async fn refused_credential_is_succeeded_once_for_all_requests() {
    let (credential, issuing) = (credential(), Issuing::at_once(3_600));
    let first = credential.get(&issuing).await.expect("an issue");
    assert!(
        credential.succeed(&first, &issuing).await.is_none(),
        "too new to be the reason"
    );
    tokio::time::advance(REFUSED_AGE_MIN).await;
    let (one, other) = tokio::join!(
        credential.succeed(&first, &issuing),
        credential.succeed(&first, &issuing)
    );
    let (one, other) = (one.expect("the next"), other.expect("the next"));
    assert_eq!((number(&one), number(&other)), ("2", "2"));
    assert!(credential.succeed(&one, &issuing).await.is_none());
    assert_eq!(issuing.calls(), 2);
}

#[test]
fn renewal_that_ends_with_its_runtime_has_failed() {
    let (credential, issuing) = (credential(), Issuing::held_back(1_000));
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
    };
    let first = runtime().expect("a runtime");
    first.block_on(async {
        let waiting = credential.get(&issuing);
        assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_err());
        settle().await;
    });
    drop(first);
    let second = runtime().expect("a runtime");
    let failure = second.block_on(credential.get(&issuing)).err();
    assert_eq!(failure, Some(CredentialFailure::Interrupted));
}
