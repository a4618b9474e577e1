//! The tasks and threads that a node cannot do without.
//!
//! A node whose engine, links or request threads have ended looks alive to everybody while it serves a view
//! that no longer changes. So none of them ends unnoticed: each holds a guard, the first guard that is dropped
//! names its task, and the node drains and exits with an error, for its service manager to restart it.
//! Tasks that can be restarted where they run (chitchat under its supervisor) are not among them.

use std::fmt;

use tokio::sync::watch;

/// Where the end of a vital task is reported. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Vital(watch::Sender<Option<VitalTaskEnded>>);

/// A vital task that has ended while the node was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitalTaskEnded {
    /// Which.
    pub task: &'static str,
    /// Whether it panicked rather than returned.
    pub panicked: bool,
}

/// Reports the end of a task when it is dropped.
#[derive(Debug)]
pub struct VitalTaskGuard {
    vital: Vital,
    task: &'static str,
}

impl Vital {
    /// Runs `work` and reports its end, however it ends, as that of `task`.
    pub fn keep<F>(&self, task: &'static str, work: F) -> impl Future<Output = ()> + use<F>
    where
        F: Future<Output = ()>,
    {
        let guard = self.guard(task);
        async move {
            let _guard = guard;
            work.await;
        }
    }

    /// A guard to be held by `task` for as long as it runs.
    pub fn guard(&self, task: &'static str) -> VitalTaskGuard {
        let vital = self.clone();
        VitalTaskGuard { vital, task }
    }

    /// Waits until one of them has ended: the first to do so.
    pub async fn ended(&self) -> VitalTaskEnded {
        let mut ended = self.0.subscribe();
        loop {
            if let Some(ended) = *ended.borrow_and_update() {
                return ended;
            }
            // The sender lives in `self`: waiting for it cannot fail.
            let _ = ended.changed().await;
        }
    }
}

impl Drop for VitalTaskGuard {
    fn drop(&mut self) {
        let ended = VitalTaskEnded {
            task: self.task,
            panicked: std::thread::panicking(),
        };
        self.vital.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(ended);
            is_first
        });
    }
}

impl fmt::Display for VitalTaskEnded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.panicked { "panicked" } else { "ended" };
        write!(formatter, "the task `{}` {how}", self.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_returns_is_reported() {
        let vital = Vital::default();
        tokio::spawn(vital.keep("engine", async {}));
        let ended = vital.ended().await;
        assert_eq!(ended.to_string(), "the task `engine` ended");
    }

    #[tokio::test]
    async fn task_that_panics_is_reported() {
        let vital = Vital::default();
        let task = tokio::spawn(vital.keep("engine", async { panic!("as a test wants") }));
        assert!(task.await.is_err());
        let ended = vital.ended().await;
        assert_eq!(ended.to_string(), "the task `engine` panicked");
    }

    #[tokio::test]
    async fn thread_that_ends_is_reported_and_the_first_stays() {
        let vital = Vital::default();
        let (first, second) = (vital.guard("ingress-0"), vital.guard("ingress-1"));
        let thread = std::thread::spawn(move || drop(first));
        assert!(thread.join().is_ok());
        drop(second);
        let ended = VitalTaskEnded {
            task: "ingress-0",
            panicked: false,
        };
        assert_eq!(vital.ended().await, ended);
    }
}
