//! A script of `tests/clients/` that takes turns with a test: it prints where it is, and waits for a line to
//! go on.
//!
//! A line `at STEP ...` ends the script's turn; an empty line on its input begins the next one. What else it
//! prints is shown.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::script::{client_path, interpreter};
use crate::wait::{must, within};

/// How long one turn of a script may take.
const TURN_LIMIT: Duration = Duration::from_secs(60);

/// A running script, ended when dropped.
#[derive(Debug)]
pub struct Steps {
    script: String,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Steps {
    /// Starts a script, which has the first turn.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::new(interpreter(script));
        command
            .arg(client_path(script))
            .args(arguments)
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = must(script, command.spawn());
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            panic!("{script}: no pipes");
        };
        Self {
            script: script.to_string(),
            child,
            input,
            lines: BufReader::new(output).lines(),
        }
    }

    /// Waits until the script is at `step`, and returns the rest of that line.
    ///
    /// # Panics
    ///
    /// When it ends before, is at another step, or takes too long.
    pub async fn until(&mut self, step: &str) -> String {
        let what = format!("{} to be at {step}", self.script);
        let reached = within(&what, TURN_LIMIT, async {
            loop {
                let line = must(&what, self.lines.next_line().await);
                match line {
                    Some(line) if line.starts_with("at ") => return line,
                    Some(line) => eprintln!("{}: {line}", self.script),
                    None => panic!("{what}: it ended"),
                }
            }
        });
        let line = reached.await;
        let rest = line
            .strip_prefix("at ")
            .and_then(|it| it.strip_prefix(step));
        match rest {
            Some(rest) => rest.trim().to_string(),
            None => panic!("{what}: it is {line:?}"),
        }
    }

    /// Begins the script's next turn.
    ///
    /// # Panics
    ///
    /// When it has ended.
    pub async fn go_on(&mut self) {
        must(&self.script, self.input.write_all(b"\n").await);
    }

    /// Begins the script's last turn, and waits for its end.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub async fn finish(mut self) {
        self.go_on().await;
        drop(self.input);
        let status = within(&self.script, TURN_LIMIT, async {
            while let Some(line) = must(&self.script, self.lines.next_line().await) {
                eprintln!("{}: {line}", self.script);
            }
            self.child.wait().await
        });
        let status = must(&self.script, status.await);
        assert!(status.success(), "{}: {status}", self.script);
    }
}
