//! A child process with its log in a file, ended when the value is dropped.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wait::{must, wait_until};

/// How many lines of a log a failed test prints.
const LOG_TAIL_LINES: usize = 60;

/// The signals for a child.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Ends at once, without a chance to clean up (SIGKILL).
    Kill,
    /// Asks to finish and end (SIGTERM).
    Terminate,
    /// What Ctrl-C sends (SIGINT).
    Interrupt,
    /// Freezes (SIGSTOP).
    Stop,
    /// Resumes after [`Signal::Stop`] (SIGCONT).
    Continue,
    /// Reloads the configuration (SIGHUP).
    Hangup,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
            Self::Hangup => "HUP",
        }
    }
}

/// A program that a test started. It can be ended and started again with the same arguments.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Describes a process; [`Process::start`] starts it. Its output goes to `name.log` in `directory`.
    #[must_use]
    pub fn new(name: &str, program: &Path, arguments: &[String], directory: &Path) -> Self {
        Self {
            name: name.to_string(),
            program: program.to_path_buf(),
            arguments: arguments.to_vec(),
            environment: Vec::new(),
            log: directory.join(format!("{name}.log")),
            child: Mutex::new(None),
        }
    }

    /// Adds a variable to the environment of every later start.
    #[must_use]
    pub fn environment(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_string(), value.to_string()));
        self
    }

    /// Starts the process, appending to its log. Its standard input is empty.
    ///
    /// # Panics
    ///
    /// When it runs already or cannot be started.
    pub fn start(&self) {
        let mut child = self.child();
        assert!(child.is_none(), "{} runs already", self.name);
        let log = must(
            "opening a log",
            OpenOptions::new().create(true).append(true).open(&self.log),
        );
        let errors: File = must("opening a log twice", log.try_clone());
        let started = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn();
        *child = Some(must(
            &format!("starting {} ({})", self.name, self.program.display()),
            started,
        ));
    }

    /// The process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Sends a signal. [`Signal::Kill`] also waits for the end.
    ///
    /// # Panics
    ///
    /// When the process does not run.
    pub fn signal(&self, signal: Signal) {
        let mut slot = self.child();
        let Some(child) = slot.as_mut() else {
            panic!(
                "{} does not run, so it cannot be sent {signal:?}",
                self.name
            );
        };
        if matches!(signal, Signal::Kill) {
            must("killing a child", child.kill());
            must("waiting for a killed child", child.wait());
            *slot = None;
            return;
        }
        // The shell's own `kill`: a signal needs no unsafe call and no further package this way.
        let command = format!("kill -{} {}", signal.name(), child.id());
        let status = must(
            "running sh",
            Command::new("sh").args(["-c", &command]).status(),
        );
        assert!(
            status.success(),
            "{command} for {} failed: {status}",
            self.name
        );
        if matches!(signal, Signal::Stop) {
            await_stop(child.id(), &self.name);
        }
    }

    /// Waits until the process has ended by itself, and returns how.
    ///
    /// # Panics
    ///
    /// When it does not run, or has not ended within `limit`.
    pub async fn wait_for_exit(&self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_until(&what, limit, async || {
            self.exit_status().ok_or("it still runs".to_string())
        })
        .await
        .0
    }

    /// How the process ended, or `None` while it runs.
    ///
    /// # Panics
    ///
    /// When it was not started, or was already seen to end.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let mut slot = self.child();
        let Some(child) = slot.as_mut() else {
            panic!("{} was not started", self.name)
        };
        let status = must("asking for a child's status", child.try_wait());
        if status.is_some() {
            *slot = None;
        }
        status
    }

    /// Fails the test at once when the process has ended without a request.
    ///
    /// # Panics
    ///
    /// When it does not run, with the end of its log.
    pub fn check_alive(&self) {
        let status = match self.child().as_mut() {
            Some(child) => must("asking for a child's status", child.try_wait()),
            None => panic!("{} does not run", self.name),
        };
        if let Some(status) = status {
            panic!("{} ended by itself: {status}", self.name);
        }
    }

    /// Everything the process has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let start = lines.len().saturating_sub(LOG_TAIL_LINES);
        format!(
            "--- {} (last lines of {}) ---\n{}",
            self.name,
            self.log.display(),
            lines[start..].join("\n")
        )
    }

    // A test that fails while holding the lock must still be able to end the child.
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        if let Some(mut child) = self.child().take() {
            // Both fail only when the child is gone, as intended.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits until every thread of a process that was sent SIGSTOP has stopped: the signal is taken some time after
/// `kill` returns, and until then the process answers.
fn await_stop(pid: u32, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !has_stopped(pid) {
        assert!(Instant::now() < deadline, "{name} does not stop");
        std::thread::yield_now();
    }
}

/// Whether all threads of the process are in state T.
fn has_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let states: Vec<bool> = threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok())
        // The name before the state is in brackets and may contain anything.
        .map(|stat| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        })
        .collect();
    !states.is_empty() && states.iter().all(|is_stopped| *is_stopped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn shell(scratch: &Scratch, script: &str) -> Process {
        let arguments = ["-c".to_string(), script.to_string()];
        let process = Process::new("shell", Path::new("/bin/sh"), &arguments, scratch.path());
        process.start();
        process
    }

    #[tokio::test]
    #[should_panic(expected = "shell ended by itself: exit status: 3")]
    async fn a_child_that_ended_by_itself_fails_the_test() {
        let scratch = Scratch::new("ended");
        let process = shell(&scratch, "echo problem >&2; exit 3");
        wait_until("its end", Duration::from_secs(5), async || {
            process.check_alive();
            Err::<(), _>("alive".to_string())
        })
        .await;
    }

    #[tokio::test]
    async fn both_outputs_are_logged() {
        let scratch = Scratch::new("log");
        let process = shell(&scratch, "echo out; echo problem >&2; exit 3");
        assert_eq!(
            process.wait_for_exit(Duration::from_secs(5)).await.code(),
            Some(3)
        );
        assert_eq!(process.log(), "out\nproblem\n");
    }

    #[tokio::test]
    async fn a_signal_reaches_the_child_and_it_can_start_again() {
        let scratch = Scratch::new("signal");
        let process = shell(
            &scratch,
            "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done",
        );
        let limit = Duration::from_secs(5);
        wait_until("the trap", limit, async || {
            if process.log().contains("ready") {
                Ok(())
            } else {
                Err(process.log())
            }
        })
        .await;
        process.signal(Signal::Terminate);
        assert_eq!(process.wait_for_exit(limit).await.code(), Some(7));
        process.start();
        assert!(process.id().is_some());
        process.signal(Signal::Kill);
        assert!(process.id().is_none());
    }
}
