//! Child processes that never outlive the demo.
//!
//! Three things end a child: a signal (SIGTERM, then SIGKILL after a bound), the drop of its value
//! (SIGKILL), and, when the demo itself is killed and can do neither, the [`Reaper`]. The reaper is a shell that reads
//! the running children from a pipe; when the pipe closes, it kills those that still run. Children have process groups of
//! their own, so that a Ctrl-C at the terminal reaches the demo alone, which then ends them in order.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// The end of a log that an error shows.
const LOG_TAIL_LINES: usize = 25;

/// The end of a log that is read for it, in bytes.
const LOG_TAIL_BYTES: usize = 16 * 1024;

/// One running program.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    id: u32,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `program` with `arguments` and nothing of this process's environment; its output goes to `log`.
    ///
    /// # Errors
    /// When the log cannot be made or the program cannot be started.
    pub(super) fn start(
        program: &Path,
        arguments: &[&str],
        log: &Path,
        reaper: &mut Reaper,
    ) -> std::io::Result<Self> {
        let output = std::fs::File::create(log)?;
        let mut command = std::process::Command::new(program);
        command
            .args(arguments)
            // A GRAPEVINE_* variable meant for one node would otherwise turn every node into it.
            .env_clear()
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .process_group(0);
        let process = Command::from(command).kill_on_drop(true).spawn()?;
        let id = process.id().unwrap_or_default();
        reaper.watch(id);
        Ok(Self {
            process,
            id,
            log: log.to_owned(),
            ended: None,
        })
    }

    /// The process id, also after its end.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// How the process ended; `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            // An error means that it cannot be waited for: it is no child any more.
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Kills the process (SIGKILL) and waits for its end.
    pub(super) async fn kill(&mut self, reaper: &mut Reaper) {
        if self.ended().is_none() {
            // Both fail only when it is gone, as intended.
            let _ = self.process.start_kill();
            self.ended = self.process.wait().await.ok();
        }
        reaper.forget(self.id);
    }

    /// Asks the process to end (SIGTERM).
    pub(super) async fn ask_to_end(&mut self) {
        if self.ended().is_none() {
            terminate(self.id).await;
        }
    }

    /// Waits for the process's own end, and kills it when it still runs after `bound`.
    pub(super) async fn wait_or_kill(&mut self, bound: Duration, reaper: &mut Reaper) {
        if self.ended().is_none()
            && let Ok(Ok(status)) = tokio::time::timeout(bound, self.process.wait()).await
        {
            self.ended = Some(status);
        }
        self.kill(reaper).await;
    }

    /// The last lines of the process's output.
    pub(super) fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let start = text.len().saturating_sub(LOG_TAIL_BYTES);
        tail(&String::from_utf8_lossy(&text[start..]), LOG_TAIL_LINES)
    }
}

/// The last `count` lines of `text`.
fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Sends SIGTERM through the shell's own `kill`: that needs no unsafe call and no package.
async fn terminate(id: u32) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "kill -TERM \"$1\"", "sh", &id.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It fails when the process has ended meanwhile, or when there is no shell: then SIGKILL follows.
    let _ = command.status().await;
}

/// Kills children, and removes their directory, when this process ends without doing so itself.
#[derive(Debug)]
pub(super) struct Reaper {
    shell: std::process::Child,
}

/// Reads `+ PID` and `- PID` until the pipe closes, then kills what is left. `$1` is removed with them, and only then:
/// after an orderly end nothing is left.
const REAPER: &str = r#"
trap '' INT TERM HUP
alive=
while read -r verb id; do
  rest=
  for one in $alive; do [ "$one" = "$id" ] || rest="$rest $one"; done
  alive=$rest
  [ "$verb" = + ] && alive="$alive $id"
done
[ -z "$alive" ] || { kill -KILL $alive; rm -rf -- "$1"; }
"#;

impl Reaper {
    /// Starts it; `directory` goes when children are left behind.
    ///
    /// # Errors
    /// When there is no shell.
    pub(super) fn start(directory: &Path) -> std::io::Result<Self> {
        let shell = std::process::Command::new("sh")
            .args(["-c", REAPER, "grapevine-demo-reaper"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }

    fn watch(&mut self, id: u32) {
        self.send('+', id);
    }

    fn forget(&mut self, id: u32) {
        self.send('-', id);
    }

    fn send(&mut self, verb: char, id: u32) {
        if let Some(pipe) = &mut self.shell.stdin {
            // A reaper that somebody killed leaves only the other two ways to end a child.
            let _ = writeln!(pipe, "{verb} {id}");
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("grapevine-child-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn shell(script: &str, directory: &Directory, reaper: &mut Reaper) -> Child {
        let log = directory.0.join("log");
        Child::start(Path::new("/bin/sh"), &["-c", script], &log, reaper).unwrap()
    }

    async fn log_to_hold(child: &Child, text: &str) {
        for _ in 0..1_000 {
            if child.log_tail().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{text} is not in the log: {}", child.log_tail());
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "");
    }

    #[tokio::test]
    async fn a_child_ends_when_asked_and_is_killed_when_it_does_not() {
        let directory = Directory::new("end");
        let mut reaper = Reaper::start(&directory.0).unwrap();
        let polite = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let mut child = shell(polite, &directory, &mut reaper);
        log_to_hold(&child, "ready").await;
        child.ask_to_end().await;
        let bound = Duration::from_secs(10);
        child.wait_or_kill(bound, &mut reaper).await;
        assert_eq!(child.ended().and_then(|status| status.code()), Some(7));

        let deaf = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
        let mut child = shell(deaf, &directory, &mut reaper);
        log_to_hold(&child, "ready").await;
        child.ask_to_end().await;
        let bound = Duration::from_millis(50);
        child.wait_or_kill(bound, &mut reaper).await;
        assert!(child.ended().is_some_and(|status| status.code().is_none()));
    }

    #[tokio::test]
    async fn what_is_left_when_the_pipe_closes_is_killed_with_its_directory() {
        let directory = Directory::new("reaper");
        let mut reaper = Reaper::start(&directory.0).unwrap();
        let mut left = shell("while :; do sleep 0.01; done", &directory, &mut reaper);
        let mut other = shell("while :; do sleep 0.01; done", &directory, &mut reaper);
        reaper.forget(other.id());
        // Dropping closes the pipe, as the end of this process would, and waits for the shell.
        drop(reaper);
        let status = tokio::time::timeout(Duration::from_secs(10), left.process.wait()).await;
        assert!(status.unwrap().unwrap().code().is_none());
        assert!(other.ended().is_none());
        assert!(!directory.0.exists());
    }
}
